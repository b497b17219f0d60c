"""Changes of a running guest that leave its definition alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from salt_kvm.backend.hypervisor import Hypervisor
from salt_kvm.errors import KvmError, ObserveError
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


def detach(hypervisor: Hypervisor, name: str, xml: str) -> bool:
    """Ask the guest to release a device and wait; tell whether it is gone.

    A guest that is starting up does not hear it, so it is asked until the time is over. A refusal
    counts at the end only: it is one that the guest is at it since an earlier run, or just did it.
    """
    live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")
    end = time.monotonic() + SECONDS
    while True:
        refusal = None
        try:
            doing = "detaching a device from"
            hypervisor.call("domain", name, doing, "detachDeviceFlags", xml, live)
        except KvmError as error:
            refusal = error
        if is_gone(hypervisor, name, xml):
            return True
        if time.monotonic() >= end:
            break
        time.sleep(POLL_SECONDS)
    if refusal is not None:
        raise refusal
    return False


def is_gone(hypervisor: Hypervisor, name: str, xml: str) -> bool:
    """Tell whether a device is gone; what can't be read now is read by who verifies."""
    with suppress(ObserveError):
        seen = hypervisor.read("domain", name)
        return seen is None or seen.live is None or device_in(seen.live, xml) is None
    return False


def attach_again(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Plug a device back in that the guest was asked to release, where it did."""
    if is_gone(hypervisor, name, xml):
        attach(hypervisor, name, xml)


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
