"""The steps of a domain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Protocol, TypeVar
from xml.etree import ElementTree as ET

import msgspec
from msgspec import structs

from salt_kvm.errors import SpecError
from salt_kvm.plan import common, image
from salt_kvm.plan.removal import Images, own_images
from salt_kvm.plan.steps import (
    AttachDevice,
    DetachDevice,
    Need,
    SetProperty,
    Shutdown,
    Start,
    Step,
    UpdateDevice,
    change,
    mark,
)
from salt_kvm.seen import Facts, Observed
from salt_kvm.spec.disk import Disk
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.types import Size
from salt_kvm.xml import domain as xml
from salt_kvm.xml import live as live_xml
from salt_kvm.xml.equality import same_path
from salt_kvm.xml.intent import Intent
from salt_kvm.xml.live import DeviceChange, Live, PropertyChange, compare, disks_in
from salt_kvm.xml.mark import marked
from salt_kvm.xml.merge import Difference, Merged

TIMEOUT = 120
LOST_VOLUME = "declare it under kvm:volumes, or correct its name"
LOST_FILE = "declare it, or correct its path"


AnyChange = TypeVar("AnyChange", DeviceChange, PropertyChange)


class Guest(live_xml.Guest, Protocol):
    """What a running guest is asked, and what of a change it is known to refuse."""

    def refused(self, mark: str, /) -> str | None:
        """Return why libvirt refused a change since the guest started."""


class DomainSeen(msgspec.Struct, frozen=True):
    """A domain, the images that its disks name, and what its hypervisor and its guest can do."""

    domain: Observed | None
    images: Images
    facts: Facts
    guest: Guest | None = None


def plan(name: str, want: Domain, seen: DomainSeen) -> Iterator[Step | Difference]:
    """Yield what makes the domain as declared, and what waits for the guest's next boot.

    A running guest is never restarted for a change.
    """
    there = seen.domain
    if want.state == "absent":
        yield from _shutdown(name, want, there)
        yield from common.undefine("domain", name, there)
        if want.disks == "delete":
            yield from own_images(there, seen.images)
        return
    if there is None and want.memory is None:
        raise SpecError(
            [f"kvm:domains:{name}:memory: needed to make the domain, which is not there"]
        )
    intent = xml.intent(name, want, seen.facts)
    merged = common.compose(there, intent, partial(xml.blank, name, want, seen.facts))
    running = _running(there) if want.state != "stopped" else None
    xml.complete(merged.xml, merged.added, running)
    _check(name, want, merged)
    live = _compare(seen, running, intent, merged)
    yield from () if live is None else live.waiting
    yield from _images(name, want, seen, merged)
    # Plugged in before it is defined, so that the definition can keep the slot that it got;
    # pulled out after, so that it is gone at the next boot even where the guest refuses now;
    # but before the one that takes its place.
    yield from _now(name, live, "release", "attach", "update")
    yield from common.definition("domain", name, there, intent, merged, _needs(name, merged))
    yield from _now(name, live, "detach")
    yield from _properties(name, live)
    yield from common.autostart("domain", name, there, want.autostart)
    yield from _grow(name, want, seen, merged)
    if want.state == "running":
        yield from _restart(name, want, there, live)
        needs = chain(_needs(name, merged), _start_needs(merged))
        yield from common.start("domain", name, there, needs)
    if want.state == "stopped":
        yield from _shutdown(name, want, there)


def _check(name: str, want: Domain, merged: Merged) -> None:
    """Refuse what libvirt would drop without a word."""
    pages = want.memory_backing and want.memory_backing.hugepages
    named = isinstance(pages, list) and any(page.nodeset is not None for page in pages)
    if named and merged.xml.find("cpu/numa/cell") is None:
        where = f"kvm:domains:{name}:memory_backing:hugepages"
        cure = "declare some as 'numa' of cpu, or take it out"
        raise SpecError([f"{where}: 'nodeset' names NUMA cells, and the guest has none; {cure}"])


def restart(name: str, want: Domain, seen: DomainSeen) -> Iterator[Step]:
    """Yield what restarts a running guest that is to run; any other has nothing to restart."""
    if want.state == "running":
        yield from _off_and_on(name, want, seen.domain)


def prune(name: str, want: Domain, seen: DomainSeen) -> Iterator[Step | Difference]:
    """Yield the plan only for a domain that this pack has made: asked again with its lock held."""
    if seen.domain is not None and marked(seen.domain):
        yield from plan(name, want, seen)


def _running(there: Observed | None) -> ET.Element | None:
    return None if there is None or there.live is None else ET.fromstring(there.live)


def _compare(
    seen: DomainSeen, running: ET.Element | None, intent: Intent, merged: Merged
) -> Live | None:
    """What libvirt has refused since the guest started waits, with libvirt's reason."""
    if running is None or seen.guest is None:
        return None
    found = compare(running, intent, merged, seen.guest)
    waiting: list[Difference] = []
    devices = tuple(_not_refused(seen.guest, found.devices, waiting))
    properties = tuple(_not_refused(seen.guest, found.properties, waiting))
    return Live(devices, properties, (*found.waiting, *waiting))


