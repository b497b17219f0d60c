"""What a network's dnsmasq serves, as partial libvirt XML: addresses, DHCP, DNS."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as ET

from salt_kvm.spec.network import Address, Dhcp, DhcpHost, Dns, DnsHost, Forwarder, Network, Srv
from salt_kvm.spec.network_values import lease_seconds, split_range
from salt_kvm.xml.intent import GONE, element

WORD = {True: "yes", False: "no", None: None}
network = ipaddress.ip_network


def lists(want: Network) -> Mapping[str, object]:
    """Return the lists of this file's elements, each with what is declared of it."""
    served = [address.dhcp for address in _addresses(want) if address.dhcp is not None]
    names = _dns(want)
    return {
        "dhcp.ranges": next((d.ranges for d in served if d.ranges is not None), None),
        "dhcp.hosts": next((d.hosts for d in served if d.hosts is not None), None),
        "dns": names.hosts,
        "dns.names": names.hosts,
        "dns.txt": names.txt,
        "dns.srv": names.srv,
        "dns.forwarders": names.forwarders,
    }


def _addresses(want: Network) -> list[Address]:
    if want.ip is not None:
        return [Address(address=want.ip, dhcp=want.dhcp)]
    return want.ips or []


def addresses(want: Network) -> Iterable[ET.Element]:
    """Yield an element for each of the host's own addresses."""
    return map(_address, _addresses(want))


def _address(want: Address) -> ET.Element:
    own = ipaddress.ip_interface(want.address)
    attributes = {
        "family": f"ipv{own.version}",
        "address": own.ip,
        "prefix": own.network.prefixlen,
        "localPtr": WORD[want.local_ptr],
    }
    tftp = None if want.tftp is None else element("tftp", {"root": want.tftp})
    return element("ip", attributes, tftp, None if want.dhcp is None else _dhcp(want.dhcp))


def _dhcp(dhcp: Dhcp) -> ET.Element:
    ranges = None if dhcp.ranges is None else [_range(r, dhcp.lease) for r in dhcp.ranges]
    hosts = None if dhcp.hosts is None else list(map(_dhcp_host, dhcp.hosts))
    bootp = dhcp.bootp
    return element(
        "dhcp",
        None,
        *_in_full("range", ranges),
        *_in_full("host", hosts),
        None if bootp is None else element("bootp", {"file": bootp.file, "server": bootp.server}),
    )


def _in_full(tag: str, declared: list[ET.Element] | None) -> list[ET.Element]:
    """A list of one address: an empty one says so, since an undeclared one is left alone."""
    return [element(tag, GONE)] if declared == [] else declared or []


def _range(text: str, lease: str | None) -> ET.Element:
    start, end = split_range(text)
    return element("range", {"start": start, "end": end}, _lease(lease))


def _lease(text: str | None) -> ET.Element | None:
    if text is None:
        return None
    return element("lease", {"expiry": lease_seconds(text), "unit": "seconds"})


def _dhcp_host(host: DhcpHost) -> ET.Element:
    address = ipaddress.ip_address(host.ip)
    known = {"mac": host.mac, "id": host.id, "name": host.name, "ip": address}
    return element("host", known, _lease(host.lease))


def _dns(want: Network) -> Dns:
    return Dns(hosts=want.dns) if isinstance(want.dns, list) else want.dns or Dns()


def dns(want: Network) -> Iterable[ET.Element]:
    """Yield the element of the network's DNS, where it is declared."""
    if want.dns is None:
        return
    names = _dns(want)
    attributes = {
        "enable": WORD[names.enable],
        "forwardPlainNames": WORD[names.forward_plain_names],
    }
    yield element(
        "dns",
        attributes,
        *map(_forwarder, names.forwarders or []),
        *(element("txt", {"name": txt.name, "value": txt.value}) for txt in names.txt or []),
        *map(_srv, names.srv or []),
        *map(_dns_host, names.hosts or []),
    )


def _forwarder(want: Forwarder) -> ET.Element:
    address = None if want.address is None else ipaddress.ip_address(want.address)
    return element("forwarder", {"domain": want.domain, "addr": address})


def _srv(want: Srv) -> ET.Element:
    return element(
        "srv",
        {
            "service": want.service,
            "protocol": want.protocol,
            "domain": want.domain,
            "target": want.target,
            "port": want.port,
            "priority": want.priority,
            "weight": want.weight,
        },
    )


def _dns_host(host: DnsHost) -> ET.Element:
    names = [element("hostname", text=name) for name in host.names]
    return element("host", {"ip": ipaddress.ip_address(host.ip)}, *names)
