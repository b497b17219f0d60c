"""What of a running guest libvirt changes by a call of its own, and reads from its document.

``PROPERTIES`` has a row for each such call: which differences it makes, and what it is given, read
from a document as a flat mapping. What a row gets is what differs between two readings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.spec.disk import Iotune
from salt_kvm.xml.document import parse
from salt_kvm.xml.equality import canonical

Values = dict[str, str]
Read = Callable[[ET.Element, str], Values]

CPU_TIME = {"shares": "cpu_shares", "period": "vcpu_period", "quota": "vcpu_quota"}
CPU_TIME |= {
    f"{whose}_{what}": f"{whose}_{what}"
    for whose in ("global", "emulator", "iothread")
    for what in ("period", "quota")
}
LIMITS = ("hard_limit", "soft_limit", "swap_hard_limit")
NO_LIMIT = GONE = "0"
THERE = "1"


class Property(msgspec.Struct, frozen=True):
    """One call: the paths of the differences that it makes, and what it is given.

    :param whole: whether it is given all that was read, and not only what differs
    :param gone: what a setting is set to that is there no more; ``None``: it can't be taken away
    :param start: how it comes with a start: done in the ``same`` way, so that what is refused now
        would keep the guest from starting; or ``anew`` by a QEMU that begins with it, so that
        whatever fails now can wait
    """

    paths: re.Pattern[str]
    read: Read
    whole: bool = False
    gone: str | None = None
    start: Literal["same", "anew", ""] = ""


def _text(tag: str) -> Read:
    return lambda root, target: {"": (root.findtext(tag) or "").strip()}


def _vcpus(root: ET.Element, target: str) -> Values:
    vcpu = root.find("vcpu")
    return {"": "" if vcpu is None else vcpu.get("current", (vcpu.text or "").strip())}


def _leaves(parent: str, names: Mapping[str, str]) -> Read:
    """The texts of the children of an element, under the names that the call has for them."""

    def read(root: ET.Element, target: str) -> Values:
        return {
            names[leaf.tag]: (leaf.text or "").strip()
            for leaf in root.iterfind(f"{parent}/*")
            if leaf.tag in names
        }

    return read


def _pins(tag: str, number: str) -> Read:
    def read(root: ET.Element, target: str) -> Values:
        found = root.iterfind(f"cputune/{tag}")
        return {pin.get(number, ""): pin.get("cpuset", "") for pin in found}

    return read


def _blkio(root: ET.Element, target: str) -> Values:
    """``weight``, and ``device_weight /dev/sda`` of each device."""
    values = _leaves("blkiotune", {"weight": "weight"})(root, target)
    for device in root.iterfind("blkiotune/device"):
        path = device.findtext("path", "").strip()
        for leaf in device:
            if leaf.tag != "path":
                values[f"device_{leaf.tag} {path}"] = (leaf.text or "").strip()
    return values


def _nodeset(root: ET.Element, target: str) -> Values:
    memory = root.find("numatune/memory[@nodeset]")
    return {} if memory is None else {"numa_nodeset": memory.attrib["nodeset"]}


def iothreads(root: ET.Element, target: str = "") -> Values:
    """The numbers of the I/O threads; libvirt fills up from 1 to their count."""
    ids = sorted(int(each.get("id", "")) for each in root.iterfind("iothreadids/iothread"))
    count = int(root.findtext("iothreads") or 0)
    free = (number for number in range(1, count + len(ids) + 1) if number not in ids)
    more = [next(free) for _ in range(count - len(ids))]
    return {str(number): THERE for number in [*ids, *more][:count]}


def _iotune(root: ET.Element, target: str) -> Values:
    """All limits of a disk: those that libvirt is not given it may keep or may drop."""
    disk = next((d for d in root.iterfind("devices/disk") if _target(d) == target), None)
    values = dict.fromkeys((n for n in Iotune.__struct_fields__ if n != "group_name"), NO_LIMIT)
    for leaf in () if disk is None else disk.iterfind("iotune/*"):
        values[leaf.tag] = (leaf.text or "").strip()
    return values


def _target(disk: ET.Element) -> str | None:
    target = disk.find("target")
    return None if target is None else target.get("dev")


def _stats(root: ET.Element, target: str) -> Values:
    stats = root.find("devices/memballoon/stats")
    return {"": NO_LIMIT if stats is None else stats.get("period", NO_LIMIT)}


def _metadata(root: ET.Element, target: str) -> Values:
    """Each program's element by its namespace."""
    return {
        each.tag.rpartition("}")[0].lstrip("{"): ET.tostring(each, encoding="unicode").strip()
        for each in root.iterfind("metadata/*")
    }


# In the order in which they are set: pins are of CPUs and threads that are there.
PROPERTIES: Mapping[str, Property] = {
    "memory": Property(re.compile("currentMemory"), _text("currentMemory"), start="anew"),
    "vcpus": Property(re.compile("vcpu/@current"), _vcpus, start="anew"),
    "iothreads": Property(re.compile("iothreads"), iothreads, gone=GONE, start="anew"),
    "title": Property(re.compile("title"), _text("title")),
    "description": Property(re.compile("description"), _text("description")),
    "metadata": Property(re.compile("metadata/.*"), _metadata),
    "cputune": Property(
        re.compile(f"cputune/({'|'.join(CPU_TIME)})"), _leaves("cputune", CPU_TIME), start="same"
    ),
    "vcpupin": Property(
        re.compile(r"cputune/vcpupin(\[.*\])?(/@cpuset)?"), _pins("vcpupin", "vcpu"), start="same"
    ),
    "emulatorpin": Property(
        re.compile("cputune/emulatorpin(/@cpuset)?"), _pins("emulatorpin", ""), start="same"
    ),
    "iothreadpin": Property(
        re.compile(r"cputune/iothreadpin(\[.*\])?(/@cpuset)?"),
        _pins("iothreadpin", "iothread"),
        start="same",
    ),
    "memtune": Property(
        re.compile(f"memtune/({'|'.join(LIMITS)})"),
        _leaves("memtune", {limit: limit for limit in LIMITS}),
        start="same",
    ),
    "blkiotune": Property(
        re.compile(r"blkiotune/(weight|device.*)"), _blkio, gone=NO_LIMIT, start="same"
    ),
    "numatune": Property(re.compile("numatune/memory/@nodeset"), _nodeset, start="same"),
    "iotune": Property(re.compile("iotune.*"), _iotune, whole=True, start="same"),
    "stats": Property(re.compile("stats.*"), _stats, start="anew"),
}
# Elements whose children are compared one by one, also where there is none yet.
CONTAINERS = ("cputune", "memtune", "blkiotune", "metadata")


def property_of(path: str) -> str | None:
    """Return the property whose call makes a difference outside the devices."""
    return next((key for key, row in PROPERTIES.items() if row.paths.fullmatch(path)), None)


def changed(key: str, target: str, before: ET.Element, after: ET.Element) -> Values:
    """Return what the call of a property is given to make one document the other."""
    row = PROPERTIES[key]
    old, new = row.read(before, target), row.read(after, target)
    if row.whole:
        return new
    gone = {} if row.gone is None else dict.fromkeys(old.keys() - new.keys(), row.gone)
    return {**gone, **{name: value for name, value in new.items() if old.get(name) != value}}


def property_in(live: str, key: str, target: str = "") -> Values:
    """Return a property of a running guest as its document has it."""
    return PROPERTIES[key].read(canonical(parse(live)), target)


def without_namespace(text: str) -> str:
    """Return an element and what is in it without the namespace that they are of."""
    root = parse(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return ET.tostring(root, encoding="unicode")
