"""What of a difference can be made on a running guest, and what waits for its next start.

``UPDATED`` names, for each tag of a device, the paths that libvirt changes on a running guest by
``virDomainUpdateDeviceFlags``; :mod:`salt_kvm.xml.plug` tells which devices come and go, and
:mod:`salt_kvm.xml.properties` what has a call of its own. Whatever stands in none of them waits.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol
from xml.etree import ElementTree as ET

import msgspec
from msgspec import structs

from salt_kvm.xml import adopt, identity, plug
from salt_kvm.xml.document import parse
from salt_kvm.xml.equality import canonical
from salt_kvm.xml.intent import ABSENT, Intent
from salt_kvm.xml.merge import Difference, Merged, fits, merge, summary
from salt_kvm.xml.properties import (
    CONTAINERS,
    GONE,
    PROPERTIES,
    Values,
    changed,
    property_of,
)

UPDATED: Mapping[str, re.Pattern[str]] = {
    "cdrom": re.compile(r"source(/@(file|startupPolicy))?|@type"),
    "interface": re.compile(
        r"@type|source(/@(network|bridge|portgroup))?|link(/@state)?|bandwidth.*|filterref.*"
    ),
    "graphics": re.compile(r"@passwd(ValidTo)?"),
    "memory": re.compile(r"target/requested"),
}
# Tag and path of what is changed from one of these values to another of them only.
AMONG: Mapping[tuple[str, str], frozenset[object]] = {
    ("interface", "@type"): frozenset({"network", "bridge"})
}
# A disk is known by what it stores: another one in its place is plugged in instead of it.
KEYS: Mapping[str, tuple[identity.Key, ...]] = {
    "disk": (identity.stored, identity.at("target", "dev"))
}
# The properties that belong to a device, by its tag.
OWN: Mapping[str, str] = {"disk": "iotune", "memballoon": "stats"}


# Lists to which libvirt adds when a guest starts.
EXPANDED = frozenset({"cpu", "seclabel"})


class Guest(Protocol):
    """What a running guest and its host are asked, and only where something differs."""

    def balloon(self) -> bool:
        """Tell whether the guest's balloon driver answers."""

    def lacks(self, key: str, /) -> str | None:
        """Return why the host can't change a property; ``None`` where it can."""


class DeviceChange(msgspec.Struct, frozen=True):
    """A device of the running guest: ``how`` is attach, detach, update or release.

    One that is released makes room for the next one that is attached.
    """

    how: str
    element: ET.Element
    path: str
    changes: tuple[Difference, ...]


class PropertyChange(msgspec.Struct, frozen=True):
    """What one call of libvirt sets; ``target`` is the disk that it is about, if any."""

    key: str
    target: str
    values: Values
    changes: tuple[Difference, ...]


class Live(msgspec.Struct, frozen=True):
    """What can be done now, in the order in which it is done, and what waits."""

    devices: tuple[DeviceChange, ...]
    properties: tuple[PropertyChange, ...]
    waiting: tuple[Difference, ...]


Found = Iterator[DeviceChange | PropertyChange | Difference]


def compare(live: ET.Element, intent: Intent, persistent: Merged, guest: Guest) -> Live:
    """Compare a running guest with what is declared.

    :param live: the document of the running guest
    :param intent: what is declared
    :param persistent: the definition with the intent in it; it knows the MAC addresses and targets
        by which a declared device is found again in ``live``
    :param guest: the guest itself
    """
    canonical(live)
    found = [*_devices(live, intent, persistent), *_outside(live, intent, guest)]
    properties = [change for change in found if isinstance(change, PropertyChange)]
    order = list(PROPERTIES)
    return Live(
        tuple(change for change in found if isinstance(change, DeviceChange)),
        tuple(sorted(properties, key=lambda change: order.index(change.key))),
        tuple(difference for difference in found if isinstance(difference, Difference)),
    )


def _devices(live: ET.Element, intent: Intent, persistent: Merged) -> Found:
    there = live.find("devices")
    if there is None:
        return
    owned = [
        identity.LISTS[name]
        for name in sorted(intent.lists)
        if identity.LISTS[name].parent == "devices"
    ]
    declared: dict[str, list[tuple[ET.Element, ET.Element]]] = {row.tag: [] for row in owned}
    for want, became in persistent.devices:
        declared.setdefault(want.tag, []).append((want, became))
    plugs = _Plugs(live)
    for gone in intent.xml.iterfind(f"devices/*[@{ABSENT}]"):
        match = identity.pair([gone], there.findall(gone.tag), fits)[0][0][1]
        if match is not None:
            yield plugs.detach(match)
    for tag, known in declared.items():
        wanted = [became for _want, became in known]
        pairs, left = identity.pair(wanted, there.findall(tag), fits, KEYS.get(tag))
        for (want, _), (became, match) in zip(known, pairs, strict=True):
            if match is None:
                yield plugs.attach(want, became, held=_held(became, pairs))
            elif _moved(became, match):
                left.append(match)
                yield plugs.attach(want, became)
            elif tag in KEYS and identity.stored(became) != identity.stored(match):
                yield from plugs.replace(want, became, match)
            elif not fits(want, match, intent.lists, there.tag):
                yield from _device(live, Intent(want, intent.lists), became, match)
        for extra in left:
            if any(row.owns(extra, there) for row in owned):
                yield plugs.detach(extra)


