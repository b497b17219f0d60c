"""Block devices of the host: what they hold, looked at without a change."""

from __future__ import annotations

import errno
import json
import os

from salt_kvm.backend import command, files
from salt_kvm.errors import ObserveError
from salt_kvm.seen import DeviceSeen

# What a file system or a partition table leaves at either end.
EDGE = 1024**2


def look(path: str) -> DeviceSeen | None:
    """Return what a device holds; ``None`` where nothing is at ``path``.

    Without a signature a device may still be in use, so that one counts as blank only when both of
    its ends are zeros.
    """
    seen = files.look(path)
    if seen is None:
        return None
    if seen.kind != "block device":
        return DeviceSeen(path, seen.kind)
    told = json.loads(command.run(["wipefs", "--json", "--no-act", path]) or "{}")
    signatures = tuple(dict.fromkeys(row["type"] for row in told.get("signatures") or ()))
    blank = not signatures and _zeros(path)
    return DeviceSeen(path, seen.kind, signatures, blank=blank, busy=_busy(path))


def _busy(path: str) -> bool:
    """The kernel gives a device, or a disk with all its partitions, to one alone."""
    with files.saying(ObserveError, path):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == errno.EBUSY:
                return True
            raise
    return False


def _zeros(path: str) -> bool:
    with files.saying(ObserveError, path), open(path, "rb") as device:
        first = device.read(EDGE)
        size = device.seek(0, os.SEEK_END)
        device.seek(max(0, size - EDGE))
        return not any(first) and not any(device.read(EDGE))
