"""Block devices of the host: what they hold, looked at without a change."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import IO

from salt_kvm.backend.system import command, files
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError, ObserveError
from salt_kvm.seen import DeviceSeen

# What a file system or a partition table leaves at either end.
EDGE = 1024**2
# Linux's: _IO(0x12, 119).
_BLKDISCARD = 0x1277
# What the kernel tells of a device, in its folder under /sys/dev/block.
_NAMES = ("wwid", "device/wwid", "serial", "device/serial", "dm/uuid", "loop/backing_file")
_BOOT = "/proc/sys/kernel/random/boot_id"
# Of the numbers of "stat": the requests to write that are done.
_WRITES = 4
# How many bytes at the beginning of a device mkfs leaves zero until it is done, or for good.
_LAST = {"ext2": 2048, "ext3": 2048, "ext4": 2048, "btrfs": 64 * 1024}


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
    with saying(ObserveError, path):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == errno.EBUSY:
                return True
            raise
    return False


def _zeros(path: str) -> bool:
    with saying(ObserveError, path), open(path, "rb") as device:
        return not any(any(os.pread(device.fileno(), EDGE, at)) for at in _edges(device))


def _edges(device: IO[bytes]) -> tuple[int, int]:
    """Where the parts of a device begin that hold nothing when it is blank."""
    return 0, max(0, device.seek(0, os.SEEK_END) - EDGE)


def identity(path: str) -> dict[str, str]:
    """Return what a device is known by wherever it is plugged in: its size and its names.

    A partition has those of its disk, and its number.
    """
    with saying(ObserveError, path):
        at = _kernel(path)
        places = [at, at.parent] if (at / "partition").exists() else [at]
        named = {"size": at / "size", **{name: at / name for name in ("partition", "start")}}
        named |= {name: place / name for place in places for name in _NAMES}
        return {name: file.read_text().strip() for name, file in named.items() if file.exists()}


def boot() -> str:
    """Return what this start of the host is known by."""
    with saying(ObserveError, _BOOT):
        return Path(_BOOT).read_text().strip()


def written(path: str) -> bool:
    """Tell whether anything was written to a device since it came, with the host or later."""
    with saying(ObserveError, path):
        return int((_kernel(path) / "stat").read_text().split()[_WRITES]) > 0


def _kernel(path: str) -> Path:
    number = os.stat(path).st_rdev
    return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()


def unfinished(seen: DeviceSeen, format: str) -> bool:
    """Tell whether a device that was blank can hold what was begun of a format, and not its end.

    Measured by ending the programs at each of their writes.
    """
    with saying(ObserveError, seen.path), open(seen.path, "rb") as device:
        first, last = (os.pread(device.fileno(), EDGE, at) for at in _edges(device))
    if format == "xfs":
        # sb_inprogress of its superblock.
        return seen.signatures == ("xfs",) and first[126] == 1
    if format == "gpt":
        # The protective table comes first, and only that.
        return seen.signatures == ("PMBR",) and not any(first[512:]) and not any(last)
    return not seen.signatures and format in _LAST and not any(first[: _LAST[format]])


def clear(path: str, *, half: bool = False) -> None:
    """Take away what a build that failed has left on a device that was blank.

    What has a signature is something whole, whoever made it meanwhile, and stays.

    :param half: what is there is known to be half of what was begun, whatever it looks like
    """
    seen = look(path)
    if seen is None or seen.kind != "block device" or (seen.signatures and not half):
        return
    with saying(ApplyError, path), open(path, "r+b", buffering=0) as device:
        for at in _edges(device):
            # Zeros may need the very room that the build has lacked, on a device that grows.
            with suppress(OSError):
                fcntl.ioctl(device.fileno(), _BLKDISCARD, struct.pack("QQ", at, EDGE))
            if any(os.pread(device.fileno(), EDGE, at)):
                os.pwrite(device.fileno(), bytes(EDGE), at)
        os.fsync(device.fileno())
