"""The definitions that are kept, of every kind, and defined again."""

import os
from xml.etree import ElementTree as ET

import pytest
from salt.exceptions import CommandExecutionError

from salt_kvm.backend import history

from .conftest import PREFIX, virsh

NAME = f"{PREFIX}was"
# For each kind virsh's prefix and three definitions that follow one another, each with the path of
# the element that tells it from the others, and its text or attribute there.
KINDS = {
    "domain": (
        "",
        [({"memory": f"{mib}MiB"}, ("memory", None, str(mib * 1024))) for mib in (32, 48, 64)],
    ),
    "network": (
        "net-",
        [
            ({"forward": "isolated", "domain": name}, ("domain", "name", name))
            for name in ("one", "two", "three")
        ],
    ),
    "pool": (
        "pool-",
        [
            ({"path": f"/var/tmp/{NAME}/{name}"}, ("target/path", None, f"/var/tmp/{NAME}/{name}"))
            for name in ("one", "two", "three")
        ],
    ),
}


@pytest.fixture
def place():
    """The directories of the pools, which stay when a pool is removed."""
    os.makedirs(f"/var/tmp/{NAME}")
    yield
    for name in os.listdir(f"/var/tmp/{NAME}"):
        os.rmdir(f"/var/tmp/{NAME}/{name}")
    os.rmdir(f"/var/tmp/{NAME}")


def told(text, mark):
    path, attribute, _value = mark
    found = ET.fromstring(text).find(path)
    return found.text if attribute is None else found.get(attribute)


@pytest.mark.parametrize("kind", KINDS)
def test_every_replaced_definition_is_kept_and_can_be_defined_again(run, modules, place, kind):
    prefix, steps = KINDS[kind]
    for fields, _mark in steps:
        assert run()(f"kvm_{kind}.present", name=NAME, **fields)["result"] is True
    uuid = ET.fromstring(virsh(f"{prefix}dumpxml", NAME)).findtext("uuid")
    run()(f"kvm_{kind}.absent", name=NAME)
    kept = modules[f"kvm_{kind}.history"](NAME)
    assert len(kept) == 3
    for version, (_fields, mark) in zip(kept, steps, strict=True):
        assert told(history.read(kind, NAME, version), mark) == mark[2]
        assert os.stat(f"{history.FOLDER}/{kind}/{NAME}/{version}.xml").st_mode & 0o077 == 0
    revert = modules[f"kvm_{kind}.revert_definition"]
    assert revert(NAME, kept[1]) is True
    again = virsh(f"{prefix}dumpxml", NAME)
    assert told(again, steps[1][1]) == steps[1][1][2]
    assert ET.fromstring(again).findtext("uuid") == uuid
    assert revert(NAME, kept[1]) is False
    # What is replaced by a revert is kept too.
    assert revert(NAME, kept[0]) is True
    assert told(history.read(kind, NAME, modules[f"kvm_{kind}.history"](NAME)[-1]), steps[1][1])
    with pytest.raises(CommandExecutionError, match="no version 'x'"):
        revert(NAME, "x")


@pytest.mark.parametrize("kind", KINDS)
def test_a_definition_of_a_removed_object_is_taken_by_its_namesake(run, modules, place, kind):
    """libvirt refuses a second UUID for a name."""
    prefix, steps = KINDS[kind]
    run()(f"kvm_{kind}.present", name=NAME, **steps[0][0])
    run()(f"kvm_{kind}.absent", name=NAME)
    run()(f"kvm_{kind}.present", name=NAME, **steps[1][0])
    uuid = ET.fromstring(virsh(f"{prefix}dumpxml", NAME)).findtext("uuid")
    (first,) = modules[f"kvm_{kind}.history"](NAME)
    assert modules[f"kvm_{kind}.revert_definition"](NAME, first) is True
    again = virsh(f"{prefix}dumpxml", NAME)
    assert told(again, steps[0][1]) == steps[0][1][2]
    assert ET.fromstring(again).findtext("uuid") == uuid


def test_an_active_object_goes_on_as_it_is(run, modules):
    """A network that guests use is not restarted for a definition."""
    _prefix, steps = KINDS["network"]
    run()("kvm_network.running", name=NAME, **steps[0][0])
    run()("kvm_network.running", name=NAME, **steps[1][0])
    before = virsh("net-dumpxml", NAME)
    (first,) = modules["kvm_network.history"](NAME)
    assert modules["kvm_network.revert_definition"](NAME, first) is True
    assert virsh("net-dumpxml", NAME) == before
    assert told(virsh("net-dumpxml", "--inactive", NAME), steps[0][1]) == "one"
