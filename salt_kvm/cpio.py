"""An archive that a Linux kernel unpacks behind its initrd: cpio in the format newc. Pure.

https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
"""

from __future__ import annotations

from collections.abc import Mapping

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
ALIGNMENT = 4
FILE = 0o100600


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of files, by name without folders; root owns them, and reads them alone."""
    members = [
        _member(number, name, FILE, data) for number, (name, data) in enumerate(files.items(), 1)
    ]
    return b"".join([*members, _member(0, TRAILER, 0, b"")])


def padding(length: int) -> bytes:
    """Return the zeros after which the next archive may begin."""
    return b"\0" * (-length % ALIGNMENT)


def _member(number: int, name: str, mode: int, data: bytes) -> bytes:
    label = name.encode() + b"\0"
    # ino, mode, uid, gid, nlink, mtime, filesize, the device twice, namesize, check
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(label), 0)
    head = MAGIC + b"".join(b"%08X" % field for field in fields) + label
    return head + padding(len(head)) + data + padding(len(data))
