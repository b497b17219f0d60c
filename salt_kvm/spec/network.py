"""A virtual network."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.types import Mac, Name, Spec

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Bridge = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,15}$")]


class DhcpHost(Spec, frozen=True, kw_only=True):
    """A static lease: the guest with this MAC address always gets this address."""

    mac: Mac
    ip: str
    name: Name | None = None

    def __post_init__(self) -> None:
        ipaddress.ip_address(self.ip)


class Dhcp(Spec, frozen=True, kw_only=True):
    """What libvirt's dnsmasq hands out; a range is written ``first-last``."""

    ranges: list[str] | None = None
    hosts: list[DhcpHost] | None = None

    def __post_init__(self) -> None:
        for text in self.ranges or []:
            split_range(text)


class DnsHost(Spec, frozen=True, kw_only=True):
    """Names that the network's DNS answers with this address."""

    ip: str
    names: list[Name]

    def __post_init__(self) -> None:
        ipaddress.ip_address(self.ip)


class Network(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:networks``; its key is the name of the network."""

    state: Literal["present", "running", "stopped", "absent"] = "running"
    forward: Literal["nat", "route", "open", "isolated", "bridge"] | None = None
    bridge: Bridge | None = None
    ip: str | None = None
    dhcp: Dhcp | None = None
    dns: list[DnsHost] | None = None
    domain: Name | None = None
    mtu: Annotated[int, Meta(ge=68, le=65535)] | None = None
    autostart: bool | None = None
    xml: str | None = None

    def __post_init__(self) -> None:
        if self.ip is None:
            if self.dhcp is not None:
                raise ValueError("'dhcp' needs 'ip', the host's own address in that network")
            return
        interface = ipaddress.ip_interface(self.ip)
        if "/" not in self.ip:
            raise ValueError(f"{self.ip!r} has no prefix; write it like 192.168.122.1/24")
        for text in (self.dhcp and self.dhcp.ranges) or []:
            if not all(address in interface.network for address in split_range(text)):
                raise ValueError(f"the DHCP range {text} is not inside {interface.network}")
        for host in (self.dhcp and self.dhcp.hosts) or []:
            if ipaddress.ip_address(host.ip) not in interface.network:
                raise ValueError(f"the DHCP host {host.ip} is not inside {interface.network}")


def split_range(text: str) -> tuple[Address, Address]:
    """Return first and last address of ``192.168.122.2-192.168.122.254``."""
    first, dash, last = text.partition("-")
    start, end = ipaddress.ip_address(first.strip()), ipaddress.ip_address((last or first).strip())
    if not dash or start.version != end.version or int(start) > int(end):
        raise ValueError(f"{text!r} is no range; write it like 192.168.122.2-192.168.122.254")
    return start, end
