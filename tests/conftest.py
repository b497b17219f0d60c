"""What tests of every kind share: a libvirtd that answers, and a guest that boots in seconds."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from functional.daemon import apart
from functional.ramdisk import BUTTON, GUEST, initramfs
from waiting import SECONDS, wait_for

# A change is judged by the same examples as the one before; with --hypothesis-profile=default they
# are drawn anew. How long one takes says more of the machine than of the example.
SLOW = [HealthCheck.too_slow]
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=SLOW)
settings.load_profile("same")

# The files, and the hosts, that take more than a minute.
LONGEST = (
    "tests/functional/test_faults.py",
    "tests/hosts",
    "tests/functional/test_matrix.py",
    "tests/functional/test_daemon_restart.py",
    "tests/functional/test_image_change.py",
    "tests/functional/test_live.py",
    "tests/functional/test_install_faults.py",
    "tests/functional/test_install.py",
    "tests/functional/test_store.py",
    "tests/functional/test_encrypted_guest.py",
    "tests/functional/test_network_live.py",
    "tests/functional/test_domain.py",
    "tests/functional/test_cloud_init.py",
    "tests/functional/test_install_interrupted.py",
    "tests/functional/test_keyboard.py",
    "tests/integration/test_master_minion.py",
)

WORKERS = []
URI = "qemu:///system"
DAEMONS = ("virtlogd", "libvirtd")

# Ticks and answers on the serial port; a line that is sent there runs as a command.
INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
for module in /modules/*.ko; do insmod $module; done
{BUTTON}
echo "salt-kvm guest up"
cat /proc/cmdline
(pressed; echo "salt-kvm guest: power button"; poweroff -f) &
(while [ ! -e /quiet ] && sleep 1; do n=$((n + 1)); echo "tick $n"; done) &
while read -r line; do sh -c "$line"; done
sleep 100000
"""


def pytest_configure(config):
    """Let a termination, like an interrupt, run the ends of the fixtures.

    Tests that run side by side share what the process that hands them out starts before them.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    if getattr(config.option, "numprocesses", None) and shutil.which("virsh") and not os.getuid():
        folder = tempfile.TemporaryDirectory(prefix="salt-kvm-libvirtd-")
        shared = ExitStack()
        shared.enter_context(folder)
        shared.enter_context(_daemons(Path(folder.name) / "log"))
        config.add_cleanup(shared.close)


def _end(*_signal):
    """A second one, as of a terminal and of who hands out tests, must not stop what cleans up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node):
    """Remember who works beside this process."""
    WORKERS.append(node)


def pytest_keyboard_interrupt():
    """Let those who work end as this process does; xdist would give them seconds."""
    for node in WORKERS:
        with suppress(ProcessLookupError):
            os.kill(node.gateway._rinfo().pid, signal.SIGTERM)
    for node in WORKERS:
        with suppress(EOFError, node.channel.TimeoutError, node.channel.RemoteError):
            node.channel.waitclose(SECONDS)


def pytest_collection_modifyitems(items):
    """What takes longest goes first, so that no process has much left when the others are done."""
    items.sort(key=_turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Return who hands out files to processes; hosts have one bridge, so they go to one process."""
    from xdist.scheduler import LoadFileScheduling

    if config.getvalue("dist") != "loadfile":
        return None
    made = LoadFileScheduling(config, log)
    made._split_scope = _together
    return made


def _together(nodeid):
    file = nodeid.partition("::")[0]
    return "tests/hosts" if file.startswith("tests/hosts/") else file


def _turn(item):
    group = _together(item.nodeid)
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)


def pytest_unconfigure():
    """Salt tells at exit what it has held back, to a stream that pytest has closed by then."""
    logging.raiseExceptions = False


def pytest_make_parametrize_id(val):
    """Processes that run side by side have names of their own, but must collect the same tests."""
    own = rf"(skt[a-z]*)0*{os.getpid() % 10_000}(?![0-9])"
    return re.sub(own, r"\1N", val) if isinstance(val, str) and re.search(own, val) else None


# Not every PID 1 buries the dead at once, and libvirt waits for a guest that it kills to be buried.
REAPER = """
import ctypes, os, signal, sys
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
daemon = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: os.kill(daemon, signal.SIGTERM))
while os.wait()[0] != daemon:
    pass
