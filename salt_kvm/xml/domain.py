"""A domain as partial libvirt XML, and what a new domain or device starts from.

Elements and attributes: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterator
from itertools import count, product
from xml.etree import ElementTree as ET

from salt_kvm.seen import Facts
from salt_kvm.spec.domain import Disk, Domain, Graphics, Interface, Serial
from salt_kvm.xml.intent import ABSENT, Intent, element, parse_fragment
from salt_kvm.xml.merge import merge

CPU_MODES = ("host-passthrough", "host-model", "maximum")
TARGET_PREFIX = {"virtio": "vd", "ide": "hd", "fdc": "fd"}
X86 = ("x86_64", "i686")
Q35 = ("q35", "pc-q35")
# A PCI Express machine takes a device while it runs only where a root port is free; about half of
# these are taken from the start
# (https://libvirt.org/pci-hotplug.html).
ROOT_PORTS = 14


def intent(name: str, want: Domain, facts: Facts) -> Intent:
    """Render what ``want`` declares, with its ``xml`` fragment merged in."""
    owned = ("boot", "disks", "interfaces", "graphics", "serial")
    lists = frozenset(field for field in owned if getattr(want, field) is not None)
    xml = element(
        "domain",
        {"type": _virt_type(want, facts)},
        element("name", text=name),
        *_memory(want),
        _vcpu(want),
        _os(want),
        None if want.cpu is None else _cpu(want.cpu),
        _devices(want),
    )
    if want.xml is not None:
        overlay = parse_fragment(want.xml, "domain", f"kvm:domains:{name}")
        xml = merge(xml, Intent(overlay)).xml
    return Intent(xml, lists)


def _virt_type(want: Domain, facts: Facts) -> str | None:
    return ("kvm" if facts.kvm else "qemu") if want.virt_type == "auto" else want.virt_type


def _memory(want: Domain) -> Iterator[ET.Element]:
    """As in virt-install: what the guest has, and what it can be given while it runs."""
    sizes = {"memory": want.max_memory or want.memory, "currentMemory": want.memory}
    for tag, size in sizes.items():
        if size is not None:
            yield element(tag, {"unit": "KiB"}, text=-(-size // 1024))


def _vcpu(want: Domain) -> ET.Element | None:
    count = want.max_vcpus or want.vcpus
    return None if count is None else element("vcpu", {"current": want.vcpus}, text=count)


def _os(want: Domain) -> ET.Element | None:
    if want.machine is None and want.boot is None:
        return None
    kind = None if want.machine is None else element("type", {"machine": want.machine}, text="hvm")
    return element("os", None, kind, *(element("boot", {"dev": dev}) for dev in want.boot or []))


def _cpu(cpu: str) -> ET.Element:
    if cpu in CPU_MODES:
        return element("cpu", {"mode": cpu})
    return element("cpu", {"mode": "custom"}, element("model", text=cpu))


def _devices(want: Domain) -> ET.Element | None:
    devices = [
        *map(_disk, want.disks or []),
        *([] if want.cdrom is None else [_cdrom(want.cdrom)]),
        *map(_interface, want.interfaces or []),
        *map(_graphics, want.graphics or []),
        *map(_serial, want.serial or []),
    ]
    lists = (want.disks, want.interfaces, want.graphics, want.serial)
    declared = devices or any(field is not None for field in lists)
    return element("devices", None, *devices) if declared else None


def _disk(disk: Disk) -> ET.Element:
    driver = {"type": disk.format, "cache": disk.cache}
    target = {"dev": disk.target, "bus": disk.bus}
    return element(
        "disk",
        {"type": "file", "device": "disk"},
        element("driver", driver) if any(driver.values()) else None,
        element("source", {"file": disk.path}),
        element("target", target) if any(target.values()) else None,
        None if disk.serial is None else element("serial", text=disk.serial),
    )


def _cdrom(path: str) -> ET.Element:
    source = element("source", {"file": path or ABSENT})
    return element("disk", {"type": "file", "device": "cdrom"}, source)


def _interface(card: Interface) -> ET.Element:
    kind = "network" if card.network else "bridge"
    return element(
        "interface",
        {"type": kind},
        None if card.mac is None else element("mac", {"address": card.mac}),
        element("source", {kind: card.network or card.bridge}),
        None if card.model is None else element("model", {"type": card.model}),
    )


def _graphics(console: Graphics) -> ET.Element:
    port: dict[str, object] = {}
    if console.port is not None:
        auto = console.port == "auto"
        port = {"port": -1 if auto else console.port, "autoport": "yes" if auto else "no"}
    listen = console.listen
    return element(
        "graphics",
        {"type": console.type, **port, "listen": listen, "passwd": console.password},
        None if listen is None else element("listen", {"type": "address", "address": listen}),
    )


def _serial(port: Serial) -> ET.Element:
    log = None if port.log is None else element("log", {"file": port.log, "append": "on"})
    return element("serial", {"type": port.type}, log)


def blank(name: str, want: Domain, facts: Facts) -> ET.Element:
    """Return the document that a new domain starts from: what virt-install would choose."""
    x86 = facts.arch in X86
    devices = ["hd", "cdrom"] if want.cdrom is not None else ["hd"]
    boot = [] if want.boot is not None else [element("boot", {"dev": dev}) for dev in devices]
    return element(
        "domain",
        {"type": "kvm" if facts.kvm else "qemu"},
        element("name", text=name),
        element("vcpu", text=1),
        element(
            "os",
            None,
            element("type", {"arch": facts.arch, "machine": "q35" if x86 else None}, text="hvm"),
            *boot,
        ),
        element("features", None, element("acpi"), element("apic")) if x86 else None,
        element("clock", {"offset": "utc"}),
        _blank_devices(want, facts),
    )


def _blank_devices(want: Domain, facts: Facts) -> ET.Element:
    agent = element("target", {"type": "virtio", "name": "org.qemu.guest_agent.0"})
    rng = element("backend", {"model": "random"}, text="/dev/urandom")
    tablet = element("input", {"type": "tablet", "bus": "usb"}) if want.graphics else None
    video = element("video", None, element("model", {"type": "vga"})) if want.graphics else None
    serial = element("serial", {"type": "pty"}) if want.serial is None else None
    express = facts.arch in X86 and (want.machine or "q35").startswith(Q35)
    pci = ["pcie-root", *["pcie-root-port"] * ROOT_PORTS] if express else []
    return element(
        "devices",
        None,
        *(element("controller", {"type": "pci", "model": model}) for model in pci),
        serial,
        element("channel", {"type": "unix"}, agent),
        element("rng", {"model": "virtio"}, rng),
        tablet,
        video,
    )


def complete(document: ET.Element, added: tuple[ET.Element, ...]) -> ET.Element:
    """Give each new device what libvirt demands and the user left open; return ``document``."""
    kind = document.find("os/type")
    machine = "" if kind is None else kind.get("machine", "")
    modern = machine != "pc" and not machine.startswith("pc-i440fx")
    for device in added:
        if device.tag == "interface":
            _complete_interface(document, device)
        if device.tag == "graphics" and device.get("port") is None:
            device.attrib.update(port="-1", autoport="yes")
        if device.tag == "disk":
            _complete_disk(document, device, modern=modern)
    return document


def _complete_interface(document: ET.Element, card: ET.Element) -> None:
    """A running guest and its definition must get the same MAC: it is drawn from the guest's UUID.

    A new domain has none yet; there libvirt draws.
    """
    if card.find("model") is None:
        card.append(element("model", {"type": "virtio"}))
    seed = document.findtext("uuid")
    if card.find("mac") is None and seed is not None:
        taken = {mac.get("address") for mac in document.iterfind("devices/interface/mac")}
        card.insert(0, element("mac", {"address": next(m for m in _macs(seed) if m not in taken)}))


def _macs(seed: str) -> Iterator[str]:
    """QEMU's own prefix, and three bytes of a hash."""
    for number in count():
        digest = hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()
        yield f"52:54:00:{digest[:2]}:{digest[2:4]}:{digest[4:6]}"


