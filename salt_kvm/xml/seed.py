"""How a domain's document names its seeds: drives known by an alias of their own, and a blob.

An alias that begins with ``ua-`` is kept by libvirt, and is what it is for: to find a device again
(https://libvirt.org/formatdomain.html#devices).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.xml.document import parse
from salt_kvm.xml.identity import SEED, seed
from salt_kvm.xml.intent import GONE, element

# https://coreos.github.io/ignition/supported-platforms/
BLOB = "opt/com.coreos/config"
DRIVES = ("disk", "cdrom")
# What is behind the domain's name in that of the file, by the kind of a seed and its way.
ENDINGS = {"fw_cfg": "ignition.json"}


class Place(msgspec.Struct, frozen=True):
    """Where a seed is: its ``kind`` (its drive's label), its file, and how the guest gets it.

    ``how`` is ``disk``, ``cdrom`` or ``fw_cfg``.
    """

    kind: str
    path: str
    how: str


def file_name(domain: str, kind: str, how: str) -> str:
    """Return the name of a seed's file."""
    return f"{domain}-{ENDINGS.get(how, f'{kind}.iso')}"


def places(name: str, document: str) -> Iterator[Place]:
    """Yield the seeds that a document names, and that are this pack's."""
    # A domain that has none can be removed without being read.
    if SEED not in document and BLOB not in document:
        return
    root = parse(document)
    for disk in root.iterfind("devices/disk"):
        known, source = seed(disk), disk.find("source[@file]")
        if known is not None and source is not None:
            kind, _, how = known.removeprefix(SEED).partition("-")
            yield Place(kind, source.attrib["file"], how)
    for entry in root.iterfind(f"sysinfo[@type='fwcfg']/entry[@name='{BLOB}']"):
        path = entry.get("file", "")
        if posixpath.basename(path) == file_name(name, "ignition", "fw_cfg"):
            yield Place("ignition", path, "fw_cfg")


def elements(declared: Sequence[Place], gone: Sequence[Place]) -> Iterator[tuple[str, ET.Element]]:
    """Yield what an intent says of seeds: the path of the parent, and the element.

    :param declared: what is there when it is as declared
    :param gone: what is not
    """
    for place in gone:
        if place.how == "fw_cfg":
            entry = element("entry", {"name": BLOB, **GONE})
            yield "", element("sysinfo", {"type": "fwcfg"}, entry)
        else:
            yield "devices", element("disk", GONE, _alias(place))
    for place in declared:
        if place.how == "fw_cfg":
            entry = element("entry", {"name": BLOB, "file": place.path})
            yield "", element("sysinfo", {"type": "fwcfg"}, entry)
        else:
            yield "devices", _drive(place)


def _drive(place: Place) -> ET.Element:
    return element(
        "disk",
        {"type": "file", "device": place.how},
        element("source", {"file": place.path}),
        _alias(place),
        element("readonly"),
    )


def _alias(place: Place) -> ET.Element:
    return element("alias", {"name": f"{SEED}{place.kind}-{place.how}"})