"""


class Guest(NamedTuple):
    """What a domain boots directly; the serial port is its console.

    It prints ``salt-kvm guest up`` and its kernel's command line, then ``tick N`` each second where
    it has no file ``/quiet``. It runs what it is sent, and powers off when its button is pressed.
    """

    kernel: str
    initramfs: str
    arguments: str = "console=ttyS0 quiet"


KEPT = (
    "/var/lib/salt-kvm/history",
    "/var/lib/salt-kvm/begun",
    "/var/lib/salt-kvm/vmx",
    "/var/lib/salt-kvm/boot",
    "/var/cache/salt-kvm/screenshots",
    "/run/lock/salt-kvm",
    "/run/salt-kvm/refused",
    "/run/salt-kvm/seeds",
    "/var/lib/salt-kvm/seed",
)


def _forget(prefix):
    """Remove what the library keeps of the objects of one test run: old definitions and locks."""
    for folder in KEPT:
        # Unlike a glob, a walk goes on where another run takes something away beneath it.
        walked = (Path(top) / name for top, *found in os.walk(folder) for n in found for name in n)
        for path in sorted((path for path in walked if prefix in path.name), reverse=True):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def forget():
    """Return what removes the traces of a run: ``forget(prefix of its names)``."""
    return _forget


def answers():
    """True when libvirtd answers; on a busy machine one can be mute for half a minute."""
    command = ["timeout", "180", "virsh", "--quiet", "--connect", URI, "version", "--daemon"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def libvirtd(tmp_path_factory):
    """A libvirtd at ``qemu:///system``: the one that is there, or one for these tests only."""
    if shutil.which("virsh") is None:
        pytest.skip("no libvirt on this machine; tools/test installs it")
    if os.getuid() != 0 and not answers():
        pytest.skip("libvirtd doesn't answer and only root can start it")
    with _daemons(tmp_path_factory.mktemp("libvirtd") / "log"):
        yield URI


@contextmanager
def _daemons(log):
    """Run libvirt's daemons where nothing answers, and take them away afterwards."""
    if answers():
        yield
        return
    bridges = _bridges()
    started = []
    try:
        for name in DAEMONS:
            if not _running(name):
                started.append(_start(name, log))
        wait_for(answers, log.read_text)
        yield
        _stop_networks(bridges)
    finally:
        for daemon in reversed(started):
            daemon.terminate()
            daemon.wait(SECONDS)
        if started:
            _remove_chains()


@pytest.fixture
def own_libvirtd(libvirtd_apart):
    """A libvirtd with nothing in it, for a test of what touches all of a host."""
    yield libvirtd_apart
    libvirtd_apart.empty()


@pytest.fixture(scope="module")
def libvirtd_apart(libvirtd):
    """A second libvirtd, which knows nothing of the machine's."""
    with apart("salt-kvm-libvirtd-") as daemon:
        yield daemon


def _start(name, log):
    command = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-c", REAPER, name]
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)


def _running(name):
    try:
        pid = Path(f"/run/{name}.pid").read_text().strip()
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except OSError:
        return False


def _bridges():
    return {path.parent.name for path in Path("/sys/class/net").glob("*/bridge")}


def _virsh(*arguments):
    command = ["virsh", "--quiet", "--connect", URI, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def _stop_networks(before):
    """Stop the networks that came up with the daemon; they outlive it, and dnsmasq with them."""
    for network in _virsh("net-list", "--name"):
        if not before & set(_virsh("net-info", network)):
            _virsh("net-destroy", network)


def _remove_chains():
    """Remove the packet filter chains that libvirtd leaves."""
    for program in ("iptables", "ip6tables"):
        for table in ("filter", "nat", "mangle"):
            rules = subprocess.run(
                [program, "-t", table, "-S"], capture_output=True, text=True, check=False
            ).stdout.splitlines()
            jumps = [rule.split()[1:] for rule in rules if " -j LIBVIRT_" in rule]
            chains = [rule.split()[1] for rule in rules if rule.startswith("-N LIBVIRT_")]
            commands = [["-D", *jump] for jump in jumps]
            commands += [[flag, chain] for flag in ("-F", "-X") for chain in chains]
            for command in commands:
                subprocess.run([program, "-t", table, *command], capture_output=True, check=False)


@pytest.fixture(scope="session")
def guest_kernel():
    """A kernel and an initramfs where QEMU, which is not root, can read them."""
    if not (GUEST / "vmlinuz").is_file():
        pytest.skip(f"no kernel in {GUEST}; tools/test fetches it")
    with tempfile.TemporaryDirectory(prefix="salt-kvm-guest-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(GUEST / "vmlinuz", folder / "vmlinuz")
        made = initramfs(folder / "root", INIT, ("button", "evdev"))
        (folder / "initramfs").write_bytes(made)
        yield Guest(str(folder / "vmlinuz"), str(folder / "initramfs"))
