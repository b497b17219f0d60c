"""A fault at every libvirt call and file operation of a run, one run each: nothing is lost."""

import os
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt
import pytest

from salt_kvm.backend import files, history, qemu_img

from .conftest import PREFIX, nat, virsh

NAME = f"{PREFIX}fault"
NETWORK = f"{PREFIX}faultnet"
POOL = f"{PREFIX}faultpool"
# What only frees or names what the process already has can't fail.
HARMLESS = (
    "Free",
    "Error",
    "GetName",
    "GetConnect",
    "Ref",
    "Event",
    "Initialize",
    "GetID",
    "Close",
)
FILE_CALLS = ("stat", "link", "unlink", "chown", "chmod", "mkdir", "rmdir", "makedirs", "replace")


class Fault:
    """Counts the calls that could fail, and lets the one with this number fail."""

    def __init__(self, number):
        self.number, self.seen, self.at = number, 0, None

    def wrap(self, name, call, error):
        def called(*arguments, **keywords):
            self.seen += 1
            if self.seen == self.number:
                self.at = name
                raise error()
            return call(*arguments, **keywords)

        return called


def libvirt_error():
    error = libvirt.libvirtError("injected")
    error.err = (libvirt.VIR_ERR_INTERNAL_ERROR, 0, "injected", 2, "", "", "", 0, 0)
    return error


class FaultyOs:
    """The os module of one file of the library, some of whose calls can fail."""

    def __init__(self, fault):
        self.fault = fault

    def __getattr__(self, name):
        call = getattr(os, name)
        if name not in FILE_CALLS:
            return call
        return self.fault.wrap(f"os.{name}", call, lambda: OSError(5, "Input/output error"))


@pytest.fixture
def inject(monkeypatch):
    """Arm a fault; disarm it by leaving the context."""

    def arm(number):
        fault = Fault(number)
        context = monkeypatch.context()
        patch = context.__enter__()
        for name in dir(libvirt.libvirtmod):
            if name.startswith("vir") and not any(word in name for word in HARMLESS):
                call = getattr(libvirt.libvirtmod, name)
                patch.setattr(libvirt.libvirtmod, name, fault.wrap(name, call, libvirt_error))
        for module in (files, history):
            patch.setattr(module, "os", FaultyOs(fault))
        run = fault.wrap("qemu-img", qemu_img.run, lambda: files.ApplyError("qemu-img: injected"))
        patch.setattr(qemu_img, "run", run)
        return fault, lambda: context.__exit__(None, None, None)

    return arm


def state_of_things(folder):
    """What must be as before: definitions, what runs and where, and every file."""
    seen = {}
    secrets = [line.split()[1:] for line in virsh("secret-list").splitlines()]
    seen["secrets"] = [words for words in secrets if NAME in words]
    for kind in ("", "net-", "pool-"):
        for name in virsh(f"{kind}list", "--all", "--name").split():
            if name.startswith(PREFIX):
                root = ET.fromstring(virsh(f"{kind}dumpxml", "--inactive", name))
                seen[kind, name] = sorted(ET.tostring(each) for each in leaves(root))
                running = name in virsh(f"{kind}list", "--name").split()
                seen[kind, name, "running"] = running
    for path in sorted(Path(folder).rglob("*")):
        seen[str(path)] = path.read_bytes() if path.is_file() else None
    return seen


def leaves(root):
    """libvirt sorts the controllers and fills in addresses when it reads a document again."""
    for each in root:
        if each.tag == "devices":
            yield from (device for device in each if device.tag != "controller")
        else:
            yield each


def clean():
    virsh("destroy", NAME)
    virsh("undefine", NAME)
    virsh("net-destroy", NETWORK)
    virsh("net-undefine", NETWORK)
    virsh("pool-destroy", POOL)
    virsh("pool-undefine", POOL)
    for line in virsh("secret-list").splitlines():
        if NAME in line:
            virsh("secret-undefine", line.split()[0])


def new_guest(folder, network):
    """A guest that is not there, with an image that is not there."""
    disks = [{"path": f"{folder}/new.raw", "size": "1MiB"}]
    cards = [{"network": network}]
    fields = {"memory": "32MiB", "disks": disks, "interfaces": cards, "autostart": True}
    return "kvm_domain.running", {"name": NAME, **fields}