def _held(became: ET.Element, pairs: identity.Pairs) -> bool:
    """What is to take the name of a device that stays has to wait."""
    name = identity.at("target", "dev")
    taken = {name(match) for _became, match in pairs if match is not None}
    return became.tag == "disk" and name(became) in taken


class _Plugs:
    """The devices that come and go: which can, and a path for each, so that no two have one."""

    def __init__(self, live: ET.Element) -> None:
        self._slots = plug.Slots(live)
        self._taken = [address.attrib for address in live.iterfind("devices/*/address")]
        self._given: Counter[tuple[str, str]] = Counter()

    def attach(
        self, want: ET.Element, became: ET.Element, *, held: bool = False
    ) -> DeviceChange | Difference:
        difference = self._told("attach", became, None, summary(want))
        if held or not plug.pluggable(became):
            return difference
        reason = self._slots.take(became)
        if reason is not None:
            return structs.replace(difference, reason=reason)
        return DeviceChange("attach", self._placed(became), difference.path, (difference,))

    def _placed(self, became: ET.Element, gone: ET.Element | None = None) -> ET.Element:
        """The place that a definition has for a device may be that of another one until a start."""
        address = became.find("address")
        if address is None or address.attrib not in self._taken:
            return became
        if gone is not None and any(address.attrib == own.attrib for own in gone.iter("address")):
            return became
        free = copy.deepcopy(became)
        for each in free.findall("address"):
            free.remove(each)
        return free

    def detach(self, extra: ET.Element) -> DeviceChange | Difference:
        told = self._told("detach", extra, summary(extra), None)
        possible = plug.pluggable(extra)
        return DeviceChange("detach", extra, told.path, (told,)) if possible else told

    def replace(self, want: ET.Element, became: ET.Element, match: ET.Element) -> Found:
        """The new one gets the place of the old one, so both change now or both wait."""
        possible = plug.pluggable(became) and plug.pluggable(match)
        old, new = self._told("release", match, summary(match), None), summary(want)
        difference = self._told("attach", became, None, new)
        if not possible:
            yield from (old, difference)
            return
        yield DeviceChange("release", match, old.path, (old,))
        yield DeviceChange("attach", self._placed(became, match), difference.path, (difference,))

    def _told(self, how: str, device: ET.Element, old: object, new: object) -> Difference:
        path = f"live/devices/{identity.label(device)}"
        self._given[how, path] += 1
        number = self._given[how, path]
        return Difference(path if number == 1 else f"{path}[{number}]", old, new)


def _moved(became: ET.Element, match: ET.Element) -> bool:
    """libvirt adds a PS/2 keyboard; one that was declared on another bus is another one."""
    return became.tag == "input" and became.get("bus") != match.get("bus")


def _device(live: ET.Element, want: Intent, became: ET.Element, match: ET.Element) -> Found:
    """A device that is there: what differs is updated, set by a call of its own, or waits."""
    merged = merge(copy.deepcopy(match), want, f"devices/{match.tag}")
    path = f"live/devices/{identity.label(became)}"
    own = OWN.get(match.tag, "")
    update: list[Difference] = []
    call: list[Difference] = []
    wait: list[Difference] = []
    for difference in merged.differences:
        mine = own and PROPERTIES[own].paths.fullmatch(difference.path)
        kind = call if mine else update if _updated(match, difference) else wait
        kind.append(difference)
    if any(_other(match, difference) for difference in update):
        wait, update = [*update, *wait], []
    if update:
        known = _without(want, [*call, *wait])
        xml = merge(copy.deepcopy(match), known, f"devices/{match.tag}").xml
        yield DeviceChange("update", xml, path, _below(path, update))
    if call:
        target = str(identity.at("target", "dev")(match) or "")
        after = ET.Element("domain")
        ET.SubElement(after, "devices").append(merged.xml)
        values = changed(own, target, live, after)
        yield PropertyChange(own, target, values, _below(path, call))
    yield from _below(path, wait)


def _below(path: str, differences: Sequence[Difference]) -> tuple[Difference, ...]:
    return tuple(structs.replace(each, path=f"{path}/{each.path}") for each in differences)


