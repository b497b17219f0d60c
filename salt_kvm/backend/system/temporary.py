"""Temporary names: each is on record on this host, so that what a killed run left is swept.

The kernel lets go of a record's lock when its process dies. A folder that hosts share may hold
names of another host's runs, which are never touched: no record here names them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from salt_kvm.backend.system import folders

PREFIX = ".salt-kvm-"
FOLDER = "/var/lib/salt-kvm/temporary"

_held: dict[str, int] = {}


@contextmanager
def name(parent: str) -> Iterator[str]:
    """Yield a name in a folder that nothing has; what it is given to is removed in the end.

    :param parent: the path of the folder
    :raises OSError: where the name can't be put on record
    """
    path = begin(parent)
    try:
        yield path
    finally:
        end(path)


def begin(parent: str) -> str:
    """Return a name in a folder that nothing has, and put it on record until its :func:`end`."""
    sweep()
    path = os.path.join(parent, f"{PREFIX}{os.urandom(8).hex()}")
    folders.make(FOLDER, 0o700)
    while True:
        handle = os.open(_record(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # A sweep may have met it before it was locked.
        if os.fstat(handle).st_nlink:
            break
        os.close(handle)
    _held[path] = handle
    os.write(handle, os.fsencode(path))
    return path


def end(path: str) -> None:
    """Remove what has a temporary name; what can't go now is left to a sweep."""
    if _remove(path):
        with suppress(OSError):
            os.unlink(_record(path))
    os.close(_held.pop(path))


def sweep() -> None:
    """Remove what runs that were killed left."""
    with suppress(OSError):
        for entry in os.listdir(FOLDER):
            with suppress(OSError):
                _settle(os.path.join(FOLDER, entry))


def _settle(record: str) -> None:
    handle = os.open(record, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path = os.fsdecode(os.read(handle, 2 * 4096))
        if _record(path) != record or _remove(path):
            os.unlink(record)
    finally:
        os.close(handle)


def _record(path: str) -> str:
    return os.path.join(FOLDER, os.path.basename(path).removeprefix(PREFIX))


def _remove(path: str) -> bool:
    """Remove a file or a folder, and tell whether nothing is left of it."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)
    return not os.path.lexists(path)
