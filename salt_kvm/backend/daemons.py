"""Daemons on a host where no service manager runs: seen by their pid file, started by hand."""

from __future__ import annotations

from pathlib import Path

from salt_kvm.backend import command
from salt_kvm.errors import ApplyError

RUN = Path("/run")
PROC = Path("/proc")
PROGRAMS = Path("/usr/sbin")
# The kernel keeps this much of a process's name.
COMM = 15


def running(name: str) -> bool:
    """Return whether the process in the daemon's pid file lives and is that daemon."""
    try:
        pid = int((RUN / f"{name}.pid").read_text(encoding="ascii").strip())
        return (PROC / str(pid) / "comm").read_text(encoding="utf-8").strip() == name[:COMM]
    except (OSError, ValueError):
        return False


def start(name: str) -> None:
    """Start a daemon; it has read its files and opened its socket when this returns.

    :raises DependencyError: when it isn't installed
    :raises ApplyError: when it does not come up
    """
    program = str(PROGRAMS / name)
    command.run([program, "-d"])
    if not running(name):
        raise ApplyError(f"{program} -d went down again; its log says why")