def _updated(match: ET.Element, difference: Difference) -> bool:
    # QEMU changes the password of a console that has one, and gives none to another.
    if match.tag == "graphics" and match.get("passwd") is None:
        return False
    drive = match.get("device") if match.tag == "disk" else None
    fields = UPDATED.get(drive if drive in plug.DRIVES else match.tag)
    return fields is not None and fields.fullmatch(difference.path) is not None


def _other(match: ET.Element, difference: Difference) -> bool:
    """Tell whether a device would become one of another kind."""
    among = AMONG.get((match.tag, difference.path))
    return among is not None and not {difference.old, difference.new} <= among


def _without(want: Intent, differences: Sequence[Difference]) -> Intent:
    """Return what is declared of a device without what can't be updated in it."""
    if not differences:
        return want
    left, waiting = copy.deepcopy(want.xml), set[str]()
    for difference in differences:
        *outer, last = re.sub(r"\[[^\]]*\]", "", difference.path).split("/")
        waiting.add("/".join(["devices", left.tag, *outer]))
        parent = left.find("/".join(outer)) if outer else left
        if parent is not None and last.startswith("@"):
            parent.attrib.pop(last[1:], None)
        elif parent is not None:
            for child in parent.findall(last):
                parent.remove(child)
    lists = {name for name in want.lists if identity.LISTS[name].parent not in waiting}
    return Intent(left, frozenset(lists))


def _outside(live: ET.Element, intent: Intent, guest: Guest) -> Found:
    """What differs outside the devices, gathered by the call that makes it."""
    goal = merge(_as_defined(live, intent), _without_devices(intent))
    calls: dict[str, list[Difference]] = {}
    for difference in goal.differences:
        key = property_of(difference.path)
        if key is None:
            yield difference
        else:
            calls.setdefault(key, []).append(difference)
    cpus = _cpus(live, goal.xml)
    for key, differences in calls.items():
        values = changed(key, "", live, goal.xml)
        reason = _impossible(key, values, differences, live, cpus, guest)
        if reason is None:
            told = tuple(structs.replace(each, path=f"live/{each.path}") for each in differences)
            yield PropertyChange(key, "", values, told)
        else:
            yield from (structs.replace(each, reason=reason) for each in differences)


def _impossible(
    key: str,
    values: Values,
    differences: Sequence[Difference],
    live: ET.Element,
    cpus: int,
    guest: Guest,
) -> str | None:
    """Return why a call can't make these differences now; ``None`` where it can."""
    removed = any(each.new is None for each in differences)
    if not values or (removed and PROPERTIES[key].gone is None):
        return WAITS
    rule = RULES.get(key)
    reason = None if rule is None else rule(live, values, cpus, guest)
    return guest.lacks(key) if reason is None else reason


def _memory(live: ET.Element, values: Values, cpus: int, guest: Guest) -> str | None:
    """Up to the maximum that it was started with, through its balloon driver."""
    if int(values[""]) > int(live.findtext("memory", "0")):
        return WAITS
    return None if guest.balloon() else "the guest's balloon driver does not answer"


def _more_cpus(live: ET.Element, values: Values, cpus: int, guest: Guest) -> str | None:
    """Up to the maximum that it was started with; those that were there at the start stay."""
    return None if values[""] == str(cpus) else WAITS


def _cpus(live: ET.Element, goal: ET.Element) -> int:
    """The CPUs that the guest has, or will have when what can be plugged in is."""
    read = PROPERTIES["vcpus"].read
    now, then = (int(read(document, "")[""] or 1) for document in (live, goal))
    return then if now < then <= int(live.findtext("vcpu", "1")) else now


def _threads(live: ET.Element, values: Values, cpus: int, guest: Guest) -> str | None:
    used = {driver.get("iothread") for driver in live.iterfind("devices/*/driver[@iothread]")}
    busy = sorted(number for number, there in values.items() if there == GONE and number in used)
    return f"I/O thread {', '.join(busy)} is in use" if busy else None


def _pinned_cpus(live: ET.Element, values: Values, cpus: int, guest: Guest) -> str | None:
    return WAITS if any(int(number) >= cpus for number in values) else None


def _weights(live: ET.Element, values: Values, cpus: int, guest: Guest) -> str | None:
    """A limit is taken away by a zero, a weight is not."""
    lost = any(value == GONE and "weight" in name for name, value in values.items())
    return WAITS if lost else None


def _nodes(live: ET.Element, values: Values, cpus: int, guest: Guest) -> str | None:
    """QEMU itself binds the memory in any other mode, once."""
    memory = live.find("numatune/memory[@mode='restrictive']")
    return WAITS if memory is None else None


