"""The steps of a disk image."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec
from msgspec import structs

from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan import common
from salt_kvm.plan.removal import Images
from salt_kvm.plan.steps import (
    AmendImage,
    Changes,
    CreateImage,
    Need,
    RemoveImage,
    ReplaceImage,
    ResizeImage,
    ResizeLive,
    SetOwnership,
    Source,
    Step,
    change,
)
from salt_kvm.seen import FileSeen, Header
from salt_kvm.spec import layout
from salt_kvm.spec.image import Content, Encryption, Format, Image, shown_address
from salt_kvm.spec.types import Mode, Size
from salt_kvm.xml.secret import passphrase

SECTOR = 512
S = TypeVar("S", CreateImage, ResizeImage)
# What qemu-img can do in place, by format.
GROWS = ("raw", "qcow2", "qed")
SHRINKS = ("raw", "qcow2")
AMENDS = ("compat", "lazy_refcounts")
RUNNING = "shut that guest down first"
STANDING = "a change of it would be their loss"
WRITABLE = "then run this again"
SAVED = "start that guest and shut it down first, or give it up: virsh managedsave-remove"


class ImageSeen(msgspec.Struct, frozen=True):
    """A file, and the images of its host; its SELinux ``label`` only where one is declared."""

    file: FileSeen | None
    images: Images
    label: str | None = None


def plan(path: str, want: Image, seen: ImageSeen) -> Iterator[Step]:
    """Yield what makes the image at ``path`` as declared."""
    there = opened(seen.file, want.encryption)
    if want.state == "absent":
        if there is not None:
            _only_a_file(there)
            needs = (*_given_up(path), *_written(path))
            changes = {"image": change("present", None)}
            yield RemoveImage(path=path, changes=changes, needs=needs)
        return
    if there is None:
        made = create(path, want.format, want, seen.images, f"kvm:images:{path}")
        yield unlocked(made, want.encryption)
    else:
        _only_a_file(there)
        _encrypted(path, want, there)
        yield from _rewrite(path, want, there, seen.images)
        yield from _amend(path, want, there)
        yield from _resize(path, want, there, seen.images)
    yield from _ownership(path, want, there)
    if want.label not in (None, seen.label):
        yield common.label(path, want.label, {"label": change(seen.label, want.label)})


def _given_up(path: str) -> tuple[Need, ...]:
    """What must not need an image that goes, or of which anything goes."""
    return (
        Need("idle", path, RUNNING),
        Need("unsaved", path, SAVED),
        Need("bare", path, STANDING),
    )


def _written(path: str) -> tuple[Need, ...]:
    """A file that is removed, or gets another's place, and the directory that names it."""
    return tuple(Need("writable", each, WRITABLE) for each in (posixpath.dirname(path), path))


def create(path: str, format: Format, want: Content, images: Images, where: str) -> CreateImage:
    """Return the step that makes a new image.

    :param where: what declares it, for messages: ``kvm:images:/srv/a.raw``
    :raises SpecError: without what tells its size, or the format of its backing file
    """
    if not want.makes:
        raise SpecError([f"{where}:size: needed to make the image, which is not there"])
    needs = [
        Need("directory", posixpath.dirname(path), "make it, or correct the path"),
        Need("no link", path, "remove it, or correct the path"),
    ]
    backing_format = _backing_format(want, images, where)
    if want.backing:
        needs += _backing_needs(want.backing, backing_format)
    source = _source(want)
    if source is not None:
        needs.append(Need("source", source.address, "correct the path", source.hash))
    options = want.options.given() if want.options is not None else {}
    new = {
        "path": path,
        "format": format,
        "size": want.size and str(want.size),
        "backing": want.backing or None,
        "options": options or None,
        "source": want.source and shown_address(want.source),
    }
    told = {key: value for key, value in new.items() if value is not None}
    return CreateImage(
        path=path,
        format=format,
        size=want.size,
        backing=want.backing or None,
        backing_format=backing_format,
        options=options,
        source=source,
        changes={"image": change(None, told)},
        needs=tuple(needs),
    )


