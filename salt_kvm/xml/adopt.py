"""What a new definition takes over from what is there: a running guest's addresses, the UUID."""

from __future__ import annotations

import copy
from xml.etree import ElementTree as ET

from salt_kvm.xml.identity import at, mac

KEYS = {"disk": at("target", "dev"), "interface": mac}


def addresses(definition: str, live: str) -> str:
    """Return a definition in which the devices that have no address got that of the running guest.

    So what was plugged in stays in its slot at the next boot.

    :param definition: the document that is about to be defined
    :param live: the document of the running guest
    """
    document, running = ET.fromstring(definition), ET.fromstring(live)
    for tag, key in KEYS.items():
        known = {key(device): device for device in running.iterfind(f"devices/{tag}")}
        for device in document.iterfind(f"devices/{tag}"):
            same = known.get(key(device))
            address = None if same is None else same.find("address")
            if device.find("address") is None and address is not None:
                device.append(copy.deepcopy(address))
    return ET.tostring(document, encoding="unicode")


def uuid(definition: str, there: str) -> str:
    """Return a definition for the object that is there, which may be a later one of that name.

    libvirt refuses a second UUID for a name.

    :param definition: the document that is about to be defined
    :param there: the document of the object
    """
    document, own = ET.fromstring(definition), ET.fromstring(there).findtext("uuid")
    found = document.find("uuid")
    if found is None or found.text == own:
        return definition
    found.text = own
    return ET.tostring(document, encoding="unicode")
