"""Image files: looked at, made, and changed so that their data is never half there."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from salt_kvm.backend import qemu_img
from salt_kvm.backend.files import anew, look, saying
from salt_kvm.errors import ApplyError
from salt_kvm.plan.steps import CreateImage, ReplaceImage
from salt_kvm.seen import FileSeen


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


def create(step: CreateImage) -> None:
    """Make an image that is either whole or not there; never over an existing file."""
    with anew(step.path) as made:
        qemu_img.create(
            made,
            step.format,
            step.size,
            backing=step.backing,
            backing_format=step.backing_format,
            options=step.options,
        )


def replaced(step: ReplaceImage, seen: FileSeen) -> None:
    """Write an image again in another way; it is the old one until the new one is whole."""
    _whole(step.path, str(seen.format))
    with anew(step.path, over=True) as made:
        if seen.format == step.format and not step.options:
            _copy(step.path, made)
        else:
            qemu_img.convert(step.path, str(seen.format), made, step.format, options=step.options)
        now = look(made)
        backing = None if now is None or now.header is None else now.header.backing
        if backing != step.backing:
            qemu_img.rebase(made, step.format, step.backing, step.backing_format)
        with saying(ApplyError, made):
            os.chown(made, seen.uid or 0, seen.gid or 0)
            os.chmod(made, seen.mode)


# What qemu-img can check.
CHECKED = ("qcow2", "qed", "vdi", "vhdx", "vmdk")


def _whole(path: str, format: str) -> None:
    """Refuse a corrupt image, of which QEMU's tools would read zeros."""
    if format in CHECKED:
        found = qemu_img.check(path, format)
        faults = found.get("corruptions", 0) + found.get("check-errors", 0)
        if faults:
            raise ApplyError(
                f"{path} is corrupt, {faults} faults; look with qemu-img check, and restore it"
            )


def _copy(path: str, made: str) -> None:
    with saying(ApplyError, made):
        shutil.copyfile(path, made)
