"""A real Debian that cloud-init has set up: it boots once, for all the tests of this file."""

import base64
import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from waiting import wait_for

from .conftest import PREFIX, remove_all, virsh

NAME = f"{PREFIX}cloud"
# Under emulation, on a machine that does other things too.
PATIENCE_SECONDS = 1200
MAC = "52:54:00:5a:17:01"
ADDRESS = "10.77.0.5"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxM1eFwCqCzYnQmSbLvT0vtyC6PTdyIAjo0IjIDvRQm anna"
CLOUD = {
    "hostname": "web1.lab.example",
    "users": [{"name": "anna", "ssh_authorized_keys": [KEY], "sudo": "ALL=(ALL) NOPASSWD:ALL"}],
    "network": [
        {"name": "lan0", "mac": MAC, "addresses": [f"{ADDRESS}/24"], "gateway": "10.77.0.1"}
    ],
    "user_data": {"runcmd": ["echo told > /root/told"]},
    "instance_id": "content",
}


@pytest.fixture(autouse=True, scope="module")
def leave_nothing_behind(libvirtd, forget):
    yield
    remove_all(forget)


@pytest.fixture(scope="module")
def guest(cloud_image, run):
    """The fields of a guest that runs and is told all it is told at its first boot."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        folder = Path(name)
        disk = {"path": f"{folder}/a.qcow2", "format": "qcow2"}
        fields = {
            "name": NAME,
            "virt_type": "qemu",
            "memory": "512MiB",
            "disks": [{**disk, "backing": cloud_image.disk, "backing_format": "raw"}],
            "interfaces": [{"user": True, "mac": MAC}],
            "serial": [{"type": "pty", "log": f"{folder}/serial.log"}],
            "os": {
                "kernel": cloud_image.kernel,
                "initrd": cloud_image.initramfs,
                "cmdline": cloud_image.arguments,
            },
            "cloud_init": CLOUD,
        }
        made = run()("kvm_domain.running", **fields)
        assert made["result"] is True, made["comment"]
        log = Path(fields["serial"][0]["log"])
        wait_for(lambda: finished(log), "the end of cloud-init", PATIENCE_SECONDS)
        wait_for(lambda: asked("guest-ping") == {}, "the guest agent", PATIENCE_SECONDS)
        yield SimpleNamespace(fields=fields, folder=folder, log=log)
        virsh("destroy", NAME)


def finished(log):
    text = log.read_text(errors="replace")
    return "Cloud-init v." in text and " finished at " in text


def asked(what, **arguments):
    """Ask the guest agent; ``None`` where it does not answer."""
    question = json.dumps({"execute": what, "arguments": arguments})
    answer = virsh("qemu-agent-command", NAME, question, "--timeout", "20")
    return json.loads(answer)["return"] if answer.strip() else None


def told(*command):
    """Return what a command in the guest prints."""
    pid = asked("guest-exec", path=command[0], arg=list(command[1:]), **{"capture-output": True})
    status = {}

    def exited():
        status.update(asked("guest-exec-status", pid=pid["pid"]) or {})
        return status.get("exited")

    wait_for(exited, command)
    return base64.b64decode(status.get("out-data", "")).decode()


def test_it_has_its_name(guest):
    assert asked("guest-get-host-name") == {"host-name": "web1"}
    assert told("/bin/cat", "/etc/hostname").strip() == "web1"


def test_it_has_its_user_and_the_key(guest):
    assert "uid=1000(anna)" in told("/usr/bin/id", "anna")
    assert told("/bin/cat", "/home/anna/.ssh/authorized_keys").strip() == KEY


def test_it_has_its_address(guest):
    """On the card of this MAC address, under the declared name."""
    (card,) = (c for c in asked("guest-network-get-interfaces") if c["name"] == "lan0")
    assert card["hardware-address"] == MAC
    addresses = [(a["ip-address"], a["prefix"]) for a in card["ip-addresses"]]
    assert (ADDRESS, 24) in addresses
    assert "default via 10.77.0.1 dev lan0" in told("/usr/sbin/ip", "route")


def test_it_ran_what_it_was_told(guest):
    assert told("/bin/cat", "/root/told") == "told\n"
    status = told("/usr/bin/cloud-init", "status", "--long")
    assert "status: done" in status
    assert "DataSourceNoCloud" in status


def test_its_own_schema_takes_what_it_was_told(guest):
    out = told("/usr/bin/cloud-init", "schema", "--system")
    assert "Valid cloud-config" in out


def test_its_agent_does_as_it_is_asked(guest, modules):
    """On a real Debian: its users, its system, its root file system."""

    def ask(function, *given, **more):
        return modules[f"kvm_domain.agent_{function}"](NAME, *given, **more)

    assert ask("os_info")["id"] == "debian"
    assert ask("os_info")["hostname"] == "web1"
    assert ask("set_password", "anna", "$6$salt$hash", crypted=True) is True
    shadow = ask("exec", "getent", args=["shadow", "anna"], timeout=120)["stdout"]
    assert shadow.split(":")[1] == "$6$salt$hash"
    assert ask("set_password", "anna", "s3cret") is True
    shadow = ask("exec", "getent", args=["shadow", "anna"], timeout=120)["stdout"]
    assert shadow.split(":")[1].startswith("$y$")
    try:
        assert ask("fsfreeze") >= 1
        assert ask("fsfreeze_status") == "frozen"
    finally:
        assert ask("fsthaw") >= 1
    ask("file_write", "/root/a", "a")
    assert ask("file_read", "/root/a") == "a"
    assert abs(ask("time_sync")["after"]) < 60
    (address, *_) = modules["kvm_domain.addresses"](NAME)
    assert (address["address"], address["interface"]) == (ADDRESS, "lan0")
    assert address["sources"] == ["agent"]
    assert modules["kvm_domain.wait_for"](NAME, "agent")["condition"] == "agent"


def test_the_same_data_are_no_change(guest, converge):
    assert converge("kvm_domain.running", **guest.fields)["changes"] == {}
