"""One run at a time for each object: two minions' jobs on one host wait for each other."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from salt_kvm.backend.files import saying
from salt_kvm.errors import ApplyError

FOLDER = "/run/lock/salt-kvm"
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
    path = f"{FOLDER}/{kind}-{quote(name, safe='')}"[:255]
    with saying(ApplyError, path):
        if not os.path.isdir(FOLDER):
            os.makedirs(FOLDER, mode=0o755, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        yield _wait(handle, f"{kind} {name}", how, patience)
    finally:
        os.close(handle)


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
