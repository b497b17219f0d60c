"""A fault at every libvirt call and file operation of a run, one run each: nothing is lost."""

import os
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt
import pytest

from salt_kvm.backend import copying, files, history, qemu_img, refusals, store

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
FILE_CALLS = (
    "stat",
    "link",
    "unlink",
    "chown",
    "chmod",
    "mkdir",
    "rmdir",
    "makedirs",
    "replace",
    "rename",
    "symlink",
    "fsync",
)


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
        for module in (files, history, store, copying):
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


def old_image(folder, network):
    """An image to convert, of which a run that was not taken back has left nothing."""
    for path in folder.iterdir():
        path.unlink()
    (folder / "old.raw").write_bytes(b"old" * 2**19)
    return "kvm_image.present", {"name": f"{folder}/old.raw"}


def converted_image(folder, network):
    fields = {"format": "qcow2", "size": "4MiB", "replace": True, "mode": "0600"}
    return "kvm_image.present", {"name": f"{folder}/old.raw", **fields}


def cloned_image(folder, network):
    fields = {"format": "qcow2", "source": f"{folder}/old.raw", "size": "4MiB", "mode": "0600"}
    return "kvm_image.present", {"name": f"{folder}/clone.qcow2", **fields}


def copied_image(folder, network):
    fields = {"source": f"{folder}/old.raw", "size": "4MiB", "clone": "copy"}
    return "kvm_image.present", {"name": f"{folder}/copy.raw", **fields}


SCENARIOS = [
    (old_image, converted_image),
    (old_image, cloned_image),
    (old_image, copied_image),
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


CHANGING = ("Attach", "Detach", "Update", "Set", "Pin", "AddIOThread", "DelIOThread", "Define")


@pytest.fixture
def break_changes(monkeypatch):
    """As ``inject``, but only calls that change something count, and the error is of any code."""

    def arm(number, code):
        def error():
            made = libvirt_error()
            made.err = (code, *made.err[1:])
            return made

        fault = Fault(number)
        context = monkeypatch.context()
        patch = context.__enter__()
        for name in dir(libvirt.libvirtmod):
            if name.startswith("virDomain") and any(word in name for word in CHANGING):
                call = getattr(libvirt.libvirtmod, name)
                patch.setattr(libvirt.libvirtmod, name, fault.wrap(name, call, error))
        return fault, lambda: context.__exit__(None, None, None)

    return arm


@pytest.fixture
def booted(run, guest_kernel, network, folder):
    """The fields of a guest that answers, before a change and after."""
    for name in ("a.raw", "b.raw", "c.raw"):
        (folder / name).write_bytes(b"\0" * 1024**2)
    kernel = {"kernel": guest_kernel.kernel, "initrd": guest_kernel.initramfs}
    log = folder / "serial.log"
    fields = {
        "name": NAME,
        "memory": "256MiB",
        "max_vcpus": 2,
        "os": {**kernel, "cmdline": guest_kernel.arguments},
        "serial": [{"type": "pty", "log": str(log)}],
        "title": "one",
        "metadata": "<a:b xmlns:a='urn:a'>one</a:b>",
        "iothreads": 1,
        "disks": [{"path": f"{folder}/a.raw", "iotune": {"read_bytes_sec": 100_000}},
                  {"path": f"{folder}/b.raw"}],
        "interfaces": [{"network": network, "link": "up"}],
        "cputune": {"vcpupin": [{"vcpu": 0, "cpuset": 0}]},
        "memballoon": {"stats_period": 5},
        "rng": [{"device": "/dev/urandom"}],
    }  # fmt: skip
    told = run()("kvm_domain.running", **fields)
    assert told["result"] is True, told
    end = time.monotonic() + 60
    while not log.exists() or b"tick" not in log.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.2)
    after = {
        "title": "two",
        "metadata": "<a:b xmlns:a='urn:a'>two</a:b>",
        "iothreads": 2,
        "disks": [{"path": f"{folder}/a.raw", "iotune": {"write_iops_sec": 100}},
                  {"path": f"{folder}/c.raw"}],
        "interfaces": [{"network": network, "link": "down"}],
        "cputune": {"vcpupin": [{"vcpu": 0, "cpuset": "0-1"}], "emulatorpin": 0},
        "memballoon": {"stats_period": 7},
        "rng": [{"device": "/dev/urandom"}, {"backend": "builtin"}],
    }  # fmt: skip
    return fields, {**fields, **after}


