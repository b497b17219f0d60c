"""A storage pool as partial libvirt XML. Elements: https://libvirt.org/formatstorage.html"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from salt_kvm.spec.pool import Pool
from salt_kvm.xml.intent import Intent, element, parse_fragment
from salt_kvm.xml.merge import merge


def intent(name: str, want: Pool) -> Intent:
    """Render what ``want`` declares, with its ``xml`` fragment merged in."""
    target = None if want.path is None else element("target", None, element("path", text=want.path))
    xml = element("pool", {"type": want.type}, element("name", text=name), target)
    if want.xml is not None:
        overlay = parse_fragment(want.xml, "pool", f"kvm:pools:{name}")
        xml = merge(xml, Intent(overlay)).xml
    return Intent(xml)


def blank(name: str) -> ET.Element:
    """Return the document that a new pool starts from."""
    return element("pool", {"type": "dir"}, element("name", text=name))
