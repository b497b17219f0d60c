"""libvirt's calls for domains that no other object has."""

from __future__ import annotations

from collections.abc import Iterable

from salt_kvm.backend.virt.hypervisor import Hypervisor, again
from salt_kvm.errors import ApplyError, ObserveError

# Why a domain is off: libvirt's own words in its log.
ENDS = ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot")
GOES_ON = "kvm_domain.resume lets it go on"
# Why the CPUs of one that is on stand still.
PAUSES = {
    "user": "by hand",
    "migration": "for its migration",
    "save": "while it is saved",
    "dump": "while its memory is dumped",
    "ioerror": "as a disk failed, or the host has no room for what it writes",
    "watchdog": "by its watchdog",
    "from snapshot": "as its snapshot was",
    "shutting down": "while it shuts down",
    "snapshot": "while its snapshot is taken",
    "crashed": "as it crashed",
    "starting up": "while it starts",
}


@again
def screenshot(hypervisor: Hypervisor, name: str) -> bytes:
    """Return the screen of a running guest, as PNG or, with an older QEMU, as PPM."""
    with hypervisor.saying(ObserveError, f"the screen of domain {name}"):
        stream = hypervisor.connection.newStream()
        hypervisor.get("domain", name).screenshot(stream, 0)
        parts: list[bytes] = []
        stream.recvAll(lambda _stream, data, _opaque: parts.append(data), None)
        stream.finish()
        return b"".join(parts)


def create(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Start a domain from a document of its own; its definition stays as it is."""
    with hypervisor.saying(ApplyError, f"starting domain {name}"):
        hypervisor.connection.createXML(xml, 0)


@again
def end(hypervisor: Hypervisor, name: str) -> str | None:
    """Return why a domain is off, in libvirt's word; ``None`` where it runs."""
    return _reason(hypervisor, name, "SHUTOFF", ENDS)


@again
def pause(hypervisor: Hypervisor, name: str) -> str | None:
    """Return why the CPUs of a domain stand still; ``None`` where they run, or it is off."""
    word = _reason(hypervisor, name, "PAUSED", PAUSES)
    return None if word is None else PAUSES.get(word, "by its hypervisor")


def asleep(hypervisor: Hypervisor, name: str) -> str | None:
    """Return, where it is so, that a guest can't power off by itself."""
    why = pause(hypervisor, name)
    return None if why is None else f"domain {name} is paused ({why}) and can't power off by itself"


def _reason(hypervisor: Hypervisor, name: str, state: str, words: Iterable[str]) -> str | None:
    """Return libvirt's own word for why a domain is in a state; ``None`` where it is in another."""
    with hypervisor.saying(ObserveError, f"the state of domain {name}"):
        now, reason = hypervisor.get("domain", name).state(0)
        if now != hypervisor.flag(f"VIR_DOMAIN_{state}"):
            return None
        flags = {word: f"VIR_DOMAIN_{state}_{word.upper().replace(' ', '_')}" for word in words}
        known = (word for word, flag in flags.items() if hypervisor.flag(flag) == reason)
        return next(known, "unknown")


@again
def paused(hypervisor: Hypervisor) -> list[str]:
    """Return the names of all domains whose CPUs stand still."""
    with hypervisor.saying(ObserveError, "the list of domains"):
        flag = hypervisor.flag("VIR_CONNECT_LIST_DOMAINS_PAUSED")
        return [each.name() for each in hypervisor.connection.listAllDomains(flag)]


@again
def saved(hypervisor: Hypervisor, name: str) -> bool:
    """Tell whether the memory of a domain that is off is kept, so that it goes on."""
    with hypervisor.saying(ObserveError, f"the saved memory of domain {name}"):
        found = hypervisor.find("domain", name)
        return found is not None and bool(found.hasManagedSaveImage(0))


def shutdown(hypervisor: Hypervisor, name: str) -> None:
    """Ask a guest to power off."""
    hypervisor.call("domain", name, "shutting down", "shutdown")


def suspend(hypervisor: Hypervisor, name: str) -> None:
    """Make a guest's CPUs stand still; its memory stays."""
    hypervisor.call("domain", name, "suspending", "suspend")


def resume(hypervisor: Hypervisor, name: str) -> None:
    """Let a guest that stands still go on."""
    hypervisor.call("domain", name, "resuming", "resume")


def reboot(hypervisor: Hypervisor, name: str) -> None:
    """Ask a guest to boot anew, with the devices that it has."""
    hypervisor.call("domain", name, "rebooting", "reboot", 0)


def reset(hypervisor: Hypervisor, name: str) -> None:
    """Boot a guest anew at once, as its reset button does."""
    hypervisor.call("domain", name, "resetting", "reset", 0)


@again
def shares(hypervisor: Hypervisor) -> dict[str, dict[str, int]]:
    """Return each domain's statistics of memory (KiB) and CPUs, in one call.

    One that doesn't answer is told without what only it knows
    (https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectGetAllDomainStats).
    """
    kinds = ("STATE", "BALLOON", "VCPU")
    flags = sum(hypervisor.flag(f"VIR_DOMAIN_STATS_{kind}") for kind in kinds)
    at_once = hypervisor.flag("VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT")
    with hypervisor.saying(ObserveError, "what domains take of the host"):
        found = hypervisor.connection.getAllDomainStats(flags, at_once)
        return {domain.name(): stats for domain, stats in found}
