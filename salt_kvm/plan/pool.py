"""The steps of a storage pool."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from xml.etree import ElementTree as ET

import msgspec
from msgspec import structs

from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan import common, secret
from salt_kvm.plan.contents import Devices, build
from salt_kvm.plan.steps import (
    DeletePool,
    DeleteVolume,
    MakeDirectory,
    Need,
    RefreshPool,
    SetOwnership,
    Start,
    Step,
    Stop,
    change,
)
from salt_kvm.seen import FileSeen, Observed
from salt_kvm.spec.pool import DIRECTORIES, MOUNTED, Permissions, Pool
from salt_kvm.spec.types import Mode
from salt_kvm.xml import pool as xml
from salt_kvm.xml.merge import Difference, Merged


class PoolSeen(msgspec.Struct, frozen=True):
    """A pool, the directory and the devices it is to be over, and what it holds.

    ``numbers`` are the declared owner and group as the host counts them; ``volumes`` are looked at
    only where the data is to go, and are ``None`` where they can't be seen; ``unlisted`` is what
    would go with them and is none of libvirt's.
    """

    pool: Observed | None
    directory: FileSeen | None
    devices: Devices
    numbers: Mapping[str, int] = {}
    volumes: Sequence[str] | None = None
    unlisted: Sequence[str] = ()


def plan(name: str, want: Pool, seen: PoolSeen) -> Iterator[Step | Difference]:
    """Yield what makes the pool as declared, and what waits for its next start.

    Its data stays unless that is declared otherwise.
    """
    there = seen.pool
    if want.state == "absent":
        yield from _removal(name, want, seen)
        return
    kind = _kind(name, want, there)
    directory = seen.directory
    if kind in DIRECTORIES and directory is not None and directory.kind != "directory":
        raise UnmetError(f"{directory.path} is a {directory.kind}; correct the path of pool {name}")
    want = xml.numbered(want, seen.numbers)
    intent = xml.intent(name, want)
    merged = common.compose(there, intent, partial(xml.blank, name, want))
    due = common.waiting(there, intent)
    yield from due
    if kind in DIRECTORIES and want.path is not None and seen.directory is None:
        yield _make_directory(want.path)
    yield from common.definition("pool", name, there, intent, merged, (_driver(kind),))
    label = want.permissions.label if want.permissions is not None else None
    path = xml.path(ET.tostring(merged.xml, encoding="unicode"))
    if label is not None and path is not None and _is_new("label", there, merged):
        yield common.label(path, label, {})
    if there is None or not there.active:
        format = want.source.format if want.source is not None else None
        overwrite = bool(want.overwrite)
        yield from build(name, kind, merged.xml, seen.devices, format, overwrite=overwrite)
    yield from common.autostart("pool", name, there, want.autostart)
    starts = want.state == "running" and (there is None or not there.active)
    if not (starts and kind in MOUNTED):
        yield from _permissions(name, want, seen, kind)
    if want.state == "running":
        yield from _restart(name, want, due)
        needs = (*_sources(kind, merged.xml), *secret.needs(merged.xml))
        yield from common.start("pool", name, there, needs)
    if starts and kind in MOUNTED:
        yield from _permissions(name, want, seen, kind)
    if want.state == "stopped":
        yield from _stop(name, there)


def restart(name: str, want: Pool, seen: PoolSeen) -> Iterator[Step]:
    """Yield what a watched change asks of an active pool: a look at what it holds.

    Where ``restart`` allows it, and no running guest uses the pool, it is stopped and started: so
    another mount or login takes effect.
    """
    there = seen.pool
    if want.state != "running" or there is None or not there.active:
        return
    if want.restart:
        yield Stop(kind="pool", name=name, needs=(_idle(name),))
        yield Start(kind="pool", name=name, changes={"state": change("running", "restarted")})
    else:
        changes = {"volumes": change("as libvirt had them", "refreshed")}
        yield RefreshPool(kind="pool", name=name, changes=changes)


def _kind(name: str, want: Pool, there: Observed | None) -> str:
    """Return the pool's type; a new one must be declared, one that is there has no other.

    :raises SpecError: where the type is another, or a new pool lacks what it needs
    """
    kind = want.type or ("dir" if there is None else xml.kind(there.xml))
    where = f"kvm:pools:{name}"
    if there is None and want.type is None and want.source is not None:
        raise SpecError([f"{where}:type: needed to make a pool that has a source"])
    if there is None:
        lacking = want.lacking(kind)
        if lacking:
            raise SpecError(
                [f"{where}:{each}: needed to make the pool, which is not there" for each in lacking]
            )
    elif xml.kind(there.xml) != kind:
        raise SpecError(
            [
                f"{where}:type: {name} is a pool of type {xml.kind(there.xml)}, not {kind}; remove "
                "it first with state: absent, which keeps its data"
            ]
        )
    return kind


def _is_new(tag: str, there: Observed | None, merged: Merged) -> bool:
    """Tell whether a permission is new in the definition; libvirt keeps the one that is there."""
    path = f"target/permissions/{tag}"
    return there is None or any(path.startswith(d.path) for d in merged.differences)


def _driver(kind: str) -> Need:
    cure = f"install libvirt's driver for it (libvirt-daemon-driver-storage-{kind}) and restart it"
    return Need("pool type", kind, cure)


def _sources(kind: str, document: ET.Element) -> Iterator[Need]:
    """A start that fails for a missing device says so before anything is done."""
    if kind in ("fs", "disk", "logical", "zfs"):
        for path in xml.devices(document):
            yield Need("block device", path, "connect it, or correct the pool's source")


def _make_directory(path: str) -> Step:
    parent = posixpath.dirname(path)
    needs = (
        Need("directory", parent, "make it, or correct the pool's path"),
        Need("no link", path, "remove it, or correct the pool's path"),
    )
    changes = {"directory": change(None, path)}
    return MakeDirectory(path=path, changes=changes, needs=needs)


def _permissions(name: str, want: Pool, seen: PoolSeen, kind: str) -> Iterator[Step]:
    """Owner and mode are the directory's; that of a file system is seen while it is mounted."""
    path = want.path or (None if seen.pool is None else xml.path(seen.pool.xml))
    active = seen.pool is not None and seen.pool.active
    hidden = kind in MOUNTED and not active
    if want.permissions is None or path is None or (hidden and want.state != "running"):
        return
    changes = _differing(want.permissions, seen.directory)
    if changes or hidden:
        yield SetOwnership(
            path=path,
            owner=common.text(want.permissions.owner),
            group=common.text(want.permissions.group),
            mode=want.permissions.mode,
            changes={} if hidden else changes,
        )
        if active or hidden:
            yield RefreshPool(kind="pool", name=name)


