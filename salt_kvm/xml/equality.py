"""When two spellings are the same thing: what libvirt expands, rounds or rewrites is no drift.

``EQUAL`` is keyed by tag and attribute (``""`` is the element's text); a row takes what is there
and what is wanted. ``CANONICAL`` rewrites an element into the one spelling that is compared.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable, Iterable
from itertools import chain
from xml.etree import ElementTree as ET

from salt_kvm.spec.types import UNITS
from salt_kvm.spec.values import members

Same = Callable[[str, str], bool]


def same_case(seen: str, want: str) -> bool:
    return seen.lower() == want.lower()


def same_uuid(seen: str, want: str) -> bool:
    """libvirt takes a UUID in either case, and without its hyphens."""
    return seen.replace("-", "").lower() == want.replace("-", "").lower()


def same_path(seen: str, want: str) -> bool:
    return posixpath.normpath(seen) == posixpath.normpath(want)


def same_address(seen: str, want: str) -> bool:
    try:
        return ipaddress.ip_address(seen) == ipaddress.ip_address(want)
    except ValueError:
        return seen == want


def same_machine(seen: str, want: str) -> bool:
    """``q35`` and ``pc`` are the newest versions of ``pc-q35-7.2`` and ``pc-i440fx-7.2``.

    Distributions add their own: ``pc-q35-rhel9.2.0``, ``pc-q35-noble``.
    """
    versioned = {"q35": r"pc-q35-.+", "pc": r"pc-i440fx-.+|pc-\d.+"}.get(
        want, rf"{re.escape(want)}-.+"
    )
    return seen == want or re.fullmatch(versioned, seen) is not None


def same_port(seen: str, want: str) -> bool:
    """-1 asks libvirt for a free port, and a running guest shows which it got."""
    return want == "-1" or seen == want


def same_number(seen: str, want: str) -> bool:
    """``0x0a`` is ``10``."""
    try:
        return int(seen, 0) == int(want, 0)
    except ValueError:
        return seen == want


def same_format(seen: str, want: str) -> bool:
    """libvirt tells a medium from another raw volume by what it holds."""
    return {seen, want} <= {"raw", "iso", "unknown"} or seen == want


def same_mode(seen: str, want: str) -> bool:
    """``750`` is ``0750``."""
    return seen.lstrip("0") == want.lstrip("0")


def same_power(seen: str, want: str) -> bool:
    """libvirt rounds a video memory up to a power of two."""
    return seen == want or (want.isdigit() and seen == str(1 << (int(want) - 1).bit_length()))


def same_set(seen: str, want: str) -> bool:
    """``0,1,2`` is ``0-2``."""
    return members(seen) == members(want)


EQUAL: dict[tuple[str, str], Same] = {
    ("mac", "address"): same_case,
    ("host", "mac"): same_case,
    ("type", "machine"): same_machine,
    ("source", "file"): same_path,
    ("log", "file"): same_path,
    ("path", ""): same_path,
    ("device", "path"): same_path,
    ("format", "type"): same_format,
    ("dir", "path"): same_path,
    ("mode", ""): same_mode,
    ("graphics", "port"): same_port,
    ("graphics", "websocket"): same_port,
    ("graphics", "listen"): same_address,
    ("listen", "address"): same_address,
    ("ip", "address"): same_address,
    ("range", "start"): same_address,
    ("range", "end"): same_address,
    ("host", "ip"): same_address,
    ("forwarder", "addr"): same_address,
    ("route", "gateway"): same_address,
    ("address", "uuid"): same_uuid,
    ("parameters", "interfaceid"): same_uuid,
    ("secret", "uuid"): same_uuid,
    ("encryption", "secret"): same_uuid,
    ("uuid", ""): same_uuid,
    **{("model", name): same_power for name in ("ram", "vram", "vgamem")},
    ("policy", ""): same_number,
    **{("address", part): same_number for part in ("domain", "bus", "slot", "function")},
    **{(tag, "id"): same_number for tag in ("vendor", "product")},
    **{(tag, "cpuset"): same_set for tag in ("vcpupin", "emulatorpin", "iothreadpin")},
    **{(tag, "nodeset"): same_set for tag in ("memory", "memnode", "page")},
    ("cell", "cpus"): same_set,
    ("nodemask", ""): same_set,
}


# What an attribute or, with ``""``, an element that libvirt left out stands for.
OMITTED: dict[tuple[str, str], str] = {
    ("model", "fallback"): "allow",
    ("graphics", "port"): "-1",
    ("forward", "managed"): "no",
    ("nat", "ipv6"): "no",
    ("bridge", "macTableManager"): "kernel",
    ("domain", "localOnly"): "no",
    ("dns", "enable"): "yes",
    ("dns", "forwardPlainNames"): "yes",
    ("ip", "localPtr"): "no",
    ("host", "transport"): "tcp",
    ("memory", "placement"): "static",
    ("srv", "priority"): "0",
    ("srv", "weight"): "0",
    ("backend", "persistent_state"): "no",
    ("stats", "period"): "0",
    ("model", "primary"): "no",
    ("model", "heads"): "1",
    ("interface", "managed"): "no",
    ("driver", "queues"): "1",
    ("graphics", "defaultMode"): "any",
    **{(f"{whose}quota", ""): "0" for whose in ("", "global_", "emulator_", "iothread_")},
    **{
        (f"{which}_{what}{most}", ""): "0"
        for which in ("total", "read", "write")
        for what in ("bytes_sec", "iops_sec")
        for most in ("", "_max")
    },
    ("size_iops_sec", ""): "0",
}


def same(tag: str, attribute: str, seen: str | None, want: str) -> bool:
    """Tell whether a value that is there is the value that is wanted."""
    seen = OMITTED.get((tag, attribute)) if seen is None else seen
    if seen is None or seen == want:
        return seen == want
    row = EQUAL.get((tag, attribute))
    return row is not None and row(seen, want)


def _kib(element: ET.Element) -> None:
    """libvirt keeps memory in KiB, rounded up; a memory device has no text."""
    if not (element.text or "").strip():
        return
    element.attrib.setdefault("unit", "KiB")
    size = int(element.text or "0") * UNITS[element.attrib["unit"].upper()]
    element.set("unit", "KiB")
    element.text = str(-(-size // 1024))


def _bytes(unit: str) -> Callable[[ET.Element], None]:
    """A size that libvirt writes in a unit of its own, ``unit`` where it has none."""

    def rule(element: ET.Element) -> None:
        if (element.text or "").strip():
            size = int(element.text or "0") * UNITS[element.get("unit", unit).upper()]
            element.set("unit", "bytes")
            element.text = str(size)

    return rule


def _sized(attribute: str) -> Callable[[ET.Element], None]:
    """A size in an attribute, with its unit in another."""

    def rule(element: ET.Element) -> None:
        if attribute in element.attrib:
            unit = UNITS[element.get("unit", "KiB").upper()]
            element.set(attribute, str(-(-int(element.attrib[attribute]) * unit // 1024)))
            element.set("unit", "KiB")

    return rule


def _number(attribute: str = "") -> Callable[[ET.Element], None]:
    """What is counted with has to be a number; libvirt would refuse any other text."""

    def rule(element: ET.Element) -> None:
        int(((element.get(attribute) if attribute else element.text) or "").strip() or "0")

    return rule


def _prefix(element: ET.Element) -> None:
    netmask = element.attrib.pop("netmask", None)
    if netmask is not None:
        element.set("prefix", str(ipaddress.ip_network(f"0.0.0.0/{netmask}").prefixlen))


def _family(element: ET.Element) -> None:
    element.attrib.setdefault("family", "ipv6" if ":" in element.get("address", "") else "ipv4")


LEASE_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600}


def _seconds(element: ET.Element) -> None:
    unit = LEASE_SECONDS[element.get("unit", "minutes")]
    element.set("expiry", str(int(element.get("expiry", "0")) * unit))
    element.set("unit", "seconds")


def _current(element: ET.Element) -> None:
    """Without ``current`` all virtual CPUs are there from the start."""
    if (element.text or "").strip():
        element.attrib.setdefault("current", str(int(element.text or "")))


def _in_source(disk: ET.Element) -> None:
    """What a disk is opened with may also stand beside its source."""
    source = disk.find("source")
    if source is not None:
        for each in [*disk.findall("auth"), *disk.findall("encryption")]:
            disk.remove(each)
            source.append(each)


# The elements whose text is a size.
KIB = (
    "memory", "currentMemory", "maxMemory", "hard_limit", "soft_limit", "swap_hard_limit",
    "min_guarantee", "size", "block", "requested", "pagesize", "tb-cache", "pcihole64",
)  # fmt: skip

CANONICAL: dict[str, tuple[Callable[[ET.Element], None], ...]] = {
    "ip": (_prefix, _family),
    "route": (_prefix, _family),
    "lease": (_seconds,),
    **dict.fromkeys(KIB, (_kib,)),
    "max_size": (_bytes("bytes"),),
    "tseg": (_bytes("MiB"),),
    "cell": (_sized("memory"),),
    "page": (_sized("size"),),
    "vcpu": (_current, _number("current")),
    "iothreads": (_number(),),
    "iothread": (_number("id"),),
    "vcpupin": (_number("vcpu"),),
    "iothreadpin": (_number("iothread"),),
    "disk": (_in_source,),
}


def _own(root: ET.Element) -> Iterable[ET.Element]:
    """Every element of a document but what other programs keep in its metadata."""
    if root.find("metadata") is None:
        return root.iter()
    parts = (part.iter() for part in root if part.tag != "metadata")
    return chain([root], chain.from_iterable(parts))


def canonical(root: ET.Element) -> ET.Element:
    """Rewrite a document in place into the spelling that is compared; return it.

    :raises ValueError: naming the element that says what can't be
    """
    for element in [each for each in _own(root) if each.tag in CANONICAL]:
        for rule in CANONICAL[element.tag]:
            try:
                rule(element)
            except (ValueError, KeyError) as error:
                said = ET.tostring(element, encoding="unicode").strip()[:80]
                raise ValueError(f"{said} can't be: {error}") from error
    return root
