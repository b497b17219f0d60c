"""A network as partial libvirt XML. Elements: https://libvirt.org/formatnetwork.html"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from xml.etree import ElementTree as ET

from salt_kvm.errors import SpecError
from salt_kvm.spec.network import DnsDomain, Network, Portgroup, Route
from salt_kvm.spec.network_values import MANAGED, POSSIBLE, split_ports, split_range
from salt_kvm.spec.values import pci
from salt_kvm.xml import link
from salt_kvm.xml import network_ip as ip
from salt_kvm.xml.intent import ABSENT, GONE, Intent, element, parse_fragment
from salt_kvm.xml.mark import mark
from salt_kvm.xml.merge import merge
from salt_kvm.xml.rows import Tables, fill, rows

WORD = {True: "yes", False: "no", None: None}
SWITCH = {True: "on", False: "off", None: None}
# What a network had in a mode of libvirt's own bridges and can't keep in the others.
LEFTOVERS = ("mac", "mtu", "domain", "dns")
LINK = rows(
    ("virtualport", "virtualport@type"), ("bandwidth", "bandwidth"), ("vlan", "vlan", link.vlan)
)
TABLES: Tables = {
    **link.TABLES,
    Network: (*LINK, *rows(("port_isolation", "port@isolated", link.yes))),
    Portgroup: LINK,
}


def intent(name: str, want: Network) -> Intent:
    """Render what ``want`` declares, with its ``xml`` fragment merged in."""
    xml = element("network", None, element("name", text=name))
    for build in BUILDERS:
        xml.extend(build(want))
    if want.xml is not None:
        overlay = parse_fragment(want.xml, "network", f"kvm:networks:{name}")
        _check_mode(name, want, overlay)
        xml = merge(xml, Intent(overlay)).xml
    return Intent(xml, _lists(want))


def _check_mode(name: str, want: Network, overlay: ET.Element) -> None:
    """What a network has depends on its mode: of two modes neither could be had."""
    said = overlay.find("forward")
    if want.forward is not None and said is not None:
        mode = said.get("mode", want.forward)
        if mode != want.forward or want.forward == "isolated":
            raise SpecError(
                [f"kvm:networks:{name}:xml: <forward> and 'forward' differ; declare it once"]
            )


def _lists(want: Network) -> frozenset[str]:
    """Return the lists that are declared in full, or that the forward mode has no place for."""
    other = want.forward is not None and want.forward not in MANAGED
    rows: Mapping[str, object] = {
        "network.ips": want.ips if not other else [],
        "network.routes": want.routes if not other else [],
        "network.portgroups": want.portgroups,
        "network.vlan": want.vlan,
        "portgroup.vlan": want.portgroups,
        "forward.devices": want.devices if _by_device(want) else [],
        "forward.addresses": [] if want.pf is not None else want.addresses,
        **ip.lists(want),
    }
    return frozenset(name for name, declared in rows.items() if declared is not None)


def _by_device(want: Network) -> bool:
    """Tell whether traffic may leave by devices of the host's."""
    if want.forward == "bridge":
        return want.bridge is None
    return want.forward is None or want.forward in POSSIBLE["devices"]


def _forward(want: Network) -> Iterable[ET.Element]:
    if want.forward == "isolated":
        return [element("forward", GONE)]
    children = [
        *(element("interface", {"dev": device}) for device in want.devices or []),
        *_physical(want),
        *(element("address", {"type": "pci", **pci(a)}) for a in sorted(want.addresses or [])),
        *_nat(want),
    ]
    attributes = {"mode": want.forward, "managed": WORD[want.managed]}
    if not children and not any(attributes.values()):
        return []
    return [element("forward", attributes, *children)]


def _physical(want: Network) -> Iterable[ET.Element]:
    if want.pf is not None:
        return [element("pf", {"dev": want.pf})]
    gone = want.addresses is not None or want.forward not in (None, "hostdev")
    return [element("pf", GONE)] if gone else []


def _nat(want: Network) -> Iterable[ET.Element]:
    if want.forward not in (None, "nat"):
        return [element("nat", GONE)]
    if want.nat is None:
        return []
    children = []
    if want.nat.addresses is not None:
        start, end = split_range(want.nat.addresses)
        children.append(element("address", {"start": start, "end": end}))
    if want.nat.ports is not None:
        first, last = split_ports(want.nat.ports)
        children.append(element("port", {"start": first, "end": last}))
    return [element("nat", {"ipv6": WORD[want.nat.ipv6]}, *children)]


def _bridge(want: Network) -> Iterable[ET.Element]:
    if want.forward is not None and want.forward not in MANAGED | {"bridge"}:
        return [element("bridge", GONE)]
    host = ABSENT if want.forward == "bridge" else None
    attributes = {
        "name": want.bridge,
        "zone": want.zone or host,
        "stp": SWITCH[want.stp] or host,
        "delay": host if want.delay is None else want.delay,
        "macTableManager": want.mac_table_manager,
    }
    # A bridge of the host and devices for macvtap exclude each other.
    if want.forward == "bridge" and want.devices and want.bridge is None:
        return [element("bridge", GONE)]
    return (
        [element("bridge", attributes)] if any(v is not None for v in attributes.values()) else []
    )


def _domain(want: Network) -> Iterable[ET.Element]:
    if want.domain is None:
        return []
    domain = want.domain if isinstance(want.domain, DnsDomain) else DnsDomain(name=want.domain)
    return [element("domain", {"name": domain.name, "localOnly": WORD[domain.local_only]})]


def _leftovers(want: Network) -> Iterable[ET.Element]:
    if want.forward is not None and want.forward not in MANAGED:
        yield from (element(tag, GONE) for tag in LEFTOVERS)


def _mtu(want: Network) -> Iterable[ET.Element]:
    return [] if want.mtu is None else [element("mtu", {"size": want.mtu})]


def _link(want: Network | Portgroup) -> Iterable[ET.Element]:
    """What the whole network and a group of its ports have in common."""
    return list(fill(ET.Element(""), want, TABLES, "", set()))


def _portgroups(want: Network) -> Iterable[ET.Element]:
    for group in want.portgroups or []:
        # Said of every group, so that the default can move from one to another.
        attributes = {"name": group.name, "default": "yes" if group.default else ABSENT}
        yield element("portgroup", attributes, *_link(group))


def _routes(want: Network) -> Iterable[ET.Element]:
    return map(_route, want.routes or [])


def _route(want: Route) -> ET.Element:
    to = ip.network(want.to)
    address = {"family": f"ipv{to.version}", "address": to.network_address, "prefix": to.prefixlen}
    return element("route", {**address, "gateway": want.gateway, "metric": want.metric})


BUILDERS: tuple[Callable[[Network], Iterable[ET.Element]], ...] = (
    _forward,
    _bridge,
    _mtu,
    _domain,
    ip.dns,
    _leftovers,
    _link,
    _portgroups,
    ip.addresses,
    _routes,
)


def blank(name: str) -> ET.Element:
    """Return the document that a new network starts from; libvirt chooses what is left open."""
    return element("network", None, element("name", text=name), mark())
