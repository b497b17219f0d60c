"""Image files: looked at, made, and changed so that their data is never half there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace

from msgspec import structs

from salt_kvm.backend.storage import qemu_img
from salt_kvm.backend.storage.qemu_img import SECTOR
from salt_kvm.backend.storage.store import Entry, Store, room
from salt_kvm.backend.system import copying
from salt_kvm.backend.system.files import anew, look, sync
from salt_kvm.backend.system.progress import Progress, Report
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError
from salt_kvm.plan.steps import CreateImage, ReplaceImage, Source
from salt_kvm.seen import FileSeen, Hidden
from salt_kvm.spec.types import Size


def see(path: str, format: str | None) -> FileSeen | None:
    """Return what is at ``path``, with the size that a guest would see.

    :param format: the declared one; qemu-img opens no image that begins like another. ``None``:
        any that names no other file
    """
    seen = look(path)
    if seen is None or seen.header is None:
        return seen
    size = seen.header.size
    if size is None and format in (None, seen.format) and not names_others(seen):
        size = qemu_img.info(path, seen.header.format)["virtual-size"]
    return replace(seen, size=size)


def names_others(seen: FileSeen) -> bool:
    """Tell whether an image names a file that qemu-img would open with it."""
    header = seen.header
    return header is not None and (header.backing or header.data_file) is not None


def create(step: CreateImage, store: Store, key: Hidden | None = None) -> str | None:
    """Make an image that is either whole or not there; never over an existing file.

    :param key: the passphrase of an encrypted one
    :returns: a sentence on how it came from its source, where it has one
    """
    if step.source is None:
        with anew(step.path) as made:
            _make(step, made, step.backing, step.backing_format, key)
        return None
    with store.used():
        entry = store.bring(step.source)
        if step.size is not None and step.size < entry.size:
            raise ApplyError(
                f"{step.source.shown} has {Size(entry.size)}, which does not fit into the size "
                f"{step.size} of {step.path}; declare at least that"
            )
        if step.format == "qcow2" and step.source.clone in (None, "overlay"):
            _overlay(step, entry)
            return f"{step.path} is an overlay on {entry.image}."
        with anew(step.path) as made:
            way = _own(step, step.source, made, entry, store)
            # A raw image may end within a sector; what is made ends with one.
            if step.size is not None and -(-step.size // SECTOR) * SECTOR > entry.size:
                qemu_img.resize(made, step.format, step.size)
    return f"{step.path} is {way}."


def _make(
    step: CreateImage,
    made: str,
    backing: str | None,
    backing_format: str | None,
    key: Hidden | None = None,
) -> None:
    qemu_img.create(
        made,
        step.format,
        step.size,
        backing=backing,
        backing_format=backing_format,
        options=step.options,
        key=key,
    )


def _overlay(step: CreateImage, entry: Entry) -> None:
    """Make an image that stands on an entry, which was checked when it came into the store."""
    size = step.size or entry.size
    with anew(step.path, flushed=True) as made:
        entry.add_clone(step.path)
        if step.options:
            _overlay_at(made, entry, size, step.options)
        else:
            shutil.copyfile(_blank(entry, size), made)
            sync(made)


def _overlay_at(
    path: str, entry: Entry, size: int, options: Mapping[str, object] | None = None
) -> None:
    """Make it with qemu-img.

    QEMU opens a new qcow2 image a last time to flush it (``qcow2_co_create`` of its block/qcow2.c).
    """
    backing, format = entry.image, entry.format
    qemu_img.create(
        path, "qcow2", size, backing=backing, backing_format=format, options=options, known=True
    )


def _blank(entry: Entry, size: int) -> str:
    """Return the empty overlay that all clones of an entry with one size begin as.

    One qemu-img makes the same bytes each time, and takes longer for them than a copy does.
    """
    path = entry.blank(f"{size}-{qemu_img.identity()}")
    found = look(path)
    told = None if found is None else found.header
    if told is None or (told.format, told.backing) != ("qcow2", entry.image):
        with anew(path, over=True, flushed=True) as made:
            _overlay_at(made, entry, size)
    return path


def _own(step: CreateImage, source: Source, made: str, entry: Entry, store: Store) -> str:
    """Write the whole of an entry; the image then has nothing to do with it any more."""
    if step.format != entry.format or step.options:
        _convert(entry.image, entry.format, step, made, store.client.report)
        return f"converted from {entry.image}"
    cloned = _copy(entry.image, step.path, made, store.client.report, share=source.clone != "copy")
    if cloned:
        return f"a reflink of {entry.image}"
    why = "" if source.clone == "copy" else ", as the file system has no reflinks"
    return f"a copy of {entry.image}{why}"


def _convert(
    path: str, format: str, step: CreateImage | ReplaceImage, made: str, report: Report
) -> None:
    measured = qemu_img.measure(path, format, step.format)
    room(os.path.dirname(step.path), int(measured["required"]))
    progress = Progress(f"conversion for {step.path}", 100, report)
    options = step.options
    qemu_img.convert(path, format, made, step.format, options=options, progress=progress)


def _copy(path: str, target: str, made: str, report: Report, *, share: bool = True) -> bool:
    """Copy a file; true where the copy shares its blocks."""
    with saying(ApplyError, target):
        if share and copying.reflink(path, made):
            return True
        need = os.stat(path).st_blocks * 512
        room(os.path.dirname(target), need)
        progress = Progress(f"copy for {target}", need, report)
        copying.copy(path, made, progress)
        progress.end()
    return False


def replaced(step: ReplaceImage, seen: FileSeen, report: Report) -> None:
    """Write an image again in another way; it is the old one until the new one is whole.

    A link to it stays one; it is read through that, as its own names may be relative to it.
    """
    refuse_corrupt(step.path, str(seen.format))
    place = os.path.realpath(step.path)
    with anew(place, over=True) as made:
        # What qemu-img rebases is copied; it does not do that to vmdk images.
        if seen.format == step.format != "vmdk" and not step.options:
            _copy(step.path, place, made, report)
        else:
            _convert(step.path, str(seen.format), structs.replace(step, path=place), made, report)
        now = look(made)
        backing = None if now is None or now.header is None else now.header.backing
        if backing != step.backing:
            qemu_img.rebase(made, step.format, step.backing, step.backing_format)
        with saying(ApplyError, made):
            os.chown(made, seen.uid or 0, seen.gid or 0)
            os.chmod(made, seen.mode)


def refuse_corrupt(path: str, format: str) -> None:
    """Refuse a corrupt image, of which QEMU's tools would read zeros."""
    faults = qemu_img.faults(path, format)
    if faults:
        raise ApplyError(
            f"{path} is corrupt, {faults} faults; look with qemu-img check, and restore it"
        )
