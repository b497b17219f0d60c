"""What a pool's devices hold, and when the pool has to be built on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn, Protocol
from xml.etree import ElementTree as ET

from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan.steps import BuildPool, Need, Step, change
from salt_kvm.seen import DeviceSeen
from salt_kvm.xml.pool import devices

# wipefs' names where they are not libvirt's.
SIGNATURES = {"hfs+": "hfsplus", "vmfs": "VMFS", "dvh": "sgi"}
TABLES = ("gpt", "dos", "sgi", "mac", "bsd", "sun")
# What a device carries when it is of a pool of this type; None: whatever the format says.
MEMBERS: dict[str, tuple[str, ...] | None] = {
    "logical": ("LVM2_member",),
    "zfs": ("zfs_member",),
    "fs": None,
    "disk": None,
}
# What libvirt does not make: the program that does, and the package that it is in.
MAKERS = {"btrfs": ("mkfs.btrfs", "btrfs-progs")}
# What a device is told to hold that a run was killed on.
HALF = "half of it"
UNDECIDED = ("None", "auto", "unknown")


class Devices(Protocol):
    """The block devices of the host by path; only those that a plan asks for are looked at."""

    def device(self, path: str, /) -> DeviceSeen | None:
        """Return a device; ``None`` where there is none, or it can't be seen."""

    def half_built(self, pool: str, format: str, seen: DeviceSeen, /) -> bool:
        """Tell whether it holds what a run that was killed had begun to build for a pool."""


def build(
    name: str,
    kind: str,
    document: ET.Element,
    there: Devices,
    declared: str | None,
    *,
    overwrite: bool,
) -> Iterator[Step]:
    """Yield the step that builds a pool which is off, where its devices don't hold it yet.

    :param declared: its format, which libvirt may not know
    :raises UnmetError: where they hold something else and ``overwrite`` does not give it up
    """
    if kind not in MEMBERS:
        return
    found = [seen for path in devices(document) if (seen := there.device(path)) is not None]
    found = [seen for seen in found if seen.kind == "block device"]
    format = declared or _format(document)
    half = [s for s in found if not s.blank and there.half_built(name, str(format), s)]
    missing = [s for s in found if s in half or not _is_member(kind, str(format), s)]
    if not missing:
        return
    foreign = [seen for seen in missing if not seen.blank and seen not in half]
    for seen in missing:
        if seen.busy:
            raise UnmetError(
                f"{seen.path}, where pool {name} is to be built, is in use; unmount it, or correct "
                "the pool's source"
            )
    if len(missing) < len(found):
        _partly(name, missing)
    if foreign and not overwrite:
        _refuse(name, foreign[0])
    if MEMBERS[kind] is None and str(format) in UNDECIDED:
        raise SpecError(
            [f"kvm:pools:{name}:source:format: needed to build the pool on {missing[0].path}"]
        )
    yield BuildPool(
        kind="pool",
        name=name,
        devices=tuple(seen.path for seen in missing),
        format=format,
        overwrite=bool(foreign),
        needs=_programs(format),
        changes={
            f"contents[{seen.path}]": change(HALF if seen in half else _holds(seen), format or kind)
            for seen in missing
        },
    )


def _programs(format: str | None) -> tuple[Need, ...]:
    maker = MAKERS.get(str(format))
    return () if maker is None else (Need("program", maker[0], f"install {maker[1]}"),)


def _is_member(kind: str, format: str, seen: DeviceSeen) -> bool:
    wanted = MEMBERS[kind] or (SIGNATURES.get(format, format),)
    if MEMBERS[kind] is None and format in UNDECIDED:
        # A file system that is there is mounted, whatever it is.
        wanted = TABLES if kind == "disk" else seen.signatures
    return any(signature in wanted for signature in seen.signatures)


def _format(document: ET.Element) -> str | None:
    found = document.find("source/format")
    return None if found is None else found.get("type")


def _holds(seen: DeviceSeen) -> str | None:
    return None if seen.blank else ", ".join(seen.signatures) or "unknown data"


def _refuse(name: str, seen: DeviceSeen) -> NoReturn:
    raise UnmetError(
        f"{seen.path}, where pool {name} is to be built, holds {_holds(seen)}; correct the pool's "
        "source, or set overwrite: true, by which what it holds is lost"
    )


def _partly(name: str, missing: list[DeviceSeen]) -> NoReturn:
    raise UnmetError(
        f"{missing[0].path} is not a part of pool {name} yet, and libvirt can't add it; add it "
        "by hand (vgextend, zpool add), or take it out of the pool's source"
    )
