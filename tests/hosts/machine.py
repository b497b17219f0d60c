"""A machine of its own: a container with its own processes, network and, if wanted, systemd."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from waiting import SECONDS, wait_for

ROOT = Path(__file__).parents[2]
CACHE = Path("/var/cache/salt-kvm-tests")
APT = ("apt.conf", "apt.conf.d", "auth.conf.d", "keyrings", "preferences.d", "sources.list")
APT += ("sources.list.d", "trusted.gpg", "trusted.gpg.d")
CERTIFICATES = Path("/usr/local/share/ca-certificates")
BRIDGE = "skvmtest0"
NETWORK, GATEWAY, ADDRESS = "172.31.77.0/24", "172.31.77.1", "172.31.77.2"
MASQUERADE = ("POSTROUTING", "-s", NETWORK, "!", "-o", BRIDGE, "-j", "MASQUERADE")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def run(*command, **options):
    """Run a command that must succeed; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def locked(name):
    """One process at a time; a lock is a file in the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def bare_system():
    """Return the directory of a bare system; it is kept for the next run."""
    base = CACHE / "bare"
    with locked("bare.lock"):
        if not base.is_dir():
            _debootstrap(base)
    return base


def _debootstrap(target):
    """Make a bare system of the release and from the mirror that this machine uses."""
    codename = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)[1]
    filters = ["Created-By: Packages", "Component: main", f"Codename: {codename}"]
    mirror = run("apt-get", "indextargets", "--format", "$(REPO_URI)", *filters).split()[:1]
    work = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        include = "--include=systemd,systemd-sysv,dbus"
        run("debootstrap", "--variant=minbase", include, codename, str(work), *mirror)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def dress(root, name):
    """Give a bare system what a fresh host has: a name, and apt and pip that reach their sources.

    Return the directories that pip's settings name.
    """
    (root / "etc/hostname").write_text(f"{name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {name}\n")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    for part in APT:
        _replace(Path("/etc/apt") / part, root / "etc/apt" / part)
    _replace(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    settings = _pip_settings()
    lines = [f"{key} = {' '.join(value.split())}" for key, value in settings.items()]
    (root / "etc/pip.conf").write_text("\n".join(["[global]", *lines, ""]))
    folders = []
    for url, path in re.findall(r"(file://)?(/[^\s,]+)", "\n".join(settings.values())):
        # The links of an index on disk may lead out of its top folder.
        source = Path(path).parent if url else Path(path)
        if source.is_dir():
            folders.append(str(source))
        elif source.is_file():
            _replace(source, root / source.relative_to("/"))
    return sorted(set(folders))


def _pip_settings():
    listed = run(sys.executable, "-m", "pip", "config", "list")
    found = re.findall(r"^(global|:env:)\.([\w-]+)='(.*)'$", listed, re.M)
    return {key: value for _, key, value in sorted(found, reverse=True)}


def _replace(source, target):
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    elif source.is_file():
        shutil.copy(source, target)


def copy_checkout(target):
    """Copy this checkout as git sees it, with what is not committed yet."""
    options = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, run("git", *options, cwd=ROOT).split("\0")):
        source = ROOT / name
        if source.is_symlink() or source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name, follow_symlinks=False)


@contextmanager
def bridge():
    """A bridge whose hosts reach the network through this machine."""
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    before = forward.read_text()
    _remove_bridge()
    try:
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        run("iptables", "-w", "-t", "nat", "-A", *MASQUERADE)
        forward.write_text("1")
        yield
    finally:
        _remove_bridge()
        forward.write_text(before)


def _remove_bridge():
    for command in (
        ["iptables", "-w", "-t", "nat", "-D", *MASQUERADE],
        ["ip", "link", "del", BRIDGE],
    ):
        subprocess.run(command, capture_output=True, check=False)


class Machine:
    """A running container; :meth:`start` and :meth:`stop` are its power button."""

    def __init__(self, name, root, *, systemd, binds=(), address=ADDRESS):
        self.name, self.root, self.systemd, self.binds = name, root, systemd, binds
        self.address = address
        self.log = root.with_name(f"{name}.log")
        self.process = None
        self.init = 0

    def start(self):
        payload = ["--boot"] if self.systemd else ["--as-pid2", "/bin/sleep", "infinity"]
        options = ["-q", "-D", str(self.root), "--register=no", "--keep-unit"]
        options += [f"--machine={self.name}", f"--network-bridge={BRIDGE}", "--capability=all"]
        options += [f"--bind-ro={folder}" for folder in self.binds]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "systemd-nspawn", *options, *payload],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        self.init = self._wait(self._find_init, "its first process")
        self._wait(self._connect, "its network")
        if self.systemd:
            self._wait(self._booted, "the end of its boot")

    def stop(self):
        """Shut down in order, or by force where that takes too long."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def reboot(self):
        """Let the system reboot itself; the container ends there and is started anew."""
        self.run("systemctl", "--no-block", "reboot")
        self.process.wait(SECONDS)
        self.start()

    def run(self, *command, check=True, timeout=900):
        """Run a command inside; return the completed process with its output as text."""
        proxies = [f"{key}={os.environ[key]}" for key in PROXIES if key in os.environ]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        enter = ["nsenter", "-t", str(self.init), "-a"]
        done = subprocess.run(
            [
                *enter,
                "env",
                "-i",
                "-C",
                "/root",
                path,
                "HOME=/root",
                "LANG=C.UTF-8",
                *proxies,
                *command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}"
        return done

    def path(self, inside):
        """Return a path inside as this machine sees it."""
        return self.root / str(inside).lstrip("/")

    def _find_init(self):
        children = self._children(self.process.pid)
        children += [pid for child in children for pid in self._children(child)]
        return next((pid for pid in children if self._is_init(pid)), 0)

    @staticmethod
    def _children(pid):
        with suppress(OSError):
            return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
        return []

    @staticmethod
    def _is_init(pid):
        with suppress(OSError):
            ids = re.search(r"^NSpid:\s+(.*)$", Path(f"/proc/{pid}/status").read_text(), re.M)
            return ids is not None and ids[1].split()[1:] == ["1"]
        return False

    def _connect(self):
        inside = ("nsenter", "-t", str(self.init), "-n", "ip")
        if subprocess.run([*inside, "link", "show", "host0"], capture_output=True).returncode:
            return False
        run(*inside, "address", "replace", f"{self.address}/24", "dev", "host0")
        run(*inside, "link", "set", "host0", "up")
        run(*inside, "route", "replace", "default", "via", GATEWAY)
        return True

    def _booted(self):
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def _wait(self, condition, what):
        def found():
            assert self.process.poll() is None, f"the container ended: {self.log.read_text()}"
            return condition()

        return wait_for(found, what)
