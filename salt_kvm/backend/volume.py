"""Volumes of storage pools; a volume's full name is ``pool/volume``."""

from __future__ import annotations

from salt_kvm.backend.hypervisor import Hypervisor
from salt_kvm.seen import Observed


def read(hypervisor: Hypervisor, name: str) -> Observed | None:
    """Return a volume; ``None`` where there is none, or its pool is off."""
    pool, _, volume = name.partition("/")
    _known, xml = hypervisor.read_volume(pool, volume)
    return None if xml is None else Observed("volume", name, xml)


def delete(hypervisor: Hypervisor, name: str) -> None:
    """Delete a volume and what it holds."""
    pool, _, volume = name.partition("/")
    hypervisor.call_volume(pool, volume, "deleting", "delete", 0)
