"""A virtual network, in the words of libvirt's network format."""

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.link import Bandwidth, Device, VirtualPortType, Vlan, VlanId
from salt_kvm.spec.network_values import (
    MANAGED,
    check_inside,
    check_mode,
    lease_seconds,
    split_ports,
    split_range,
)
from salt_kvm.spec.types import Mac, Name, Path, Spec, matching
from salt_kvm.spec.values import PciAddress, Port, Word, all_different, pci

DnsName = Annotated[str, matching(r"[A-Za-z0-9_.-]{1,253}")]
Lease = Annotated[str, matching(r"(infinite|[1-9][0-9]{0,8}[smh])")]
Number = Annotated[int, Meta(ge=0, le=65535)]


class DhcpHost(Spec, frozen=True, kw_only=True):
    """A static lease: the guest with this MAC address (IPv6: DUID or name) gets this address."""

    ip: str
    mac: Mac | None = None
    id: Annotated[str, matching(r"[0-9a-f]{2}(:[0-9a-f]{2})+")] | None = None
    name: Name | None = None
    lease: Lease | None = None

    def __post_init__(self) -> None:
        six = ipaddress.ip_address(self.ip).version == 6
        if six and (self.mac is not None or (self.id is None and self.name is None)):
            raise ValueError("an IPv6 host is known by 'id' (its DUID) or 'name', not by 'mac'")
        if not six and (self.mac is None or self.id is not None):
            raise ValueError("an IPv4 host is known by 'mac', and has no 'id'")
        lease_seconds(self.lease or "infinite")


class Bootp(Spec, frozen=True, kw_only=True):
    """What a guest that boots from the network loads, and from which server."""

    file: Annotated[str, matching(r"(?!.*\.\.)[A-Za-z0-9_.+/:%,-]+")]
    server: Name | None = None


class Dhcp(Spec, frozen=True, kw_only=True):
    """What libvirt's dnsmasq hands out; a range is written ``first-last``."""

    ranges: list[str] | None = None
    lease: Lease | None = None
    hosts: list[DhcpHost] | None = None
    bootp: Bootp | None = None

    def __post_init__(self) -> None:
        lease_seconds(self.lease or "infinite")
        all_different("range", (split_range(text) for text in self.ranges or []))
        hosts = self.hosts or []
        all_different("host's ip", (ipaddress.ip_address(host.ip) for host in hosts))
        all_different("host's mac", (host.mac for host in hosts))
        all_different("host's name", (host.name for host in hosts))


class Address(Spec, frozen=True, kw_only=True):
    """One of the host's own addresses in the network, and what is served there."""

    address: str
    dhcp: Dhcp | None = None
    local_ptr: bool | None = None
    tftp: Path | None = None

    def __post_init__(self) -> None:
        _check_address(self.address, self.dhcp)
        if self.tftp is not None and ipaddress.ip_interface(self.address).version != 4:
            raise ValueError("'tftp' goes with an IPv4 address")


class DnsHost(Spec, frozen=True, kw_only=True):
    """Names that the network's DNS answers with this address."""

    ip: str
    names: list[Name]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError(f"'names' is empty; give {self.ip} a name")
        ipaddress.ip_address(self.ip)


class Txt(Spec, frozen=True, kw_only=True):
    """A DNS TXT record."""

    name: DnsName
    value: Annotated[str, matching(r"[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]*", max_length=255)]


class Srv(Spec, frozen=True, kw_only=True):
    """A DNS SRV record: where a service of a domain is."""

    service: DnsName
    protocol: Literal["tcp", "udp"]
    domain: Name | None = None
    target: Name | None = None
    port: Port | None = None
    priority: Number | None = None
    weight: Number | None = None

    def __post_init__(self) -> None:
        for name in ("port", "priority", "weight"):
            if self.target is None and getattr(self, name) is not None:
                raise ValueError(f"{name!r} goes with 'target'")


class Forwarder(Spec, frozen=True, kw_only=True):
    """A DNS server that is asked for what dnsmasq doesn't know, or for one domain."""

    address: str | None = None
    domain: Name | None = None

    def __post_init__(self) -> None:
        if self.address is None and self.domain is None:
            raise ValueError("a forwarder needs 'address', 'domain' or both")
        if self.address is not None:
            ipaddress.ip_address(self.address)


class Dns(Spec, frozen=True, kw_only=True):
    """What libvirt's dnsmasq answers; ``enable: false`` switches its DNS off."""

    enable: bool | None = None
    forward_plain_names: bool | None = None
    forwarders: list[Forwarder] | None = None
    hosts: list[DnsHost] | None = None
    txt: list[Txt] | None = None
    srv: list[Srv] | None = None

    def __post_init__(self) -> None:
        served = (self.forwarders, self.hosts, self.txt, self.srv)
        if self.enable is False and any(served):
            raise ValueError("with enable: false there is nothing to answer; leave the rest out")
        all_different("host's ip", (ipaddress.ip_address(host.ip) for host in self.hosts or []))
        all_different("TXT name", (txt.name for txt in self.txt or []))
        services = ((s.service, s.protocol, s.domain, s.target) for s in self.srv or [])
        all_different("SRV record", services)


