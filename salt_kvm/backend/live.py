"""Changes of a running guest that leave its definition alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from salt_kvm.backend.hypervisor import Hypervisor
from salt_kvm.errors import ObserveError
from salt_kvm.xml.live import device_in, property_in

# How long a guest gets to release a device or to give memory back.
SECONDS = 10.0
POLL_SECONDS = 0.25


def attach(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Plug a device in."""
    live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")
    hypervisor.call("domain", name, "attaching a device to", "attachDeviceFlags", xml, live)


def update(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Change a device in place."""
    live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")
    hypervisor.call("domain", name, "changing a device of", "updateDeviceFlags", xml, live)


def detach(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Ask the guest to release a device and wait; one that does not is found by who looks next."""
    live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")
    hypervisor.call("domain", name, "detaching a device from", "detachDeviceFlags", xml, live)
    _wait(hypervisor, name, lambda document: device_in(document, xml) is None)


def set_property(hypervisor: Hypervisor, name: str, key: str, value: str) -> None:
    """Set what libvirt has a call of its own for; ``key`` is one of ``xml.live.PROPERTIES``."""
    live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")
    if key in ("memory", "vcpus"):
        method = {"memory": "setMemoryFlags", "vcpus": "setVcpusFlags"}[key]
        hypervisor.call("domain", name, f"setting the {key} of", method, int(value), live)
        _wait(hypervisor, name, lambda document: property_in(document, key) == value)
    else:
        kind = hypervisor.flag(f"VIR_DOMAIN_METADATA_{key.upper()}")
        arguments = (kind, value, None, None, live)
        hypervisor.call("domain", name, f"setting the {key} of", "setMetadata", *arguments)


def resize(hypervisor: Hypervisor, name: str, target: str, size: int) -> None:
    """Grow a disk; the guest's kernel is told of it."""
    exact = hypervisor.flag("VIR_DOMAIN_BLOCK_RESIZE_BYTES")
    doing = f"growing the disk {target} of"
    hypervisor.call("domain", name, doing, "blockResize", target, int(size), exact)


def balloon(hypervisor: Hypervisor, name: str) -> bool:
    """Tell whether the guest's balloon driver answers: only then it says what is unused."""
    stats = hypervisor.call("domain", name, "reading the memory of", "memoryStats")
    return "unused" in stats


def _wait(hypervisor: Hypervisor, name: str, done: Callable[[str], bool]) -> None:
    """Watch the running guest's document; what can't be read now is read by who verifies."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with suppress(ObserveError):
            seen = hypervisor.read("domain", name)
            if seen is None or seen.live is None or done(seen.live):
                return
        time.sleep(POLL_SECONDS)
