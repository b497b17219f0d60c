"""A volume as partial libvirt XML. Elements: https://libvirt.org/formatstorage.html"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.spec import volume
from salt_kvm.spec.types import Allocation, Size
from salt_kvm.spec.volume import StorageVolume
from salt_kvm.xml import pool, secret
from salt_kvm.xml.document import parse
from salt_kvm.xml.intent import Intent, element, parse_fragment
from salt_kvm.xml.merge import merge
from salt_kvm.xml.rows import Tables, child, fill, rows

TABLES: Tables = {
    StorageVolume: rows(
        ("capacity", "capacity", lambda size: str(int(size))),
        ("allocation", "allocation", lambda size: str(int(size))),
        ("format", "target/format@type"),
        ("permissions", "target/permissions"),
        ("encryption", "target/encryption"),
        ("backing", "backingStore"),
    ),
    volume.Backing: rows(("path", "path"), ("format", "format@type")),
    **secret.ENCRYPTION,
    **pool.TABLES,
}


def new(name: str, want: StorageVolume, *, sparse: bool) -> ET.Element:
    """Return the document of a new volume.

    :param name: its name within the pool
    :param sparse: take room only as it is written to, where nothing else is declared
    """
    xml = element("volume", None, element("name", text=name))
    if sparse and want.allocation is None:
        want = msgspec.structs.replace(want, allocation=Allocation(0))
    xml = merge(xml, _intent(want, name)).xml
    child(xml, "target")
    return xml


def intent(name: str, want: StorageVolume) -> Intent:
    """Render what of ``want`` can be seen of a volume that is there, but for its capacity.

    What it takes of the pool's room changes as it is written to. The secret is that of a new one:
    libvirt forgets it when it looks at the pool anew.
    """
    seen = _intent(msgspec.structs.replace(want, capacity=None, allocation=None), name)
    for encryption in seen.xml.iterfind("target/encryption"):
        for secret_of_new in encryption.findall("secret"):
            encryption.remove(secret_of_new)
    return seen


def _intent(want: StorageVolume, name: str) -> Intent:
    xml = fill(element("volume"), want, TABLES, "", set())
    if want.xml is not None:
        overlay = parse_fragment(want.xml, "volume", f"kvm:volumes:{name}")
        xml = merge(xml, Intent(overlay)).xml
    return Intent(xml)


def numbered(want: StorageVolume, numbers: Mapping[str, int]) -> StorageVolume:
    """Return ``want`` with owner and group as the numbers that libvirt keeps."""
    if want.permissions is None:
        return want
    permissions = msgspec.structs.replace(want.permissions, **numbers)
    return msgspec.structs.replace(want, permissions=permissions)


def sized(want: StorageVolume, size: Size | None) -> StorageVolume:
    """Return ``want`` with this capacity."""
    return msgspec.structs.replace(want, capacity=size)


def path(text: str) -> str | None:
    """Return where a volume is."""
    return parse(text).findtext("target/path")


def placed(text: str, path: str | None) -> str:
    """Return a document that tells also where the volume is."""
    root = parse(text)
    if path is not None:
        child(child(root, "target"), "path").text = path
    return ET.tostring(root, encoding="unicode")


def resized(text: str, size: int) -> str:
    """Return a document with another capacity."""
    root = parse(text)
    found = child(root, "capacity")
    found.attrib.clear()
    found.text = str(int(size))
    return ET.tostring(root, encoding="unicode")


def copied(text: str, name: str) -> str:
    """Return the document of a new volume that is like this one but for its name."""
    root = parse(text)
    fresh = element("volume", None, element("name", text=name))
    fresh.extend(part for tag in ("capacity", "allocation") for part in root.iterfind(tag))
    kept = [*root.iterfind("target/format"), *root.iterfind("target/encryption")]
    fresh.append(element("target", None, *kept))
    return ET.tostring(fresh, encoding="unicode")


def capacity(text: str) -> int:
    """Return the size that a guest sees, in bytes."""
    return int(parse(text).findtext("capacity", "0"))


def format(text: str) -> str:
    """Return the format of a volume, ``raw`` where it has none."""
    found = parse(text).find("target/format")
    return "raw" if found is None else found.get("type", "raw")


def is_file(text: str) -> bool:
    """Tell whether a volume is a file, and no device or network volume."""
    return parse(text).get("type", "file") == "file"


def of_file(name: str, path: str, format: str, size: int) -> str:
    """Return the document of a file that libvirt does not know as a volume yet."""
    kind = element("format", {"type": format})
    target = element("target", None, element("path", text=path), kind)
    document = element(
        "volume",
        {"type": "file"},
        element("name", text=name),
        element("capacity", text=size),
        target,
    )
    return ET.tostring(document, encoding="unicode")
