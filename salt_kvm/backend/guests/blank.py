"""Whether a disk of a guest holds anything: an installer would write over it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from salt_kvm.backend.storage import images, qemu_img, volume
from salt_kvm.backend.system import device
from salt_kvm.backend.view import View
from salt_kvm.seen import FileSeen
from salt_kvm.xml import volume as volume_xml
from salt_kvm.xml.identity import local_path


def blank(view: View, disk: ET.Element) -> bool:
    """Tell whether a guest would see nothing but zeros; what can't be looked at counts as filled.

    One that is not there yet is blank. Of a block device both ends are looked at, and what wipefs
    knows.
    """
    source, driver = disk.find("source"), disk.find("driver")
    named = {} if source is None else source.attrib
    path = None if source is None else local_path(source)
    if "pool" in named:
        there = view.read("volume", f"{named['pool']}/{named['volume']}")
        path = None if there is None else volume_xml.path(there.xml)
        if there is None:
            return True
    if path is None or not view.world.local:
        return False
    format = "raw" if driver is None else driver.get("type", "raw")
    seen = images.see(path, format)
    return seen is None or _holds_nothing(seen, format)


def _holds_nothing(seen: FileSeen, format: str) -> bool:
    if seen.kind == "block device":
        found = device.look(seen.path)
        return found is not None and found.blank
    header = seen.header
    if header is None or header.format != format or header.encrypted or images.names_others(seen):
        return False
    if format == "raw":
        return bool(volume.blank(seen.path))
    return qemu_img.blank(seen.path, format)
