"""What ``kvm_image`` does beside converging."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from salt_kvm import converge
from salt_kvm.actions import common
from salt_kvm.backend import store_usage
from salt_kvm.backend.storage import qemu_img, usage
from salt_kvm.backend.storage.store import Entry, Store
from salt_kvm.backend.system import files, lock
from salt_kvm.backend.system.progress import Progress
from salt_kvm.backend.view import View
from salt_kvm.backend.world import World
from salt_kvm.errors import ApplyError, NotFoundError, SpecError, UnmetError
from salt_kvm.seen import Promises
from salt_kvm.spec.types import parse_path

plan = partial(common.plan, noun="image")


def info(world: World, path: str) -> dict[str, Any]:
    """Return what qemu-img says of an image, with its owner and mode."""
    seen = _look(path)
    owned = {"owner": seen.owner, "group": seen.group, "mode": f"{seen.mode:04o}"}
    return {**qemu_img.info(path, str(seen.format)), **owned}


def create(world: World, path: str, fields: dict[str, Any]) -> bool:
    """Make an image; false when it is there as described."""
    outcome = converge.run(world, "image", path, fields)
    if outcome.failure is not None:
        raise ApplyError(outcome.failure)
    return bool(outcome.changes)


def resize(
    world: World, path: str, size: Any, format: str | None = None, *, shrink: bool = False
) -> bool:
    """Change the size of an image, of a running guest's too; false when it has that size."""
    fields = {"format": _format(path, format), "size": size, "shrink": shrink}
    return create(world, path, fields)


def convert(
    world: World,
    path: str,
    target: str,
    format: str,
    source_format: str | None = None,
    options: dict[str, Any] | None = None,
) -> bool:
    """Write an image with what backs it into a new one."""
    old = _format(path, source_format)
    progress = Progress(f"conversion of {path}", 100, world.client.report)
    with _alone(world, target), files.anew(target) as made:
        qemu_img.convert(path, old, made, format, options=options, progress=progress)
    return True


def rebase(
    world: World,
    path: str,
    backing: str,
    backing_format: str | None = None,
    format: str | None = None,
    *,
    unsafe: bool = False,
) -> bool:
    """Put an image on another backing file, or on none; false when it stands there."""
    own = _format(path, format)
    if unsafe and backing and backing_format is None:
        raise SpecError(["backing_format: needed with unsafe, as nothing is looked at"])
    if unsafe:
        with _alone(world, path):
            qemu_img.rebase(path, own, backing, backing_format, unsafe=True)
        return True
    fields = {"format": own, "backing": backing, "backing_format": backing_format}
    given = {key: value for key, value in fields.items() if value is not None}
    return create(world, path, {**given, "replace": True})


def commit(world: World, path: str, format: str | None = None) -> bool:
    """Write what an image adds to its backing file into that file."""
    own, header = _format(path, format), _look(path).header
    backing = header.backing if header is not None else None
    if backing is None:
        raise UnmetError(f"{path} stands on no other image; there is nothing to commit to")
    others = [top for top in usage.standing(_domains(world), backing) if top != path]
    if others:
        raise UnmetError(f"{', '.join(others)} stands on {backing} too, and would be lost")
    with _alone(world, path), _alone(world, backing):
        qemu_img.commit(path, own)
    return True


def check(
    world: World, path: str, format: str | None = None, repair: str | None = None
) -> dict[str, Any]:
    """Return what is wrong inside an image, and mend leaks or all of it."""
    own = _format(path, format)
    if repair is None:
        return qemu_img.check(path, own)
    with _alone(world, path):
        return qemu_img.check(path, own, repair=repair)


def compare(
    world: World, path: str, other: str, format: str | None = None, other_format: str | None = None
) -> dict[str, Any]:
    """Return whether a guest sees the same in two images, and where not."""
    told = qemu_img.compare(path, _format(path, format), other, _format(other, other_format))
    same = told == qemu_img.IDENTICAL
    return {"identical": same, "difference": None if same else told}


def measure(world: World, path: str, target: str, format: str | None = None) -> dict[str, Any]:
    """Return how many bytes a conversion would take."""
    return qemu_img.measure(path, _format(path, format), target)


def map_(world: World, path: str, format: str | None = None) -> list[dict[str, Any]]:
    """Return the extents of an image, and which file of its chain holds each."""
    return qemu_img.map_(path, _format(path, format))


