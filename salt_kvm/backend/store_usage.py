"""What stands on the entries of the store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from salt_kvm.backend.storage import usage
from salt_kvm.backend.storage.store import Entry
from salt_kvm.backend.view import View
from salt_kvm.xml.document import parse
from salt_kvm.xml.identity import local_path


def users(view: View, entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Return for each entry, by its folder, the domains and images that stand on it.

    Looked at are the disks of all domains, the images that the store was asked for, and every file
    beside one of these or in a pool. One whose file system is not mounted counts as standing there.
    """
    found: dict[str, list[str]] = {entry.folder: [] for entry in entries}
    by_image = {os.path.realpath(entry.image): entry.folder for entry in entries}
    folders = set(_pools(view))
    for domain in view.guests():
        files = {f for xml in filter(None, (domain.xml, domain.live)) for f in _files(xml)}
        folders |= {os.path.dirname(file) for file in files}
        _note(found, by_image, f"domain {domain.name}", files)
    for entry in entries:
        for path, gone in entry.clones():
            folders.add(os.path.dirname(path))
            if gone is None:
                found[entry.folder].append(path)
    for folder in sorted(map(os.path.realpath, folders)):
        for path in usage.inside(folder):
            _note(found, by_image, path, [path])
    return {folder: list(dict.fromkeys(names)) for folder, names in found.items()}


def _note(
    found: dict[str, list[str]], by_image: dict[str, str], user: str, files: Iterable[str]
) -> None:
    for file in files:
        for link in usage.parts(file):
            if link in by_image and link != user:
                found[by_image[link]].append(user)


def _files(xml: str) -> Iterator[str]:
    """Every file that a disk names, those of its backing chain too."""
    for disk in parse(xml).iterfind("devices/disk"):
        for source in disk.iter("source"):
            file = local_path(source)
            if file is not None:
                yield file


def _pools(view: View) -> Iterator[str]:
    for pool in view.all("pool"):
        target = parse(pool.xml).findtext("target/path")
        if target is not None and not target.startswith("/dev/"):
            yield target
