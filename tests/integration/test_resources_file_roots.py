"""An ESXi host as a Salt resource, where the master gives the minion everything."""

import pytest

from . import resources
from .conftest import PREFIX, ROOT
from .resources import ESXI, MINION


@pytest.fixture(scope="module")
def site(environment, forget):
    with resources.site(environment.bin, [ROOT / "states"]) as made:
        synced = made.salt(MINION, "saltutil.sync_all")[MINION]
        assert "resources.esxi.modules.vmx" in synced["resources"]
        made.until(f"T@esxi:{ESXI}", "test.ping")
        yield made
    forget(PREFIX)


def test_functions(site):
    resources.check_functions(site)


def test_states(site):
    resources.check_states(site)