def snapshots(world: World, path: str, format: str | None = None) -> list[dict[str, Any]]:
    """Return the internal snapshots of an image."""
    return list(qemu_img.info(path, _format(path, format)).get("snapshots", []))


def snapshot(world: World, how: str, path: str, name: str, format: str | None = None) -> bool:
    """Make, apply or delete an internal snapshot."""
    with _alone(world, path):
        qemu_img.snapshot(path, _format(path, format), how, name)
    return True


def bitmaps(world: World, path: str, format: str | None = None) -> list[dict[str, Any]]:
    """Return the dirty bitmaps of an image."""
    told = qemu_img.info(path, _format(path, format))
    return list(told.get("format-specific", {}).get("data", {}).get("bitmaps", []))


def bitmap(
    world: World,
    how: str,
    path: str,
    name: str,
    format: str | None = None,
    granularity: Any = None,
    source: str | None = None,
) -> bool:
    """Change a dirty bitmap of an image."""
    own = _format(path, format)
    bytes_ = None if granularity is None else common.size(granularity, "granularity")
    with _alone(world, path):
        qemu_img.bitmap(path, own, how, name, granularity=bytes_, source=source)
    return True


def dd(
    world: World,
    path: str,
    target: str,
    format: str,
    source_format: str | None = None,
    block_size: Any = 512,
    count: int | None = None,
    skip: int = 0,
) -> bool:
    """Write a part of an image into a new one."""
    own, size = _format(path, source_format), common.size(block_size, "block_size")
    with _alone(world, target), files.anew(target) as made:
        qemu_img.dd(path, own, made, format, block_size=size, count=count, skip=skip)
    return True


def store(world: World) -> list[dict[str, Any]]:
    """Return the entries of the store, each with what stands on it."""
    entries = Store(world.client).entries()
    users = store_usage.users(_view(world), entries)
    return [{**_told(entry), "users": users[entry.folder]} for entry in entries]


def prune(world: World, *, remove: bool = False) -> dict[str, Any]:
    """Remove the entries of the store that nothing stands on, or tell which these are."""
    kept = Store(world.client)
    with kept.closed():
        entries = kept.entries()
        users = store_usage.users(_view(world), entries)
        unused = [entry for entry in entries if not users[entry.folder]]
        for entry in unused if remove else ():
            kept.remove(entry)
    return {
        "removed": remove,
        "entries": [_told(entry) for entry in unused],
        "bytes": sum(int(entry.record["stored"]) for entry in unused),
        "kept": len(entries) - len(unused),
    }


def _told(entry: Entry) -> dict[str, Any]:
    return {**entry.record, "path": entry.image}


def _view(world: World) -> View:
    return View(world, Promises())


def _domains(world: World) -> list[Any]:
    return list(_view(world).guests())


@contextmanager
def _alone(world: World, path: str) -> Iterator[None]:
    """Keep other runs from an image that no running guest has open."""
    _checked(path)
    if Store(world.client).holds(path):
        raise UnmetError(
            f"{path} is in the store, where images that are not seen here may stand on it; take a "
            "copy of it"
        )
    with lock.held("image", path):
        guests = usage.running(_domains(world), path)
        if guests:
            raise UnmetError(f"{path} is in use by the running {', '.join(guests)}")
        yield


def _checked(path: str) -> None:
    """A relative path would be one of the minion's own folder, and a number a file it has open."""
    try:
        parse_path(path)
    except ValueError as error:
        raise SpecError([str(error)]) from error


def _look(path: str) -> Any:
    _checked(path)
    seen = files.look(path)
    if seen is None or seen.format is None:
        raise NotFoundError(f"there is no image {path}; correct the path")
    if seen.header is not None and seen.header.data_file is not None:
        raise UnmetError(f"{path} names another file, {seen.header.data_file}, and is not opened")
    return seen


def _format(path: str, format: str | None) -> str:
    """The format of an image, said where QEMU would follow a name that a guest could have written.

    :raises UnmetError: where it has to be said, or where QEMU would guess that of a backing file
    """
    seen = _look(path)
    header, found = seen.header, str(seen.format)
    if format is None and header.backing is not None:
        raise UnmetError(
            f"{path} begins like a {found} image that names {header.backing}, which a guest could "
            f"have written; say format={found} if it is one"
        )
    if format is not None and format != found and found != "raw":
        return format
    for link in usage.chain(path)[:-1]:
        told = _look(link).header
        if told.backing is not None and told.backing_format is None:
            raise UnmetError(f"{link} does not say the format of {told.backing}; rebase it")
    return format or found
