"""Where guests can be reached: as they say, by the leases that they got, as the host has heard."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from salt_kvm.backend.guests import agent
from salt_kvm.backend.system import command
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import KvmError
from salt_kvm.seen import Observed
from salt_kvm.xml import reach

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Found(msgspec.Struct, frozen=True):
    """An address of a guest, and who says so."""

    address: Address
    prefix: int
    mac: str
    interface: str
    source: str


# What the host has heard, as ``ip neigh`` tells it; ``None`` of another host.
Heard = Callable[[], str] | None


def neighbours() -> str:
    """Return the table of the addresses that this host has talked to lately."""
    return command.run(["ip", "neigh", "show"])


def find(
    hypervisor: Hypervisor, seen: Observed, sources: Sequence[str], heard: Heard
) -> list[Found]:
    """Return what the sources say; where there are several, one that fails says nothing.

    :param seen: a guest that runs
    :param sources: of ``agent``, ``lease``, ``arp``
    :param heard: returns what the hypervisor's host has heard, where that host is this one
    :raises KvmError: where the only source fails
    """
    if len(sources) == 1:
        return SOURCES[sources[0]](hypervisor, seen, heard)
    found = []
    for source in sources:
        with suppress(KvmError):
            found += SOURCES[source](hypervisor, seen, heard)
    return found


def _agent(hypervisor: Hypervisor, seen: Observed, heard: Heard) -> list[Found]:
    agent.ready(seen)
    found = [
        _made(each.ip_address, each.prefix, card.hardware_address, card.name, "agent")
        for card in agent.cards(hypervisor, seen.name)
        for each in card.ip_addresses
    ]
    return [each for each in found if each is not None]


def _lease(hypervisor: Hypervisor, seen: Observed, heard: Heard) -> list[Found]:
    return _listed(hypervisor, seen, "lease")


def _arp(hypervisor: Hypervisor, seen: Observed, heard: Heard) -> list[Found]:
    """libvirt before 9.1 can't read the table of many kernels, so that it is read here."""
    if heard is None:
        return _listed(hypervisor, seen, "arp")
    cards = reach.cards(seen.live or "<domain/>")
    found = [
        _made(words[0], 0, words[words.index("lladdr") + 1], "", "arp")
        for words in map(str.split, heard().splitlines())
        if "lladdr" in words[:-1] and words[-1] not in ("FAILED", "INCOMPLETE")
    ]
    return [
        msgspec.structs.replace(each, interface=cards[each.mac])
        for each in found
        if each is not None and each.mac in cards
    ]


def _listed(hypervisor: Hypervisor, seen: Observed, source: str) -> list[Found]:
    number = hypervisor.flag(f"VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_{source.upper()}")
    doing = f"asking for the {source} addresses of"
    cards: Mapping[str, Any] = hypervisor.call(
        "domain", seen.name, doing, "interfaceAddresses", number
    )
    found = [
        _made(each["addr"], each["prefix"], card["hwaddr"] or "", device, source)
        for device, card in cards.items()
        for each in card["addrs"] or ()
    ]
    return [each for each in found if each is not None]


def _made(address: str, prefix: int, mac: str, interface: str, source: str) -> Found | None:
    """A guest may say anything, and its loopback is no way to it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return None if parsed.is_loopback else Found(parsed, prefix, mac.lower(), interface, source)


SOURCES: Mapping[str, Callable[[Hypervisor, Observed, Heard], list[Found]]] = {
    "agent": _agent,
    "lease": _lease,
    "arp": _arp,
}


def joined(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Return each address once, with all who say so; those that reach farther come first."""
    entries: dict[tuple[Address, str], dict[str, Any]] = {}
    for each in sorted(found, key=_order):
        entry = entries.setdefault(
            (each.address, each.mac),
            {
                "address": str(each.address),
                "prefix": each.prefix or None,
                "mac": each.mac,
                "interface": each.interface,
                "sources": [],
            },
        )
        entry["prefix"] = entry["prefix"] or each.prefix or None
        entry["sources"] += [] if each.source in entry["sources"] else [each.source]
    return list(entries.values())


def _order(found: Found) -> tuple[bool, int, int, int]:
    address = found.address
    rank = list(SOURCES).index(found.source)
    return address.is_link_local, address.version, int(address), rank
