"""Storage pools: what libvirt has calls of its own for, and what it can't build."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

from salt_kvm.backend.storage import begun
from salt_kvm.backend.system import command, device
from salt_kvm.backend.system.saying import saying
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import ApplyError, ConnectError, KvmError, ObserveError
from salt_kvm.plan.steps import BuildPool
from salt_kvm.xml import pool as xml
from salt_kvm.xml.document import parse

# These can't be told whether to overwrite; their programs never do.
UNFLAGGED = ("zfs",)
# The file systems that libvirt mounts and does not make, with the program for each: by default it
# refuses a device that holds something.
PROGRAMS = {"btrfs": (("mkfs.btrfs", "--quiet"), "--force")}
# What lists all that a pool holds which libvirt deletes as a whole.
HOLDINGS = {
    "logical": ("lvs", "--noheadings", "--options", "lv_name"),
    "zfs": ("zfs", "list", "-H", "-o", "name", "-t", "filesystem,volume", "-r"),
}


def build(hypervisor: Hypervisor, step: BuildPool) -> None:
    """Make the file system, partition table or volume group of a pool that is off.

    A device that was blank and could not be built on is blank again; until the build is over it is
    on record as begun.
    """
    if step.overwrite:
        _build(hypervisor, step)
        return
    uri, name = hypervisor.uri, step.name
    for path in step.devices:
        seen = device.look(path)
        if seen is not None and begun.is_half_built(uri, name, str(step.format), seen):
            device.clear(path, half=True)
        elif seen is None or not seen.blank:
            raise ApplyError(f"{path} is not blank any more; run this again")
    begun.begin_build(uri, name, {path: device.identity(path) for path in step.devices})
    try:
        _build(hypervisor, step)
    except ConnectError:
        # It may go on without us.
        raise
    except KvmError:
        with suppress(KvmError):
            for path in step.devices:
                device.clear(path)
            begun.end(uri, name)
        raise
    begun.end(uri, name)


def _build(hypervisor: Hypervisor, step: BuildPool) -> None:
    if step.format in PROGRAMS:
        program, force = PROGRAMS[step.format]
        for path in step.devices:
            command.run([*program, *([force] if step.overwrite else []), path])
        return
    seen = hypervisor.read("pool", step.name, autostart=False)
    flags = "OVERWRITE" if step.overwrite else "NO_OVERWRITE"
    plain = seen is not None and xml.kind(seen.xml) in UNFLAGGED
    flag = 0 if plain else hypervisor.flag(f"VIR_STORAGE_POOL_BUILD_{flags}")
    hypervisor.call("pool", step.name, "building", "build", flag)


def unlisted(document: str, listed: Collection[str]) -> list[str]:
    """Return what a pool of this host holds that is none of libvirt's volumes.

    libvirt leaves out what is inactive, a thin pool, a file system or a special file, and what came
    since it looked last. The deletion of a volume group or zpool takes all of it; that of a
    directory fails, when its volumes are gone.
    """
    kind, place = xml.kind(document), xml.path(document)
    if kind == "dir" and place is not None:
        with saying(ObserveError, place):
            return sorted(set(os.listdir(place)).difference(listed))
    command_of = HOLDINGS.get(kind)
    if command_of is None:
        return []
    root = parse(document)
    name = root.findtext("source/name") or root.findtext("name") or ""
    lines = (line.strip() for line in command.run([*command_of, name]).splitlines())
    found = {line.rpartition("/")[2] for line in lines if line not in ("", name)}
    return sorted(found.difference(listed))


def refresh(hypervisor: Hypervisor, name: str) -> None:
    """Have libvirt look anew at what an active pool holds."""
    hypervisor.call("pool", name, "refreshing", "refresh", 0)


def delete(hypervisor: Hypervisor, name: str) -> None:
    """Remove what holds the data of a pool that is off and empty."""
    hypervisor.call("pool", name, "deleting the storage of", "delete", 0)
