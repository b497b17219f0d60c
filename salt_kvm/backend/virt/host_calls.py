"""libvirt's calls for the host of a hypervisor."""

from __future__ import annotations

from salt_kvm.backend.virt.hypervisor import UNKNOWN, Hypervisor, again
from salt_kvm.errors import ObserveError


@again
def arch(hypervisor: Hypervisor) -> str:
    """Return the architecture of the hypervisor's host."""
    with hypervisor.saying(ObserveError, "the host's architecture"):
        return str(hypervisor.connection.getInfo()[0])


@again
def resources(hypervisor: Hypervisor) -> tuple[int, dict[str, int]]:
    """Return the host's number of CPUs, and its memory in KiB: ``total``, ``free``, ..."""
    with hypervisor.saying(ObserveError, "the host's resources"):
        every = hypervisor.flag("VIR_NODE_MEMORY_STATS_ALL_CELLS")
        return int(hypervisor.connection.getInfo()[2]), hypervisor.connection.getMemoryStats(every)


@again
def capabilities(hypervisor: Hypervisor) -> str:
    """Return libvirt's capabilities document."""
    with hypervisor.saying(ObserveError, "the host's capabilities"):
        return str(hypervisor.connection.getCapabilities())


@again
def pool_capabilities(hypervisor: Hypervisor) -> str | None:
    """Return libvirt's document of the pool types that it knows; an old one has none."""
    with hypervisor.saying(ObserveError, "the types of storage pools"):
        found = hypervisor.unless(UNKNOWN, hypervisor.connection.getStoragePoolCapabilities)
        return None if found is None else str(found)


@again
def versions(hypervisor: Hypervisor) -> dict[str, str]:
    """Return the versions of libvirt's daemon, of its client library and of the hypervisor."""
    with hypervisor.saying(ObserveError, "the versions"):
        return {
            "libvirt": _version(hypervisor.connection.getLibVersion()),
            "libvirt_client": _version(hypervisor.libvirt.getVersion()),
            "hypervisor": _version(hypervisor.connection.getVersion()),
            "hypervisor_type": str(hypervisor.connection.getType()),
        }


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
