"""A storage pool as partial libvirt XML. Elements: https://libvirt.org/formatstorage.html"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.spec import pool
from salt_kvm.spec.pool import Pool
from salt_kvm.xml.document import parse
from salt_kvm.xml.intent import ABSENT, FS, RBD, Intent, element, parse_fragment
from salt_kvm.xml.merge import merge
from salt_kvm.xml.rows import Said, Tables, fill, rows

# Where the devices of a pool appear, as virt-install would have it.
PATHS = {
    "disk": "/dev",
    "iscsi": "/dev/disk/by-path",
    "scsi": "/dev/disk/by-path",
    "mpath": "/dev/mapper",
}


# File systems that libvirt mounts and has no name for.
UNNAMED = ("btrfs",)


def _hosts(value: list[pool.PoolHost]) -> Said:
    return [element("host", {"name": host.name, "port": host.port}) for host in value]


def _devices(value: list[str]) -> Said:
    return [element("device", {"path": path}) for path in value]


def _options(value: list[str]) -> Said:
    options = [element(f"{FS}option", {"name": name}) for name in value]
    return [element(f"{FS}mount_opts", None, *options)]


def _config(value: Mapping[str, str]) -> Said:
    options = [element(f"{RBD}option", {"name": k, "value": v}) for k, v in value.items()]
    return [element(f"{RBD}config_opts", None, *options)]


TABLES: Tables = {
    Pool: rows(
        ("type", "@type"),
        ("features", "features"),
        ("source", "source"),
        ("path", "target/path"),
        ("permissions", "target/permissions"),
        ("volume_allocation", "refresh/volume@allocation"),
        ("mount_options", "", _options),
        ("rbd_options", "", _config),
    ),
    pool.PoolFeatures: rows(("cow", "cow@state")),
    pool.PoolSource: rows(
        ("hosts", "", _hosts),
        ("device", "device@path"),
        ("devices", "", _devices),
        ("dir", "dir@path"),
        ("adapter", "adapter"),
        ("name", "name"),
        ("initiator", "initiator/iqn@name"),
        ("auth", "auth"),
        ("format", "format@type", lambda format: "auto" if format in UNNAMED else format),
        ("protocol_version", "protocol@ver"),
        ("part_separator", "device@part_separator"),
    ),
    pool.Adapter: rows(*((name, f"@{name}") for name in pool.Adapter.__struct_fields__)),
    pool.PoolAuth: rows(
        ("type", "@type"),
        ("username", "@username"),
        ("uuid", "secret", lambda uuid: {"uuid": uuid, "usage": ABSENT}),
        ("usage", "secret", lambda usage: {"usage": usage, "uuid": ABSENT}),
    ),
    pool.Permissions: rows(
        ("mode", "mode"), ("owner", "owner"), ("group", "group"), ("label", "label")
    ),
}


def intent(name: str, want: Pool) -> Intent:
    """Render what ``want`` declares, with its ``xml`` fragment merged in.

    :param want: with owner and group as numbers
    """
    xml = element("pool", None, element("name", text=name))
    fill(xml, want, TABLES, "", set())
    if want.xml is not None:
        overlay = parse_fragment(want.xml, "pool", f"kvm:pools:{name}")
        xml = merge(xml, Intent(overlay)).xml
    return Intent(xml, _lists(want))


def _lists(want: Pool) -> frozenset[str]:
    """Return the lists that are declared in full."""
    source = want.source or pool.PoolSource()
    declared = {
        "source/host": source.hosts,
        "source/device": source.devices,
        "mount_opts": want.mount_options,
        "config_opts": want.rbd_options,
    }
    return frozenset(name for name, value in declared.items() if value is not None)


def blank(name: str, want: Pool) -> ET.Element:
    """Return the document that a new pool starts from."""
    kind = want.type or "dir"
    xml = element("pool", {"type": kind}, element("name", text=name))
    source = want.source or pool.PoolSource()
    path = f"/dev/{source.name or name}" if kind == "logical" else PATHS.get(kind)
    if path is not None and want.path is None:
        xml.append(element("target", None, element("path", text=path)))
    return xml


def numbered(want: Pool, numbers: Mapping[str, int]) -> Pool:
    """Return ``want`` with owner and group as the numbers that libvirt keeps."""
    if want.permissions is None:
        return want
    permissions = msgspec.structs.replace(want.permissions, **numbers)
    return msgspec.structs.replace(want, permissions=permissions)


def kind(text: str) -> str:
    """Return the type of a pool."""
    return parse(text).get("type", "dir")


def path(text: str) -> str | None:
    """Return where a pool's volumes appear; ``None`` where that is no place of the host."""
    return parse(text).findtext("target/path")


def devices(xml: ET.Element) -> list[str]:
    """Return the devices that hold a pool."""
    return [path for each in xml.iterfind("source/device") if (path := each.get("path"))]
