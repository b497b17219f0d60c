"""A network as partial libvirt XML. Elements: https://libvirt.org/formatnetwork.html"""

from __future__ import annotations

import ipaddress
from xml.etree import ElementTree as ET

from salt_kvm.spec.network import Dhcp, DhcpHost, DnsHost, Network, split_range
from salt_kvm.xml.intent import ABSENT, Intent, element, parse_fragment
from salt_kvm.xml.merge import merge


def intent(name: str, want: Network) -> Intent:
    """Render what ``want`` declares, with its ``xml`` fragment merged in."""
    xml = element(
        "network",
        None,
        element("name", text=name),
        _forward(want),
        None if want.bridge is None else element("bridge", {"name": want.bridge}),
        None if want.mtu is None else element("mtu", {"size": want.mtu}),
        None if want.domain is None else element("domain", {"name": want.domain}),
        None if want.dns is None else element("dns", None, *map(_dns_host, want.dns)),
        _ip(want),
    )
    if want.xml is not None:
        overlay = parse_fragment(want.xml, "network", f"kvm:networks:{name}")
        xml = merge(xml, Intent(overlay)).xml
    return Intent(xml, _lists(want))


def _lists(want: Network) -> frozenset[str]:
    dhcp = want.dhcp or Dhcp()
    rows: dict[str, object] = {"dhcp.ranges": dhcp.ranges, "dhcp.hosts": dhcp.hosts}
    rows |= {"dns": want.dns, "dns.names": want.dns}
    return frozenset(name for name, declared in rows.items() if declared is not None)


def _forward(want: Network) -> ET.Element | None:
    if want.forward is None:
        return None
    if want.forward == "isolated":
        return element("forward", {ABSENT: "yes"})
    return element("forward", {"mode": want.forward})


def _ip(want: Network) -> ET.Element | None:
    if want.ip is None:
        return None
    own = ipaddress.ip_interface(want.ip)
    return element(
        "ip",
        {
            "family": f"ipv{own.version}",
            "address": own.ip,
            "prefix": own.network.prefixlen,
        },
        None if want.dhcp is None else _dhcp(want.dhcp),
    )


def _dhcp(dhcp: Dhcp) -> ET.Element:
    ranges = [split_range(text) for text in dhcp.ranges or []]
    return element(
        "dhcp",
        None,
        *(element("range", {"start": start, "end": end}) for start, end in ranges),
        *map(_dhcp_host, dhcp.hosts or []),
    )


def _dhcp_host(host: DhcpHost) -> ET.Element:
    return element("host", {"mac": host.mac, "name": host.name, "ip": host.ip})


def _dns_host(host: DnsHost) -> ET.Element:
    names = [element("hostname", text=name) for name in host.names]
    return element("host", {"ip": host.ip}, *names)


def blank(name: str) -> ET.Element:
    """Return the document that a new network starts from; libvirt chooses what is left open."""
    return element("network", None, element("name", text=name))
