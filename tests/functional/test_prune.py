"""Undeclared guests: those that this pack made go, all others stay.

What is pruned is all of a host, so these tests have a libvirtd to themselves.
"""

from functools import partial
from xml.etree import ElementTree as ET

import pytest

from salt_kvm import converge
from salt_kvm.backend import history
from salt_kvm.backend.system import lock
from salt_kvm.backend.world import World
from salt_kvm.xml.mark import MANAGED, NAMESPACE

from .conftest import PREFIX

OLD, WEB, FOREIGN = (f"{PREFIX}{name}" for name in ("old", "web", "foreign"))


@pytest.fixture
def only(run, own_libvirtd):
    """Prune dry, for real and again; check what every state owes; return the real run."""

    def go(*domains, result=True, **arguments):
        arguments = {
            "name": "us",
            "domains": list(domains),
            "connection": own_libvirtd.uri,
            **arguments,
        }
        before = own_libvirtd.everything()
        dry = run(test=True)("kvm_domain.only", **arguments)
        assert own_libvirtd.everything() == before
        real = run()("kvm_domain.only", **arguments)
        assert real["result"] is result, real
        if result:
            assert dry["changes"] == real["changes"]
            assert dry["result"] is (None if real["changes"] else True)
            for test in (True, False):
                again = run(test=test)("kvm_domain.only", **arguments)
                assert (again["result"], again["changes"]) == (True, {}), again
        return real

    return go


@pytest.fixture
def made(run, own_libvirtd):
    """Make a guest as a state does."""

    def make(name, state="present", **fields):
        fields = {"memory": "32MiB", **fields}
        told = run()(f"kvm_domain.{state}", name=name, connection=own_libvirtd.uri, **fields)
        assert told["result"] is True, told
        return told

    return make


def foreign(own_libvirtd, folder, name=FOREIGN):
    """Define a guest as somebody else does."""
    path = folder / "foreign.xml"
    path.write_text(
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory>"
        "<os><type>hvm</type></os></domain>"
    )
    own_libvirtd.virsh("define", str(path))


def removed(was="running"):
    off = {"state": {"old": was, "new": "off"}} if was == "running" else {}
    return {**off, "definition": {"old": "present", "new": None}}


def test_only_what_was_made_here_goes(only, made, run, own_libvirtd, folder):
    foreign(own_libvirtd, folder)
    adopted = f"{PREFIX}adopted"
    foreign(own_libvirtd, folder, adopted)
    made(adopted, vcpus=2, title="Changed here")
    made(WEB)
    made(OLD, "running")
    made(f"{PREFIX}off")
    done = only(WEB, timeout=1, force=True)
    assert done["changes"] == {OLD: removed(), f"{PREFIX}off": removed("off")}
    assert f"removed the definition of domain {OLD}" in done["comment"]
    assert set(own_libvirtd.names()) == {FOREIGN, adopted, WEB}
    assert only(WEB)["comment"] == "Nothing is left to prune."
    # Kept, to be brought back.
    assert len(history.versions("domain", OLD)) == 1


def test_a_mark_that_is_taken_out_or_put_in_counts(only, made, run, own_libvirtd, folder):
    for name in ("off", "live", "config"):
        made(f"{PREFIX}{name}", "present" if name == "off" else "running")
    take = ("metadata", "--remove", "--uri", NAMESPACE, "--domain")
    own_libvirtd.virsh(*take, f"{PREFIX}off", "--config")
    own_libvirtd.virsh(*take, f"{PREFIX}live", "--live")
    own_libvirtd.virsh(*take, f"{PREFIX}config", "--config")
    assert only(allow_empty=True)["changes"] == {}
    foreign(own_libvirtd, folder)
    made(FOREIGN, metadata=f"<managed xmlns='{NAMESPACE}'/>")
    assert set(only(WEB)["changes"]) == {FOREIGN}


def test_the_mark_is_asked_for_again_when_the_lock_is_held(own_libvirtd, folder):
    """Between the list and the lock another run can have made it anew."""
    foreign(own_libvirtd, folder)
    mode = converge.Mode(planner="prune")
    world = World(own_libvirtd.uri)
    outcome = converge.run(world, "domain", FOREIGN, {"state": "absent"}, mode)
    assert outcome.changes == {}
    assert set(own_libvirtd.names()) == {FOREIGN}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"metadata": ""},
        {"metadata": "<a:b xmlns:a='urn:a'>x</a:b>"},
        {"xml": "<metadata/>"},
        {"xml": "<metadata><a:b xmlns:a='urn:a'>x</a:b></metadata>"},
    ],
    ids=str,
)
def test_the_mark_is_no_change_and_survives_every_one(made, run, own_libvirtd, modules, fields):
    def marks():
        texts = (
            own_libvirtd.virsh("dumpxml", OLD),
            own_libvirtd.virsh("dumpxml", "--inactive", OLD),
        )
        return [len(ET.fromstring(text).findall(f"metadata/{MANAGED}")) for text in texts]

    assert "managed" not in str(made(OLD, "running", **fields)["changes"])
    assert marks() == [1, 1]
    assert made(OLD, "running", **fields)["changes"] == {}
    assert "metadata" not in str(made(OLD, "running", vcpus=2, **fields)["changes"])
    assert modules["kvm_domain.pending"](OLD, connection=own_libvirtd.uri).keys() == {
        "vcpu",
        "vcpu/@current",
    }
    made(OLD, "running", metadata="<a:b xmlns:a='urn:a'>y</a:b>")
    assert marks() == [1, 1]
    assert ">y</" in own_libvirtd.virsh("dumpxml", "--inactive", OLD)