def unlocked(step: S, encryption: Encryption | None) -> S:
    """Give a step the secret of an encrypted image."""
    if encryption is None:
        return step
    need = Need("secret", passphrase(encryption), "declare it under kvm:secrets")
    return structs.replace(step, secret=need.name, needs=(*step.needs, need))


def opened(seen: FileSeen | None, encryption: Encryption | None) -> FileSeen | None:
    """Return an image as it is for a guest that has its passphrase.

    A raw one that begins with a LUKS header may also hold what a guest has encrypted by itself:
    only the declaration tells.
    """
    header = None if seen is None or encryption is None else seen.header
    if seen is None or header is None or header.luks is None:
        return seen
    header = header.opened()
    return replace(seen, size=header.size, header=header)


def _encrypted(path: str, want: Image, there: FileSeen) -> None:
    """What is readable stays so: encryption is a matter of a new image."""
    encrypted = there.header is not None and there.header.encrypted
    if want.encryption is not None and not encrypted:
        raise UnmetError(
            f"{path} is there and not encrypted; make another image and copy into it, or leave "
            "out encryption"
        )


def _source(want: Content) -> Source | None:
    if want.source is None:
        return None
    address = want.source.removeprefix("file://")
    return Source(address, want.source_hash, want.source_format, want.clone)


def _backing_needs(backing: str, format: str | None) -> list[Need]:
    return [
        Need("file", backing, "make it, or correct the path or its format", format),
        Need("unwritten", backing, "what stands on it would be lost; take a copy of it"),
    ]


def _backing_format(want: Content, images: Images, where: str) -> str | None:
    """The format of the backing file, read from it only where that is sure to be harmless.

    A guest can write the header of another format into a raw image, and QEMU would then follow the
    names in it; as raw it is read as it stands, whatever it holds.
    """
    if not want.backing:
        return None
    if want.backing_format is not None:
        return want.backing_format
    there = images.get(want.backing, "raw")
    if there is None or there.format in (None, "raw"):
        return "raw"
    raise SpecError(
        [
            f"{where}:backing_format: {want.backing} begins like a {there.format} image, which a "
            f"guest could have written; declare backing_format: {there.format} if it is one"
        ]
    )


