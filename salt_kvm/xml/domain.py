"""A domain as partial libvirt XML, and what a new domain or device starts from.

Elements and attributes: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterator, Sequence
from itertools import count, islice, product
from typing import TypeVar
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.seen import Facts
from salt_kvm.spec import devices
from salt_kvm.spec.console import Stream, Video
from salt_kvm.spec.domain import Domain
from salt_kvm.xml import devices as device_tables
from salt_kvm.xml import seed, storage, tuning
from salt_kvm.xml.identity import AGENT, LISTS, at
from salt_kvm.xml.identity import seed as seed_of
from salt_kvm.xml.intent import ABSENT, GONE, Intent, element, parse_fragment
from salt_kvm.xml.mark import mark
from salt_kvm.xml.merge import merge
from salt_kvm.xml.rows import Tables, child, fill, or_default, rows

# Where virtlogd, which writes them, may write on every distribution.
LOGS = "/var/log/libvirt/qemu"
STREAMS = {"serial": "serial", "consoles": "console", "channels": "channel"}
S = TypeVar("S", bound=Stream)
TARGET_PREFIX = {"virtio": "vd", "ide": "hd", "fdc": "fd"}
# How many drives a controller has, as libvirt counts.
DRIVES_OF = {"sata": 6, "scsi": 7, "ide": 4, "fdc": 2}
# The last places of the first controller, so that a seed takes no name or order of another drive.
SEED_PLACES = {"virtio": "zyx", "sata": "fedcba", "ide": "dcba"}
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


def intent(
    name: str,
    want: Domain,
    facts: Facts,
    seeds: Sequence[seed.Place] = (),
    gone: Sequence[seed.Place] = (),
) -> Intent:
    """Render what ``want`` declares, with its ``xml`` fragment merged in.

    :param seeds: where what the guest reads at its first boot is, and where not (``gone``)
    """
    owned: set[str] = set()
    path = f"kvm:domains:{name}"
    xml = element(
        "domain",
        {"type": _virt_type(want, facts)},
        element("name", text=name),
        *_memory(want),
        _vcpu(want),
    )
    fill(xml, _explicit(name, tuning.nesting(want, facts)), TABLES, "", owned)
    tuning.close_distances(xml)
    tuning.close_firmware(xml)
    storage.close_limits(xml)
    if any(disk.device == "cdrom" for disk in want.disk_list):
        owned.add("devices/cdrom")
    if want.boot is None and want.boot_orders():
        owned.add("os/boot")
    for parent, said in seed.elements(seeds, gone):
        (child(xml, parent) if parent else xml).append(said)
    if want.metadata is not None:
        xml.append(parse_fragment(want.metadata, "metadata", f"{path}:metadata"))
    if want.xml is not None:
        overlay = parse_fragment(want.xml, "domain", path)
        xml = merge(xml, Intent(overlay)).xml
    return Intent(xml, frozenset(owned & LISTS.keys()))


def _explicit(name: str, want: Domain) -> Domain:
    """An empty list that libvirt fills, as what it makes of it or as what keeps it from that.

    A guest with a graphical console gets a video card, and one that boots from nothing its disk; a
    log that is only asked for gets its path.
    """
    if want.video == []:
        want = msgspec.structs.replace(want, video=[NO_VIDEO])
    if want.boot == [] and not want.boot_orders():
        want = msgspec.structs.replace(want, boot=["hd"])
    logged = {
        field: _logged(name, what, streams)
        for field, what in STREAMS.items()
        if (streams := getattr(want, field))
    }
    return msgspec.structs.replace(want, **logged) if logged else want


def _logged(name: str, what: str, streams: list[S]) -> list[S]:
    logs = [f"{LOGS}/{name}-{what}{number}.log" for number in range(len(streams))]
    return [
        msgspec.structs.replace(each, log=log) if each.log == "auto" else each
        for each, log in zip(streams, logs, strict=True)
    ]


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
    return element("channel", {"type": "unix"} if there else GONE, target)


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
    _forget_distances(document)
    _forget_audio(document)
    _forget_processors(document)
    _forget_threads(document)
    for card in document.iterfind("devices/interface"):
        _complete_interface(document, card)
    _number_serial_ports([document] if live is None else [document, live])
    for console in document.iterfind("devices/graphics"):
        # One that has got an address has no port yet.
        if console in added or console.find("listen[@address]") is not None:
            _complete_console(console)
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
            nvram.attrib.pop("templateFormat", None)


def _forget_distances(document: ET.Element) -> None:
    """libvirt notes how far every other NUMA cell is away, and refuses one that is no more.

    libvirt 9.0 may even abort on it.
    """
    cells = {cell.get("id") for cell in document.iterfind("cpu/numa/cell")}
    for distances in document.iterfind("cpu/numa/cell/distances"):
        for sibling in distances.findall("sibling"):
            if sibling.get("id") not in cells:
                distances.remove(sibling)


def _forget_audio(document: ET.Element) -> None:
    """libvirt gives a guest with SPICE a way for its sound, and refuses that without SPICE."""
    devices = document.find("devices")
    if devices is not None and devices.find("graphics[@type='spice']") is None:
        for audio in devices.findall("audio[@type='spice']"):
            devices.remove(audio)


def _forget_processors(document: ET.Element) -> None:
    """Who sets the CPUs by hand has libvirt note each one, and that goes before their number."""
    vcpu, noted = document.find("vcpu"), document.find("vcpus")
    if vcpu is None or noted is None:
        return
    most = (vcpu.text or "").strip()
    on = sum(each.get("enabled") == "yes" for each in noted)
    if (str(on), str(len(noted))) != (vcpu.get("current", most), most):
        document.remove(noted)


def _forget_threads(document: ET.Element) -> None:
    """Likewise the I/O threads: the first ones stay."""
    noted, count = document.find("iothreadids"), document.findtext("iothreads", "").strip()
    if noted is not None and count.isdigit():
        for extra in sorted(noted, key=lambda each: each.get("id", "").zfill(4))[int(count) :]:
            noted.remove(extra)


def _complete_interface(document: ET.Element, card: ET.Element) -> None:
    """A running guest and its definition must get the same MAC: it is drawn from the guest's UUID.

    A new domain has none yet; there libvirt draws.
    """
    kind = card.get("type")
    if kind == "vhostuser" and not str(at("model", "type")(card)).startswith("virtio"):
        for other in card.findall("model"):
            card.remove(other)
    if card.find("model") is None and kind != "hostdev":
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


def isa_ports(document: ET.Element) -> list[ET.Element]:
    """Return the serial ports that are, or will be, on the ISA bus, of which libvirt has four."""
    kind = document.find("os/type")
    x86 = kind is not None and kind.get("arch") in X86
    model = at("target", "type")
    ports = document.findall("devices/serial") if x86 else []
    return [port for port in ports if model(port) in (None, "isa-serial")]


def _number_serial_ports(documents: list[ET.Element]) -> None:
    """Where one has a number libvirt gives each other a higher one, be it more than it takes."""
    ports, number = documents[0].findall("devices/serial"), at("target", "port")
    taken = {number(port) for each in documents for port in each.iterfind("devices/serial")}
    isa = isa_ports(documents[0])
    free = (str(value) for value in count() if str(value) not in taken)
    for port in [*isa, *(port for port in ports if port not in isa)]:
        if len(ports) > 1 and number(port) is None:
            child(port, "target").set("port", next(free))


def _complete_console(console: ET.Element) -> None:
    if not console.attrib.keys() & {"port", "autoport", "tlsPort"}:
        console.attrib.update(port="-1", autoport="yes")


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
        taken |= {name for each in documents for name in _places(each, bus)}
        free = (dev for dev in _targets(bus, seed=bool(seed_of(disk))) if dev not in taken)
        target.set("dev", next(free))
    if cdrom and disk.find("readonly") is None:
        disk.append(element("readonly"))


def _places(document: ET.Element, bus: str) -> Iterator[str]:
    """The names whose places drives have, whatever these are called: libvirt goes by the name."""
    for disk in document.iterfind("devices/disk") if bus in DRIVES_OF else ():
        address = disk.find("address[@type='drive']")
        if address is not None and at("target", "bus")(disk) == bus:
            parts = [address.get(name, "0") for name in ("controller", "bus", "unit")]
            controller, row, unit = (int(part) if part.isdigit() else 0 for part in parts)
            yield next(
                islice(_targets(bus), controller * DRIVES_OF[bus] + row * 2 + unit, None), ""
            )


def _bus(target: str | None) -> str | None:
    return {"vd": "virtio", "sd": "sata", "hd": "ide", "fd": "fdc"}.get((target or "")[:2])


def _targets(bus: str, *, seed: bool = False) -> Iterator[str]:
    prefix = TARGET_PREFIX.get(bus, "sd")
    yield from (prefix + letter for letter in (SEED_PLACES.get(bus, "") if seed else ""))
    for width in (1, 2):
        for letters in product(string.ascii_lowercase, repeat=width):
            yield prefix + "".join(letters)
