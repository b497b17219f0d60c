"""Which domains and images use an image: as a disk, or as the backing file of one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from xml.etree import ElementTree as ET

from salt_kvm.backend.system import header
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ObserveError
from salt_kvm.seen import Header, Observed
from salt_kvm.xml.document import parse
from salt_kvm.xml.identity import local_path, remote
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
        if seen.name != but and any(real in parts(disk) for disk in _exclusive(seen))
    ]


def sharers(domains: Iterable[Observed], url: str, *, but: str) -> list[str]:
    """Return the domains that use what a server has and do not declare it shareable."""
    return [
        seen.name
        for seen in domains
        if seen.name != but
        and any(
            remote(disk) == url and disk.find("shareable") is None
            for xml in seen.documents
            for disk in parse(xml).iterfind("devices/disk")
        )
    ]


def holders(domains: Iterable[Observed], path: str, *, but: str) -> list[str]:
    """Return whom the removal of an image would harm: other domains, and images that stand on it.

    A medium counts as a disk does, and what a guest has now as what its next start needs.
    """
    real = os.path.realpath(path)
    domains = list(domains)
    others = [
        seen.name
        for seen in domains
        if seen.name != but and any(real in parts(file) for _disk, file in _all_files(seen))
    ]
    return [*others, *standing(domains, path)]


def runners(domains: Iterable[Observed], path: str) -> list[tuple[str, str]]:
    """Return the running domains that have an image itself as a disk, each with its target."""
    real = os.path.realpath(path)
    return [
        (seen.name, target)
        for seen in domains
        for file, target in disks_in(seen.live or "<domain/>")
        if os.path.realpath(file) == real
    ]


def named(domains: Iterable[Observed], path: str, *, but: str) -> list[str]:
    """Return the other domains that have a file in a disk or a drive, whatever for."""
    return [
        seen.name
        for seen in domains
        if seen.name != but and any(file == path for _disk, file in _all_files(seen))
    ]


def running(domains: Iterable[Observed], path: str) -> list[str]:
    """Return the running domains that have an image open."""
    real = os.path.realpath(path)
    return [
        seen.name
        for seen in domains
        if seen.live is not None and any(real in parts(file) for _disk, file in _files(seen.live))
    ]


def resting(domains: Iterable[Observed], path: str) -> list[str]:
    """Return the domains that are off and have an image among their disks, or below one."""
    real = os.path.realpath(path)
    return [
        seen.name
        for seen in domains
        if seen.live is None and any(real in parts(file) for _disk, file in _files(seen.xml))
    ]


def writers(domains: Iterable[Observed], path: str) -> list[str]:
    """Return the domains that write to an image, or would when they run."""
    real = os.path.realpath(path)
    return [
        seen.name
        for seen in domains
        if any(
            real == os.path.realpath(file)
            for disk, file in _all_files(seen)
            if disk.find("readonly") is None
        )
    ]


def standing(domains: Iterable[Observed], path: str) -> list[str]:
    """Return the images that stand on an image: those beside it, and those of the domains."""
    real = os.path.realpath(path)
    beside = inside(os.path.dirname(real))
    used = (file for seen in domains for _disk, file in _all_files(seen))
    tops = dict.fromkeys((*sorted(beside), *used))
    return [top for top in tops if real in parts(top)[1:]]


def inside(folder: str) -> Iterator[str]:
    """Yield the files in a folder; none of one that is not there."""
    with saying(ObserveError, folder):
        try:
            with os.scandir(folder) as entries:
                yield from (entry.path for entry in entries if _is_file(entry))
        except (FileNotFoundError, NotADirectoryError):
            return


def _is_file(entry: os.DirEntry[str]) -> bool:
    """A link that leads back to itself is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _all_files(seen: Observed) -> Iterator[tuple[ET.Element, str]]:
    """What a guest has now, and what its next start needs."""
    for xml in seen.documents:
        yield from _files(xml)


def _files(xml: str) -> Iterator[tuple[ET.Element, str]]:
    """The images of all disks and media, devices too, and those that a guest copies them to."""
    for disk in parse(xml).iterfind("devices/disk"):
        for source in (*disk.iterfind("source"), *disk.iterfind("mirror/source")):
            file = local_path(source)
            if file is not None:
                yield disk, file


def _exclusive(seen: Observed) -> Iterator[str]:
    """The image files of a domain's disks, those of removable and shared media left out."""
    for disk, file in _files(seen.xml):
        if disk.get("device", "disk") == "disk" and disk.find("shareable") is None:
            yield file


def chain(path: str) -> list[str]:
    """Return an image and the files that back it, as the images themselves say, real paths."""
    return [file for file, _told in _links(path)]


def parts(path: str) -> list[str]:
    """Return a chain, and behind it the files that hold the data of its images."""
    links = list(_links(path))
    return [*(file for file, _told in links), *(name for link in links for name in _data(*link))]


def _links(path: str) -> Iterator[tuple[str, Header | None]]:
    following: str | None = path
    for _ in range(_LONGEST_CHAIN):
        if following is None or (real := _real(following)) is None:
            return
        told = None
        with suppress(OSError, ValueError):
            told = header.read(following)
        yield real, told
        following = None if told is None else told.backing


def _data(image: str, told: Header | None) -> Iterator[str]:
    """QEMU looks for a relative name where it works itself, qemu-img mostly beside the image."""
    if told is not None and told.data_file not in (None, "?"):
        name = _real(os.path.join(os.path.dirname(image), str(told.data_file)))
        yield from () if name is None else (name,)


def _real(path: str) -> str | None:
    """Return where a name leads; nowhere if it can't be a path, with a NUL in it."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return None
