"""What of a difference can be made on a running guest, and what waits for its next start.

``DEVICE_FIELDS`` names, for each tag of a device, the paths that libvirt changes on a running guest
by ``virDomainUpdateDeviceFlags``; ``PROPERTIES`` those outside the devices that have a call of
their own. Whatever stands in neither waits.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree as ET

import msgspec
from msgspec import structs

from salt_kvm.xml import adopt, identity
from salt_kvm.xml.equality import canonical
from salt_kvm.xml.intent import Intent
from salt_kvm.xml.merge import Difference, Merged, fits, merge, summary

DEVICE_FIELDS: Mapping[str, re.Pattern[str]] = {
    "cdrom": re.compile(r"source(/@(file|startupPolicy))?|@type"),
    "interface": re.compile(
        r"@type|source(/@(network|bridge|portgroup))?|link(/@state)?|bandwidth.*|filterref.*"
    ),
    "graphics": re.compile(r"@passwd(ValidTo)?"),
}
# Tag and path of what is changed from one of these values to another of them only.
AMONG: Mapping[tuple[str, str], frozenset[object]] = {
    ("interface", "@type"): frozenset({"network", "bridge"})
}
PLUGGABLE = frozenset({"disk", "interface"})
# A disk is known by what it stores: another one in its place is plugged in instead of it.
KEYS: Mapping[str, tuple[identity.Key, ...]] = {
    "disk": (identity.stored, identity.at("target", "dev"))
}
# Tag and attribute (none: the text) of what libvirt has a call of its own for.
PROPERTIES: Mapping[str, str] = {
    "currentMemory": "memory",
    "vcpu/@current": "vcpus",
    "title": "title",
    "description": "description",
}


# Lists to which libvirt adds when a guest starts.
EXPANDED = frozenset({"cpu", "seclabel"})


class DeviceChange(msgspec.Struct, frozen=True):
    """A device of the running guest: ``how`` is attach, detach, update, release or wait.

    One that is released makes room for the next one that is attached.
    """

    how: str
    element: ET.Element
    path: str
    changes: tuple[Difference, ...]


class Live(msgspec.Struct, frozen=True):
    """What can be done now, in the order in which it is done, and what waits."""

    devices: tuple[DeviceChange, ...]
    properties: tuple[tuple[str, Difference], ...]
    waiting: tuple[Difference, ...]


def compare(live: ET.Element, intent: Intent, persistent: Merged, *, balloon: bool) -> Live:
    """Compare a running guest with what is declared.

    :param live: the document of the running guest
    :param intent: what is declared
    :param persistent: the definition with the intent in it; it knows the MAC addresses and targets
        by which a declared device is found again in ``live``
    :param balloon: whether the guest's balloon driver answers
    """
    devices = tuple(_devices(canonical(live), intent, persistent))
    now = tuple(change for change in devices if change.how != "wait")
    waiting = [
        difference for change in devices if change.how == "wait" for difference in change.changes
    ]
    properties = []
    for difference in merge(_as_defined(live, intent), _without_devices(intent)).differences:
        name = PROPERTIES.get(difference.path)
        if name is not None and _possible(live, difference, balloon=balloon):
            properties.append((name, difference))
        else:
            waiting.append(difference)
    return Live(now, tuple(properties), tuple(waiting))


def _devices(live: ET.Element, intent: Intent, persistent: Merged) -> Iterator[DeviceChange]:
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
    for tag, known in declared.items():
        wanted = [became for _want, became in known]
        pairs, left = identity.pair(wanted, there.findall(tag), fits, KEYS.get(tag))
        for (want, _), (became, match) in zip(known, pairs, strict=True):
            if match is None:
                yield _attach(want, became, pairs)
            elif tag in KEYS and identity.stored(became) != identity.stored(match):
                yield _plug("release", match, (summary(match), None))
                yield _plug("attach", became, (None, summary(want)))
            else:
                yield from _change(want, became, match)
        for extra in left:
            if any(row.owns(extra, there) for row in owned):
                yield _plug("detach", extra, (summary(extra), None))


def _attach(want: ET.Element, became: ET.Element, pairs: identity.Pairs) -> DeviceChange:
    """What is to take the name of a device that stays has to wait."""
    name = identity.at("target", "dev")
    taken = {name(match) for other, match in pairs if match is not None}
    change = _plug("attach", became, (None, summary(want)))
    held = became.tag == "disk" and name(became) in taken
    return structs.replace(change, how="wait") if held else change


def _change(want: ET.Element, became: ET.Element, match: ET.Element) -> Iterator[DeviceChange]:
    """Compare a declared device with the running guest's; nearly always it is as declared."""
    if fits(want, match):
        return
    merged = merge(copy.deepcopy(match), Intent(want))
    path = f"live/devices/{identity.label(became)}"
    told = tuple(Difference(f"{path}/{d.path}", d.old, d.new) for d in merged.differences)
    now = all(_changeable(match, difference) for difference in merged.differences)
    # QEMU changes the password of a console that has one, and gives none to another.
    now = now and (match.tag != "graphics" or match.get("passwd") is not None)
    yield DeviceChange("update" if now else "wait", merged.xml, path, told)


