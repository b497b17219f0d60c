"""What a pool's devices hold, and when the pool has to be built on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn, Protocol
from xml.etree import ElementTree as ET

from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan.steps import BuildPool, Step, change
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
UNDECIDED = ("None", "auto", "unknown")


class Devices(Protocol):
    """The block devices of the host by path; only those that a plan asks for are looked at."""

    def device(self, path: str, /) -> DeviceSeen | None:
        """Return a device; ``None`` where there is none, or it can't be seen."""


def build(
    name: str, kind: str, document: ET.Element, there: Devices, *, overwrite: bool
) -> Iterator[Step]:
    """Yield the step that builds a pool which is off, where its devices don't hold it yet.

    :raises UnmetError: where they hold something else and ``overwrite`` does not give it up
    """
    if kind not in MEMBERS:
        return
    found = [seen for path in devices(document) if (seen := there.device(path)) is not None]
    found = [seen for seen in found if seen.kind == "block device"]
    missing = [seen for seen in found if not _is_member(kind, document, seen)]
    if not missing:
        return
    foreign = [seen for seen in missing if not seen.blank]
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
    format = _format(document)
    if MEMBERS[kind] is None and str(format) in UNDECIDED:
        raise SpecError(
            [f"kvm:pools:{name}:source:format: needed to build the pool on {missing[0].path}"]
        )
    yield BuildPool(
        kind="pool",
        name=name,
        devices=", ".join(seen.path for seen in missing),
        overwrite=bool(foreign),
        changes={
            f"contents[{seen.path}]": change(_holds(seen), format or kind) for seen in missing
        },
    )


def _is_member(kind: str, document: ET.Element, seen: DeviceSeen) -> bool:
    format = str(_format(document))
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
