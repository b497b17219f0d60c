"""How the values of a network are written in a pillar, and which of them go together."""

import ipaddress
from collections.abc import Iterable, Mapping

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
SECONDS = {"s": 1, "m": 60, "h": 3600}
# dnsmasq's own lower limit.
SHORTEST_LEASE = 120

MANAGED = frozenset({"nat", "route", "open", "isolated"})
MACVTAP = frozenset({"private", "vepa", "passthrough"})
# The forward modes in which a field has a meaning; libvirt refuses it in the others.
POSSIBLE: Mapping[str, frozenset[str]] = {
    "devices": MACVTAP | {"nat", "route", "bridge"},
    "pf": frozenset({"hostdev"}),
    "addresses": frozenset({"hostdev"}),
    "managed": frozenset({"hostdev"}),
    "nat": frozenset({"nat"}),
    "bridge": MANAGED | {"bridge"},
    "mac_table_manager": MANAGED | {"bridge"},
    "virtualport": MACVTAP | {"bridge", "hostdev"},
    "vlan": frozenset({"bridge", "passthrough", "hostdev"}),
    **dict.fromkeys(("bandwidth", "port_isolation"), MANAGED | {"bridge"}),
    **dict.fromkeys(
        ("stp", "delay", "zone", "ip", "dhcp", "ips", "dns", "domain", "mtu", "routes"), MANAGED
    ),
}


def split_range(text: str) -> tuple[IpAddress, IpAddress]:
    """Return first and last address of ``192.168.122.2-192.168.122.254``."""
    first, dash, last = text.partition("-")
    start, end = ipaddress.ip_address(first.strip()), ipaddress.ip_address((last or first).strip())
    if not dash or start.version != end.version or int(start) > int(end):
        raise ValueError(f"{text!r} is no range; write it like 192.168.122.2-192.168.122.254")
    return start, end


def split_ports(text: str) -> tuple[int, int]:
    """Return first and last port of ``1024-65535``."""
    first, _, last = text.partition("-")
    ports = (int(first), int(last)) if first.isdigit() and last.isdigit() else (0, 0)
    if not 1 <= ports[0] <= ports[1] <= 65535:
        raise ValueError(f"{text!r} is no range of ports; write it like 1024-65535")
    return ports


def lease_seconds(text: str) -> int:
    """Return the seconds of ``90m``, ``2h`` or ``infinite``, which libvirt writes as 0."""
    if text == "infinite":
        return 0
    seconds = int(text[:-1]) * SECONDS[text[-1]]
    if seconds < SHORTEST_LEASE:
        raise ValueError(f"a lease of {text} is too short; 2m is the shortest")
    return seconds


def check_mode(forward: str | None, declared: Iterable[str]) -> None:
    """Raise where a field has no meaning in the declared forward mode."""
    for field in declared:
        modes = POSSIBLE.get(field)
        if forward is not None and modes is not None and forward not in modes:
            raise ValueError(
                f"{field!r} has no meaning with forward: {forward}; it goes with "
                + ", ".join(sorted(modes))
            )


def check_inside(address: str, ranges: Iterable[str], hosts: Iterable[str]) -> None:
    """Raise where what DHCP hands out is not in the network of the host's own address."""
    interface = ipaddress.ip_interface(address)
    if "/" not in address:
        raise ValueError(f"{address!r} has no prefix; write it like 192.168.122.1/24")
    for text in ranges:
        if not all(each in interface.network for each in split_range(text)):
            raise ValueError(f"the DHCP range {text} is not inside {interface.network}")
    for host in hosts:
        if ipaddress.ip_address(host) not in interface.network:
            raise ValueError(f"the DHCP host {host} is not inside {interface.network}")