def _complete_disk(document: ET.Element, disk: ET.Element, *, modern: bool) -> None:
    cdrom = disk.get("device") == "cdrom"
    driver, target = _child(disk, "driver"), _child(disk, "target")
    driver.attrib.setdefault("name", "qemu")
    driver.attrib.setdefault("type", "raw")
    default = ("sata" if modern else "ide") if cdrom else _bus(target.get("dev")) or "virtio"
    bus = target.attrib.setdefault("bus", default)
    if target.get("dev") is None:
        taken = {other.get("dev") for other in document.iterfind("devices/disk/target")}
        target.set("dev", next(dev for dev in _targets(bus) if dev not in taken))
    if cdrom and disk.find("readonly") is None:
        disk.append(element("readonly"))


def _bus(target: str | None) -> str | None:
    return {"vd": "virtio", "sd": "sata", "hd": "ide"}.get((target or "")[:2])


def _targets(bus: str) -> Iterator[str]:
    prefix = TARGET_PREFIX.get(bus, "sd")
    for width in (1, 2):
        for letters in product(string.ascii_lowercase, repeat=width):
            yield prefix + "".join(letters)


def _child(parent: ET.Element, tag: str) -> ET.Element:
    found = parent.find(tag)
    return ET.SubElement(parent, tag) if found is None else found
