"""Image files: looked at, made, and changed so that their data is never half there."""

from __future__ import annotations

import os
from dataclasses import replace

from salt_kvm.backend import copying, qemu_img
from salt_kvm.backend.files import anew, look, saying
from salt_kvm.backend.progress import Progress, Report
from salt_kvm.backend.store import Entry, Store, room
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
                f"{step.source.address} has {Size(entry.size)}, which does not fit into the size "
                f"{step.size} of {step.path}; declare at least that"
            )
        with anew(step.path) as made:
            if step.format == "qcow2" and step.source.clone in (None, "overlay"):
                entry.add_clone(step.path)
                _make(step, made, entry.image, entry.format)
                way = f"an overlay on {entry.image}"
            else:
                way = _own(step, step.source, made, entry, store)
                if step.size is not None and step.size > entry.size:
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
    """Write an image again in another way; it is the old one until the new one is whole."""
    _whole(step.path, str(seen.format))
    with anew(step.path, over=True) as made:
        if seen.format == step.format and not step.options:
            _copy(step.path, step.path, made, report)
        else:
            _convert(step.path, str(seen.format), step, made, report)
        now = look(made)
        backing = None if now is None or now.header is None else now.header.backing
        if backing != step.backing:
            qemu_img.rebase(made, step.format, step.backing, step.backing_format)
        with saying(ApplyError, made):
            os.chown(made, seen.uid or 0, seen.gid or 0)
            os.chmod(made, seen.mode)


def _whole(path: str, format: str) -> None:
    """Refuse a corrupt image, of which QEMU's tools would read zeros."""
    faults = qemu_img.faults(path, format)
    if faults:
        raise ApplyError(
            f"{path} is corrupt, {faults} faults; look with qemu-img check, and restore it"
        )
