"""What a new definition takes over from what is there: a running guest's addresses, the UUID."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from salt_kvm.xml.document import parse
from salt_kvm.xml.identity import at, mac, pair
from salt_kvm.xml.merge import fits
from salt_kvm.xml.plug import PLUGGABLE

KEYS = {"disk": at("target", "dev"), "interface": mac}


def addresses(definition: str, live: str) -> str:
    """Return a definition in which the devices that have no address got that of the running guest.

    So what was plugged in stays in its slot at the next boot.

    :param definition: the document that is about to be defined
    :param live: the document of the running guest
    """
    document, running = parse(definition), parse(live)
    taken = [address.attrib for address in document.iterfind("devices/*/address")]
    for device, same in _pairs(document, running):
        address = None if same is None else same.find("address")
        if device.find("address") is None and address is not None and address.attrib not in taken:
            device.append(copy.deepcopy(address))
            taken.append(address.attrib)
    return ET.tostring(document, encoding="unicode")


def _pairs(
    document: ET.Element, running: ET.Element
) -> Iterator[tuple[ET.Element, ET.Element | None]]:
    """Each device with the one that it is in the running guest."""
    for tag in PLUGGABLE:
        devices, there = document.findall(f"devices/{tag}"), running.findall(f"devices/{tag}")
        if tag in KEYS:
            known = {KEYS[tag](device): device for device in there}
            yield from ((device, known.get(KEYS[tag](device))) for device in devices)
        else:
            yield from pair(devices, there, fits)[0]


def uuid(definition: str, there: str) -> str:
    """Return a definition for the object that is there, which may be a later one of that name.

    libvirt refuses a second UUID for a name.

    :param definition: the document that is about to be defined
    :param there: the document of the object
    """
    document, own = parse(definition), parse(there).findtext("uuid")
    found = document.find("uuid")
    if found is None or found.text == own:
        return definition
    found.text = own
    return ET.tostring(document, encoding="unicode")