class DnsDomain(Spec, frozen=True, kw_only=True):
    """The DNS domain of the guests; ``local_only`` keeps its names from other servers."""

    name: DnsName
    local_only: bool | None = None


class Portgroup(Spec, frozen=True, kw_only=True):
    """Settings that a guest's card takes over by naming this group."""

    # libvirt writes it into its own document without escaping it.
    name: Word
    default: bool = False
    virtualport: VirtualPortType | None = None
    vlan: VlanId | Vlan | None = None
    bandwidth: Bandwidth | None = None


class Route(Spec, frozen=True, kw_only=True):
    """A route of the host: what is behind a guest."""

    to: str
    gateway: str
    metric: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None

    def __post_init__(self) -> None:
        version = ipaddress.ip_network(self.to).version
        if ipaddress.ip_address(self.gateway).version != version:
            raise ValueError(f"{self.to} and {self.gateway} are not both IPv{version}")


class Nat(Spec, frozen=True, kw_only=True):
    """How the guests' addresses are hidden: behind which addresses and ports of the host."""

    addresses: str | None = None
    ports: str | None = None
    ipv6: bool | None = None

    def __post_init__(self) -> None:
        if self.addresses is not None and split_range(self.addresses)[0].version != 4:
            raise ValueError("NAT's 'addresses' are IPv4")
        if self.ports is not None:
            split_ports(self.ports)


class Network(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:networks``; its key is the name of the network."""

    state: Literal["present", "running", "stopped", "absent"] = "running"
    forward: (
        Literal[
            "nat", "route", "open", "isolated", "bridge", "private", "vepa", "passthrough",
            "hostdev",
        ]
        | None
    ) = None  # fmt: skip
    devices: list[Device] | None = None
    pf: Device | None = None
    addresses: list[PciAddress] | None = None
    managed: bool | None = None
    nat: Nat | None = None
    bridge: Device | None = None
    stp: bool | None = None
    delay: Annotated[int, Meta(ge=0, le=3600)] | None = None
    mac_table_manager: Literal["kernel", "libvirt"] | None = None
    zone: Name | None = None
    virtualport: VirtualPortType | None = None
    vlan: VlanId | Vlan | None = None
    port_isolation: bool | None = None
    ip: str | None = None
    dhcp: Dhcp | None = None
    ips: list[Address] | None = None
    dns: list[DnsHost] | Dns | None = None
    domain: DnsName | DnsDomain | None = None
    mtu: Annotated[int, Meta(ge=68, le=65535)] | None = None
    bandwidth: Bandwidth | None = None
    portgroups: list[Portgroup] | None = None
    routes: list[Route] | None = None
    autostart: bool | None = None
    restart: bool | None = None
    xml: str | None = None

    def __post_init__(self) -> None:
        for spec in (self, *(self.portgroups or [])):
            fields = (f for f in spec.__struct_fields__ if getattr(spec, f) is not None)
            check_mode(self.forward, fields)
        self._check_addresses()
        self._check_lists()

    def _check_addresses(self) -> None:
        if self.ips is not None and (self.ip is not None or self.dhcp is not None):
            raise ValueError("declare either 'ip' and 'dhcp', or 'ips'")
        if self.ip is not None:
            _check_address(self.ip, self.dhcp)
        elif self.dhcp is not None:
            raise ValueError("'dhcp' needs 'ip', the host's own address in that network")
        all_different("address", (ipaddress.ip_interface(ip.address).ip for ip in self.ips or []))

    def _check_lists(self) -> None:
        if self.pf is not None and self.addresses is not None:
            raise ValueError("declare either 'pf' or 'addresses'")
        groups = self.portgroups or []
        all_different("portgroup", (group.name for group in groups))
        if sum(group.default for group in groups) > 1:
            raise ValueError("one portgroup at most is the default")
        all_different("route", (ipaddress.ip_network(route.to) for route in self.routes or []))
        self._check_gateways()
        all_different("device", self.devices or [])
        if self.forward == "bridge" and self.bridge is not None and self.devices:
            raise ValueError("with forward: bridge declare either 'bridge' or 'devices'")
        if self.forward in MANAGED and len(self.devices or []) > 1:
            raise ValueError(f"with forward: {self.forward} one device at most is possible")
        all_different("address", (str(pci(address)) for address in self.addresses or []))
        if isinstance(self.dns, list):
            Dns(hosts=self.dns)

    def _check_gateways(self) -> None:
        own = [self.ip] if self.ip is not None else [ip.address for ip in self.ips or []]
        networks = [ipaddress.ip_interface(address).network for address in own]
        for route in self.routes or []:
            gateway = ipaddress.ip_address(route.gateway)
            if networks and not any(gateway in network for network in networks):
                raise ValueError(f"the gateway {gateway} is in none of the network's own addresses")


def _check_address(address: str, dhcp: Dhcp | None) -> None:
    dhcp = dhcp or Dhcp()
    if dhcp.bootp is not None and ipaddress.ip_interface(address).version != 4:
        raise ValueError("'bootp' goes with an IPv4 address")
    check_inside(address, dhcp.ranges or [], (host.ip for host in dhcp.hosts or []))
