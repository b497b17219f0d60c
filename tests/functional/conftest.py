"""States through Salt's loader against the real libvirtd of this machine."""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import salt.config
import salt.loader

from . import cloud_image as cloud
from . import talking
from .ramdisk import initramfs

ROOT = Path(__file__).parents[2]
# Several test runs on one machine do not meet.
RUN = os.getpid() % 10_000
PREFIX = f"sktf{RUN}-"
BRIDGE = f"virbrsk{RUN}"
# Of the matrix: its secret, which stays from edit to edit, and its bridges.
OTHERS = re.compile(rf"skti|bench-|sktf(?!{RUN}-)|skm(?!{RUN}\D)\d")
MIB = 1024**2
# How virsh's commands on domains, networks and pools begin.
KINDS = ("", "net-", "pool-")
# Stands between what the commands of one virsh print.
MARK = "salt-kvm-tests-next"
SUBNET = f"10.{200 + RUN // 250}.{RUN % 250}"


def virsh(*arguments):
    """Run virsh, the second witness beside the code under test."""
    command = ["virsh", "--connect", "qemu:///system", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def virsh_each(*commands):
    """Run virsh once for several commands; return what each has printed: to start it costs most."""
    printed = virsh(f"; echo {MARK}; ".join(commands)).split(f"{MARK}\n") if commands else []
    assert len(printed) == len(commands), printed
    return printed


def in_child(call):
    """Return a process that is as far as this one and makes a call; it can be killed."""
    process = multiprocessing.get_context("fork").Process(target=call)
    process.start()
    return process


@pytest.fixture(scope="session")
def stored():
    """A folder for the store of images that is not this machine's own."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield f"{name}/store"


@pytest.fixture(scope="session")
def opts(tmp_path_factory, stored):
    root = tmp_path_factory.mktemp("minion")
    config = root / "minion"
    (root / "served").mkdir()
    settings = {"id": "functional", "file_client": "local", "root_dir": str(root)}
    roots = {"base": [f"{ROOT}/states", str(root / "served")]}
    config.write_text(json.dumps({**settings, "file_roots": roots}))
    made = salt.config.minion_config(str(config))
    made["grains"] = {}
    made["kvm.store"] = stored
    return made


@pytest.fixture(scope="session")
def modules(opts, libvirtd):
    return salt.loader.minion_mods(opts, context={}, utils=salt.loader.utils(opts))


class Run(SimpleNamespace):
    """One run of states: as in Salt, its states share a context and a connection."""

    def __call__(self, function, **arguments):
        return self.states[function](**arguments)


@pytest.fixture(scope="session")
def run(opts, modules):
    """Return the maker of runs: ``run(test=True)("kvm_domain.running", name=...)``."""

    def make(*, test=False):
        context = {}
        states = salt.loader.states({**opts, "test": test}, modules, {}, None, context=context)
        # What a state sees of the run's earlier states.
        states.pack["__running__"] = {}
        return Run(states=states, context=context)

    return make


@pytest.fixture
def converge(run):
    """Run a state dry, for real and again; check what every state owes; return the real run."""

    def go(function, **arguments):
        before = photograph()
        dry = run(test=True)(function, **arguments)
        assert photograph() == before, "the dry run left traces"
        real = run()(function, **arguments)
        assert real["result"] is True, real["comment"]
        assert dry["changes"] == real["changes"]
        assert dry["result"] is (None if real["changes"] else True)
        for test in (False, True):
            again = run(test=test)(function, **arguments)
            assert (again["result"], again["changes"]) == (True, {}), again
        return real

    return go


def photograph():
    """Everything a dry run could have touched: definitions, autostart links, libvirt's files.

    What other tests and benchmarks make at the same time is not this run's doing.
    """
    seen = {}
    listed = virsh_each(*(f"{kind}list --all{how}" for kind in KINDS for how in (" --name", "")))
    for kind, names, states in zip(KINDS, listed[::2], listed[1::2], strict=True):
        named = list(filter(ours, names.split()))
        dumped = virsh_each(*(f"{kind}dumpxml {name}" for name in named))
        seen[kind] = dict(zip(named, dumped, strict=True))
        seen[f"{kind}state"] = [line.split() for line in states.splitlines()[2:] if ours(line)]
    for top in ("/etc/libvirt", "/var/lib/libvirt/images", "/var/lib/libvirt/qemu/nvram"):
        for path in sorted(Path(top).rglob("*")):
            if path.is_file() and ours(path.name) and ours(_inside(path)):
                found = path.lstat()
                # A guest's firmware writes its variables whenever it likes.
                written = None if path.parent.name == "nvram" else found.st_mtime_ns
                seen[str(path)] = (found.st_mode, found.st_size, written)
    return seen


def _inside(path):
    """What names a secret, whose files are named by a UUID; one may go at any moment."""
    if path.parent.name != "secrets":
        return ""
    with suppress(OSError):
        return path.with_suffix(".xml").read_text()
    return "skti"


def ours(names):
    """Tell whether nothing in ``names`` is another run's."""
    return not OTHERS.search(str(names))


def remove_secrets():
    """Remove the secrets of this run, and the hashes of those that are private."""
    for line in virsh("secret-list").splitlines():
        if PREFIX in line:
            uuid = line.split()[0]
            virsh("secret-undefine", uuid)
            Path("/var/lib/salt-kvm/secrets", uuid).unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def leave_nothing_behind(libvirtd, forget):
    yield
    remove_all(forget)


def remove_all(forget):
    """Remove what this run has made at libvirt, and its traces."""
    forget(PREFIX)
    secrets, *listed = virsh_each("secret-list", *(f"{kind}list --all --name" for kind in KINDS))
    if PREFIX in secrets:
        remove_secrets()
    for kind, names in zip(KINDS, listed, strict=True):
        for name in filter(lambda name: name.startswith(PREFIX), names.split()):
            nvram = "" if kind else " --nvram"
            virsh_each(f"{kind}destroy {name}", f"{kind}undefine {name}{nvram}")


@pytest.fixture
def network(run):
    """An active network for guests."""
    name = f"{PREFIX}net"
    made = run()("kvm_network.running", name=name, **nat())
    assert made["result"] is True, made["comment"]
    return name


def nat(**more):
    """Return the fields of a NAT network that collides with no other."""
    dhcp = {"ranges": [f"{SUBNET}.2-{SUBNET}.254"]}
    return {"forward": "nat", "bridge": BRIDGE, "ip": f"{SUBNET}.1/24", "dhcp": dhcp, **more}


@pytest.fixture
def guest(folder, network):
    """The fields of a small guest that has no operating system: quick to define, quick to start."""
    (folder / "a.raw").write_bytes(b"\0" * 1024**2)
    return {
        "name": f"{PREFIX}web1",
        "virt_type": "auto",
        "memory": "64MiB",
        "vcpus": 1,
        "disks": [{"path": str(folder / "a.raw")}],
        "interfaces": [{"network": network}],
        "graphics": [{"type": "vnc", "listen": "127.0.0.1"}],
    }


@pytest.fixture
def folder():
    """A directory that QEMU, which is not root, can reach; pytest's own are closed to it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def cloud_image(guest_kernel):
    """A Debian with cloud-init: :class:`cloud_image.CloudImage`; back its disks by it."""
    with cloud.image(guest_kernel.kernel) as made:
        yield made


@pytest.fixture(scope="session")
def talking_initramfs():
    """The path of an initramfs with a guest agent: see :mod:`talking`."""
    with tempfile.TemporaryDirectory(prefix="salt-kvm-talking-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = initramfs(talking.root(folder / "root"), talking.INIT, talking.MODULES)
        (folder / "initramfs").write_bytes(made)
        yield folder / "initramfs"


@pytest.fixture
def talks(guest_kernel, talking_initramfs, folder, network):
    """The fields of a guest that can be seen and talked to."""
    return {
        "name": f"{PREFIX}talks",
        "virt_type": "auto",
        "memory": "256MiB",
        "disks": [],
        "interfaces": [{"network": network}],
        "graphics": [{"type": "vnc", "listen": "127.0.0.1", "password": "first"}],
        "serial": [{"log": str(folder / "serial.log")}],
        "os": {
            "kernel": guest_kernel.kernel,
            "initrd": str(talking_initramfs),
            "cmdline": f"{guest_kernel.arguments} net.ifnames=0",
        },
    }


@pytest.fixture
def small(folder):
    """A file system of 16 MiB, and its filler: free space is what a test leaves."""
    disk, mounted = folder / "disk", folder / "small"
    with disk.open("wb") as file:
        file.truncate(16 * MIB)
    made = subprocess.run(
        ["mkfs.ext4", "-q", "-m", "0", str(disk)], capture_output=True, check=False
    )
    mounted.mkdir()
    mount = subprocess.run(["mount", "-o", "loop", disk, mounted], capture_output=True, check=False)
    if made.returncode or mount.returncode:
        pytest.skip("no loop device can be mounted here")
    mounted.chmod(0o755)

    def leave(free):
        filler = mounted / "filler"
        filler.unlink(missing_ok=True)
        with filler.open("wb", buffering=0) as file:
            for _ in range(3):
                # What was removed is not free before that is on the disk.
                subprocess.run(["sync", "--file-system", mounted], check=True)
                with suppress(OSError):
                    while (take := shutil.disk_usage(mounted).free - free) > 0:
                        file.write(b"\1" * min(take, 64 * 1024))
        subprocess.run(["sync", "--file-system", mounted], check=True)
        assert shutil.disk_usage(mounted).free <= free + 64 * 1024

    yield SimpleNamespace(root=mounted, leave=leave)
    subprocess.run(["umount", str(mounted)], check=True)