def _changeable(device: ET.Element, difference: Difference) -> bool:
    fields = DEVICE_FIELDS.get(_kind(device))
    among = AMONG.get((device.tag, difference.path))
    possible = among is None or {difference.old, difference.new} <= among
    return possible and fields is not None and fields.fullmatch(difference.path) is not None


def _plug(how: str, element: ET.Element, change: tuple[object, object]) -> DeviceChange:
    path = f"live/devices/{identity.label(element)}"
    possible = element.tag in PLUGGABLE and _kind(element) not in ("cdrom", "floppy")
    return DeviceChange(how if possible else "wait", element, path, (Difference(path, *change),))


def _kind(device: ET.Element) -> str:
    return device.get("device", "") if device.get("device") in ("cdrom", "floppy") else device.tag


def _without_devices(intent: Intent) -> Intent:
    xml = ET.Element(intent.xml.tag, intent.xml.attrib)
    xml.extend(child for child in intent.xml if child.tag != "devices")
    return Intent(xml, intent.lists - EXPANDED)


def _as_defined(live: ET.Element, intent: Intent) -> ET.Element:
    """Return a copy of a running guest's document in which libvirt's choices are taken back.

    The model that ``host-model`` became, and the file that ``firmware='efi'`` became.
    """
    seen = copy.deepcopy(live)
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


def _possible(live: ET.Element, difference: Difference, *, balloon: bool) -> bool:
    """What of memory and CPUs a running guest can be given, and can give back.

    Up to the maximum that it was started with; memory through its balloon driver; CPUs that were
    there when it started stay.
    """
    if difference.path not in ("currentMemory", "vcpu/@current") or difference.raw is None:
        return difference.raw is not None
    memory = difference.path == "currentMemory"
    limit = int(live.findtext("memory" if memory else "vcpu", "0"))
    now = live.findtext("currentMemory") if memory else _vcpus(live)
    more = int(difference.raw) > int(now or limit)
    return int(difference.raw) <= limit and (balloon if memory else more)


def _vcpus(live: ET.Element) -> str | None:
    vcpu = live.find("vcpu")
    return None if vcpu is None else vcpu.get("current")


def due(live: str, inactive: str) -> tuple[Difference, ...]:
    """Return what a definition has and the running guest only gets at its next start.

    For a CPU of the host's model libvirt writes what it chose into the guest's document, and for
    any CPU how it was checked and that no other model can take its place any more.
    """
    definition = ET.fromstring(inactive)
    cpu = definition.find("cpu")
    if cpu is not None:
        cpu.attrib.pop("check", None)
        for model in cpu.findall("model"):
            model.attrib.pop("fallback", None)
        if cpu.get("mode") == "host-model":
            definition.remove(cpu)
    return merge(ET.fromstring(live), Intent(definition)).differences


def disks_in(live: str) -> Iterator[tuple[str, str]]:
    """Yield file and target of each disk of a running guest that it can write to."""
    for disk in ET.fromstring(live).iterfind("devices/disk"):
        file, target = disk.find("source[@file]"), disk.find("target[@dev]")
        if file is not None and target is not None and disk.get("device", "disk") == "disk":
            yield file.attrib["file"], target.attrib["dev"]


def device_in(live: str, device: str) -> str | None:
    """Return the device of a running guest that another document of it describes."""
    wanted = ET.fromstring(device)
    there = ET.fromstring(live).findall(f"devices/{wanted.tag}")
    key = adopt.KEYS.get(wanted.tag)
    if key is not None and key(wanted) is not None:
        found = next((each for each in there if key(each) == key(wanted)), None)
    else:
        found = identity.pair([wanted], there, fits)[0][0][1]
    return None if found is None else ET.tostring(found, encoding="unicode")


def property_in(live: str, key: str) -> str:
    """Return a property of a running guest as its document has it; empty where it has none."""
    document = canonical(ET.fromstring(live))
    path = next(path for path, name in PROPERTIES.items() if name == key)
    tag, _, attribute = path.partition("/@")
    found = document.find(tag)
    if found is None:
        return ""
    return found.get(attribute, "") if attribute else (found.text or "").strip()