def state_of_guest():
    """What a running guest has, without the names that libvirt gives what is plugged in."""
    root = ET.fromstring(virsh("dumpxml", NAME))
    parts = [root.find("devices"), root.find("metadata"), root.find("cputune/vcpupin")]
    seen = {"title": root.findtext("title"), "parts": [ET.tostring(p).strip() for p in parts[1:]]}
    for device in parts[0]:
        for name in ("alias", "address", "backingStore"):
            for child in device.findall(name):
                device.remove(child)
        for source in device.findall("source"):
            source.attrib.pop("index", None)
        seen.setdefault(device.tag, []).append(
            ET.canonicalize(ET.tostring(device), strip_text=True)
        )
    seen["threads"] = virsh("iothreadinfo", NAME)
    seen["emulator"] = virsh("emulatorpin", NAME)
    return {key: sorted(v) if isinstance(v, list) else v for key, v in seen.items()}


def test_a_fault_at_every_change_of_a_running_guest(run, break_changes, booted):
    """What was changed on it before the fault is changed back."""
    before, after = booted
    hit, number, identity = [], 0, virsh("domid", NAME)
    was = state_of_guest()
    while True:
        number += 1
        fault, disarm = break_changes(number, libvirt.VIR_ERR_INTERNAL_ERROR)
        try:
            told = run()("kvm_domain.running", **after)
        finally:
            disarm()
        if fault.at is None:
            break
        hit.append(fault.at)
        where = f"call {number}, {fault.at}: {told}"
        if "Detach" in fault.at:
            # The guest is asked again.
            assert told["result"] is True, where
            assert run()("kvm_domain.running", **before)["result"] is True, where
            was = state_of_guest()
            continue
        assert told["result"] is False, where
        assert told["comment"].endswith("Nothing was left changed."), where
        assert state_of_guest() == was, where
    assert told["result"] is True, told
    assert len(set(hit)) >= 8, hit
    back = run()("kvm_domain.running", **before)
    assert back["result"] is True, back
    assert virsh("domid", NAME) == identity


def test_a_refusal_of_every_change_of_a_running_guest(run, break_changes, booted):
    """What libvirt can't do is written to the definition, told, and not asked for again."""
    before, after = booted
    identity = virsh("domid", NAME)
    number, waited = 0, 0
    while True:
        number += 1
        fault, disarm = break_changes(number, libvirt.VIR_ERR_OPERATION_UNSUPPORTED)
        try:
            told = run()("kvm_domain.running", **after)
        finally:
            disarm()
        if fault.at is None:
            break
        where = f"call {number}, {fault.at}: {told}"
        if "Define" in fault.at:
            assert told["result"] is False, where
            continue
        assert told["result"] is True, where
        assert "Waits for the next start: live/" in told["comment"], where
        assert "Operation not supported" in told["comment"] or "injected" in told["comment"], where
        again = run()("kvm_domain.running", **after)
        assert (again["result"], again["changes"]) == (True, {}), where
        assert "Waits for the next start: live/" in again["comment"], where
        waited += 1
        forget_refusals()
        for fields in (after, before):
            assert run()("kvm_domain.running", **fields)["result"] is True, where
    assert waited >= 8
    assert virsh("domid", NAME) == identity


def forget_refusals():
    Path(f"{refusals.FOLDER}/{NAME}").unlink()
