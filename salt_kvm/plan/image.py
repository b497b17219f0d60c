"""The steps of a disk image."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan.steps import (
    Changes,
    CreateImage,
    Need,
    RemoveImage,
    ResizeLive,
    SetOwnership,
    Step,
    change,
)
from salt_kvm.seen import FileSeen
from salt_kvm.spec.image import Image
from salt_kvm.spec.types import Mode, Size

SECTOR = 512
GROWS_LIVE = ("raw", "qcow2", "qed")


def plan(path: str, want: Image, seen: FileSeen | None) -> Iterator[Step]:
    """Yield what makes the image at ``path`` as declared."""
    if want.state == "absent":
        if seen is not None:
            _only_a_file(seen)
            yield RemoveImage(path=path, changes={"image": change("present", None)})
        return
    if seen is None:
        yield create(path, want.format, want.size, f"kvm:images:{path}")
    else:
        _same_image(seen, want)
    yield from _ownership(path, want, seen)


def create(path: str, format: str, size: Size | None, where: str) -> CreateImage:
    """Return the step that makes a new image.

    :raises SpecError: without a size
    """
    if size is None:
        raise SpecError([f"{where}:size: needed to make the image, which is not there"])
    folder = posixpath.dirname(path)
    need = Need("directory", folder, "make it, or correct the path")
    changes = {"image": change(None, {"path": path, "format": format, "size": str(size)})}
    return CreateImage(path=path, format=format, size=size, changes=changes, needs=(need,))


def grow_live(seen: FileSeen, size: Size, domain: str, target: str) -> ResizeLive:
    """Return the step that grows the image of a running guest's disk, in whole sectors.

    :raises UnmetError: where QEMU can't do that with a guest running
    """
    if seen.format not in GROWS_LIVE:
        raise UnmetError(
            f"{seen.path} can't grow while {domain} runs: it is a {seen.format} image; "
            "shut the guest down first"
        )
    whole = Size(-(-size // SECTOR) * SECTOR)
    changes = {f"image[{seen.path}]/size": change(str(Size(seen.size or 0)), str(whole))}
    return ResizeLive(path=seen.path, domain=domain, target=target, size=whole, changes=changes)


def _only_a_file(seen: FileSeen) -> None:
    if seen.kind != "file":
        raise UnmetError(f"{seen.path} is a {seen.kind}, not an image file; correct the path")


def _same_image(seen: FileSeen, want: Image) -> None:
    """What an image holds is data: a format or size that differs is never mended by force."""
    _only_a_file(seen)
    if seen.format != want.format:
        raise UnmetError(
            f"{seen.path} is a {seen.format} image and {want.format} is declared; "
            "declare its format, or convert it by hand"
        )
    if want.size is not None and not same_size(seen, want.size):
        raise UnmetError(
            f"{seen.path} has {Size(seen.size or 0)} and {want.size} is declared; an image is not "
            "resized yet: declare its size, or resize it by hand"
        )


def same_size(seen: FileSeen, want: Size) -> bool:
    """Tell whether an image has a size; qemu-img rounds up to whole sectors of 512 bytes."""
    return seen.size is None or seen.size == -(-want // SECTOR) * SECTOR


def _ownership(path: str, want: Image, seen: FileSeen | None) -> Iterator[Step]:
    changes: dict[str, dict[str, object]] = {}
    for key in ("owner", "group", "mode"):
        new, old = getattr(want, key), getattr(seen, key, None)
        if new is not None and new != old and not _is_number_of(key, new, seen):
            changes[key] = change(_shown(old), _shown(new))
    if changes:
        new_changes: Changes = changes
        yield SetOwnership(
            path=path, owner=want.owner, group=want.group, mode=want.mode, changes=new_changes
        )


def _is_number_of(key: str, declared: object, seen: FileSeen | None) -> bool:
    """An owner or group may be declared by its number."""
    number = {"owner": seen.uid, "group": seen.gid}.get(key) if seen is not None else None
    return number is not None and declared == str(number)


def _shown(value: object) -> object:
    return str(Mode(value)) if isinstance(value, int) else value
