"""A dry run on a host to which libvirt is yet to come, as on one whose libvirt has nothing.

libvirt is here: that it is not is pretended. On hosts that have none tests/hosts shows it.
"""

import pytest

from salt_kvm.backend.virt import hypervisor, unborn
from salt_kvm.converge import FORETOLD
from salt_kvm.errors import DependencyError

from .conftest import PREFIX, nat

NAME = f"{PREFIX}foretold"
MISSING = "libvirt-python is not installed"


LEAST = {"name": NAME, "memory": "64MiB", "vcpus": 1}


@pytest.fixture
def bare(monkeypatch, tmp_path, modules):
    """Pretend that there is no libvirt, and return the folder of definitions that it would have."""

    def nobody():
        raise DependencyError(MISSING)

    def pretend():
        # Connections from before.
        modules.pack["__context__"].clear()
        monkeypatch.setattr(hypervisor, "_libvirt", nobody)
        monkeypatch.setattr(unborn, "FOLDERS", dict.fromkeys(unborn.FOLDERS, (str(tmp_path),)))
        return tmp_path

    return pretend


@pytest.fixture
def dry(run):
    """Return the maker of dry runs that an earlier state, which installs libvirt, is part of."""

    def make():
        made = run(test=True)
        made.states.pack["__running__"] = {"pkg_|-libvirt_|-libvirt_|-installed": {"result": None}}
        return made

    return make


def stack(folder):
    """Return states of every noun, each of which needs those before it."""
    usage, pool = f"/srv/{NAME}", f"{folder}/pool"
    guest = {
        "memory": "64MiB",
        "vcpus": 1,
        "autostart": True,
        "disks": [
            {"path": f"{folder}/b.qcow2", "format": "qcow2", "target": "vda"},
            {"path": f"{folder}/c.raw", "target": "vdb", "size": "1MiB"},
            {"volume": {"pool": NAME, "volume": "a.raw"}, "target": "vdc"},
        ],
        "interfaces": [{"network": NAME, "mac": "52:54:00:00:00:17"}],
        "cloud_init": {"hostname": "a"},
    }
    uuid = "5a170000-0000-4000-8000-000000000017"
    return [
        ("kvm_network.running", {"name": NAME, **nat()}),
        ("kvm_secret.present", {"name": usage, "usage": "volume", "uuid": uuid, "value": "open"}),
        ("kvm_pool.running", {"name": NAME, "path": pool, "autostart": True}),
        ("kvm_volume.present", {"name": f"{NAME}/a.raw", "capacity": "64KiB", "format": "raw"}),
        ("kvm_image.present", {"name": f"{folder}/b.qcow2", "format": "qcow2", "size": "1MiB"}),
        ("kvm_domain.running", {"name": NAME, **guest}),
        ("kvm_pool.absent", {"name": f"{NAME}-none"}),
        ("kvm_domain.absent", {"name": f"{NAME}-none"}),
    ]


def test_a_bare_host_is_foretold(dry, bare, folder):
    seen, unseen = dry(), dry()
    before = [seen(function, **fields) for function, fields in stack(folder)]
    bare()
    after = [unseen(function, **fields) for function, fields in stack(folder)]
    assert [each["result"] for each in before] == [None] * 6 + [True] * 2, before
    for known, foretold in zip(before, after, strict=True):
        assert foretold["changes"] == known["changes"]
        assert foretold["result"] is known["result"]
        assert bool(known["changes"]) is (known["result"] is None)
        note = "" if known["result"] or known["name"].endswith("b.qcow2") else f" {FORETOLD}"
        assert foretold["comment"] == f"{known['comment']}{note}"


def test_the_plan_of_a_bare_host(modules, bare, folder):
    """Who applies the whole pillar installs libvirt first."""
    sections = {}
    for function, fields in stack(folder)[:6]:
        noun, state = function.removeprefix("kvm_").split(".")
        plain = {key: each for key, each in fields.items() if key != "name"}
        sections.setdefault(f"{noun}s", {})[fields["name"]] = {**plain, "state": state}
    before = modules["kvm_host.plan"](sections)
    bare()
    after = modules["kvm_host.plan"](sections)
    assert [FORETOLD in each["comment"] for each in before] == [False] * 6
    assert [FORETOLD in each["comment"] for each in after].count(True) >= 5
    assert [each["fault"] for each in before] == [None] * 6
    for known, foretold in zip(before, after, strict=True):
        assert foretold["comment"].removesuffix(f" {FORETOLD}") == known["comment"]
        assert {**foretold, "comment": ""} == {**known, "comment": ""}


