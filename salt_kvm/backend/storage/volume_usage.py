"""Which domains use a volume, or what a pool holds: by its name, its path, or as what backs it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

from salt_kvm.backend.storage.usage import parts
from salt_kvm.seen import Observed
from salt_kvm.xml.document import parse
from salt_kvm.xml.identity import local_path

_NAMED = re.compile(r"<source\s[^>]*\bpool=")


def placed(seen: Observed, place: Callable[[str], str | None]) -> Observed:
    """Return a domain in whose documents each volume that a disk names has its file beside it.

    :param place: returns the path of ``pool/volume``
    """
    if not any(map(_NAMED.search, seen.documents)):
        return seen
    live = None if seen.live is None else _with_files(seen.live, place)
    return replace(seen, xml=_with_files(seen.xml, place), live=live)


def _with_files(xml: str, place: Callable[[str], str | None]) -> str:
    root = parse(xml)
    for source in root.iterfind("devices/disk/source[@pool]"):
        path = place(f"{source.get('pool')}/{source.get('volume')}")
        if path is not None and source.get("file") is None:
            source.set("file", path)
    return ET.tostring(root, encoding="unicode")


def of_volume(
    domains: Iterable[Observed], name: str, path: str | None, *, but: str | None = None
) -> list[str]:
    """Return the domains that use a volume in any way: by name, by path, as what backs a disk.

    A guest that runs uses what it has now, and what its next start needs.

    :param name: ``pool/volume``
    :param path: where the volume is; None where that is no place of the host
    :param but: the domain that asks; then a disk that is declared shareable does not count
    """
    real = None if path is None else os.path.realpath(path)
    return [
        seen.name
        for seen in domains
        if seen.name != but
        and any(
            named == name or real in files
            for document in seen.documents
            for named, files, disk in _sources(document)
            if but is None or disk.find("shareable") is None
        )
    ]


def runners(domains: Iterable[Observed], name: str, path: str | None) -> list[tuple[str, str]]:
    """Return the running domains that have a volume as a disk, each with the disk's target."""
    real = None if path is None else os.path.realpath(path)
    return [
        (seen.name, str(target.get("dev")))
        for seen in domains
        if seen.live is not None
        for named, files, disk in _sources(seen.live)
        if (named == name or real in files) and (target := disk.find("target")) is not None
    ]


def below(domains: Iterable[Observed], pool: str, places: Iterable[str]) -> list[str]:
    """Return the domains that use a volume of a pool, or a file that is at or below a place."""
    roots = {os.path.realpath(place) for place in places}
    return [
        seen.name
        for seen in domains
        if any(
            named.startswith(f"{pool}/") or any(_above(file) & roots for file in files)
            for named, files, _disk in _sources(seen.live or seen.xml)
        )
    ]


def _above(path: str) -> set[str]:
    """A path and every directory above it."""
    return {path, *map(str, Path(path).parents)}


def _sources(document: str) -> Iterator[tuple[str, list[str], ET.Element]]:
    """Of each disk: the volume that it names, and the files and devices of its chain."""
    for disk in parse(document).iterfind("devices/disk"):
        source = disk.find("source")
        if source is not None:
            path = local_path(source)
            volume = f"{source.get('pool')}/{source.get('volume')}"
            yield volume, [] if path is None else parts(path), disk
