"""Which domains and images use an image: as a disk, or as the backing file of one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET

from salt_kvm.backend import header
from salt_kvm.seen import Observed
from salt_kvm.xml.live import disks_in

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


def running(domains: Iterable[Observed], path: str) -> list[str]:
    """Return the running domains that have an image open."""
    real = os.path.realpath(path)
    return [
        seen.name
        for seen in domains
        if seen.live is not None and any(real in chain(file) for _disk, file in _files(seen.live))
    ]


def writers(domains: Iterable[Observed], path: str) -> list[str]:
    """Return the domains that write to an image, or would when they run."""
    real = os.path.realpath(path)
    return [
        seen.name
        for seen in domains
        if any(
            real == os.path.realpath(file)
            for xml in filter(None, (seen.xml, seen.live))
            for disk, file in _files(xml)
            if disk.find("readonly") is None
        )
    ]


def standing(domains: Iterable[Observed], path: str) -> list[str]:
    """Return the images that stand on an image: those beside it, and those of the domains."""
    real = os.path.realpath(path)
    beside = (entry.path for entry in os.scandir(os.path.dirname(real)) if entry.is_file())
    used = (file for seen in domains for _disk, file in _files(seen.live or seen.xml))
    tops = dict.fromkeys((*sorted(beside), *used))
    return [top for top in tops if real in chain(top)[1:]]


def _files(xml: str) -> Iterator[tuple[ET.Element, str]]:
    """The image files of all disks and media."""
    for disk in ET.fromstring(xml).iterfind("devices/disk"):
        source = disk.find("source")
        file = None if source is None else source.get("file")
        if file is not None:
            yield disk, file


def _exclusive(seen: Observed) -> Iterator[str]:
    """The image files of a domain's disks, those of removable and shared media left out."""
    for disk, file in _files(seen.xml):
        if disk.get("device", "disk") == "disk" and disk.find("shareable") is None:
            yield file


def chain(path: str) -> list[str]:
    """Return an image and the files that back it, as the images themselves say, real paths."""
    files: list[str] = []
    following: str | None = path
    while following is not None and len(files) < _LONGEST_CHAIN:
        files.append(os.path.realpath(following))
        try:
            following = header.read(following).backing
        except (OSError, ValueError):
            # A name that can't be a path, with a NUL in it, is one of these too.
            following = None
    return files
