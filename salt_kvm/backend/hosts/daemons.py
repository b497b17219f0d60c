"""libvirt's daemons: by systemd where that runs, else known by pid files and started by hand."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from salt_kvm.backend.system import command, files
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError, KvmError, UnmetError

RUN = Path("/run")
PROC = Path("/proc")
PROGRAMS = Path("/usr/sbin")
SYSTEMD = Path("/run/systemd/system")
# The daemons that are yet to read a file that was changed: a name each, gone with the boot.
DUE = Path("/run/salt-kvm/due")
# The kernel keeps this much of a process's name.
COMM = 15
STOP_SECONDS = 30.0
POLL_SECONDS = 0.1
# -d, alone or behind what goes with it; --daemon.
BACKGROUND = re.compile(r"-[lv]*d[lv]*|--daemon")


def running(name: str) -> bool:
    """Return whether the process in the daemon's pid file lives and is that daemon."""
    return _process(name) is not None


def start(name: str, arguments: Sequence[str] = ("-d",)) -> None:
    """Start a daemon; it has read its files and opened its socket when this returns.

    :raises DependencyError: when it isn't installed
    :raises ApplyError: when it does not come up
    """
    line = [str(PROGRAMS / name), *arguments]
    command.run(line)
    if not running(name):
        raise ApplyError(f"{' '.join(line)} went down again; its log says why")


def active(name: str) -> bool:
    """Return whether a daemon runs, that may have been started by its socket."""
    if not SYSTEMD.is_dir():
        return running(name)
    # Its answer is told by its exit code too: 3 is none, 4 an unknown unit.
    said = command.run(["systemctl", "is-active", f"{name}.service"], ok=(0, 3, 4))
    return said.strip() in ("active", "reloading", "activating")


def minded(name: str) -> bool:
    """Return whether somebody else minds a daemon: without systemd, one in the foreground.

    It may be the first process of a container, with which the guests would end.
    """
    pid = None if SYSTEMD.is_dir() else _process(name)
    return pid is not None and not any(BACKGROUND.fullmatch(each) for each in _arguments(pid))


def renew(name: str, how: str) -> None:
    """Have a daemon read its files anew; the guests go on.

    :param how: ``restart`` or ``reload``
    :raises UnmetError: when whoever minds it has to restart it
    :raises ApplyError: when it does not come up again, with what it logged last
    """
    if not SYSTEMD.is_dir():
        _by_hand(name, how)
        return
    unit = f"{name}.service"
    try:
        command.run(["systemctl", how, unit])
    except ApplyError as error:
        raise ApplyError(f"{name} did not {how}: {_last_words(unit) or error}") from error
    if not active(name):
        raise ApplyError(f"{name} went down again: {_last_words(unit)}")


def due() -> frozenset[str]:
    """Return who is yet to read a file that was changed: a daemon only while its process lives."""
    try:
        kept = {path.name: path.read_text().strip() for path in DUE.iterdir()}
    except OSError:
        return frozenset()
    return frozenset(name for name, pid in kept.items() if not pid or pid == str(_process(name)))


def owe(names: Iterable[str]) -> None:
    """Note that daemons are to read a file that is about to be changed; one that is off will."""
    for name in names:
        pid = _process(name)
        if pid is not None:
            files.write(str(DUE / name), str(pid).encode())


def owe_always(name: str) -> None:
    """Note the same of what is no daemon."""
    files.write(str(DUE / name), b"")


def settle(names: Iterable[str]) -> None:
    """Note that daemons have read their files, or have nothing new to read."""
    for name in names:
        with suppress(FileNotFoundError), saying(ApplyError, str(DUE / name)):
            (DUE / name).unlink(missing_ok=True)


def _process(name: str) -> int | None:
    try:
        pid = int((RUN / f"{name}.pid").read_text(encoding="ascii").strip())
        named = (PROC / str(pid) / "comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return pid if named == name[:COMM] else None


def _arguments(pid: int) -> list[str]:
    try:
        line = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return os.fsdecode(line).split("\0")[1:-1]


def _by_hand(name: str, how: str) -> None:
    pid = _process(name)
    if how == "reload":
        if pid is not None:
            # virtlogd and virtlockd begin anew on SIGUSR1, with all that they hold open.
            os.kill(pid, signal.SIGUSR1)
        return
    if minded(name):
        raise UnmetError(f"{name} runs in the foreground; restart it where it was started")
    arguments = ["-d"]
    if pid is not None:
        arguments = _arguments(pid)
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while running(name):
        if time.monotonic() > end:
            raise ApplyError(f"{name} is still running {STOP_SECONDS:.0f} s after it was ended")
        time.sleep(POLL_SECONDS)
    start(name, arguments)


def _last_words(unit: str) -> str:
    """Return the last line that a unit logged, where there is a journal."""
    try:
        said = command.run(["journalctl", "-u", unit, "-n", "30", "-o", "cat", "--no-pager"])
    except KvmError:
        return ""
    words = [line.strip() for line in said.splitlines() if "error" in line.lower()]
    return words[-1] if words else ""
