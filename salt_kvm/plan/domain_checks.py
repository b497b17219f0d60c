"""What libvirt would refuse of a domain, or drop, and only the whole document tells."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from xml.etree import ElementTree as ET

from salt_kvm.errors import SpecError
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.tuning import check_cells
from salt_kvm.spec.types import Size
from salt_kvm.xml.domain import isa_ports
from salt_kvm.xml.identity import at
from salt_kvm.xml.intent import Intent
from salt_kvm.xml.merge import Merged

ISA_PORTS = 4


def check(name: str, want: Domain, intent: Intent, merged: Merged) -> None:
    """Raise where a definition with the intent in it can't be had.

    :param merged: the definition
    """
    for where, find in CHECKS.items():
        try:
            find(want, intent.xml, merged)
        except ValueError as error:
            raise SpecError([f"kvm:domains:{name}:{where}: {error}"]) from error


def _memory(want: Domain, intent: ET.Element, merged: Merged) -> None:
    """libvirt takes the memory of NUMA cells and memory modules for the whole."""
    total = intent.findtext("memory")
    cells = [int(each.get("memory", 0)) for each in merged.xml.iterfind("cpu/numa/cell")]
    sizes = (each.text for each in merged.xml.iterfind("devices/memory/target/size"))
    parts = sum(cells) + sum(int(size or 0) for size in sizes)
    if cells and total is not None and parts != int(total):
        cure = "make it that, or declare those too"
        raise ValueError(f"NUMA cells and memory modules sum up to {Size(1024 * parts)}; {cure}")


def _count(document: ET.Element) -> int:
    return int(document.findtext("vcpu", "1"))


def _topology(want: Domain, intent: ET.Element, merged: Merged) -> None:
    topology = merged.xml.find("cpu/topology")
    declared = [path for path in ("vcpu", "cpu/topology") if intent.find(path) is not None]
    if topology is None or not declared:
        return
    cpus, count = prod(map(int, topology.attrib.values())), _count(merged.xml)
    if cpus != count:
        raise ValueError(
            f"a CPU topology of {cpus} goes with as many vcpus at most, not with {count}; "
            "make the two fit"
        )


def _cells(want: Domain, intent: ET.Element, merged: Merged) -> None:
    """Where only the definition knows how many CPUs there are, or a fragment names them."""
    if intent.find("cpu/numa/cell[@cpus]") is not None:
        cells = [c for c in merged.xml.iterfind("cpu/numa/cell") if c.get("id", "").isdigit()]
        check_cells({int(c.attrib["id"]): c.get("cpus") for c in cells}, _count(merged.xml))


def _hugepages(want: Domain, intent: ET.Element, merged: Merged) -> None:
    pages = want.memory_backing and want.memory_backing.hugepages
    named = isinstance(pages, list) and any(page.nodeset is not None for page in pages)
    if named and merged.xml.find("cpu/numa/cell") is None:
        cure = "declare some as 'numa' of cpu, or take it out"
        raise ValueError(f"'nodeset' names NUMA cells, and the guest has none; {cure}")


def _serial(want: Domain, intent: ET.Element, merged: Merged) -> None:
    """libvirt takes such a definition, and none for the guest ever after."""
    numbers = [str(at("target", "port")(port)) for port in isa_ports(merged.xml)]
    high = [number for number in numbers if number.isdigit() and int(number) >= ISA_PORTS]
    if high and intent.find("devices/serial") is not None:
        raise ValueError(
            f"a PC has the ISA ports 0 to {ISA_PORTS - 1}, and one has number {high[0]}; "
            "declare another 'port', or target: pci-serial"
        )


# What only disks of some buses can have.
BUSES = {
    "driver[@queues]": ("queues", ("virtio",)),
    "driver[@iothread]": ("iothread", ("virtio",)),
    "wwn": ("wwn", ("scsi", "ide")),
    "readonly": ("readonly", ("virtio", "scsi", "usb", "fdc")),
}


def _disks(want: Domain, intent: ET.Element, merged: Merged) -> None:
    """Also what one keeps that moves to another bus, where libvirt does not do without it."""
    for disk in merged.xml.iterfind("devices/disk"):
        bus, dev = (at("target", name)(disk) for name in ("bus", "dev"))
        if disk.get("device") == "cdrom":
            if bus == "virtio":
                raise ValueError(f"{dev} is a CD drive, which bus virtio has none of; take another")
            continue
        for path, (field, buses) in BUSES.items():
            if disk.find(path) is not None and bus not in buses:
                told = f"{field!r} goes with bus {' or '.join(buses)}"
                raise ValueError(f"{told}, and {dev} is on {bus}; change one of them")


def _cards(want: Domain, intent: ET.Element, merged: Merged) -> None:
    """libvirt drops the queues of a card that has another model."""
    fields = ("queues", "rx_queue_size", "tx_queue_size")
    for said, card in merged.devices:
        model, driver = at("model", "type")(card), said.find("driver")
        declared = [] if driver is None else [name for name in fields if name in driver.attrib]
        if card.tag == "interface" and declared and not str(model).startswith("virtio"):
            told = f"{declared[0]!r} goes with model virtio, and a card has {model}"
            raise ValueError(f"{told}; declare its 'model'")


# By what the fault is told to be of.
CHECKS: dict[str, Callable[[Domain, ET.Element, Merged], None]] = {
    "memory": _memory,
    "cpu:topology": _topology,
    "cpu:numa": _cells,
    "memory_backing:hugepages": _hugepages,
    "serial": _serial,
    "disks": _disks,
    "interfaces": _cards,
}