def test_a_network_is_marked_too(run, own_libvirtd):
    for mtu in (1400, 1500):
        fields = {"name": OLD, "forward": "isolated", "mtu": mtu, "connection": own_libvirtd.uri}
        assert "managed" not in str(run()("kvm_network.running", **fields)["changes"])
        assert run()("kvm_network.running", **fields)["changes"] == {}
        text = own_libvirtd.virsh("net-dumpxml", OLD)
        assert len(ET.fromstring(text).findall(f"metadata/{MANAGED}")) == 1


def test_nothing_declared_is_refused_unless_it_is_said(only, made, run, own_libvirtd):
    assert only()["changes"] == {}
    made(OLD)
    for test in (True, False):
        told = run(test=test)("kvm_domain.only", name="us", domains=[], connection=own_libvirtd.uri)
        assert (told["result"], told["changes"]) == (False, {})
        assert f"no domain is declared, so {OLD} would become absent" in told["comment"]
        assert "allow_empty: true" in told["comment"]
    told = run()("kvm_domain.only", name="us", connection=own_libvirtd.uri)
    assert told["result"] is False
    assert "'domains'" in told["comment"]
    assert set(own_libvirtd.names()) == {OLD}
    assert only(allow_empty=True)["changes"] == {OLD: removed("off")}


def test_one_that_stays_on_is_named_and_the_others_go(only, made, own_libvirtd):
    """Nothing in these guests listens to the power button."""
    made(f"{PREFIX}a")
    made(OLD, "running")
    made(f"{PREFIX}z")
    told = only(WEB, timeout=1, result=False)
    assert set(told["changes"]) == {f"{PREFIX}a", f"{PREFIX}z"}
    assert f"domain {OLD} is still running 1 s after" in told["comment"]
    assert own_libvirtd.names() == {OLD: "running"}


def test_one_that_another_run_is_at_work_on_is_named_and_the_others_go(
    only, made, own_libvirtd, monkeypatch
):
    for name in (f"{PREFIX}a", OLD, f"{PREFIX}z"):
        made(name)
    monkeypatch.setattr(lock, "held", partial(lock.held, patience=0.5))
    with lock.held("domain", OLD):
        told = only(WEB, result=False)
    assert set(told["changes"]) == {f"{PREFIX}a", f"{PREFIX}z"}
    assert f"another run has been at work on domain {OLD}" in told["comment"]
    assert set(own_libvirtd.names()) == {OLD}


def test_stopped_is_off_and_stays_off(only, made, own_libvirtd):
    made(OLD, "running", autostart=True)
    made(WEB, "running")
    told = only(WEB, others="stopped", timeout=1, force=True)
    assert told["changes"] == {
        OLD: {
            "autostart": {"old": True, "new": False},
            "state": {"old": "running", "new": "off"},
        }
    }
    assert own_libvirtd.names() == {OLD: "shut off", WEB: "running"}


def test_images_go_where_that_is_said_and_only_its_own(only, made, folder):
    own, shared = ({"path": f"{folder}/{name}.raw", "size": "1MiB"} for name in ("own", "shared"))
    made(OLD, disks=[own, {**shared, "shareable": True}])
    made(WEB, disks=[{**shared, "shareable": True}])
    changes = only(WEB, disks="delete")["changes"]
    image = {f"image[{own['path']}]": {"old": "present", "new": None}}
    assert changes == {OLD: {**removed("off"), **image}}
    assert [(folder / f"{name}.raw").exists() for name in ("own", "shared")] == [False, True]


def test_a_dry_run_counts_what_its_earlier_states_would_do(run, made, own_libvirtd):
    """One that would be made stays, one that would be removed is not removed twice."""
    made(OLD)
    dry = run(test=True)
    dry("kvm_domain.present", name=WEB, memory="32MiB", connection=own_libvirtd.uri)
    dry("kvm_domain.absent", name=OLD, connection=own_libvirtd.uri)
    arguments = {"name": "us", "connection": own_libvirtd.uri}
    assert dry("kvm_domain.only", domains=[WEB], **arguments)["result"] is True
    told = dry("kvm_domain.only", domains=[FOREIGN], **arguments)
    assert set(told["changes"]) == {WEB}


def test_the_whole_plan_tells_who_would_go(modules, made, own_libvirtd):
    made(OLD)
    made(WEB)
    section = {"domains": {WEB: {"memory": "32MiB", "state": "present"}}}

    def plan(prune, domains=section["domains"]):
        pillar = {"domains": domains, "prune": {"domains": prune}}
        return modules["kvm_host.plan"](pillar, connection=own_libvirtd.uri)

    assert plan(False) == plan(None) == []
    for prune in (True, {}, {"timeout": 5}):
        (row,) = plan(prune)
        assert (row["kind"], row["name"], row["changes"]) == ("domain", OLD, removed("off"))
    (row,) = plan(True, {})
    assert "no domain is declared" in row["fault"]
    assert len(plan({"allow_empty": True}, {})) == 2


def test_wrong_arguments_are_told(run, own_libvirtd):
    for wrong, sentence in (
        ({"others": "stopped", "disks": "delete"}, "'disks: delete' goes with 'others: absent'"),
        ({"other": "absent"}, "unknown key 'other'; did you mean 'others'?"),
        ({"domains": ["a/b"]}, "'a/b' is no name"),
    ):
        arguments = {"name": "us", "domains": [WEB], "connection": own_libvirtd.uri, **wrong}
        told = run()("kvm_domain.only", **arguments)
        assert told["result"] is False
        assert sentence in told["comment"]
