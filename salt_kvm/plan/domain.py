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
from salt_kvm.plan import common, domain_checks, image, secret, seed
from salt_kvm.plan.install_steps import RemoveBoot
from salt_kvm.plan.removal import Images, own_images
from salt_kvm.plan.seed import SeedSeen
from salt_kvm.plan.steps import (
    AWAKE,
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
from salt_kvm.xml.document import parse
from salt_kvm.xml.equality import same_path
from salt_kvm.xml.identity import remote
from salt_kvm.xml.install import installing
from salt_kvm.xml.intent import Intent
from salt_kvm.xml.live import DeviceChange, Live, PropertyChange, compare, disks_in
from salt_kvm.xml.mark import marked
from salt_kvm.xml.merge import Difference, Merged
from salt_kvm.xml.properties import PROPERTIES

TIMEOUT = 120
LOST_VOLUME = "declare it under kvm:volumes, or correct its name"
LOST_FILE = "declare it, or correct its path"


AnyChange = TypeVar("AnyChange", DeviceChange, PropertyChange)


class Guest(live_xml.Guest, Protocol):
    """What a running guest is asked, and what of a change it is known to refuse."""

    def paused(self) -> str | None:
        """Return why its CPUs stand still; ``None`` where they run."""

    def refused(self, mark: str, /) -> str | None:
        """Return why libvirt refused a change since the guest started."""


class Installation(Protocol):
    """What a plan asks of an installation, where it has to know."""

    @property
    def wanted(self) -> bool:
        """Tell whether the domain is to be installed."""

    def files(self) -> bool:
        """Tell whether what its installer was started with is still kept."""

    def blank(self, disk: ET.Element, /) -> bool:
        """Tell whether a disk is known to hold nothing."""

    def end(self, since: str, /) -> str:
        """Return how a guest that is off has ended, whose installer was started then."""


class DomainSeen(msgspec.Struct, frozen=True):
    """A domain, the images that its disks name, its seeds, and what hypervisor and guest can do."""

    domain: Observed | None
    images: Images
    facts: Facts
    guest: Guest | None = None
    seeds: tuple[SeedSeen, ...] = ()
    installation: Installation | None = None


def plan(name: str, want: Domain, seen: DomainSeen) -> Iterator[Step | Difference]:
    """Yield what makes the domain as declared, and what waits for the guest's next boot.

    A running guest is never restarted for a change.
    """
    there = seen.domain
    if want.state == "absent":
        yield from shutdown(name, want, there)
        yield from common.undefine("domain", name, there)
        if want.disks == "delete":
            yield from own_images(there, seen.images)
        yield from seed.remove(seen.seeds)
        yield from boot_files(name, seen)
        return
    if there is None and want.memory is None:
        raise SpecError(
            [f"kvm:domains:{name}:memory: needed to make the domain, which is not there"]
        )
    intent, merged = compose(name, want, seen)
    # Of a guest whose installer runs only the definition is compared.
    running = _running(there) if want.state != "stopped" and not installing(there) else None
    # A definition that stays is one that libvirt has taken already.
    if merged.differences or there is None or not there.persistent:
        xml.complete(merged.xml, merged.added, running)
        domain_checks.check(name, want, intent, merged)
    live = _compare(seen, running, intent, merged)
    yield from () if live is None else live.waiting
    yield from _images(name, want, seen, merged)
    yield from seed.write(name, seen.seeds)
    # Plugged in before it is defined, so that the definition can keep the slot that it got;
    # pulled out after, so that it is gone at the next boot even where the guest refuses now;
    # but before the one that takes its place.
    yield from _now(name, live, "release", "attach", "update")
    needs = chain(_needs(name, merged), _nested_needs(want, merged))
    yield from common.definition("domain", name, there, intent, merged, needs)
    yield from _now(name, live, "detach")
    yield from _properties(name, live)
    yield from common.autostart("domain", name, there, want.autostart)
    yield from _grow(name, want, seen, merged)
    if want.state == "running":
        yield from _restart(name, want, there, live)
        needs = chain(
            _needs(name, merged),
            _nested_needs(want, merged),
            _start_needs(merged),
            _capacity_needs(name, want),
        )
        yield from common.start("domain", name, there, needs)
    if want.state == "stopped":
        yield from shutdown(name, want, there)
    yield from seed.remove(seen.seeds, _held(want, running, live))


def _held(want: Domain, running: ET.Element | None, live: Live | None) -> Iterator[str]:
    """The files that a guest goes on to have: not what it is rid of now or by a restart."""
    if running is None or _restarts(want, live):
        return
    changes = () if live is None else live.devices
    rid = {_file(change.element) for change in changes if change.how == "detach"}
    yield from _files_of(running.iterfind("devices/disk")) - rid


def compose(name: str, want: Domain, seen: DomainSeen) -> tuple[Intent, Merged]:
    """Return what is declared, and the definition with it."""
    seeds = [each.place for each in seen.seeds if each.want is not None]
    gone = [each.place for each in seen.seeds if each.want is None]
    intent = xml.intent(name, want, seen.facts, seeds, gone)
    return intent, common.compose(seen.domain, intent, partial(xml.blank, name, want, seen.facts))


def boot_files(name: str, seen: DomainSeen) -> Iterator[Step]:
    """Yield the removal of what an installer was started with, where it is still there."""
    if seen.installation is not None and seen.installation.files():
        yield RemoveBoot(kind="domain", name=name, changes={"boot files": change("present", None)})


def restart(name: str, want: Domain, seen: DomainSeen) -> Iterator[Step]:
    """Yield what restarts a running guest that is to run; any other has nothing to restart."""
    if want.state in ("running", "installed") and not installing(seen.domain):
        yield from _off_and_on(name, want, seen.domain)


def prune(name: str, want: Domain, seen: DomainSeen) -> Iterator[Step | Difference]:
    """Yield the plan only for a domain that this pack has made: asked again with its lock held."""
    if seen.domain is not None and marked(seen.domain):
        yield from plan(name, want, seen)


def _running(there: Observed | None) -> ET.Element | None:
    return None if there is None or there.live is None else parse(there.live)


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
    return Live(devices, properties, (*found.waiting, *waiting, *seed.waiting(seen.seeds)))


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


def shutdown(name: str, want: Domain, seen: Observed | None) -> Iterator[Step]:
    if seen is not None and seen.active:
        timeout = TIMEOUT if want.timeout is None else want.timeout
        changes = {"state": change("running", "off")}
        force = bool(want.force)
        yield Shutdown(
            kind="domain",
            name=name,
            timeout=timeout,
            force=force,
            changes=changes,
            needs=() if force else (Need("awake", name, AWAKE),),
        )


def _images(name: str, want: Domain, seen: DomainSeen, merged: Merged) -> Iterator[Step]:
    """A disk that is new in the definition brings its image; one that lost its file does not."""
    new = _files_of(merged.added)
    for index, disk in enumerate(want.disk_list):
        if disk.path is None or not disk.makes or disk.path not in new:
            continue
        where = f"kvm:domains:{name}:disks[{index}]"
        format = disk.format or "raw"
        there = image.opened(seen.images.get(disk.path, format), disk.encryption)
        if there is None:
            made = image.create(disk.path, format, disk, seen.images, where)
            yield _named(image.unlocked(made, disk.encryption), disk)
        elif disk.size is not None and not image.same_size(there, disk.size):
            size = Size(there.size or 0)
            raise SpecError([f"{where}:size: {disk.path} is there with {size}, not {disk.size}"])


def _files_of(devices: Iterable[ET.Element]) -> set[str]:
    return {path for device in devices if (path := _file(device)) is not None}


def _file(device: ET.Element) -> str | None:
    source = device.find("source")
    return None if source is None else source.get("file")


def _block(device: ET.Element) -> str | None:
    """The block device of the host that a disk is."""
    source = device.find("source")
    return None if source is None else source.get("dev")


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
        found = seen.images.get(disk.path, disk.format or "raw")
        there = image.opened(found, disk.encryption)
        if there is None or (there.size or 0) >= disk.size:
            continue
        if seen.domain is None or seen.domain.live is None:
            yield image.unlocked(image.grow(there, disk.size), disk.encryption)
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
            fatal=PROPERTIES[each.key].start == "same",
            changes=changes,
        )


