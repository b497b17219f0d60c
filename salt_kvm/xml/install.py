"""A guest that is being installed: the mark of its phase, and the document of its installer.

The definition is as declared from the start; only the running guest has the installer's media,
kernel and boot order. So they are gone when it is off, whatever happens to this pack in between.
"""

from __future__ import annotations

from dataclasses import fields
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.seen import Mark, Observed
from salt_kvm.xml.document import parse
from salt_kvm.xml.domain import complete
from salt_kvm.xml.intent import element
from salt_kvm.xml.rows import child

NAMESPACE = "urn:salt-kvm:install"
TAG = f"{{{NAMESPACE}}}install"
KEYS = tuple(each.name for each in fields(Mark))
INSTALLER = "installer"
LAST = 2**31
# How an installer ends that is done: by itself, or its guest was started again since.
DONE = ("shutdown", "start")
ET.register_namespace("salt-kvm-install", NAMESPACE)


class Media(msgspec.Struct, frozen=True):
    """What an installer is started with: its kernel, or the CD that it boots from, and others."""

    kernel: str | None = None
    initrd: str | None = None
    arguments: str = ""
    cdrom: str | None = None
    answers: str | None = None


def mark(document: str | None) -> Mark | None:
    """Return the mark of a definition, or of a running guest."""
    if document is None or NAMESPACE not in document:
        return None
    found = parse(document).find(f"metadata/{TAG}")
    return None if found is None else Mark(*(found.get(key, "") for key in KEYS))


def installing(seen: Observed | None) -> bool:
    """Tell whether it is its installer that runs."""
    running = None if seen is None else mark(seen.live)
    return running is not None and running.phase == INSTALLER


def marked(document: str, wanted: Mark) -> str:
    """Return a document with this mark in place of its own."""
    root = parse(document)
    _mark(root, wanted)
    return ET.tostring(root, encoding="unicode")


def _mark(root: ET.Element, wanted: Mark) -> None:
    metadata = child(root, "metadata")
    for old in metadata.findall(TAG):
        metadata.remove(old)
    given = {key: text for key in KEYS if (text := getattr(wanted, key))}
    metadata.append(element(TAG, given))


def installer(document: str, media: Media, since: str) -> str:
    """Return what runs the installer of a domain, made of its definition.

    It is off after a reboot as after a power-off: by that an installer tells that it is done.
    """
    root = parse(document)
    _mark(root, Mark(INSTALLER, since))
    for name in ("on_poweroff", "on_reboot"):
        child(root, name).text = "destroy"
    system = child(root, "os")
    for boot in system.findall("boot"):
        system.remove(boot)
    for device in root.iterfind("devices/*"):
        for boot in device.findall("boot"):
            device.remove(boot)
    kernel = {"kernel": media.kernel, "initrd": media.initrd, "cmdline": media.arguments}
    for name, text in kernel.items() if media.kernel is not None else ():
        child(system, name).text = text
    if media.cdrom is not None:
        drive = _drive(root, media.cdrom)
        if media.kernel is None:
            drive.append(element("boot", {"order": 1}))
    if media.answers is not None:
        _drive(root, media.answers)
    return ET.tostring(root, encoding="unicode")


def _drive(root: ET.Element, path: str) -> ET.Element:
    """Put a medium into the first CD drive that is empty, or into a new one."""
    for drive in root.iterfind("devices/disk[@device='cdrom']"):
        if drive.find("source") is None:
            break
    else:
        drive = element("disk", {"device": "cdrom"})
        child(root, "devices").append(drive)
    drive.set("type", "file")
    drive.insert(0, element("source", {"file": path}))
    complete(root, (drive,))
    return drive


def written(root: ET.Element) -> list[ET.Element]:
    """Return the disks that an installer can write to, the one that is booted from first."""
    disks = [
        disk
        for disk in root.iterfind("devices/disk")
        if disk.get("device", "disk") in ("disk", "lun")
        and disk.find("readonly") is None
        and disk.find("shareable") is None
    ]
    return sorted(disks, key=_place)


def _place(disk: ET.Element) -> int:
    boot = disk.find("boot")
    return LAST if boot is None else int(boot.get("order", LAST))
