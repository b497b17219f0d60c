"""Which controllers of a domain could go: those that no device sits on."""

from __future__ import annotations

from xml.etree import ElementTree as ET

# The types that a user declares, and those of them that libvirt makes by itself.
TYPES = frozenset({"scsi", "usb", "sata", "ide", "virtio-serial"})
GENERATED = frozenset({("usb", "0"), ("sata", "0"), ("ide", "0")})


def spare(controller: ET.Element, devices: ET.Element) -> bool:
    """Tell whether a controller is none of libvirt's own, and no device needs it."""
    kind, index = controller.get("type", ""), controller.get("index", "0")
    if kind not in TYPES or (kind, index) in GENERATED:
        return False
    return not any(
        _sits_on(device, kind, index) for device in devices if device.tag != "controller"
    )


def _sits_on(device: ET.Element, kind: str, index: str) -> bool:
    """A device that has no address yet may get one on any controller of its bus."""
    address, target = device.find("address"), device.find("target")
    buses = {device.get("bus"), device.get("type"), device.get("model")}
    if target is not None:
        port = "virtio-serial" if target.get("type") == "virtio" else None
        buses |= {target.get("bus"), port}
    if address is None or address.get("type") == "drive":
        return kind in buses and (address is None or address.get("controller") == index)
    number = address.get("controller", address.get("bus"))
    return address.get("type") == kind and number == index