def _restart(name: str, want: Domain, there: Observed | None, live: Live | None) -> Iterator[Step]:
    """Only where the user said so: what waits for a boot comes with one."""
    if _restarts(want, live):
        yield from _off_and_on(name, want, there)


def _restarts(want: Domain, live: Live | None) -> bool:
    return bool(want.restart and live is not None and live.waiting)


def _off_and_on(name: str, want: Domain, there: Observed | None) -> Iterator[Step]:
    for step in shutdown(name, want, there):
        yield structs.replace(step, changes={})
        changes = {"state": change("running", "restarted")}
        needs = tuple(_capacity_needs(name, want))
        yield Start(kind="domain", name=name, changes=changes, needs=needs)


def _needs(name: str, merged: Merged) -> Iterator[Need]:
    yield from _medium_needs(merged)
    yield from _sole_needs(name, merged)
    yield from _network_needs(merged, "network")
    yield from _kvm_needs(merged)


def _medium_needs(merged: Merged) -> Iterator[Need]:
    """Files and secrets that the definition is about to name for the first time."""
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
    yield from _secret_needs(merged)


def _secret_needs(merged: Merged) -> Iterator[Need]:
    devices = merged.xml.find("devices")
    yield from secret.needs(merged.xml if devices is None else devices)


def _sole_needs(name: str, merged: Merged) -> Iterator[Need]:
    """Two guests that write to one image destroy it."""
    for disk in merged.added:
        shared = disk.find("shareable") is not None or disk.find("readonly") is not None
        if disk.tag != "disk" or disk.get("device", "disk") != "disk" or shared:
            continue
        path, volume = _file(disk), _volume(disk)
        if path is not None:
            yield Need("unused", path, "take another image, or declare it shareable", user=name)
        if (device := _block(disk)) is not None:
            yield Need("unused", device, "take another device, or declare it shareable", user=name)
        if (url := remote(disk)) is not None:
            yield Need("sole remote", url, "take another, or declare it shareable", user=name)
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


def _nested_needs(want: Domain, merged: Merged) -> Iterator[Need]:
    if want.nested and merged.xml.get("type") == "kvm":
        yield Need("nested", "nested virtualisation", "declare kvm:host:nested: true")


def _capacity_needs(name: str, want: Domain) -> Iterator[Need]:
    if not want.overcommit:
        cure = "shut another one down, give it less, or declare overcommit: true for it"
        yield Need("capacity", name, cure)


def _start_needs(merged: Merged) -> Iterator[Need]:
    for disk in merged.xml.iterfind("devices/disk"):
        path = _file(disk)
        if path is not None:
            yield Need("file", path, LOST_FILE)
        if (volume := _volume(disk)) is not None:
            yield Need("volume", volume, LOST_VOLUME)
    yield from _secret_needs(merged)
    yield from _network_needs(merged, "active network")
