"""A fault at every libvirt call and file operation of a run, one run each: nothing is lost."""

import os
from itertools import count
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import libvirt
import pytest

from salt_kvm.backend import history
from salt_kvm.backend.guests import boot_files, refusals, seed
from salt_kvm.backend.storage import qemu_img, store
from salt_kvm.backend.system import copying, files, temporary
from waiting import wait_for

from .conftest import KINDS, PREFIX, RUN, nat, virsh, virsh_each

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


LISTS = [f"{kind}list {what}--name" for kind in KINDS for what in ("--all ", "")]
CHANGING = ("Attach", "Detach", "Update", "Set", "Pin", "AddIOThread", "DelIOThread", "Define")


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


def libvirt_error(code):
    error = libvirt.libvirtError("injected")
    error.err = (code, 0, "injected", 2, "", "", "", 0, 0)
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


def everywhere(patch, fault):
    """Let libvirt calls, file operations and qemu-img fail."""
    break_libvirt(patch, fault, lambda name: not any(word in name for word in HARMLESS))
    for module in (files, history, store, copying, seed, temporary, boot_files):
        patch.setattr(module, "os", FaultyOs(fault))
    run = fault.wrap("qemu-img", qemu_img.run, lambda: files.ApplyError("qemu-img: injected"))
    patch.setattr(qemu_img, "run", run)


def changing(code):
    """Let the calls fail that change a guest, with an error of this code."""

    def broken(name):
        return name.startswith("virDomain") and any(word in name for word in CHANGING)

    return lambda patch, fault: break_libvirt(patch, fault, broken, code)


def break_libvirt(patch, fault, broken, code=libvirt.VIR_ERR_INTERNAL_ERROR):
    for name in dir(libvirt.libvirtmod):
        if name.startswith("vir") and broken(name):
            call = getattr(libvirt.libvirtmod, name)
            wrapped = fault.wrap(name, call, lambda: libvirt_error(code))
            patch.setattr(libvirt.libvirtmod, name, wrapped)


class Trial(NamedTuple):
    """A run of which one call failed; ``was`` is how things stood before."""

    at: str
    was: object
    told: dict
    where: str


@pytest.fixture
def trials(monkeypatch):
    """Return what lets each call of a run fail in turn, until a run met no fault: it must succeed.

    ``breaks`` patches what can fail, ``before`` prepares a run and returns how things stand.
    """

    def go(breaks, before, run):
        for number in count(1):
            was, fault = before(), Fault(number)
            with monkeypatch.context() as patch:
                breaks(patch, fault)
                told = run()
            if fault.at is None:
                assert told["result"] is True, told
                return
            yield Trial(fault.at, was, told, f"call {number}, {fault.at}: {told}")

    return go


def state_of_things(folder):
    """What must be as before: definitions, what runs and where, and every file."""
    seen = {}
    secrets, *listed = virsh_each("secret-list", *LISTS)
    words = [line.split()[1:] for line in secrets.splitlines()]
    seen["secrets"] = [each for each in words if NAME in each]
    for kind, every, active in zip(KINDS, listed[::2], listed[1::2], strict=True):
        names = [name for name in every.split() if name.startswith(PREFIX)]
        dumped = virsh_each(*(f"{kind}dumpxml --inactive {name}" for name in names))
        for name, document in zip(names, dumped, strict=True):
            seen[kind, name] = sorted(ET.tostring(each) for each in leaves(ET.fromstring(document)))
            seen[kind, name, "running"] = name in active.split()
    for path in sorted([*Path(folder).rglob("*"), *Path(boot_files.folder(NAME)).rglob("*")]):
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
    *_done, secrets = virsh_each(
        f"destroy {NAME}",
        f"undefine {NAME}",
        f"net-destroy {NETWORK}",
        f"net-undefine {NETWORK}",
        f"pool-destroy {POOL}",
        f"pool-undefine {POOL}",
        "secret-list",
    )
    boot_files.remove(NAME)
    ours = [line.split()[0] for line in secrets.splitlines() if NAME in line]
    virsh_each(*(f"secret-undefine {uuid}" for uuid in ours))


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


