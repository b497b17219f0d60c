"""What stands in for an ESXi host: a real sshd into a root with busybox alone and a `vim-cmd`.

VMware's ESXi can't run here. Its shell and tools are busybox's: these are too, and there is nothing
else in the root. `vim-cmd`, which is VMware's own, is a script that logs what it is asked and
answers from files.
"""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from waiting import SECONDS, wait_for

UUID = "5811c2d4-0a1b2c3d-0791-408d5c59bc9d"
STORE = "datastore1"
# Those of ESXi's own that the code under test calls; there is no other in the root.
TOOLS = ("sh", "cat", "cp", "md5sum", "mv", "rm", "sync", "wc")
# sshd runs this, so that a test can have a hand in what a program does.
SHELL = """#!/bin/busybox sh
exec /bin/sh -c ". /etc/hooks
$2"
"""
VIM_CMD = """#!/bin/sh
echo "$*" >> /var/asked
case $1 in
    vmsvc/getallvms) cat /var/machines ;;
    vmsvc/power.getstate)
        echo "Retrieved runtime info"
        cat "/var/power.$2" || exit 1 ;;
    vmsvc/get.summary)
        echo "Listsummary:"
        cat "/var/summary.$2" ;;
    vmsvc/reload)
        [ ! -e /var/dawdle ] || { : > /var/reloading; /bin/busybox sleep 1000; }
        [ ! -e /var/stubborn ] || { echo "Failed to reload: busy"; exit 1; } ;;
    *) exit 1 ;;
esac
"""
TITLE = "Vmid   Name     File     Guest OS     Version   Annotation"


class EsxiHost:
    """A host that answers to SSH on the loopback; ``fields`` are how it is reached."""

    def __init__(self, folder, prefix):
        # sshd takes no root below a directory that others may write to.
        self.root = Path(tempfile.mkdtemp(prefix=prefix, dir="/srv"))
        self.root.chmod(0o755)
        self.folder = Path(folder)
        self.log = self.folder / "sshd.log"
        self.daemon = None
        self.machines = {}
        self.port = free_port()
        self._lay_out()
        for name in ("host_key", "client_key", "other_key"):
            self.key(name)
        (self.folder / "authorized_keys").write_text(self.public("client_key"))
        self.know("known_hosts", "host_key")
        self.start()

    @property
    def fields(self):
        return {
            "host": "127.0.0.1",
            "user": "root",
            "port": self.port,
            "identity_file": str(self.folder / "client_key"),
            "known_hosts": str(self.folder / "known_hosts"),
        }

    def key(self, name):
        path = self.folder / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
        subprocess.run(command, check=True)

    def public(self, name):
        return (self.folder / f"{name}.pub").read_text()

    def know(self, name, key):
        """Write a file of known hosts in which this host has a key."""
        (self.folder / name).write_text(f"[127.0.0.1]:{self.port} {self.public(key)}")

    def _lay_out(self):
        for name in ("bin", "dev", "etc", "root", "tmp", "var", f"vmfs/volumes/{UUID}"):
            (self.root / name).mkdir(parents=True)
        (self.root / "vmfs/volumes" / STORE).symlink_to(UUID)
        os.mknod(self.root / "dev/null", 0o666 | 0o020000, os.makedev(1, 3))
        (self.root / "dev/null").chmod(0o666)
        shutil.copy(shutil.which("busybox"), self.root / "bin/busybox")
        for name in TOOLS:
            (self.root / "bin" / name).symlink_to("busybox")
        shell = self.root / pwd.getpwuid(0).pw_shell.lstrip("/")
        shell.parent.mkdir(parents=True, exist_ok=True)
        self.script(shell, SHELL)
        self.script(self.root / "bin/vim-cmd", VIM_CMD)
        self.hook("")
        self.register()

    def hook(self, text):
        """Have every program begin with this."""
        (self.root / "etc/hooks").write_text(text)

    @staticmethod
    def script(path, text):
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def start(self):
        os.makedirs("/run/sshd", exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nPidFile none\nStrictModes no\n"
            f"PermitRootLogin prohibit-password\nUsePAM no\nChrootDirectory {self.root}\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\n"
            "SetEnv PATH=/bin\nMaxStartups 100\nLogLevel VERBOSE\n"
        )
        command = [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-f", str(config)]
        self.daemon = subprocess.Popen(
            [*command, "-E", str(self.log)], start_new_session=True, stdin=subprocess.DEVNULL
        )
        address = ("127.0.0.1", self.port)
        wait_for(lambda: not socket.socket().connect_ex(address), self.log.read_text)

    def unplug(self, *, programs=True):
        """End the daemon and every session; with ``programs=False`` what they run goes on."""
        # The daemon first: who loses a session asks for a new one at once.
        for pid in [self.daemon.pid, *_children(self.daemon.pid)]:
            with suppress(ProcessLookupError, FileNotFoundError):
                if programs or Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                    os.kill(pid, signal.SIGKILL)
        self.daemon.wait(SECONDS)

    def close(self):
        self.unplug()
        shutil.rmtree(self.root)

    def connections(self):
        return self.log.read_text().count("Accepted publickey")

    def there(self, path):
        """Return where a path of the host is here."""
        return self.root / str(path).lstrip("/")

    def machine(self, number, name, text, *, file=None, note="", power="off"):
        """Make a machine with its file, registered where it has a number; return its path."""
        file = file or f"{name}/{name}.vmx"
        path = self.root / "vmfs/volumes" / UUID / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        if number is not None:
            self.machines[number] = (name, f"[{STORE}] {file}", note)
            self.power(number, power)
            self.register()
        return f"/vmfs/volumes/{STORE}/{file}"

    def power(self, number, state, since="2024-05-01T10:00:00.123456Z"):
        (self.root / f"var/power.{number}").write_text(f"Powered {state}\n")
        (self.root / f"var/summary.{number}").write_text(f'      bootTime = "{since}",\n')

    def register(self):
        """Write the list as `vim-cmd vmsvc/getallvms` prints it: padded, with notes as they are."""
        rows = [
            f"{number:<6} {name:<20} {file:<60} centos7_64Guest   vmx-13    {note}".rstrip()
            for number, (name, file, note) in self.machines.items()
        ]
        (self.root / "var/machines").write_text("\n".join([TITLE, *rows, ""]))

    def asked(self):
        """Return what `vim-cmd` was asked since the last time."""
        path = self.root / "var/asked"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


def free_port():
    """Return a port that nobody listens on, and that the kernel gives nobody's connection."""
    while True:
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", random.randrange(10_000, 30_000)))
            return free.getsockname()[1]


def _children(pid):
    """Return the processes below one, the youngest first."""
    below = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                below += [*_children(int(child)), int(child)]
    return below
