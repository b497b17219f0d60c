"""When two spellings are the same thing: what libvirt expands, rounds or rewrites is no drift.

``EQUAL`` is keyed by tag and attribute (``""`` is the element's text); a row takes what is there
and what is wanted. ``CANONICAL`` rewrites an element into the one spelling that is compared.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

from salt_kvm.spec.types import UNITS

Same = Callable[[str, str], bool]


def same_case(seen: str, want: str) -> bool:
    return seen.lower() == want.lower()


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


def members(text: str) -> set[int]:
    """Return the numbers of a set such as ``0-3,^2``."""
    members: set[int] = set()
    for part in text.split(","):
        first, _, last = part.lstrip("^").partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return set()
        numbers = range(int(first), min(int(last or first), 65535) + 1)
        members = members.difference(numbers) if part.startswith("^") else members.union(numbers)
    return members


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
    ("address", "uuid"): same_case,
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
        element.attrib.setdefault("current", (element.text or "").strip())


# The elements whose text is a size.
KIB = (
    "memory", "currentMemory", "maxMemory", "hard_limit", "soft_limit", "swap_hard_limit",
    "min_guarantee", "size", "block", "requested", "pagesize",
)  # fmt: skip

CANONICAL: dict[str, tuple[Callable[[ET.Element], None], ...]] = {
    "ip": (_prefix, _family),
    "route": (_prefix, _family),
    "lease": (_seconds,),
    **dict.fromkeys(KIB, (_kib,)),
    "vcpu": (_current,),
}


def canonical(root: ET.Element) -> ET.Element:
    """Rewrite a document in place into the spelling that is compared; return it."""
    rules_of = CANONICAL.get
    for element in root.iter():
        rules = rules_of(element.tag)
        for rule in rules or ():
            rule(element)
    return root