def grow_live(seen: FileSeen, size: Size, domain: str, target: str) -> ResizeLive:
    """Return the step that grows the image of a running guest's disk, in whole sectors.

    :raises UnmetError: where QEMU can't do that with a guest running
    """
    if seen.format not in GROWS:
        raise UnmetError(
            f"{seen.path} can't grow while {domain} runs: it is a {seen.format} image; "
            "shut the guest down first"
        )
    _resizable(seen)
    whole = Size(-(-size // SECTOR) * SECTOR)
    changes = {f"image[{seen.path}]/size": change(str(Size(seen.size or 0)), str(whole))}
    encrypted = seen.header is not None and seen.header.encrypted
    return ResizeLive(
        path=seen.path,
        domain=domain,
        target=target,
        size=whole,
        encrypted=encrypted,
        changes=changes,
    )


def grow(seen: FileSeen, size: Size) -> ResizeImage:
    """Return the step that grows an image that no running guest uses.

    :raises UnmetError: where qemu-img can't do that
    """
    old, format = Size(seen.size or 0), str(seen.format)
    if format not in GROWS:
        raise UnmetError(f"{seen.path} has {old}; qemu-img can't grow a {format} image to {size}")
    _resizable(seen)
    changes = {f"image[{seen.path}]/size": change(str(old), str(size))}
    return structs.replace(_resized(seen, format, size, shrink=False), changes=changes)


def _resizable(seen: FileSeen) -> None:
    """A snapshot of the older qcow2 does not say which size it is of."""
    header = seen.header
    if header is not None and header.snapshots and header.options.get("compat") == "0.10":
        raise UnmetError(
            f"{seen.path} {_obstacle(header)} and has compat '0.10', so that it can't grow; remove "
            "them, or change it to compat '1.1' first"
        )


def _only_a_file(seen: FileSeen) -> None:
    if seen.kind != "file":
        raise UnmetError(f"{seen.path} is a {seen.kind}, not an image file; correct the path")


def _rewrite(path: str, want: Image, there: FileSeen, images: Images) -> Iterator[Step]:
    """What an image holds is data: it is written again only where the user said so."""
    header = there.header or Header(str(there.format))
    changes = dict(_rewritten(want, there, header))
    if not changes:
        return
    if not want.replace:
        raise UnmetError(_refusal(path, changes))
    held = header.snapshots or header.bitmaps
    if header.damaged or header.data_file is not None or header.encrypted or held:
        raise UnmetError(f"{path} {_obstacle(header)}; convert it by hand")
    if header.backing is not None and want.backing is None:
        raise UnmetError(
            f"{path} stands on {header.backing}, and that is not declared; declare it as backing, "
            "with its format, or backing: '' for an image without"
        )
    if header.backing is not None and header.backing_format is None:
        raise UnmetError(
            f"{path} does not say the format of {header.backing}, which it stands on; convert it "
            "by hand"
        )
    if want.format == "vmdk" and want.backing:
        raise UnmetError(
            f"{path} can't be put on {want.backing}: of vmdk images qemu-img does that to new ones "
            "only; make another image"
        )
    where = f"kvm:images:{path}"
    format = _backing_format(want, images, where)
    options = _laid_out(want, there)
    _makeable(path, want.format, options)
    on = _backing_needs(want.backing, format) if want.backing else ()
    yield ReplaceImage(
        path=path,
        format=want.format,
        backing=want.backing or None,
        backing_format=format,
        options=options,
        changes=changes,
        needs=(*_given_up(path), *_written(path), *on),
    )


def _rewritten(
    want: Image, there: FileSeen, header: Header
) -> Iterator[tuple[str, dict[str, object]]]:
    if there.format != want.format:
        yield "format", change(there.format, want.format)
    if want.backing is not None and not _same_path(want.backing, header.backing):
        yield "backing", change(header.backing, want.backing or None)
    elif (
        want.backing
        and header.backing_format
        and want.backing_format not in (None, header.backing_format)
    ):
        yield "backing_format", change(header.backing_format, want.backing_format)
    for name, new in _options(want).items():
        old = header.options.get(name)
        if name not in AMENDS and there.format == want.format and old not in (None, new):
            yield f"options/{name}", change(old, new)


def _same_path(one: str | None, other: str | None) -> bool:
    return posixpath.normpath(one or "/") == posixpath.normpath(other or "/")


def _laid_out(want: Image, there: FileSeen) -> dict[str, object]:
    """The options of the new image: those that are declared, and of its format those it had."""
    header = there.header
    kept = header.options if header is not None and there.format == want.format else {}
    return {**kept, **_options(want)}


def _makeable(path: str, format: str, options: Mapping[str, object]) -> None:
    """Refuse what does not go with the options that an image has already."""
    try:
        layout.check(format, options)
    except ValueError as error:
        raise UnmetError(f"{path} can't be changed so: {error}; declare that too") from error


def _options(want: Image) -> dict[str, str | int | bool]:
    return want.options.given() if want.options is not None else {}


def _refusal(path: str, changes: Changes) -> str:
    if "format" in changes:
        old, new = changes["format"]["old"], changes["format"]["new"]
        return (
            f"{path} is a {old} image and {new} is declared; declare its format, or replace: true "
            "to have it converted"
        )
    told = ", ".join(f"{key} {each['old']!r}, not {each['new']!r}" for key, each in changes.items())
    return f"{path} has {told}; declare what it has, or replace: true to have it written again"


def _obstacle(header: Header) -> str:
    if header.damaged:
        return f"is no whole {header.format} image"
    if header.data_file is not None:
        return f"keeps its data in another file, {header.data_file}"
    if header.encrypted:
        return "is encrypted"
    if header.snapshots:
        return f"holds {header.snapshots} internal snapshots"
    return f"holds {header.bitmaps} dirty bitmaps, by which backups know what has changed"


def _amend(path: str, want: Image, there: FileSeen) -> Iterator[Step]:
    if there.format != want.format or there.header is None:
        return
    old = there.header.options
    new = {k: v for k, v in _options(want).items() if k in AMENDS and old.get(k) != v}
    header = there.header
    if new.get("compat") == "0.10" and (header.bitmaps or header.snapshots or header.data_file):
        raise UnmetError(f"{path} {_obstacle(header)}, which prevents compat '0.10'")
    if new:
        # Lazy reference counts go with the compat that has them.
        kept = {name: value for name, value in old.items() if name != "lazy_refcounts"}
        _makeable(path, want.format, {**kept, **_options(want)})
        changes = {f"options/{name}": change(old.get(name), value) for name, value in new.items()}
        needs = (Need("idle", path, RUNNING), Need("writable", path, WRITABLE))
        yield AmendImage(path=path, format=want.format, options=new, changes=changes, needs=needs)


def _resize(path: str, want: Image, there: FileSeen, images: Images) -> Iterator[Step]:
    if want.size is None or same_size(there, want.size):
        return
    old, new = Size(there.size or 0), want.size
    if new < old:
        _shrinkable(path, want, there)
        step: Step = unlocked(_resized(there, want.format, new, shrink=True), want.encryption)
    else:
        runners = images.runners(path)
        now = replace(there, format=want.format)
        if len(runners) == 1:
            step = grow_live(now, new, *runners[0])
        else:
            step = unlocked(grow(now, new), want.encryption)
    yield structs.replace(step, changes={"size": change(str(old), str(new))})


def _resized(there: FileSeen, format: str, size: Size, *, shrink: bool) -> ResizeImage:
    path = there.path
    kept = _given_up(path) if shrink else (Need("idle", path, RUNNING),)
    needs = (*kept, Need("writable", path, WRITABLE))
    return ResizeImage(path=path, format=format, size=size, shrink=shrink, needs=needs)


def _shrinkable(path: str, want: Image, there: FileSeen) -> None:
    told = f"{path} has {Size(there.size or 0)} and {want.size} is declared"
    if not want.shrink:
        raise UnmetError(
            f"{told}; declare its size, or shrink: true, which cuts off its end with what it holds"
        )
    if want.format not in SHRINKS:
        raise UnmetError(f"{told}; qemu-img can't shrink a {want.format} image")
    if there.header is not None and there.header.snapshots:
        raise UnmetError(f"{told}; it can't be shrunk while it {_obstacle(there.header)}")


def same_size(seen: FileSeen, want: Size) -> bool:
    """Tell whether an image has a size; qemu-img rounds up to whole sectors of 512 bytes."""
    return seen.size is None or seen.size == -(-want // SECTOR) * SECTOR


def _ownership(path: str, want: Image, seen: FileSeen | None) -> Iterator[Step]:
    changes: dict[str, dict[str, object]] = {}
    for key in ("owner", "group", "mode"):
        new, old = getattr(want, key), getattr(seen, key, None)
        new = new if key == "mode" else common.text(new)
        if new is not None and new != old and not _is_number_of(key, new, seen):
            changes[key] = change(_shown(old), _shown(new))
    if changes:
        new_changes: Changes = changes
        yield SetOwnership(
            path=path,
            owner=common.text(want.owner),
            group=common.text(want.group),
            mode=want.mode,
            changes=new_changes,
            needs=(Need("writable", path, WRITABLE),),
        )


def _is_number_of(key: str, declared: object, seen: FileSeen | None) -> bool:
    """An owner or group may be declared by its number, with zeros before it too."""
    number = {"owner": seen.uid, "group": seen.gid}.get(key) if seen is not None else None
    return number is not None and (str(declared).lstrip("0") or "0") == str(number)


def _shown(value: object) -> object:
    return str(Mode(value)) if isinstance(value, int) else value
