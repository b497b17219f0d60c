"""An ESXi host as a Salt resource, where the minion has this package; the master has its SLS."""

import shutil

import pytest

from . import resources
from .conftest import PREFIX, ROOT, make_environment
from .resources import ESXI

NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")


@pytest.fixture(scope="module")
def site(tmp_path_factory, forget):
    folder = tmp_path_factory.mktemp("packaged")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=NOT_SOURCE)
    made = make_environment(folder / "python")
    made.pip("install", "--quiet", "--no-deps", str(folder / "source"))
    (folder / "sls").mkdir()
    (folder / "sls" / "kvm").symlink_to(ROOT / "states" / "kvm")
    with resources.site(made.bin, [folder / "sls"]) as running:
        running.until(f"T@esxi:{ESXI}", "test.ping")
        yield running
    forget(PREFIX)


def test_functions(site):
    resources.check_functions(site)


def test_states(site):
    resources.check_states(site)