def told_guest(folder, network):
    """A guest that is off and has been told something for its first boot."""
    function, fields = off_guest(folder, network)
    return function, {**fields, "cloud_init": {"hostname": "one"}}


def told_otherwise_guest(folder, network):
    function, fields = told_guest(folder, network)
    return function, {**fields, "cloud_init": {"hostname": "two"}}


def told_running_guest(folder, network):
    return "kvm_domain.running", told_guest(folder, network)[1]


def told_otherwise_running_guest(folder, network):
    return "kvm_domain.running", told_otherwise_guest(folder, network)[1]


def installing_guest(folder, network):
    """A guest whose installer is started from a CD, with its answers on another."""
    fields = new_guest(folder, network)[1]
    told = {"cdrom": "/usr/lib/ipxe/ipxe.iso", "install": {"kickstart": "answers\n"}}
    return "kvm_domain.installed", {**fields, **told}


def deleted_guest(folder, network):
    return "kvm_domain.absent", {"name": NAME, "disks": "delete"}


def active_network(folder, network):
    clean()
    return new_network(folder, network)


def changed_network(folder, network):
    """A host that dnsmasq is told of at once, and a domain that waits for the next start."""
    function, fields = new_network(folder, network)
    host = {"mac": "52:54:00:00:00:01", "ip": fields["ip"].replace(".1/24", ".9")}
    return function, {**fields, "dhcp": {"hosts": [host]}, "domain": "a.example"}


def new_network(folder, network):
    fields = nat(bridge=f"skfault{RUN}", ip=f"10.{100 + RUN // 250}.{RUN % 250}.1/24", dhcp={})
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
    (None, told_guest),
    (told_guest, told_otherwise_guest),
    (told_guest, removed_guest),
    (told_running_guest, told_otherwise_running_guest),
    (anew_off_guest, deleted_guest),
    (None, new_network),
    (active_network, changed_network),
    (None, owned_image),
    (None, new_pool),
    (active_pool, new_volume),
    (None, new_secret),
]


@pytest.mark.parametrize(
    ("before", "scenario"), SCENARIOS, ids=lambda s: getattr(s, "__name__", "")
)
def test_a_fault_at_every_call(run, trials, network, folder, before, scenario):
    assert len(all_undone(run, trials, network, folder, before, scenario, everywhere)) >= 5


def preparing(patch, fault):
    """Let fail what an installation does beside what any guest needs."""
    break_libvirt(patch, fault, lambda name: name in ("virDomainCreateXML", "virDomainDefineXML"))
    for module in (boot_files, files, temporary):
        patch.setattr(module, "os", FaultyOs(fault))


def test_a_fault_before_an_installer_is_at_work(run, trials, network, folder):
    hit = all_undone(run, trials, network, folder, None, installing_guest, preparing)
    assert "virDomainCreateXML" in hit


LOOKS = ("virDomainLookupByName", "virDomainIsActive", "virDomainGetState")


def all_undone(run, trials, network, folder, before, scenario, breaks):
    """Let each call fail in turn; return which were met."""
    function, arguments = scenario(folder, network)
    hit = []

    def prepared():
        prepare(run, before, folder, network)
        return state_of_things(folder)

    for at, was, told, where in trials(breaks, prepared, lambda: run()(function, **arguments)):
        hit.append(at)
        if told["result"] is True:
            if at == "os.unlink":
                # All is done; what is temporary stays until a sweep.
                left_to_a_sweep(folder, where)
            else:
                # A look in a wait that goes on: whoever waits looks again. Or one when all is
                # done, whether the guest is paused, which is only told.
                assert at in LOOKS, where
            continue
        assert told["result"] is False, where
        assert told["changes"] == {}, where
        assert "njected" in told["comment"] or "nput/output" in told["comment"], where
        assert state_of_things(folder) == was, where
        healed = run()(function, **arguments)
        assert healed["result"] is True, f"after {where}: {healed}"
        assert run()(function, **arguments)["changes"] == {}, where
    return hit


