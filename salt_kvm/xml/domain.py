"""A domain as partial libvirt XML, and what a new domain or device starts from.

Elements and attributes: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterator
from itertools import count, product
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.seen import Facts
from salt_kvm.spec import devices
from salt_kvm.spec.console import Video
from salt_kvm.spec.domain import Domain
from salt_kvm.xml import devices as device_tables
from salt_kvm.xml import storage, tuning
from salt_kvm.xml.identity import AGENT, LISTS, at
from salt_kvm.xml.intent import ABSENT, Intent, element, parse_fragment
from salt_kvm.xml.mark import mark
from salt_kvm.xml.merge import merge
from salt_kvm.xml.rows import Tables, child, fill, or_default, rows

TARGET_PREFIX = {"virtio": "vd", "ide": "hd", "fdc": "fd"}
X86 = ("x86_64", "i686")
Q35 = ("q35", "pc-q35")
# A PCI Express machine takes a device while it runs only where a root port is free; about half of
# these are taken from the start
# (https://libvirt.org/pci-hotplug.html).
ROOT_PORTS = 14


TPM = devices.Tpm(model="tpm-crb", version="2.0")
# libvirt adds one where there is none.
NO_BALLOON = devices.Memballoon(model="none")
NO_VIDEO = Video(model="none")

TABLES: Tables = {
    Domain: rows(
        ("title", "title"),
        ("description", "description"),
        ("machine", "os/type", lambda machine: "hvm"),
        ("machine", "os/type@machine"),
        ("boot", "os/boot@dev"),
        ("sysinfo", "os/smbios@mode", lambda value: "sysinfo"),
        ("os", "os"),
        ("cpu", "cpu", tuning.cpu),
        ("iothreads", "iothreads"),
        ("memory_hotplug", "maxMemory"),
        ("memory_backing", "memoryBacking"),
        ("cputune", "cputune"),
        ("numatune", "numatune"),
        ("memtune", "memtune"),
        ("blkiotune", "blkiotune"),
        ("sysinfo", "sysinfo@type", lambda value: "smbios"),
        ("sysinfo", "sysinfo"),
        ("features", "features"),
        ("clock", "clock"),
        ("on_poweroff", "on_poweroff"),
        ("on_reboot", "on_reboot"),
        ("on_crash", "on_crash"),
        ("on_lockfailure", "on_lockfailure"),
        ("pm", "pm"),
        ("emulator", "devices/emulator"),
        ("disks", "devices/disk"),
        ("cdrom", "devices", lambda path: [_cdrom(path)]),
        ("interfaces", "devices/interface"),
        ("graphics", "devices/graphics"),
        ("video", "devices/video"),
        ("serial", "devices/serial"),
        ("consoles", "devices/console"),
        ("channels", "devices/channel"),
        ("agent", "devices", lambda there: [_agent(there=there)]),
        ("tpm", "devices/tpm", or_default(TPM)),
        ("rng", "devices/rng"),
        ("watchdog", "devices/watchdog"),
        ("panic", "devices/panic"),
        ("vsock", "devices/vsock", or_default(devices.Vsock())),
        ("memballoon", "devices/memballoon", or_default(devices.Memballoon(), NO_BALLOON)),
        ("iommu", "devices/iommu"),
        ("inputs", "devices/input"),
        ("sounds", "devices/sound"),
        ("filesystems", "devices/filesystem"),
        ("hostdevs", "devices/hostdev"),
        ("redirdevs", "devices/redirdev"),
        ("controllers", "devices/controller"),
        ("memory_devices", "devices/memory"),
        ("seclabels", "seclabel"),
        ("launch_security", "launchSecurity"),
    ),
    **tuning.TABLES,
    **storage.TABLES,
    **device_tables.TABLES,
}


def intent(name: str, want: Domain, facts: Facts) -> Intent:
    """Render what ``want`` declares, with its ``xml`` fragment merged in."""
    owned: set[str] = set()
    path = f"kvm:domains:{name}"
    xml = element(
        "domain",
        {"type": _virt_type(want, facts)},
        element("name", text=name),
        *_memory(want),
        _vcpu(want),
    )
    fill(xml, _explicit(want), TABLES, "", owned)
    if any(disk.device == "cdrom" for disk in want.disk_list):
        owned.add("devices/cdrom")
    if want.boot is None and want.boot_orders():
        owned.add("os/boot")
    if want.metadata is not None:
        xml.append(parse_fragment(want.metadata, "metadata", f"{path}:metadata"))
    if want.xml is not None:
        overlay = parse_fragment(want.xml, "domain", path)
        xml = merge(xml, Intent(overlay)).xml
    return Intent(xml, frozenset(owned & LISTS.keys()))


def _explicit(want: Domain) -> Domain:
    """An empty list that libvirt fills, as what it makes of it or as what keeps it from that.

    A guest with a graphical console gets a video card, and one that boots from nothing its disk.
    """
    if want.video == []:
        want = msgspec.structs.replace(want, video=[NO_VIDEO])
    if want.boot == [] and not want.boot_orders():
        want = msgspec.structs.replace(want, boot=["hd"])
    return want


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


def _cdrom(path: str) -> ET.Element:
    source = element("source", {"file": path or ABSENT})
    return element("disk", {"type": "file", "device": "cdrom"}, source)


def _agent(*, there: bool) -> ET.Element:
    target = element("target", {"type": "virtio", "name": AGENT})
    return element("channel", {"type": "unix"} if there else {ABSENT: "yes"}, target)


def blank(name: str, want: Domain, facts: Facts) -> ET.Element:
    """Return the document that a new domain starts from: what virt-install would choose."""
    x86 = facts.arch in X86
    drives = ["hd", "cdrom"] if want.cdrom is not None else ["hd"]
    ordered = want.boot is not None or want.boot_orders()
    boot = [] if ordered else [element("boot", {"dev": dev}) for dev in drives]
    return element(
        "domain",
        {"type": "kvm" if facts.kvm else "qemu"},
        element("name", text=name),
        mark(),
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
    agent = element("target", {"type": "virtio", "name": AGENT})
    rng = element("backend", {"model": "random"}, text="/dev/urandom")
    tablet = element("input", {"type": "tablet", "bus": "usb"}) if want.graphics else None
    video = element("video", None, element("model", {"type": "vga"})) if want.graphics else None
    express = facts.arch in X86 and (want.machine or "q35").startswith(Q35)
    pci = ["pcie-root", *["pcie-root-port"] * ROOT_PORTS] if express else []
    return element(
        "devices",
        None,
        *(element("controller", {"type": "pci", "model": model}) for model in pci),
        element("serial", {"type": "pty"}) if want.serial is None else None,
        element("channel", {"type": "unix"}, agent) if want.agent is None else None,
        element("rng", {"model": "virtio"}, rng) if want.rng is None else None,
        tablet if want.inputs is None else None,
        video if want.video is None else None,
    )


def complete(
    document: ET.Element, added: tuple[ET.Element, ...], live: ET.Element | None = None
) -> ET.Element:
    """Give each new device what libvirt demands and the user left open; return ``document``.

    :param live: the running guest: a target that one of its disks has is not free
    """
    kind = document.find("os/type")
    machine = "" if kind is None else kind.get("machine", "")
    modern = machine != "pc" and not machine.startswith("pc-i440fx")
    _forget_mirrored_console(document)
    _forget_template(document)
    for device in added:
        if device.tag == "interface":
            _complete_interface(document, device)
        if device.tag == "graphics" and device.get("port") is None:
            device.attrib.update(port="-1", autoport="yes")
    for disk in document.iterfind("devices/disk"):
        # One that moved to another bus has lost its target.
        if disk in added or at("target", "dev")(disk) is None:
            _complete_disk([document] if live is None else [document, live], disk, modern=modern)
    return document


def _forget_mirrored_console(document: ET.Element) -> None:
    """libvirt shows the first serial port as a console too, and makes a port of that again."""
    found = document.find("devices")
    if found is not None and found.find("serial") is None:
        for console in found.findall("console"):
            if at("target", "type")(console) == "serial":
                found.remove(console)


def _forget_template(document: ET.Element) -> None:
    """Firmware that libvirt chooses comes with its own template of an NVRAM file."""
    system = document.find("os")
    if system is not None and "firmware" in system.attrib and system.find("loader") is None:
        for nvram in system.findall("nvram"):
            nvram.attrib.pop("template", None)


def _complete_interface(document: ET.Element, card: ET.Element) -> None:
    """A running guest and its definition must get the same MAC: it is drawn from the guest's UUID.

    A new domain has none yet; there libvirt draws.
    """
    if card.find("model") is None and card.get("type") != "hostdev":
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


def _complete_disk(documents: list[ET.Element], disk: ET.Element, *, modern: bool) -> None:
    cdrom = disk.get("device") == "cdrom"
    driver, target = child(disk, "driver"), child(disk, "target")
    driver.attrib.setdefault("name", "qemu")
    driver.attrib.setdefault("type", "raw")
    drive = {"cdrom": "sata" if modern else "ide", "floppy": "fdc"}.get(disk.get("device", ""))
    default = _bus(target.get("dev")) or drive or "virtio"
    bus = target.attrib.setdefault("bus", default)
    if target.get("dev") is None:
        taken = {
            other.get("dev")
            for document in documents
            for other in document.iterfind("devices/disk/target")
        }
        target.set("dev", next(dev for dev in _targets(bus) if dev not in taken))
    if cdrom and disk.find("readonly") is None:
        disk.append(element("readonly"))


def _bus(target: str | None) -> str | None:
    return {"vd": "virtio", "sd": "sata", "hd": "ide", "fd": "fdc"}.get((target or "")[:2])


def _targets(bus: str) -> Iterator[str]:
    prefix = TARGET_PREFIX.get(bus, "sd")
    for width in (1, 2):
        for letters in product(string.ascii_lowercase, repeat=width):
            yield prefix + "".join(letters)
