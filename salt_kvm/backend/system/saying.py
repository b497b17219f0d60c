"""What the system refuses, as a sentence with the path and the cure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from salt_kvm.errors import ApplyError, ObserveError


@contextmanager
def saying(error: type[ApplyError] | type[ObserveError], path: str) -> Iterator[None]:
    """Turn what the system refuses into a sentence with the path and the cure."""
    try:
        yield
    except OSError as cause:
        raise error(f"{path}: {(cause.strerror or str(cause)).lower()}{_cure(cause)}") from cause


def _cure(cause: OSError) -> str:
    number = cause.errno or 0
    cures = {**_CURES, **_CURES_OF_ROOT} if os.geteuid() == 0 else _CURES
    return cures.get(number, "")


_CURES_OF_ROOT = {
    1: "; see lsattr, whether it or its directory is immutable",
    13: "; see what holds root back: NFS, SELinux, AppArmor",
}
_CURES = {
    1: "; run as root",
    13: "; run as root",
    17: "; something is there already",
    28: "; free some space",
    30: "; mount it writable",
}
