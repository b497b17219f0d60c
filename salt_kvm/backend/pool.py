"""Storage pools: what libvirt has calls of its own for."""

from __future__ import annotations

from salt_kvm.backend.hypervisor import Hypervisor
from salt_kvm.xml import pool as xml

# These can't be told whether to overwrite; their programs never do.
UNFLAGGED = ("zfs",)


def build(hypervisor: Hypervisor, name: str, *, overwrite: bool) -> None:
    """Make the file system, partition table or volume group of a pool that is off."""
    seen = hypervisor.read("pool", name, autostart=False)
    flags = "OVERWRITE" if overwrite else "NO_OVERWRITE"
    plain = seen is not None and xml.kind(seen.xml) in UNFLAGGED
    flag = 0 if plain else hypervisor.flag(f"VIR_STORAGE_POOL_BUILD_{flags}")
    hypervisor.call("pool", name, "building", "build", flag)


def refresh(hypervisor: Hypervisor, name: str) -> None:
    """Have libvirt look anew at what an active pool holds."""
    hypervisor.call("pool", name, "refreshing", "refresh", 0)


def delete(hypervisor: Hypervisor, name: str) -> None:
    """Remove what holds the data of a pool that is off and empty."""
    hypervisor.call("pool", name, "deleting the storage of", "delete", 0)