def _differing(want: Permissions, seen: FileSeen | None) -> dict[str, dict[str, object]]:
    """A directory that is not there yet is made as :class:`MakeDirectory` says."""
    old = seen or FileSeen("", "directory", "root", "root", 0o711, uid=0, gid=0)
    pairs = {
        "owner": (old.uid, want.owner),
        "group": (old.gid, want.group),
        "mode": (Mode(old.mode), want.mode),
    }
    return {
        f"directory/{key}": change(common.text(there), common.text(wanted))
        for key, (there, wanted) in pairs.items()
        if wanted is not None and there != wanted
    }


def _restart(name: str, want: Pool, due: Sequence[Difference]) -> Iterator[Step]:
    """Only where the user said so, and no running guest uses it: what waits comes with a start."""
    if want.restart and due:
        yield Stop(kind="pool", name=name, needs=(_idle(name),))
        changes = {f"live/{path}": entry for path, entry in common.told(due).items()}
        yield Start(kind="pool", name=name, changes=changes)


def _idle(name: str) -> Need:
    return Need("idle pool", name, "shut them down first")


def _stop(name: str, there: Observed | None) -> Iterator[Step]:
    for step in common.stop("pool", name, there):
        yield structs.replace(step, needs=(_idle(name),))


def _removal(name: str, want: Pool, seen: PoolSeen) -> Iterator[Step]:
    there = seen.pool
    delete = there is not None and want.data in ("delete_empty", "delete")
    if delete:
        yield from _volumes(name, want, seen)
    yield from _stop(name, there)
    if delete:
        yield DeletePool(kind="pool", name=name, changes={"data": change("present", None)})
    yield from common.undefine("pool", name, there)


def _volumes(name: str, want: Pool, seen: PoolSeen) -> Iterator[Step]:
    if seen.volumes is None:
        raise UnmetError(f"what pool {name} holds can't be seen while it is off; start it first")
    if seen.unlisted:
        raise UnmetError(
            f"pool {name} holds {', '.join(seen.unlisted[:5])}, which libvirt does not list; have "
            "libvirt look anew with kvm_pool.refresh, or remove it by hand"
        )
    if seen.volumes and want.data == "delete_empty":
        raise UnmetError(
            f"pool {name} holds {', '.join(sorted(seen.volumes)[:5])}; remove its volumes first, "
            "or declare data: delete, which deletes them"
        )
    for volume in seen.volumes:
        full = f"{name}/{volume}"
        need = Need("unused volume", full, "take it from them first")
        changes = {f"volume[{volume}]": change("present", None)}
        yield DeleteVolume(kind="volume", name=full, changes=changes, needs=(need,))
