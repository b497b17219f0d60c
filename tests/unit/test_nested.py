"""What ``nested`` of a domain declares, by the CPU of its hypervisor's host."""

from __future__ import annotations

from typing import Any

import pytest

from salt_kvm.errors import SpecError
from salt_kvm.seen import Facts
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.xml import domain as xml

INTEL, AMD = Facts("x86_64", kvm=True, flag="vmx"), Facts("x86_64", kvm=True, flag="svm")
EMULATED = Facts("x86_64", kvm=False)
ARM = Facts("aarch64", kvm=True)
MODEL = {"mode": "custom", "model": "Skylake-Client", "features": {"vmx": "optional", "hle": False}}


def cpu(facts: Facts, **fields: Any) -> tuple[str | None, dict[str | None, str | None]]:
    """Return the mode and the features of the CPU that is declared."""
    want = convert(Domain, {"memory": "1GiB", **fields}, "kvm:domains:web1")
    found = xml.intent("web1", want, facts).xml.find("cpu")
    assert found is not None
    return found.get("mode"), {f.get("name"): f.get("policy") for f in found.iterfind("feature")}


@pytest.mark.parametrize(
    ("facts", "fields", "mode", "features"),
    [
        (INTEL, {}, "host-passthrough", {"vmx": "require"}),
        (AMD, {}, "host-passthrough", {"svm": "require"}),
        (AMD, {"cpu": "host-model"}, "host-model", {"svm": "require"}),
        (INTEL, {"cpu": MODEL}, "custom", {"vmx": "require", "hle": "disable"}),
        (EMULATED, {}, "maximum", {"svm": "require"}),
        (INTEL, {"virt_type": "qemu"}, "maximum", {"svm": "require"}),
        (ARM, {}, "host-passthrough", {}),
        (INTEL, {"cpu": "host-model", "nested": False}, "host-model", {"vmx": "disable"}),
    ],
)
def test_the_cpu_and_its_feature(
    facts: Facts, fields: dict[str, Any], mode: str, features: dict[str, str]
) -> None:
    assert cpu(facts, **{"nested": True, **fields}) == (mode, features)


def test_to_take_it_away_the_cpu_must_be_known() -> None:
    with pytest.raises(SpecError, match="'nested: false' needs 'cpu'"):
        convert(Domain, {"memory": "1GiB", "nested": False}, "kvm:domains:web1")
