"""The steps of a domain's seeds: what a guest reads at its first boot.

No step tells what is in one, nor does any change: only the names of the files that differ.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.errors import UnmetError
from salt_kvm.plan.steps import Need, RemoveSeed, SetOwnership, Step, WriteSeed, change
from salt_kvm.seen import Hidden, Observed
from salt_kvm.spec.cloud_init import CloudInit, Ignition
from salt_kvm.spec.disk import BUSES
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.types import Mode
from salt_kvm.xml.document import parse
from salt_kvm.xml.identity import seed
from salt_kvm.xml.merge import HIDDEN, Difference
from salt_kvm.xml.seed import DRIVES, Place, file_name, places

FOLDER = "/var/lib/salt-kvm/seed"
FIELDS = {"cidata": "cloud_init", "ignition": "ignition", "combustion": "combustion"}
PRIVATE, OTHERS = Mode(0o600), 0o077
WRITTEN = "written; the guest reads it when it starts"


class SeedSeen(msgspec.Struct, frozen=True):
    """A seed that is declared, or that is to go.

    ``want`` and ``there`` are its files; ``None`` is none. ``foreign`` is a file at its place that
    is no seed, ``shared`` one that another domain has too; ``running`` is one that the guest was
    started with, ``outdated`` where it was another one.
    """

    place: Place
    want: Mapping[str, Hidden] | None = None
    there: Mapping[str, Hidden] | None = None
    foreign: bool = False
    shared: bool = False
    mode: Mode = PRIVATE
    running: bool = False
    outdated: bool = False


def known(name: str, there: Observed | None) -> list[Place]:
    """Return the seeds that a domain has, by its definition first."""
    documents = (text for text in (there and there.xml, there and there.live) if text)
    found = (place for text in documents for place in places(name, text))
    return list({(place.kind, place.how): place for place in found}.values())


def placed(name: str, want: Domain, there: Observed | None) -> tuple[list[Place], list[Place]]:
    """Return where the declared seeds are, and those that are to go.

    One stays where it is, and is on the drive that it is on, where nothing else is declared.
    """
    has = known(name, there)
    if want.state == "absent":
        return [], has
    declared, gone = [], []
    for kind, field in FIELDS.items():
        value = getattr(want, field)
        old = [place for place in has if place.kind == kind]
        if value is False:
            gone += old or [_new(name, kind, "disk", want, there)]
        elif value is not None:
            how = _how(value, want, there, old)
            same = [place for place in old if place.how == how]
            declared += same[:1] or [_new(name, kind, how, want, there)]
            gone += [place for place in old if place.how != how]
    return declared, gone


def _new(name: str, kind: str, how: str, want: Domain, there: Observed | None) -> Place:
    """Beside the guest's first disk; a guest without one has its seed among this pack's own."""
    paths = [
        str(disk.path) for disk in want.disk_list if disk.path and disk.device in (None, "disk")
    ]
    paths += [
        source.attrib["file"]
        for disk in _disks(there)
        if (source := disk.find("source[@file]")) is not None
    ]
    folder = posixpath.dirname(paths[0]) if paths else FOLDER
    return Place(kind, posixpath.join(folder, file_name(name, kind, how)), how)


def _disks(there: Observed | None) -> list[ET.Element]:
    found = () if there is None else parse(there.xml).iterfind("devices/disk")
    return [disk for disk in found if disk.get("device", "disk") == "disk" and not seed(disk)]


def _how(value: object, want: Domain, there: Observed | None, old: Sequence[Place]) -> str:
    """A guest has a driver for what its first disk is on.

    The kernels of many cloud images have none for SATA, where CD drives are.
    """
    if isinstance(value, CloudInit) and value.drive is not None:
        return value.drive
    if isinstance(value, Ignition) and value.delivery != "drive":
        return "fw_cfg"
    drives = [place.how for place in old if place.how in DRIVES]
    if drives:
        return drives[0]
    buses = [
        disk.bus or BUSES.get((disk.target or "vd")[:2], ("",))[0]
        for disk in want.disk_list
        if disk.device in (None, "disk", "lun")
    ]
    targets = (disk.find("target") for disk in _disks(there))
    buses += [target.get("bus", "") for target in targets if target is not None]
    return "disk" if not buses or buses[0] == "virtio" else "cdrom"


def write(name: str, seeds: Iterable[SeedSeen]) -> Iterator[Step]:
    """Yield what writes the declared seeds, where they are not as declared.

    :raises UnmetError: where something else is in a seed's place
    """
    for each in seeds:
        if each.want is None:
            continue
        path = each.place.path
        if each.foreign:
            raise UnmetError(f"{path} is no seed of domain {name}, which is to be there; move it")
        if each.there == each.want:
            # Its owner is libvirt's affair while the guest runs.
            if each.mode & OTHERS:
                changes = {f"seed[{each.place.kind}]:mode": change(str(each.mode), str(PRIVATE))}
                yield SetOwnership(path=path, owner=None, group=None, mode=PRIVATE, changes=changes)
            continue
        folder = posixpath.dirname(path)
        yield WriteSeed(
            path=path,
            label="" if each.place.how == "fw_cfg" else each.place.kind,
            files=each.want,
            domain=name if each.running else "",
            changes=_changes(each.place.kind, each.there, each.want),
            needs=() if folder == FOLDER else (Need("directory", folder, "make it"),),
        )


def _changes(
    kind: str, old: Mapping[str, Hidden] | None, new: Mapping[str, Hidden]
) -> dict[str, dict[str, object]]:
    """Of a digest what is secret in a file could be guessed, so that it is told as little."""
    there = old or {}
    differ = [path for path in sorted({*there, *new}) if there.get(path) != new.get(path)]
    return {
        f"seed[{kind}]/{path}": change(
            HIDDEN if path in there else None, HIDDEN if path in new else None
        )
        for path in differ
    }


def waiting(seeds: Iterable[SeedSeen]) -> tuple[Difference, ...]:
    """Return the seeds that the running guest was started with in another form."""
    return tuple(
        Difference(f"seed[{each.place.kind}]", HIDDEN, HIDDEN, reason=WRITTEN)
        for each in seeds
        if each.want is not None and each.outdated
    )


def remove(seeds: Sequence[SeedSeen], held: Iterable[str] = ()) -> Iterator[Step]:
    """Yield the removal of seeds that are to go; nothing that a guest holds open, or is foreign.

    :param held: files that the guest goes on to have
    """
    kept = {*held, *(each.place.path for each in seeds if each.want is not None)}
    for each in seeds:
        path, ours = each.place.path, not each.foreign and not each.shared
        if each.want is None and each.there is not None and ours and path not in kept:
            changes = {f"seed[{each.place.kind}]": change("present", None)}
            yield RemoveSeed(path=path, changes=changes)
