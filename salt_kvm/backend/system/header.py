"""What an image says of itself, read from its first bytes.

Read here and not asked of qemu-img, which would open whatever a hostile image names, and which
costs a process for each image.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

from salt_kvm.backend.system.opening import opened
from salt_kvm.seen import Header

# What a file begins with, from the formats' specifications. qemu-img is not asked to guess: a
# guest can write any header into a raw image, and qemu-img would follow the names in it.
_MAGIC = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
)
_READ = 64 * 1024
# The "LUKS1 On-Disk Format Specification": QEMU knows no later one.
_LUKS, _LUKS_DATA_AT = b"LUKS\xba\xbe\0\1", 104
# https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.rst: the header, and the
# fields that version 3 has after it.
_QCOW2 = struct.Struct(">4sIQIIQIIQQIIQ")
_QCOW2_3 = struct.Struct(">QQQII")
_DATA_FILE_BIT, _EXTENDED_L2_BIT, _LAZY_BIT = 1 << 2, 1 << 4, 1 << 0
_BACKING_FORMAT, _DATA_FILE, _BITMAPS = 0xE2792ACA, 0x44415441, 0x23852875
_EXTENSION = struct.Struct(">II")
_LONGEST_NAME = 1023
# .../docs/interop/qed_spec.txt: from the magic to the name of the backing file.
_QED = struct.Struct("<4sIIIQQQQQII")
_QED_BACKING, _QED_RAW = 1 << 0, 1 << 2
# VMware's "Virtual Disk Format 5.0": the header of a sparse extent.
_VMDK = struct.Struct("<4sIIQQQQ")
_SECTOR = 512
_LONGEST_DESCRIPTOR = 1024 * 1024
_FARTHEST = 2**63 - 1


def read(path: str) -> Header:
    """Return what an image says of itself.

    :raises OSError: when it can't be read, or is neither a file nor a block device
    """
    with opened(path) as file:
        head = file.read(_READ) or b""
        format = next((name for at, magic, name in _MAGIC if head.startswith(magic, at)), "raw")
        try:
            if format == "qcow2":
                return _qcow2(path, head)
            if format == "qed":
                return _qed(path, head)
            if format == "vmdk":
                return _vmdk(path, head, file)
        except struct.error:
            return Header(format, damaged=True)
    if format != "raw":
        return Header(format)
    return Header("raw", size=os.path.getsize(path), luks=_luks(head))


def _luks(head: bytes) -> int | None:
    """Return where the data begin behind a LUKS header, in bytes."""
    if not head.startswith(_LUKS) or len(head) < _LUKS_DATA_AT + 4:
        return None
    return int.from_bytes(head[_LUKS_DATA_AT : _LUKS_DATA_AT + 4], "big") * _SECTOR


def _qcow2(path: str, head: bytes) -> Header:
    (_magic, version, at, length, bits, size, crypt, *_tables, snapshots, _at) = _QCOW2.unpack_from(
        head
    )
    incompatible, compatible, header_length = 0, 0, _QCOW2.size
    if version >= 3:
        incompatible, compatible, _clear, _order, header_length = _QCOW2_3.unpack_from(
            head, _QCOW2.size
        )
    extensions = dict(_extensions(head, header_length)) if version >= 2 else {}
    return Header(
        "qcow2",
        size=size,
        backing=_resolved(path, head[at : at + length]) if at and length else None,
        backing_format=_text(extensions.get(_BACKING_FORMAT)),
        data_file=_text(extensions.get(_DATA_FILE, b"?"))
        if incompatible & _DATA_FILE_BIT
        else None,
        snapshots=snapshots,
        bitmaps=int.from_bytes(extensions.get(_BITMAPS, b"")[:4], "big"),
        encrypted=bool(crypt),
        damaged=version not in (2, 3) or length > _LONGEST_NAME or not 9 <= bits <= 21,
        options={
            "cluster_size": 1 << min(bits, 63),
            "compat": "0.10" if version == 2 else "1.1",
            "lazy_refcounts": bool(compatible & _LAZY_BIT),
            "extended_l2": bool(incompatible & _EXTENDED_L2_BIT),
        },
    )


def _extensions(head: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + _EXTENSION.size <= len(head):
        kind, length = _EXTENSION.unpack_from(head, at)
        if kind == 0:
            return
        at += _EXTENSION.size
        yield kind, head[at : at + length]
        at += -(-length // 8) * 8


def _qed(path: str, head: bytes) -> Header:
    _magic, cluster, _table, _size, features, *_more, size, at, length = _QED.unpack_from(head)
    backed = features & _QED_BACKING and length
    return Header(
        "qed",
        size=size,
        backing=_resolved(path, head[at : at + length]) if backed else None,
        backing_format="raw" if backed and features & _QED_RAW else None,
        options={"cluster_size": cluster},
    )


def _vmdk(path: str, head: bytes, file: Any) -> Header:
    """A descriptor names a parent and the files with the data, if these are others."""
    if not head.startswith(b"KDMV"):
        return _on_parent(path, head, data_file="?")
    _magic, _version, _flags, capacity, _grain, at, length = _VMDK.unpack_from(head)
    if at * _SECTOR > _FARTHEST:
        return Header("vmdk", data_file="?", damaged=True)
    file.seek(at * _SECTOR)
    descriptor = file.read(min(length * _SECTOR, _LONGEST_DESCRIPTOR))
    # Without a capacity QEMU takes the names in the descriptor instead.
    data_file = None if capacity else "?"
    return _on_parent(path, descriptor, size=capacity * _SECTOR or None, data_file=data_file)


def _on_parent(
    path: str, descriptor: bytes, *, size: int | None = None, data_file: str | None = None
) -> Header:
    """A parent is of the same format."""
    _before, found, after = descriptor.partition(b'parentFileNameHint="')
    backing = _resolved(path, after.partition(b'"')[0]) if found else None
    format = "vmdk" if found else None
    return Header("vmdk", size, backing, backing_format=format, data_file=data_file)


def _resolved(path: str, name: bytes) -> str:
    """The file that a name in an image means; what is no file is returned as it stands."""
    text = (_text(name) or "").removeprefix("file:")
    if text.startswith("json:"):
        return _file_in(text.removeprefix("json:")) or text
    return os.path.join(os.path.dirname(path), text)


def _file_in(description: str) -> str | None:
    """The file name in QEMU's description of a block device as JSON, at any depth."""
    try:
        pending = [json.loads(description)]
    except (ValueError, RecursionError):
        return None
    while pending:
        value = pending.pop()
        for key, inner in value.items() if isinstance(value, dict) else ():
            if key.split(".")[-1] == "filename" and isinstance(inner, str):
                return inner
            pending.append(inner)
    return None


def _text(name: bytes | None) -> str | None:
    return None if name is None else name.rstrip(b"\0").decode(errors="surrogateescape")