def running_guest(folder, network):
    function, fields = new_guest(folder, network)
    return function, {**fields, "cdrom": "", "graphics": [{"type": "vnc", "password": "one"}]}


def changed_guest(folder, network):
    """A running guest that gets a medium and a password at once, more memory at its next boot."""
    function, fields = running_guest(folder, network)
    graphics = [{"type": "vnc", "password": "two"}]
    more = {"cdrom": "/usr/lib/ipxe/ipxe.iso", "memory": "48MiB", "graphics": graphics}
    return function, {**fields, **more}


def off_guest(folder, network):
    return "kvm_domain.present", new_guest(folder, network)[1]


def anew_off_guest(folder, network):
    """As ``off_guest``, made anew each time."""
    clean()
    for path in folder.iterdir():
        path.unlink()
    return off_guest(folder, network)


def stopped_guest(folder, network):
    return "kvm_domain.stopped", {"name": NAME, "timeout": 0, "force": True}


def removed_guest(folder, network):
    return "kvm_domain.absent", {"name": NAME}


def new_network(folder, network):
    fields = nat(bridge="virbrskfault", ip="10.199.7.1/24", dhcp={})
    return "kvm_network.running", {"name": NETWORK, "autostart": True, **fields}


def new_pool(folder, network):
    permissions = {"owner": "nobody", "mode": "0755"}
    fields = {"path": f"{folder}/pool", "permissions": permissions, "autostart": True}
    return "kvm_pool.running", {"name": POOL, **fields}


def active_pool(folder, network):
    """Without what an earlier fault left undone."""
    for path in folder.iterdir():
        path.unlink()
    virsh("pool-destroy", POOL)
    return "kvm_pool.running", {"name": POOL, "path": str(folder)}


def new_volume(folder, network):
    fields = {"capacity": "1MiB", "format": "qcow2", "permissions": {"mode": "0640"}}
    return "kvm_volume.present", {"name": f"{POOL}/a.qcow2", **fields}


def new_secret(folder, network):
    return "kvm_secret.present", {"name": NAME, "usage": "tls", "value": "one"}


def owned_image(folder, network):
    fields = {"size": "1MiB", "owner": "nobody", "group": "nogroup", "mode": "0600"}
    return "kvm_image.present", {"name": f"{folder}/owned.raw", **fields}


SCENARIOS = [
    (None, off_guest),
    (anew_off_guest, new_guest),
    (running_guest, changed_guest),
    (running_guest, stopped_guest),
    (off_guest, removed_guest),
    (None, new_network),
    (None, owned_image),
    (None, new_pool),
    (active_pool, new_volume),
    (None, new_secret),
]


@pytest.mark.parametrize(
    ("before", "scenario"), SCENARIOS, ids=lambda s: getattr(s, "__name__", "")
)
def test_a_fault_at_every_call(run, inject, network, folder, before, scenario):
    function, arguments = scenario(folder, network)
    number, hit = 0, []
    while True:
        number += 1
        prepare(run, before, folder, network)
        was = state_of_things(folder)
        fault, disarm = inject(number)
        try:
            told = run()(function, **arguments)
        finally:
            disarm()
        if fault.at is None:
            break
        hit.append(fault.at)
        where = f"call {number}, {fault.at}: {told}"
        if told["result"] is True:
            # A look in a wait that goes on: whoever waits looks again.
            assert fault.at in ("virDomainLookupByName", "virDomainIsActive"), where
            continue
        assert told["result"] is False, where
        assert told["changes"] == {}, where
        assert "njected" in told["comment"] or "nput/output" in told["comment"], where
        assert state_of_things(folder) == was, where
        healed = run()(function, **arguments)
        assert healed["result"] is True, f"after {where}: {healed}"
        assert run()(function, **arguments)["changes"] == {}, where
    assert told["result"] is True
    assert len(hit) >= 5, hit


def prepare(run, before, folder, network):
    """Start from nothing, or from a guest that is brought back without being made anew."""
    if before is None:
        clean()
        for path in folder.iterdir():
            path.rmdir() if path.is_dir() else path.unlink()
        return
    function, arguments = before(folder, network)
    told = run()(function, **arguments)
    assert told["result"] is True, told