def _not_refused(
    guest: Guest, found: Iterable[AnyChange], waiting: list[Difference]
) -> Iterator[AnyChange]:
    """Yield what libvirt has not refused; what comes after a refused release waits with it."""
    released: str | None = None
    for each in found:
        how = each.how if isinstance(each, DeviceChange) else ""
        reason = guest.refused(mark(common.told(each.changes)))
        reason = released if reason is None and how == "attach" else reason
        released = reason if how == "release" else None
        if reason is None:
            yield each
        else:
            waiting += (structs.replace(difference, reason=reason) for difference in each.changes)


def _shutdown(name: str, want: Domain, seen: Observed | None) -> Iterator[Step]:
    if seen is not None and seen.active:
        timeout = TIMEOUT if want.timeout is None else want.timeout
        changes = {"state": change("running", "off")}
        force = bool(want.force)
        yield Shutdown(kind="domain", name=name, timeout=timeout, force=force, changes=changes)


def _images(name: str, want: Domain, seen: DomainSeen, merged: Merged) -> Iterator[Step]:
    """A disk that is new in the definition brings its image; one that lost its file does not."""
    new = _files_of(merged.added)
    for index, disk in enumerate(want.disk_list):
        if disk.path is None or not disk.makes or disk.path not in new:
            continue
        where = f"kvm:domains:{name}:disks[{index}]"
        format = disk.format or "raw"
        there = seen.images.get(disk.path, format)
        if there is None:
            yield _named(image.create(disk.path, format, disk, seen.images, where), disk)
        elif disk.size is not None and not image.same_size(there, disk.size):
            size = Size(there.size or 0)
            raise SpecError([f"{where}:size: {disk.path} is there with {size}, not {disk.size}"])


def _files_of(devices: Iterable[ET.Element]) -> set[str]:
    return {path for device in devices if (path := _file(device)) is not None}


def _file(device: ET.Element) -> str | None:
    source = device.find("source")
    return None if source is None else source.get("file")


def _volume(device: ET.Element) -> str | None:
    """The full name of the volume that a disk is declared by."""
    source = device.find("source")
    pool = None if source is None else source.get("pool")
    return None if source is None or pool is None else f"{pool}/{source.get('volume')}"


def _named(step: Step, disk: Disk) -> Step:
    """A domain can make several images, so each has its own place in ``changes``."""
    return structs.replace(step, changes={f"image[{disk.path}]": step.changes["image"]})


def _grow(name: str, want: Domain, seen: DomainSeen, merged: Merged) -> Iterator[Step]:
    """A disk that the guest has grows to its declared size; a larger one is left alone."""
    new = _files_of(merged.added)
    for disk in want.disk_list if seen.domain is not None else ():
        if disk.size is None or disk.path is None or disk.path in new:
            continue
        there = seen.images.get(disk.path, disk.format or "raw")
        if there is None or (there.size or 0) >= disk.size:
            continue
        if seen.domain is None or seen.domain.live is None:
            yield image.grow(there, disk.size)
            continue
        for file, target in disks_in(seen.domain.live):
            if same_path(file, disk.path):
                yield image.grow_live(there, disk.size, name, target)


