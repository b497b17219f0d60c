"""The steps of a domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from xml.etree import ElementTree as ET

from salt_kvm.errors import SpecError
from salt_kvm.plan import common, image
from salt_kvm.plan.steps import Need, Shutdown, Step, UpdateDevice, change
from salt_kvm.seen import Facts, FileSeen, Observed
from salt_kvm.spec.domain import Disk, Domain
from salt_kvm.spec.types import Size
from salt_kvm.xml import domain as xml
from salt_kvm.xml.intent import Intent
from salt_kvm.xml.merge import Difference, Merged, merge

TIMEOUT = 120
LOST_FILE = "declare it, or correct its path"


@dataclass(frozen=True)
class DomainSeen:
    """A domain, the image files that its disks name, and what its hypervisor can do."""

    domain: Observed | None
    images: Mapping[str, FileSeen]
    facts: Facts


def plan(name: str, want: Domain, seen: DomainSeen) -> Iterator[Step]:
    """Yield what makes the domain as declared; a running guest is never restarted for a change."""
    there = seen.domain
    if want.state == "absent":
        yield from _shutdown(name, want, there)
        yield from common.undefine("domain", name, there)
        return
    if there is None and want.memory is None:
        raise SpecError(
            [f"kvm:domains:{name}:memory: needed to make the domain, which is not there"]
        )
    intent = xml.intent(name, want, seen.facts)
    merged = common.compose(there, intent, xml.blank(name, want, seen.facts))
    xml.complete(merged.xml, merged.added)
    yield from _images(name, want, seen)
    needs = (*_medium_needs(merged), *_network_needs(merged, "network"), *_kvm_needs(merged))
    yield from common.definition("domain", name, there, intent, merged, needs)
    yield from common.autostart("domain", name, there, want.autostart)
    if there is not None and there.live is not None:
        yield from _live(name, there.live, intent)
    if want.state == "running":
        yield from common.start("domain", name, there, (*needs, *_start_needs(merged)))
    if want.state == "stopped":
        yield from _shutdown(name, want, there)


def waiting(name: str, want: Domain, seen: DomainSeen) -> tuple[Difference, ...]:
    """Return what waits for the guest's next boot."""
    intent = xml.intent(name, want, seen.facts)
    due = common.waiting(seen.domain, intent)
    # libvirt writes the model that it chose into the running guest's document.
    chosen = ("cpu/@mode", "custom", "host-model")
    return tuple(d for d in due if (d.path, d.old, d.new) != chosen)


def _shutdown(name: str, want: Domain, seen: Observed | None) -> Iterator[Step]:
    if seen is not None and seen.active:
        timeout = TIMEOUT if want.timeout is None else want.timeout
        changes = {"state": change("running", "off")}
        force = bool(want.force)
        yield Shutdown(kind="domain", name=name, timeout=timeout, force=force, changes=changes)


def _images(name: str, want: Domain, seen: DomainSeen) -> Iterator[Step]:
    """A disk that is new in the definition brings its image; one that lost its file does not."""
    for index, disk in enumerate(want.disks or []):
        if disk.size is None or disk.path in _disk_files(seen.domain):
            continue
        where = f"kvm:domains:{name}:disks[{index}]"
        there = seen.images.get(disk.path)
        if there is None:
            step = image.create(disk.path, disk.format or "raw", disk.size, where)
            yield _named(step, disk)
        elif there.size is not None and there.size != disk.size:
            raise SpecError(
                [f"{where}:size: {disk.path} is there with {Size(there.size)}, not {disk.size}"]
            )


def _named(step: Step, disk: Disk) -> Step:
    """A domain can make several images, so each has its own place in ``changes``."""
    return replace(step, changes={f"image[{disk.path}]": step.changes["image"]})


def _disk_files(seen: Observed | None) -> set[str]:
    if seen is None:
        return set()
    sources = ET.fromstring(seen.xml).iterfind("devices/disk/source")
    return {source.get("file", "") for source in sources}


def _live(name: str, live: str, intent: Intent) -> Iterator[Step]:
    """The medium of a CD drive changes while the guest runs; the rest waits for the next boot."""
    wanted = Intent(ET.Element("domain"))
    devices = ET.SubElement(wanted.xml, "devices")
    devices.extend(d for d in intent.xml.iterfind("devices/disk") if d.get("device") == "cdrom")
    merged = merge(ET.fromstring(live), wanted)
    drives = [d for d in merged.xml.iterfind("devices/disk") if d.get("device") == "cdrom"]
    if merged.differences and not merged.added and len(drives) == 1:
        (drive,) = drives
        changes = {f"live/{path}": entry for path, entry in common.told(merged.differences).items()}
        text = ET.tostring(drive, encoding="unicode")
        yield UpdateDevice(
            kind="domain", name=name, xml=text, device="the CD medium", changes=changes
        )


def _medium_needs(merged: Merged) -> Iterator[Need]:
    """Files that the definition is about to name for the first time."""
    touched = [d.path for d in merged.differences]
    if not any(path.startswith("devices") for path in touched):
        return
    for disk in merged.xml.iterfind("devices/disk"):
        source, driver = disk.find("source"), disk.find("driver")
        path = None if source is None else source.get("file")
        if path is not None:
            format = None if driver is None else driver.get("type")
            yield Need("file", path, LOST_FILE, None if disk.get("device") == "cdrom" else format)


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
    for source in merged.xml.iterfind("devices/disk/source"):
        path = source.get("file")
        if path is not None:
            yield Need("file", path, LOST_FILE)
    yield from _network_needs(merged, "active network")