def left_to_a_sweep(folder, where):
    """A temporary name is left, or only its record."""
    left = [path for path in folder.rglob("*") if path.name.startswith(temporary.PREFIX)]
    assert len(left) <= 1, where
    temporary.sweep()
    assert not any(path.exists() for path in left), where


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
        "disks": [{"path": f"{folder}/a.raw", "iotune": {"write_iops_sec": 50}},
                  {"path": f"{folder}/b.raw"}],
        "interfaces": [{"network": network, "link": "up"}],
        "cputune": {"vcpupin": [{"vcpu": 0, "cpuset": 0}], "emulatorpin": "0-1"},
        "memballoon": {"stats_period": 5},
        "rng": [{"device": "/dev/urandom"}],
    }  # fmt: skip
    told = run()("kvm_domain.running", **fields)
    assert told["result"] is True, told
    wait_for(lambda: log.exists() and b"tick" in log.read_bytes(), log.read_bytes)
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


# What a start makes anew, so that it can wait whatever is wrong with it now.
ANEW = ("AddIOThread", "MemoryStatsPeriod")


@pytest.mark.parametrize("code", ["INTERNAL_ERROR", "ACCESS_DENIED"])
def test_a_fault_at_every_change_of_a_running_guest(run, trials, booted, code):
    """What was changed on it before the fault is changed back."""
    before, after = booted
    hit, identity = [], virsh("domid", NAME)

    def prepared():
        assert run()("kvm_domain.running", **before)["result"] is True
        return state_of_guest()

    breaks = changing(getattr(libvirt, f"VIR_ERR_{code}"))
    go = trials(breaks, prepared, lambda: run()("kvm_domain.running", **after))
    for at, was, told, where in go:
        hit.append(at)
        # The guest is asked again.
        if "Detach" in at:
            assert told["result"] is True, where
        elif code == "INTERNAL_ERROR" and any(word in at for word in ANEW):
            assert told["result"] is True, where
            assert "Waits for the next start: live/" in told["comment"], where
            assert "njected" in told["comment"], where
            forget_refusals()
        else:
            assert told["result"] is False, where
            assert told["comment"].endswith("Nothing was left changed."), where
            assert state_of_guest() == was, where
    assert len(set(hit)) >= 8, hit
    back = run()("kvm_domain.running", **before)
    assert back["result"] is True, back
    assert virsh("domid", NAME) == identity


# What a start makes in the same way: refused now, it would be refused then.
SAME = ("BlockIoTune", "Pin")


def test_a_refusal_of_every_change_of_a_running_guest(run, trials, booted):
    """What libvirt can't do is written to the definition, told, and not asked for again."""
    before, after = booted
    identity = virsh("domid", NAME)
    waited, failed = set(), set()

    def prepared():
        assert run()("kvm_domain.running", **before)["result"] is True
        return state_of_guest()

    breaks = changing(libvirt.VIR_ERR_OPERATION_UNSUPPORTED)
    go = trials(breaks, prepared, lambda: run()("kvm_domain.running", **after))
    for at, was, told, where in go:
        if "Define" in at or any(word in at for word in SAME):
            assert told["result"] is False, where
            assert told["comment"].endswith("Nothing was left changed."), where
            assert state_of_guest() == was, where
            failed.add(at)
            continue
        assert told["result"] is True, where
        assert "Waits for the next start: live/" in told["comment"], where
        assert "Operation not supported" in told["comment"] or "injected" in told["comment"], where
        again = run()("kvm_domain.running", **after)
        assert (again["result"], again["changes"]) == (True, {}), where
        assert "Waits for the next start: live/" in again["comment"], where
        waited.add(at)
        forget_refusals()
        assert run()("kvm_domain.running", **after)["result"] is True, where
    assert len(waited) >= 6, waited
    assert len(failed) >= 4, failed
    assert virsh("domid", NAME) == identity


def forget_refusals():
    Path(f"{refusals.FOLDER}/{NAME}").unlink()