DEFAULT = {
    "forward": "nat",
    "bridge": "virbr0",
    "ip": "192.168.122.1/24",
    "dhcp": {"ranges": ["192.168.122.2-192.168.122.254"]},
    "autostart": True,
}


def test_the_network_that_comes_with_libvirt(dry, bare, modules):
    bare()
    told = dry()("kvm_network.running", name="default", **DEFAULT)
    switched = {"autostart": {"old": False, "new": True}, "state": {"old": "off", "new": "running"}}
    assert told["changes"] == switched
    assert "definition" in dry()("kvm_network.absent", name="default")["changes"]
    (row,) = modules["kvm_host.plan"]({"networks": {"default": DEFAULT}})
    assert row["changes"] == switched
    told = dry()("kvm_domain.running", **LEAST, interfaces=[{"network": "default"}])
    assert "the network 'default' is not active" in told["comment"]


def test_what_may_be_promised_of_a_bare_host(modules, bare):
    section = {"domains": {NAME: {"memory": "64MiB", "vcpus": 1}}}
    bare()
    (row,) = modules["kvm_host.plan"]({**section, "host": {"overcommit": {"memory": 1}}})
    assert "As yet" not in row["comment"]
    (row,) = modules["kvm_host.plan"]({**section, "host": {"overcommit": {"memory": 0.000001}}})
    assert "As yet, " in row["comment"]
    assert "would be promised 64MiB of memory where 0" in row["comment"]


def test_what_is_missing_is_told(dry, bare, folder):
    bare()
    fields = stack(folder)[5][1]
    told = dry()("kvm_domain.running", **fields)
    assert told["changes"]
    told = told["comment"].partition(f" {FORETOLD} As yet, ")[2]
    assert f"there is no network {NAME!r}" in told
    assert f"the file {folder}/b.qcow2 is not there" in told
    assert f"there is no pool {NAME!r}" in told


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("kvm_network.running", {"name": NAME}),
        ("kvm_pool.running", {"name": NAME, "path": "/srv"}),
        ("kvm_secret.present", {"name": "/a", "usage": "volume", "value": "open"}),
        ("kvm_domain.running", {"name": NAME}),
    ],
)
def test_what_has_a_definition_can_not_be_observed(dry, bare, function, fields):
    (bare() / f"{NAME}.xml").touch()
    told = dry()(function, **fields)
    assert (told["result"], told["changes"]) == (None, {})
    assert told["comment"] == f"can't be observed yet: {MISSING}"


def test_a_folder_of_definitions_that_can_not_be_read(dry, bare, monkeypatch):
    """Root can read any; a name that is too long fails for root too."""
    bare()
    monkeypatch.setitem(unborn.FOLDERS, "network", ("/" + "a" * 300,))
    assert dry()("kvm_network.running", name=NAME)["comment"].startswith("can't be observed yet")


@pytest.mark.parametrize("uri", ["qemu:///session", "qemu+ssh://h/system", "test:///default"])
def test_of_another_hypervisor_nothing_is_known(dry, bare, uri):
    bare()
    told = dry()("kvm_domain.running", name=NAME, connection=uri)
    assert told["comment"] == f"can't be observed yet: {MISSING}"


def test_where_nothing_would_bring_it_nothing_is_foretold(run, bare):
    bare()
    for test, result in ((True, None), (False, False)):
        told = run(test=test)("kvm_network.running", name=NAME)
        assert (told["result"], told["changes"]) == (result, {})
        assert MISSING in told["comment"]


def test_a_real_run_is_never_foretold(run, bare):
    bare()
    real = run()
    real.states.pack["__running__"] = {"pkg_|-libvirt_|-libvirt_|-installed": {"result": None}}
    assert real("kvm_network.running", name=NAME)["result"] is False


def test_libvirt_is_found_once_it_is_there(dry, bare, monkeypatch):
    """A minion keeps what it has loaded from run to run."""
    made = dry()
    bare()
    assert FORETOLD in made("kvm_network.running", name=NAME)["comment"]
    monkeypatch.undo()
    assert FORETOLD not in made("kvm_network.running", name=f"{NAME}2", **nat())["comment"]
