"""What of a network goes with its forward mode, and goes when that becomes another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.errors import SpecError
from salt_kvm.spec.network_values import MACVTAP, MANAGED
from salt_kvm.xml import identity
from salt_kvm.xml.intent import ABSENT, Intent
from salt_kvm.xml.merge import Difference, Merged, summary

ONE_DEVICE = ("nat", "route")
# What the devices of the host are used for in these modes they are not in those of one device.
OTHER_DEVICES = MACVTAP | {"bridge", "hostdev"}
# The types of a virtual port by what the guests' cards are plugged into; without one in a row of
# these libvirt defines the network, and starts no guest on it.
VIRTUAL_PORTS: Mapping[str, frozenset[str]] = {
    "routed": frozenset(),
    "bridged": frozenset({"openvswitch", "midonet"}),
    "direct": frozenset({"802.1Qbg", "802.1Qbh"}),
    "hostdev": frozenset({"802.1Qbg", "802.1Qbh"}),
}


def complete(merged: Merged, intent: Intent) -> Merged:
    """Take out what libvirt derives from the rest, and what came with another mode.

    :raises SpecError: where what the mode can't have is declared
    """
    told = [*_devices(merged, intent), *_misfits(merged, intent)]
    return msgspec.structs.replace(merged, differences=(*merged.differences, *told))


def _devices(merged: Merged, intent: Intent) -> Iterator[Difference]:
    """The first device of a forward mode stands twice in libvirt's document; the two must agree."""
    forward, declared = merged.xml.find("forward"), intent.xml.find("forward")
    if forward is None:
        return
    devices = forward.findall("interface")
    if declared is not None and "dev" in declared.attrib:
        for extra in [each for each in devices if each.get("dev") != forward.get("dev")]:
            forward.remove(extra)
        return
    if "forward.devices" in intent.lists or devices:
        forward.attrib.pop("dev", None)
    was = next((d.old for d in merged.differences if d.path == "forward/@mode"), None)
    said = declared is not None and declared.find("interface") is not None
    if forward.get("mode") in ONE_DEVICE and was in OTHER_DEVICES and not said:
        for extra in devices:
            yield Difference(f"forward/{identity.label(extra)}", summary(extra), None)
            forward.remove(extra)


def _kind(network: ET.Element) -> str:
    """Return what the cards of the guests are plugged into."""
    forward = network.find("forward")
    mode = "isolated" if forward is None else forward.get("mode", "nat")
    if mode in MANAGED:
        return "routed"
    if mode == "bridge" and network.find("bridge") is not None:
        return "bridged"
    return "hostdev" if mode == "hostdev" else "direct"


def _on_a_bridge(network: ET.Element, holder: ET.Element, part: ET.Element) -> bool:
    return _kind(network) in ("routed", "bridged")


def _virtualport(network: ET.Element, holder: ET.Element, part: ET.Element) -> bool:
    return part.get("type") in VIRTUAL_PORTS[_kind(network)]


def _vlan(network: ET.Element, holder: ET.Element, part: ET.Element) -> bool:
    """A group has the network's virtual port where it has none, and so in a way the reverse."""
    if _kind(network) == "bridged":
        groups = network.findall("portgroup[@default='yes']") if holder is network else [network]
        ports = (each.find("virtualport") for each in (holder, *groups))
        first = next((port for port in ports if port is not None), None)
        return first is not None and first.get("type") == "openvswitch"
    by_itself = network.find("forward[@mode='passthrough']") is not None
    by_itself |= _kind(network) == "hostdev"
    return by_itself and (holder is network or holder.find("virtualport") is None)


# The parts of a network or of a group of its ports, and with what each goes.
Fits = Callable[[ET.Element, ET.Element, ET.Element], bool]
BRIDGES = "libvirt's own bridges and with a bridge of the host"
PARTS: Mapping[str, tuple[Fits, str]] = {
    "virtualport": (
        _virtualport,
        "openvswitch and midonet go with a bridge of the host, 802.1Qbg and 802.1Qbh with macvtap "
        "and forward: hostdev",
    ),
    "bandwidth": (_on_a_bridge, f"it goes with {BRIDGES}"),
    "port": (_on_a_bridge, f"port_isolation goes with {BRIDGES}"),
    "vlan": (
        _vlan,
        "a VLAN goes with virtualport: openvswitch, or with forward: passthrough or hostdev",
    ),
}


def _misfits(merged: Merged, intent: Intent) -> Iterator[Difference]:
    moved = any(d.path in ("forward", "forward/@mode", "bridge") for d in merged.differences)
    declared = {group.get("name"): group for group in intent.xml.iterfind("portgroup")}
    for holder in (merged.xml, *merged.xml.iterfind("portgroup")):
        group = holder is not merged.xml
        said = declared.get(holder.get("name"), ET.Element("")) if group else intent.xml
        for tag, (fits, told) in PARTS.items():
            part = holder.find(tag)
            if part is None or fits(merged.xml, holder, part):
                continue
            path = f"{identity.label(holder)}/{tag}" if group else tag
            wanted = said.find(tag)
            if wanted is not None and ABSENT not in wanted.attrib:
                name = merged.xml.findtext("name")
                raise SpecError([f"kvm:networks:{name}:{path}: {told}; take it out"])
            if moved:
                yield Difference(path, summary(part), None)
                holder.remove(part)
