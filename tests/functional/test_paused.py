"""Guests that stand still: by hand, and since the host has no room for what they write."""

import re
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from waiting import wait_for

from . import talking
from .conftest import MIB, PREFIX, virsh

NAME = f"{PREFIX}talks"
TOLD = "The guest is paused ({}); kvm_domain.resume lets it go on."


@pytest.fixture
def up(run, talks, libvirtd):
    """The fields of a guest that answers at its serial port, and what it has printed there."""
    log = Path(talks["serial"][0]["log"])

    def start(**more):
        fields = {**talks, **more}
        made = run()("kvm_domain.running", **fields)
        assert made["result"] is True, made["comment"]
        wait_for(lambda: log.exists() and "guest up" in log.read_text(), log.read_text)
        return fields, log.read_text

    yield start
    virsh("destroy", NAME)
    virsh("undefine", NAME)


def test_a_guest_that_was_paused_by_hand_stays_so_and_is_told(run, modules, up):
    fields, _said = up()
    identity = virsh("domid", NAME)
    suspend, resume = modules["kvm_domain.suspend"], modules["kvm_domain.resume"]
    assert resume(NAME) is False
    assert suspend(NAME) is True
    assert suspend(NAME) is False
    assert virsh("domstate", NAME).strip() == "paused"
    assert modules["kvm_domain.list"]()[NAME] == "paused"
    assert modules["kvm_domain.info"](NAME)["state"] == "paused"
    for test in (True, False):
        told = run(test=test)("kvm_domain.running", **fields)
        assert (told["result"], told["changes"]) == (True, {})
        assert TOLD.format("by hand") in told["comment"]
    assert virsh("domstate", NAME).strip() == "paused"

    # It can't answer the button, so nobody waits for it.
    for test in (True, False):
        told = run(test=test)("kvm_domain.stopped", name=NAME, timeout=10_000)
        assert (told["result"], told["changes"]) == (False, {})
        assert f"domain {NAME} is paused (by hand) and can't power off" in told["comment"]
    with pytest.raises(CommandExecutionError, match="lets it go on, force: true ends"):
        modules["kvm_domain.shutdown"](NAME, timeout=10_000)
    assert virsh("domid", NAME) == identity

    assert resume(NAME) is True
    assert virsh("domstate", NAME).strip() == "running"
    assert modules["kvm_domain.list"]()[NAME] == "running"
    assert "paused" not in run()("kvm_domain.running", **fields)["comment"]
    suspend(NAME)
    told = run()("kvm_domain.stopped", name=NAME, timeout=10_000, force=True)
    assert told["result"] is True
    assert virsh("domstate", NAME).strip() == "shut off"
    assert (suspend(NAME), resume(NAME)) == (False, False)


def test_a_guest_whose_disk_finds_no_room_goes_on_when_there_is_some(run, modules, up, small):
    (small.root / "disk.raw").touch()
    with (small.root / "disk.raw").open("wb") as file:
        file.truncate(64 * MIB)
    small.leave(2 * MIB)
    fields, said = up(disks=[{"path": str(small.root / "disk.raw")}])
    write = "dd if=/dev/urandom of=/dev/vda bs=1M count=8 conv=fsync && echo wr'itten'"
    talking.say(NAME, write, said)
    wait_for(lambda: virsh("domstate", NAME).strip() == "paused", said)
    why = "as a disk failed, or the host has no room for what it writes"
    assert modules["kvm_domain.info"](NAME)["paused"] == why
    assert TOLD.format(why) in run()("kvm_domain.running", **fields)["comment"]
    in_vain = re.escape(f"its power-off in vain; it is paused ({why}), and kvm_domain.resume lets")
    with pytest.raises(CommandExecutionError, match=in_vain):
        modules["kvm_domain.wait_for"](NAME, "poweroff", timeout=1)
    (small.root / "filler").unlink()
    assert modules["kvm_domain.resume"](NAME) is True
    wait_for(lambda: "written" in said(), said)


def test_a_guest_boots_anew(modules, up):
    _fields, said = up()
    identity = virsh("domid", NAME)
    assert modules["kvm_domain.reset"](NAME) is True
    wait_for(lambda: said().count("guest up") == 2, said)
    assert virsh("domid", NAME) == identity
    assert modules["kvm_domain.reboot"](NAME) is True
    wait_for(lambda: said().count("guest up") == 3, said)
    assert virsh("domid", NAME) == identity
    virsh("destroy", NAME)
    assert modules["kvm_domain.reboot"](NAME) is False
    assert modules["kvm_domain.reset"](NAME) is False
