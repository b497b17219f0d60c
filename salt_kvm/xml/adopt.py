"""Keep a running guest's addresses: what was plugged in stays in its slot at the next boot."""

from __future__ import annotations

import copy
from xml.etree import ElementTree as ET

from salt_kvm.xml.identity import at, mac

KEYS = {"disk": at("target", "dev"), "interface": mac}


def addresses(definition: str, live: str) -> str:
    """Return a definition in which the devices that have no address got that of the running guest.

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
