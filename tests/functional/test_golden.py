"""The golden documents, shown to libvirt: its schema takes them, its version is no drift."""

import subprocess
from xml.etree import ElementTree as ET

import pytest

from salt_kvm import converge
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.plan.domain import DomainSeen
from salt_kvm.plan.pool import PoolSeen
from salt_kvm.plan.seed import SeedSeen, placed
from salt_kvm.seen import FileSeen
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from unit.golden_cases import FACTS, cases, document

from .conftest import BRIDGE, PREFIX, virsh

SCHEMAS = {
    "domain": "domain",
    "network": "network",
    "pool": "storagepool",
    "volume": "storagevol",
    "secret": "secret",
}
ALL = [(noun, path, fields) for noun in SCHEMAS for path, fields in cases(noun)]


def only_schema(path):
    """Return why a case can't be defined here: its first line, ``# schema-only: why``."""
    first = path.read_text().splitlines()[0]
    return first.partition("# schema-only:")[2].strip()


def ids(some):
    return [f"{noun}/{path.stem}" for noun, path, _fields in some]


# What libvirt only defines where the hardware is: the schema alone is asked, and the case says why.
# A volume is no definition, and a secret is defined by calls of its own: test_matrix has them.
OTHERS = ("volume", "secret")
DEFINED = [case for case in ALL if case[0] not in OTHERS and not only_schema(case[1])]


@pytest.mark.parametrize(("noun", "path", "fields"), ALL, ids=ids(ALL))
def test_schema_takes_it(noun, path, fields):
    command = ["virt-xml-validate", str(path.with_suffix(".xml")), SCHEMAS[noun]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class NoDevices:
    """Not one of a golden document's devices is there."""

    def device(self, path):
        return None


def directory(fields):
    """The directory of a pool, as it is declared."""
    declared = fields.get("permissions") or {}
    mode = int(str(declared.get("mode", "755")), 8)
    ids = {"uid": declared.get("owner", 0), "gid": declared.get("group", 0)}
    return FileSeen("/", "directory", "root", "root", mode, **ids)


def seen_as(noun, observed, fields):
    """Return what the noun's planner wants to see, with all files there."""
    if noun == "domain":
        images = {
            disk["path"]: FileSeen(
                disk["path"], "file", "root", "root", 0o600, "qcow2", 5 * 1024**3
            )
            for disk in fields.get("disks") or []
            if "size" in disk
        }
        places, _gone = placed(observed.name, convert(Domain, fields, ""), observed)
        seeds = tuple(SeedSeen(place, {}, {}) for place in places)
        return DomainSeen(observed, images, FACTS, seeds=seeds)
    if noun == "pool":
        return PoolSeen(observed, directory(fields), NoDevices())
    return observed


def test_a_case_that_libvirt_is_not_shown_says_why():
    for _noun, path, _fields in ALL:
        assert not path.read_text().startswith("#") or len(only_schema(path)) > 10


@pytest.mark.parametrize(("noun", "path", "fields"), DEFINED, ids=ids(DEFINED))
def test_what_libvirt_makes_of_it_is_no_drift(libvirtd, noun, path, fields):
    name = f"{PREFIX}{path.stem}"
    if noun == "network" and "bridge" in fields and fields["forward"] != "bridge":
        fields = {**fields, "bridge": BRIDGE}
    hypervisor = Hypervisor(libvirtd)
    text = ET.tostring(document(noun, name, fields), encoding="unicode")
    hypervisor.define(noun, text)
    if noun == "domain":
        inactive = virsh("dumpxml", "--inactive", "--security-info", name)
        assert hypervisor.read(noun, name).xml.strip() == inactive.strip()
    target = converge.aim(noun, name, {**fields, "autostart": False, "state": "present"})
    plan = target.plan(seen_as(noun, hypervisor.read(noun, name), fields))
    assert (converge.changes(plan.steps), plan.waiting) == ({}, [])