def _one_namespace(live: ET.Element, values: Values, cpus: int, guest: Guest) -> str | None:
    """libvirt puts everything inside into the namespace of the element."""
    for space, text in values.items():
        for each in parse(text).iter():
            inside = each.tag.startswith(f"{{{space}}}")
            if not inside or any("{" in name for name in each.attrib):
                return WAITS
    return None


# Waits without a reason that a user could do anything about.
WAITS = ""
RULES: Mapping[str, Callable[[ET.Element, Values, int, Guest], str | None]] = {
    "memory": _memory,
    "vcpus": _more_cpus,
    "iothreads": _threads,
    "metadata": _one_namespace,
    "vcpupin": _pinned_cpus,
    "blkiotune": _weights,
    "numatune": _nodes,
}


def _without_devices(intent: Intent) -> Intent:
    xml = ET.Element(intent.xml.tag, intent.xml.attrib)
    xml.extend(child for child in intent.xml if child.tag != "devices")
    return Intent(xml, intent.lists - EXPANDED)


def _as_defined(live: ET.Element, intent: Intent) -> ET.Element:
    """Return a copy of a running guest's document in which libvirt's choices are taken back.

    The model that ``host-model`` became, and the file that ``firmware='efi'`` became.
    """
    seen = copy.deepcopy(live)
    for tag in CONTAINERS:
        if intent.xml.find(tag) is not None and seen.find(tag) is None:
            ET.SubElement(seen, tag)
    wanted, cpu = intent.xml.find("cpu"), seen.find("cpu")
    if wanted is not None and cpu is not None:
        if wanted.get("mode") == "host-model" and cpu.get("mode") == "custom":
            cpu.set("mode", "host-model")
        _cpu_as_defined(cpu, wanted)
    firmware, system = intent.xml.find("os"), seen.find("os")
    if firmware is not None and system is not None and system.find("loader") is not None:
        system.attrib.update({k: v for k, v in firmware.attrib.items() if v == "efi"})
    return seen


def _cpu_as_defined(cpu: ET.Element, wanted: ET.Element) -> None:
    """Once checked against the host the live document says ``full``, and what that decided."""
    if "check" in wanted.attrib:
        cpu.set("check", wanted.attrib["check"])
    model, declared = cpu.find("model"), wanted.find("model")
    if model is not None and declared is not None:
        model.attrib.update({k: v for k, v in declared.attrib.items() if k == "fallback"})
    for feature in wanted.iterfind("feature"):
        name, policy = feature.get("name"), feature.get("policy", "require")
        found = next((f for f in cpu.iterfind("feature") if f.get("name") == name), None)
        if policy in ("optional", "force"):
            found = ET.SubElement(cpu, "feature") if found is None else found
            found.attrib.update(feature.attrib)


def due(live: str, inactive: str) -> tuple[Difference, ...]:
    """Return what a definition has and the running guest only gets at its next start.

    For a CPU of the host's model libvirt writes what it chose into the guest's document, and for
    any CPU how it was checked and that no other model can take its place any more.
    """
    definition = parse(inactive)
    cpu = definition.find("cpu")
    if cpu is not None:
        cpu.attrib.pop("check", None)
        for model in cpu.findall("model"):
            model.attrib.pop("fallback", None)
        if cpu.get("mode") == "host-model":
            definition.remove(cpu)
    return merge(parse(live), Intent(definition)).differences


def disks_in(live: str) -> Iterator[tuple[str, str]]:
    """Yield file and target of each disk of a running guest that it can write to."""
    for disk in parse(live).iterfind("devices/disk"):
        file, target = disk.find("source[@file]"), disk.find("target[@dev]")
        if file is not None and target is not None and disk.get("device", "disk") == "disk":
            yield file.attrib["file"], target.attrib["dev"]


def device_in(live: str, device: str) -> str | None:
    """Return the device of a running guest that another document of it describes."""
    wanted = parse(device)
    there = parse(live).findall(f"devices/{wanted.tag}")
    key = adopt.KEYS.get(wanted.tag)
    if key is not None and key(wanted) is not None:
        found = next((each for each in there if key(each) == key(wanted)), None)
    else:
        found = identity.pair([wanted], there, fits)[0][0][1]
    return None if found is None else ET.tostring(found, encoding="unicode")


def plugged(live: str, device: str) -> str | None:
    """Return the device of a running guest that was attached as, or is, another document of it."""
    wanted = canonical(parse(device))
    if wanted.tag in adopt.KEYS:
        return device_in(live, device)
    there = canonical(parse(live)).iterfind(f"devices/{wanted.tag}")
    found = next((each for each in there if fits(wanted, each)), None)
    return None if found is None else ET.tostring(found, encoding="unicode")
