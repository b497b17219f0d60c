"""One run at a time for each object: two minions' jobs on one host wait for each other."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from salt_kvm.backend.system import folders
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError

FOLDER = "/run/lock/salt-kvm"
LONGEST = 200
POLL_SECONDS = 0.1
# Longer than a guest is given to power off.
PATIENCE_SECONDS = 600.0


@contextmanager
def held(
    kind: str, name: str, *, shared: bool = False, patience: float = PATIENCE_SECONDS
) -> Iterator[float]:
    """Hold the lock of an object; it is let go of by the kernel when the process dies.

    :param kind: ``domain``, ``network``, ...
    :param name: the object's name
    :param shared: together with others that share it
    :param patience: how many seconds to wait
    :returns: the seconds that another run made this one wait
    :raises ApplyError: when the other run does not end, or the lock can't be made
    """
    path = os.path.join(FOLDER, short(f"{kind}-{quote(name, safe='')}"))
    with saying(ApplyError, path):
        folders.make(FOLDER)
        _only_ours(os.lstat(FOLDER))
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        yield _wait(handle, f"{kind} {name}", how, patience)
    finally:
        os.close(handle)


def _only_ours(found: os.stat_result) -> None:
    """Anybody may make a folder in /run/lock, and could lead us to another file in it."""
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise ApplyError(f"{FOLDER} is for others to write into; remove it")


def short(name: str) -> str:
    """Return a name of a file; two long ones that begin, or end, alike stay two."""
    if len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _wait(handle: int, what: str, how: int, patience: float) -> float:
    start = time.monotonic()
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            waited = time.monotonic() - start
            if waited > patience:
                raise ApplyError(
                    f"another run has been at work on {what} for {waited:.0f} s; "
                    "look what it waits for"
                ) from error
            time.sleep(POLL_SECONDS)
        else:
            return time.monotonic() - start
