"""The steps of a volume of a storage pool."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan import common
from salt_kvm.plan.steps import (
    AdoptVolume,
    CreateVolume,
    DeleteVolume,
    Need,
    RefreshPool,
    ResizeVolume,
    SetOwnership,
    Source,
    Step,
    WipeVolume,
    change,
)
from salt_kvm.seen import FileSeen, Observed
from salt_kvm.spec.image import Encryption, shown_address
from salt_kvm.spec.pool import DIRECTORIES
from salt_kvm.spec.types import Size
from salt_kvm.spec.volume import StorageVolume
from salt_kvm.xml import pool as pool_xml
from salt_kvm.xml import volume as xml
from salt_kvm.xml.document import parse
from salt_kvm.xml.merge import Difference, merge
from salt_kvm.xml.secret import passphrase

# By how much a volume may be larger than declared: what libvirt, qemu-img, LVM and parted round up
# to. A volume that is smaller is always grown.
SECTOR = 1024
ROUNDED = {"vmdk": 64 * 1024, "vdi": 1024**2, "vpc": 4 * 1024**2}
EXTENT = 32 * 1024**2
FREE = "take it from them first"
OFF = "shut them down first"
MEDIUM = "make it, or correct the path or the format"


class VolumeSeen(msgspec.Struct, frozen=True):
    """A volume, and where it is to be made what stands there already.

    ``pool`` is looked at only where there is no volume, or a ``half`` one, which a run that was
    killed had begun to fill. ``stale`` is one whose file went without
    libvirt, ``file`` a file that came without it. ``blank`` is asked only of what is to be wiped;
    ``None`` is unknown. ``source`` is a file of the host that is uploaded as it stands; any other
    is fetched first. ``runners`` tells the running domains that have the volume as a disk.
    """

    volume: Observed | None
    pool: Observed | None = None
    half: bool = False
    stale: bool = False
    file: FileSeen | None = None
    source: FileSeen | None = None
    blank: bool | None = None
    numbers: Mapping[str, int] = {}
    runners: Callable[[], Sequence[tuple[str, str]]] = lambda: ()


def plan(name: str, want: StorageVolume, seen: VolumeSeen) -> Iterator[Step]:
    """Yield what makes the volume as declared; what it holds is never rewritten unasked."""
    if want.state == "absent":
        yield from _removal(name, seen)
        return
    if want.state == "wiped":
        yield from _wipe(name, seen)
        return
    want = xml.numbered(want, seen.numbers)
    there = seen.volume
    if there is None and seen.file is not None:
        if seen.file.kind == "directory":
            raise UnmetError(f"{seen.file.path} is a directory; correct the name of volume {name}")
        there = _unknown(name, seen.file)
        changes = {"volume": change("unknown to libvirt", "known")}
        yield AdoptVolume(kind="volume", name=name, xml=there.xml, changes=changes)
    _only_data(name, there)
    if there is not None and seen.half:
        unused = Need("unused volume", name, FREE)
        yield DeleteVolume(kind="volume", name=name, needs=(unused,))
    if there is None or seen.half:
        yield from _creation(name, want, seen)
        return
    differences = merge(parse(there.xml), xml.intent(name, want)).differences
    _same_contents(name, differences)
    yield from _resize(name, want, there, seen)
    yield from _permissions(want, there, differences)


def _pool(name: str) -> str:
    return name.partition("/")[0]


def _only_data(name: str, there: Observed | None) -> None:
    if there is not None and parse(there.xml).get("type") == "dir":
        raise UnmetError(f"volume {name} is a directory; correct its name")


def _unknown(name: str, file: FileSeen) -> Observed:
    if file.kind == "special file":
        raise UnmetError(f"{file.path} is a {file.kind}, which libvirt takes for no volume")
    document = xml.of_file(posixpath.basename(name), file.path, str(file.format), file.size or 0)
    return Observed("volume", name, document)


def _refresh(name: str) -> Step:
    return RefreshPool(kind="pool", name=_pool(name))


def _creation(name: str, want: StorageVolume, seen: VolumeSeen) -> Iterator[Step]:
    where = f"kvm:volumes:{name}"
    if want.capacity is None and want.backing is None and want.source is None:
        raise SpecError([f"{where}:capacity: needed to make the volume, which is not there"])
    active = Need("active pool", _pool(name), "declare it under kvm:pools, or start it")
    kind = "dir" if seen.pool is None else pool_xml.kind(seen.pool.xml)
    size = _size(where, want, seen.source)
    document = xml.new(name.partition("/")[2], xml.sized(want, size), sparse=kind in DIRECTORIES)
    if seen.stale:
        yield _refresh(name)
    path = _path(name, seen.pool, kind)
    free = () if path is None else (Need("no link", path, "remove it, or correct the name"),)
    yield CreateVolume(
        kind="volume",
        name=name,
        xml=ET.tostring(document, encoding="unicode"),
        path=path,
        format=want.format or "raw",
        size=size,
        source=None if want.source is None else Source(_address(want.source), want.source_hash),
        changes={"volume": change(None, _told(want, size))},
        needs=(active, *free, *_needs(want, seen.source)),
    )
    label = None if want.permissions is None else want.permissions.label
    if label is not None and path is not None:
        # libvirt gives a new volume its owner and mode, and not its label.
        yield common.label(path, label, {})


def _address(source: str) -> str:
    return source.removeprefix("file://")


def _size(where: str, want: StorageVolume, source: FileSeen | None) -> Size | None:
    """Return the capacity of a new volume, which is never less than what is to go into it."""
    if source is None:
        return want.capacity
    header = source.header
    if header is not None and (header.backing or header.data_file) is not None:
        other = header.backing or header.data_file
        raise SpecError([f"{where}:source: {source.path} names another file, {other}"])
    holds = Size(source.size or 0)
    if want.capacity is not None and want.capacity < holds:
        raise SpecError([f"{where}:capacity: {source.path} has {holds}, more than {want.capacity}"])
    return want.capacity or holds


def _told(want: StorageVolume, size: Size | None) -> dict[str, object]:
    told = {
        "capacity": None if size is None else str(size),
        "format": want.format,
        "backing": None if want.backing is None else want.backing.path,
        "source": want.source and shown_address(want.source),
    }
    return {key: value for key, value in told.items() if value is not None}


def _needs(want: StorageVolume, source: FileSeen | None) -> Iterator[Need]:
    if want.backing is not None:
        yield Need("file", want.backing.path, MEDIUM, want.backing.format)
        yield Need("unwritten", want.backing.path, "what stands on it would be lost; take a copy")
    if want.encryption is not None:
        yield _secret(want.encryption)
    if source is not None:
        yield Need("file", source.path, MEDIUM, want.format or "raw")
    elif want.source is not None:
        yield Need("source", _address(want.source), "correct the path", want.source_hash)


def _secret(encryption: Encryption) -> Need:
    return Need("secret", passphrase(encryption), "declare it under kvm:secrets")


def _path(name: str, pool: Observed | None, kind: str) -> str | None:
    """Return where the new volume will be, where that is sure."""
    folder = None if pool is None else pool_xml.path(pool.xml)
    sure = folder is not None and kind in (*DIRECTORIES, "logical")
    return f"{folder}/{name.partition('/')[2]}" if sure else None


def _same_contents(name: str, differences: Sequence[Difference]) -> None:
    """What a volume holds is data: a format or backing file that differs is never forced."""
    told = [d for d in differences if not d.path.startswith("target/permissions")]
    if told:
        first = told[0]
        raise UnmetError(
            f"volume {name} has {first.path} {first.old!r} and {first.new!r} is declared; declare "
            "what it has, or make another volume"
        )


def _resize(name: str, want: StorageVolume, there: Observed, seen: VolumeSeen) -> Iterator[Step]:
    old = Size(xml.capacity(there.xml))
    new = want.capacity
    if new is None or new <= old <= new + _slack(there.xml):
        return
    shrink = new < old
    if shrink and not want.shrink:
        raise UnmetError(
            f"volume {name} has {old} and {new} is declared; declare its capacity, or shrink: "
            "true, which cuts off its end with what it holds"
        )
    runners = seen.runners()
    if runners and (shrink or len(runners) > 1):
        raise UnmetError(f"volume {name} is in use by the running {runners[0][0]}; {OFF}")
    path = xml.path(there.xml)
    needs = [Need("bare", path, "cut off, it would be their loss")] if shrink and path else []
    if want.encryption is not None:
        needs.append(_secret(want.encryption))
    domain, target = runners[0] if runners else ("", "")
    yield ResizeVolume(
        kind="volume",
        name=name,
        size=new,
        shrink=shrink,
        secret=None if want.encryption is None else passphrase(want.encryption),
        domain=domain,
        target=target,
        changes={"capacity": change(str(old), str(new))},
        needs=tuple(needs),
    )


def _slack(document: str) -> int:
    if not xml.is_file(document):
        return EXTENT
    return ROUNDED.get(xml.format(document), SECTOR)


def _permissions(
    want: StorageVolume, there: Observed, differences: Sequence[Difference]
) -> Iterator[Step]:
    mine = [d for d in differences if d.path.startswith("target/permissions")]
    labels = [d for d in mine if d.path.endswith("/label")]
    path = xml.path(there.xml)
    if labels and path is not None and want.permissions is not None:
        yield common.label(path, want.permissions.label, common.told(labels))
    mine = [d for d in mine if d not in labels]
    if mine and path is not None and want.permissions is not None:
        owner, group = want.permissions.owner, want.permissions.group
        yield SetOwnership(
            path=path,
            owner=None if owner is None else str(owner),
            group=None if group is None else str(group),
            mode=want.permissions.mode,
            changes=common.told(mine),
        )


def _removal(name: str, seen: VolumeSeen) -> Iterator[Step]:
    pool = seen.pool
    if pool is not None and not pool.active:
        raise UnmetError(f"what pool {_pool(name)} holds can't be seen while it is off; start it")
    changes = {"volume": change("present", None)}
    unused = Need("unused volume", name, FREE)
    if seen.volume is None and seen.file is not None:
        there = _unknown(name, seen.file)
        yield AdoptVolume(kind="volume", name=name, xml=there.xml)
        bare = Need("bare", seen.file.path, "it would be their loss")
        yield DeleteVolume(kind="volume", name=name, changes=changes, needs=(unused, bare))
    elif seen.volume is not None:
        path = xml.path(seen.volume.xml)
        stands = path is not None and xml.is_file(seen.volume.xml)
        needs = (unused, Need("bare", str(path), "it would be their loss")) if stands else (unused,)
        yield DeleteVolume(kind="volume", name=name, changes=changes, needs=needs)


def _wipe(name: str, seen: VolumeSeen) -> Iterator[Step]:
    if seen.volume is None:
        raise UnmetError(f"there is no volume {name} to be wiped; declare its pool, or correct it")
    if seen.blank is None:
        raise UnmetError(
            f"what volume {name} holds can't be read here, so it would be wiped on each run; wipe "
            "it once with kvm_volume.wipe"
        )
    if not seen.blank:
        path = xml.path(seen.volume.xml)
        idle = Need("idle volume", name, OFF)
        bare = (Need("bare", path, "it would be their loss"),) if path else ()
        changes = {"contents": change("data", "zeros")}
        yield WipeVolume(kind="volume", name=name, changes=changes, needs=(idle, *bare))
