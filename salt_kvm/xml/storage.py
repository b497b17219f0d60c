"""Disks and network cards as partial libvirt XML."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

from salt_kvm.spec import disk, interface
from salt_kvm.spec.values import pci
from salt_kvm.xml import link, secret
from salt_kvm.xml.intent import ABSENT, GONE, element
from salt_kvm.xml.rows import Said, Say, Tables, flag, plain, rows


def _kind(kind: str) -> Say:
    return lambda value: {"type": kind}


def _parameters(value: Mapping[str, str]) -> Said:
    return [element("parameter", {"name": name, "value": text}) for name, text in value.items()]


def _nvme(value: disk.Nvme) -> Said:
    return {"type": "pci", "managed": plain(value.managed), "namespace": value.namespace}


def _user(value: bool) -> Said:
    return {"type": "user"} if value else {}


IOTUNE = disk.Iotune.__struct_fields__


def _limits(*starts: str) -> list[str]:
    return [name for name in IOTUNE if name.startswith(starts)]


# A limit on all, and those on reading and writing.
SIDES = [
    (_limits(f"total_{what}"), _limits(f"read_{what}", f"write_{what}"))
    for what in ("bytes", "iops")
]


def close_limits(xml: ET.Element) -> None:
    """Take out a limit on all when those of reading or writing are declared, and the reverse.

    libvirt has either (https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms).
    """
    for limits in xml.iterfind("devices/disk/iotune"):
        said = {limit.tag: limit.text for limit in limits}
        for declared, other in [*SIDES, *(pair[::-1] for pair in SIDES)]:
            if any(said.get(name, "0") != "0" for name in declared):
                limits.extend(element(name, GONE) for name in other if name not in said)


TABLES: Tables = {
    **link.TABLES,
    **secret.ENCRYPTION,
    disk.Disk: rows(
        ("path", "", _kind("file")),
        ("block", "", _kind("block")),
        ("volume", "", _kind("volume")),
        ("network", "", _kind("network")),
        ("nvme", "", _kind("nvme")),
        ("device", "@device"),
        ("format", "driver@type"),
        ("cache", "driver@cache"),
        ("error_policy", "driver@error_policy"),
        ("io", "driver@io"),
        ("discard", "driver@discard"),
        ("detect_zeroes", "driver@detect_zeroes"),
        ("iothread", "driver@iothread"),
        ("queues", "driver@queues"),
        ("path", "source@file"),
        ("block", "source@dev"),
        ("volume", "source"),
        ("network", "source"),
        ("nvme", "source", _nvme),
        ("nvme", "source/address", lambda value: pci(value.address)),
        ("encryption", "source/encryption"),
        ("target", "target@dev"),
        ("bus", "target@bus"),
        ("serial", "serial"),
        ("wwn", "wwn"),
        ("iotune", "iotune"),
        ("readonly", "readonly", flag),
        ("shareable", "shareable", flag),
        ("boot_order", "boot@order"),
    ),
    disk.Iotune: rows(*((name, name) for name in IOTUNE)),
    disk.Volume: rows(("pool", "@pool"), ("volume", "@volume")),
    disk.RemoteDisk: rows(
        ("protocol", "@protocol"),
        ("name", "@name"),
        ("query", "@query"),
        ("tls", "@tls"),
        ("hosts", "host"),
        ("auth", "auth"),
    ),
    disk.Server: rows(("name", "@name"), ("port", "@port"), ("transport", "@transport")),
    disk.DiskSecret: rows(
        ("username", "@username"),
        ("type", "secret@type"),
        ("uuid", "secret", lambda uuid: {"uuid": uuid, "usage": ABSENT}),
        ("usage", "secret", lambda usage: {"usage": usage, "uuid": ABSENT}),
    ),
    interface.Interface: rows(
        ("network", "", _kind("network")),
        ("bridge", "", _kind("bridge")),
        ("direct", "", _kind("direct")),
        ("user", "", _user),
        ("ethernet", "", _kind("ethernet")),
        ("vhostuser", "", _kind("vhostuser")),
        ("hostdev", "", _kind("hostdev")),
        ("managed", "@managed"),
        ("trust_guest_rx_filters", "@trustGuestRxFilters"),
        ("mac", "mac@address"),
        ("network", "source@network"),
        ("bridge", "source@bridge"),
        ("direct", "source@dev"),
        ("vhostuser", "source"),
        ("hostdev", "source/address", lambda value: {"type": "pci", **pci(value)}),
        ("mode", "source@mode"),
        ("portgroup", "source@portgroup"),
        ("virtualport", "virtualport"),
        ("target", "target@dev"),
        ("model", "model@type"),
        ("driver", "driver@name"),
        ("queues", "driver@queues"),
        ("rx_queue_size", "driver@rx_queue_size"),
        ("tx_queue_size", "driver@tx_queue_size"),
        ("mtu", "mtu@size"),
        ("vlan", "vlan", link.vlan),
        ("filterref", "filterref"),
        ("link", "link@state"),
        ("bandwidth", "bandwidth"),
        ("isolated", "port@isolated"),
        ("rom", "rom@enabled"),
        ("acpi_index", "acpi@index"),
        ("boot_order", "boot@order"),
    ),
    interface.VhostUser: rows(
        ("path", "", lambda value: {"type": "unix", "path": value}), ("mode", "@mode")
    ),
    interface.VirtualPort: rows(
        ("type", "@type"),
        ("interface_id", "parameters@interfaceid"),
        ("profile_id", "parameters@profileid"),
    ),
    interface.Filter: rows(("name", "@filter"), ("parameters", "", _parameters)),
}