STEPS: Mapping[str, Callable[..., Step]] = {
    "attach": AttachDevice,
    "detach": DetachDevice,
    "release": partial(DetachDevice, needed=True),
    "update": UpdateDevice,
}


def _now(name: str, live: Live | None, *how: str) -> Iterator[Step]:
    """The device changes of these kinds, as steps on the running guest."""
    for device_change in live.devices if live is not None else ():
        if device_change.how in how:
            text = ET.tostring(device_change.element, encoding="unicode")
            device = device_change.path.removeprefix("live/devices/")
            changes = common.told(device_change.changes)
            step = STEPS[device_change.how]
            yield step(kind="domain", name=name, xml=text, device=device, changes=changes)


def _properties(name: str, live: Live | None) -> Iterator[Step]:
    for each in live.properties if live is not None else ():
        changes = common.told(each.changes)
        yield SetProperty(
            kind="domain",
            name=name,
            key=each.key,
            target=each.target,
            values=each.values,
            changes=changes,
        )


def _restart(name: str, want: Domain, there: Observed | None, live: Live | None) -> Iterator[Step]:
    """Only where the user said so: what waits for a boot comes with one."""
    if want.restart and live is not None and live.waiting:
        yield from _off_and_on(name, want, there)


def _off_and_on(name: str, want: Domain, there: Observed | None) -> Iterator[Step]:
    for step in _shutdown(name, want, there):
        yield structs.replace(step, changes={})
        changes = {"state": change("running", "restarted")}
        yield Start(kind="domain", name=name, changes=changes)


def _needs(name: str, merged: Merged) -> Iterator[Need]:
    yield from _medium_needs(merged)
    yield from _sole_needs(name, merged)
    yield from _network_needs(merged, "network")
    yield from _kvm_needs(merged)


def _medium_needs(merged: Merged) -> Iterator[Need]:
    """Files that the definition is about to name for the first time."""
    touched = [d.path for d in merged.differences]
    if not any(path.startswith("devices") for path in touched):
        return
    for disk in merged.xml.iterfind("devices/disk"):
        path, driver = _file(disk), disk.find("driver")
        if (volume := _volume(disk)) is not None:
            yield Need("volume", volume, LOST_VOLUME)
        if path is not None:
            format = None if driver is None else driver.get("type")
            yield Need("file", path, LOST_FILE, None if disk.get("device") == "cdrom" else format)


def _sole_needs(name: str, merged: Merged) -> Iterator[Need]:
    """Two guests that write to one image destroy it."""
    for disk in merged.added:
        shared = disk.find("shareable") is not None or disk.find("readonly") is not None
        if disk.tag != "disk" or disk.get("device", "disk") != "disk" or shared:
            continue
        path, volume = _file(disk), _volume(disk)
        if path is not None:
            yield Need("unused", path, "take another image, or declare it shareable", user=name)
        if volume is not None:
            yield Need("sole volume", volume, "take another, or declare it shareable", user=name)


def _network_needs(merged: Merged, what: str) -> Iterator[Need]:
    for source in merged.xml.iterfind("devices/interface/source"):
        network = source.get("network")
        if network is not None:
            yield Need(what, network, "declare it under kvm:networks, or start it")


def _kvm_needs(merged: Merged) -> Iterator[Need]:
    if merged.xml.get("type") == "kvm":
        cure = "switch on VT-x or AMD-V for this host, or declare virt_type: auto"
        yield Need("kvm", "hardware virtualisation", cure)


def _start_needs(merged: Merged) -> Iterator[Need]:
    for disk in merged.xml.iterfind("devices/disk"):
        path = _file(disk)
        if path is not None:
            yield Need("file", path, LOST_FILE)
        if (volume := _volume(disk)) is not None:
            yield Need("volume", volume, LOST_VOLUME)
    yield from _network_needs(merged, "active network")
