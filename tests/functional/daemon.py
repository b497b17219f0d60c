"""A libvirtd that a test may kill, beside that of the machine: with folders and a network apart."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from waiting import SECONDS, wait_for

# What of the machine's libvirtd a second one must not see.
FOLDERS = ("/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")
# <linux/sched.h>
CLONE_NEWNET = 0x40000000
AUTH = 'auth_unix_rw = "none"'
# A document that makes it take all the memory there is must not hurt the machine.
MEMORY = 8 * 1024**3
PREPARE = """
set -e
for folder in {folders}; do mount -t tmpfs tmpfs $folder; done
mkdir -p /var/lib/libvirt/qemu /var/lib/libvirt/images
mount --bind {root}/etc /etc/libvirt
ip link set lo up
touch {root}/ready
exec sleep infinity
"""


@contextmanager
def apart(prefix, prepare=lambda root: None):
    """Run a libvirtd in a folder of its own.

    ``prepare`` is given the folder, whose ``etc`` holds the daemon's files, before the start.
    """
    if os.getuid() != 0:
        pytest.skip("only root can start a libvirtd of its own")
    with tempfile.TemporaryDirectory(prefix=prefix, dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        daemon = Daemon(folder)
        try:
            prepare(daemon.root)
            daemon.start()
            yield daemon
        finally:
            daemon.close()


class Daemon:
    """One libvirtd; ``uri`` is good in every process of this machine."""

    def __init__(self, root, settings=""):
        self.root = Path(root)
        self.socket = self.root / "sock" / "libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self.log = (self.root / "log").open("wb")
        self.process = None
        self._configure(settings)
        script = PREPARE.format(folders=" ".join(FOLDERS), root=self.root)
        # Holds the namespaces while there is no daemon in them.
        self.holder = self._begin("unshare", "--mount", "--net", "sh", "-c", script)
        wait_for((self.root / "ready").exists, "namespaces")

    def _configure(self, settings):
        (self.root / "etc" / "qemu").mkdir(parents=True)
        (self.root / "sock").mkdir()
        # There is no virtlogd beside it.
        shutil.copy("/etc/libvirt/qemu.conf", self.root / "etc")
        with (self.root / "etc" / "qemu.conf").open("a") as file:
            file.write('\nstdio_handler = "file"\n')
        text = f'unix_sock_dir = "{self.socket.parent}"\n{settings or AUTH}\n'
        (self.root / "libvirtd.conf").write_text(text)

    def _begin(self, *command):
        with_parent = ["setpriv", "--pdeathsig", "KILL", *command]
        return subprocess.Popen(
            with_parent, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def start(self, ready=None):
        """Start it and wait until it answers, or until ``ready`` says so."""
        enter = ["nsenter", "-t", str(self.holder.pid), "-m", "-n"]
        limit = ["prlimit", f"--as={MEMORY}"]
        files = ["--config", f"{self.root}/libvirtd.conf", "--pid-file", f"{self.root}/pid"]
        self.process = self._begin(*enter, *limit, "libvirtd", *files)
        answers = ready or (lambda: "daemon" in self.virsh("version", "--daemon"))
        wait_for(answers, Path(self.log.name).read_text)

    def kill(self, number=signal.SIGKILL):
        """End it by a signal and wait until it is gone; guests go on."""
        self.process.send_signal(number)
        self.process.wait(SECONDS)

    def restart(self, number=signal.SIGKILL):
        self.kill(number)
        self.start()

    def virsh(self, *arguments):
        command = ["virsh", "--quiet", "--connect", self.uri, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        return done.stdout

    def connect(self, port):
        """Return a connection to a port of its network, from a thread that is in it."""
        with ThreadPoolExecutor(1) as inside:
            return inside.submit(self._connect, port).result()

    def _connect(self, port):
        with open(f"/proc/{self.holder.pid}/ns/net") as network:
            assert ctypes.CDLL(None).setns(network.fileno(), CLONE_NEWNET) == 0
        return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)

    def guest(self, name):
        """Return the process of a running guest."""
        wanted = f"guest={name},".encode()
        (found,) = (pid for pid in self._inside() if wanted in _command(pid))
        return found

    def names(self):
        """Return all domains with their states."""
        rows = [line.split(maxsplit=2) for line in self.virsh("list", "--all").splitlines()]
        return {row[1]: row[2] for row in rows if row}

    def everything(self):
        """Return the domains' states and documents."""
        return {name: (is_, self.virsh("dumpxml", name)) for name, is_ in self.names().items()}

    def empty(self):
        """Remove all domains and networks."""
        for kind in ("", "net-"):
            for name in self.virsh(f"{kind}list", "--all", "--name").split():
                self.virsh(f"{kind}destroy", name)
                self.virsh(f"{kind}undefine", name)

    def close(self):
        """End everything that was started in its network: daemon, dnsmasq, guests."""
        for pid in self._inside():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in (self.process, self.holder):
            if process is not None:
                process.wait(SECONDS)
        self.log.close()

    def _inside(self):
        own = os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino
        assert own != os.stat("/proc/self/ns/net").st_ino
        for path in Path("/proc").glob("[0-9]*/ns/net"):
            try:
                if path.stat().st_ino == own:
                    yield int(path.parts[2])
            except OSError:
                continue


def _command(pid):
    """Return a process's arguments; one that has gone has none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
