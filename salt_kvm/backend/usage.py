"""Which domains use an image: as a disk, or as the backing file of one."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET

from salt_kvm.seen import Observed
from salt_kvm.xml.live import disks_in

# https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.rst, the header.
_HEADER = struct.Struct(">4sIQI")
_MAGIC = b"QFI\xfb"
_LONGEST_CHAIN = 200


def users(domains: Iterable[Observed], path: str, *, but: str) -> list[str]:
    """Return the domains that use an image and do not declare it shareable.

    :param domains: all domains of the host
    :param path: the image
    :param but: the domain that asks
    """
    real = os.path.realpath(path)
    return [
        seen.name
        for seen in domains
        if seen.name != but and any(real in chain(disk) for disk in _exclusive(seen))
    ]


def runners(domains: Iterable[Observed], path: str) -> list[tuple[str, str]]:
    """Return the running domains that have an image itself as a disk, each with its target."""
    real = os.path.realpath(path)
    return [
        (seen.name, target)
        for seen in domains
        for file, target in disks_in(seen.live or "<domain/>")
        if os.path.realpath(file) == real
    ]


def _exclusive(seen: Observed) -> Iterator[str]:
    """The image files of a domain's disks, those of removable and shared media left out."""
    for disk in ET.fromstring(seen.xml).iterfind("devices/disk"):
        source = disk.find("source")
        if disk.get("device", "disk") == "disk" and disk.find("shareable") is None:
            file = None if source is None else source.get("file")
            if file is not None:
                yield file


def chain(path: str) -> list[str]:
    """Return an image and the files that back it, as the images themselves say, real paths.

    Read here and not asked of qemu-img, which would open whatever a hostile image names.
    """
    files: list[str] = []
    following: str | None = path
    while following is not None and len(files) < _LONGEST_CHAIN:
        files.append(os.path.realpath(following))
        following = _backing(following)
    return files


def _backing(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return None
            magic, _version, offset, size = _HEADER.unpack(header)
            if magic != _MAGIC or not offset or not 0 < size <= 1023:
                return None
            file.seek(offset)
            name = file.read(size).decode(errors="surrogateescape").removeprefix("file:")
    except OSError:
        return None
    return os.path.join(os.path.dirname(path), name)
