"""Which devices a running guest takes and gives back, and whether it has a place for one more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.etree import ElementTree as ET

from salt_kvm.xml.identity import at

Test = Callable[[ET.Element], bool]
DRIVES = ("cdrom", "floppy")


def _one_of(path: str, attribute: str, *values: str) -> Test:
    read = at(path, attribute)
    return lambda device: read(device) in values


def _always(device: ET.Element) -> bool:
    return True


def _disk(disk: ET.Element) -> bool:
    return disk.get("device") not in DRIVES and DISK_BUS(disk)


DISK_BUS = _one_of("target", "bus", "virtio", "scsi", "usb")
# https://gitlab.com/libvirt/libvirt/-/blob/master/src/qemu/qemu_hotplug.c; what is missing waits.
PLUGGABLE: Mapping[str, Test] = {
    "disk": _disk,
    "interface": _always,
    "hostdev": _always,
    "controller": _one_of(".", "type", "scsi"),
    "channel": _one_of("target", "type", "virtio"),
    "console": _one_of("target", "type", "virtio"),
    "serial": _one_of("target", "type", "usb-serial", "pci-serial"),
    "rng": _always,
    "memory": _one_of(".", "model", "dimm", "nvdimm", "virtio-mem"),
    "watchdog": _always,
    "input": _one_of(".", "bus", "usb", "virtio"),
    "redirdev": _always,
    "vsock": _always,
    "shmem": _always,
    "filesystem": _one_of("driver", "type", "virtiofs"),
}
# Which of them take a port of PCI Express, and which a slot of the older kind.
EXPRESS: Mapping[str, Test] = {
    "disk": _one_of("target", "bus", "virtio"),
    "interface": _always,
    "hostdev": _one_of(".", "type", "pci", "mdev"),
    "controller": _always,
    "rng": _always,
    "memory": _one_of(".", "model", "virtio-mem"),
    "input": _one_of(".", "bus", "virtio"),
    "vsock": _always,
    "filesystem": _always,
}
OLD_PCI: Mapping[str, Test] = {
    "watchdog": _one_of(".", "model", "i6300esb"),
    "shmem": _always,
    "serial": _one_of("target", "type", "pci-serial"),
}
PORTS = ("pcie-root-port", "pcie-switch-downstream-port")
BRIDGES = ("pcie-to-pci-bridge", "dmi-to-pci-bridge", "pci-bridge")
NO_PORT = "the guest has no free PCI Express port"
NO_SLOT = "the guest has no PCI bridge"
NO_CONTROLLER = "the guest has no SCSI controller"
# What a guest must have been started with, by the tag of the device: a path, and why it lacks.
NEEDED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "memory": (
        ("cpu/numa/cell", "the guest has no NUMA cells"),
        ("maxMemory", "the guest has no slots for memory"),
    ),
}


def pluggable(device: ET.Element) -> bool:
    """Tell whether libvirt plugs in, and pulls out, such a device."""
    return device.tag in PLUGGABLE and PLUGGABLE[device.tag](device)


class Slots:
    """The places for one more device in a running guest; those of PCI Express run out."""

    def __init__(self, live: ET.Element) -> None:
        controllers = live.findall("devices/controller")
        models = [controller.get("model") for controller in controllers]
        self._scsi = any(each.get("type") == "scsi" for each in controllers)
        self._limited = "pcie-root" in models
        self._bridge = any(model in BRIDGES for model in models)
        taken = {int(a.get("bus", "0"), 0) for a in live.iterfind("devices/*/address[@type='pci']")}
        ports = {int(c.get("index", "0")) for c in controllers if c.get("model") in PORTS}
        self._free = len(ports - taken)
        self._live = live

    def take(self, device: ET.Element) -> str | None:
        """Take a place for a device; say why there is none."""
        for path, reason in NEEDED.get(device.tag, ()):
            if self._live.find(path) is None:
                return reason
        if not self._limited:
            return None
        if _is(OLD_PCI, device) and not self._bridge:
            return NO_SLOT
        if device.tag == "disk" and at("target", "bus")(device) == "scsi" and not self._scsi:
            return NO_CONTROLLER
        if _is(EXPRESS, device):
            if not self._free:
                return NO_PORT
            self._free -= 1
        self._scsi = self._scsi or device.tag == "controller"
        return None


def _is(table: Mapping[str, Test], device: ET.Element) -> bool:
    return device.tag in table and table[device.tag](device)
