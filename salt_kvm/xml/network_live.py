"""What of a difference can be made on an active network, and what waits for its next start.

``SECTIONS`` names the lists that libvirt changes on an active network by ``virNetworkUpdate``, as
libvirt 9 does it: measured, not only documented. Whatever stands in none of them waits.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import msgspec
from msgspec import structs

from salt_kvm.xml import identity
from salt_kvm.xml.document import parse
from salt_kvm.xml.equality import canonical
from salt_kvm.xml.intent import ABSENT, Intent
from salt_kvm.xml.merge import Difference, fits, merge, summary


class Section(msgspec.Struct, frozen=True):
    """A list that libvirt changes live; ``name`` is the end of ``VIR_NETWORK_SECTION_...``.

    Of the others libvirt can't change an entry, or finds it by any of its values: a static lease
    whose address moves to another host would replace that one. They are deleted and added.
    """

    name: str
    parent: str
    tag: str
    modify: bool = False


SECTIONS = (
    Section("IP_DHCP_RANGE", "ip/dhcp", "range"),
    Section("IP_DHCP_HOST", "ip/dhcp", "host"),
    Section("DNS_HOST", "dns", "host"),
    Section("DNS_TXT", "dns", "txt"),
    Section("DNS_SRV", "dns", "srv"),
    Section("FORWARD_INTERFACE", "forward", "interface"),
    Section("PORTGROUP", "", "portgroup", modify=True),
)
COMMANDS = ("DELETE", "MODIFY", "ADD_LAST")


class Update(msgspec.Struct, frozen=True):
    """One call of ``virNetworkUpdate``; ``old`` is what a modified element was.

    ``index`` is the place of the element's ``<ip>`` among its siblings, else -1. ``change`` is
    ``None`` for the half of a replacement that the other half tells.
    """

    section: str
    command: str
    index: int
    xml: str
    old: str | None
    path: str
    change: tuple[object, object] | None


class Live(msgspec.Struct, frozen=True):
    """What can be done now, in the order in which it is done; what waits; and both as one list."""

    updates: tuple[Update, ...]
    waiting: tuple[Difference, ...]
    differences: tuple[Difference, ...]


class _Place(msgspec.Struct, frozen=True):
    """An element whose children are a section's, as it is and as it is wanted."""

    path: str
    index: int
    seen: ET.Element
    want: ET.Element


def compare(live: ET.Element, intent: Intent) -> Live:
    """Compare an active network with what is declared; ``live`` is its document."""
    seen = _with_places(canonical(live), intent)
    wanted = merge(copy.deepcopy(seen), intent)
    if not wanted.differences:
        return Live((), (), ())
    # What has lost its last entry is gone from it, and is what that is taken out of.
    goal = _with_places(wanted.xml, intent)
    updates: list[Update] = []
    for section in SECTIONS:
        for place in _places(seen, goal, section.parent):
            updates.extend(_updates(section, place))
    waiting = merge(_after(seen, goal), intent).differences
    return Live(tuple(_told_apart(updates)), waiting, wanted.differences)


def _with_places(live: ET.Element, intent: Intent) -> ET.Element:
    """Give a network that has no DNS or DHCP entry the empty element that one is added to."""
    names = intent.xml.find("dns")
    if names is not None and ABSENT not in names.attrib and live.find("dns") is None:
        live.append(ET.Element("dns"))
    pairs, _left = identity.pair(intent.xml.findall("ip"), live.findall("ip"), fits)
    for want, ip in pairs:
        if ip is not None and want.find("dhcp") is not None and ip.find("dhcp") is None:
            ip.append(ET.Element("dhcp"))
    return live


def _places(seen: ET.Element, want: ET.Element, parent: str) -> Iterator[_Place]:
    if not parent:
        yield _Place("", -1, seen, want)
    elif parent == "ip/dhcp":
        yield from _dhcp_places(seen, want)
    else:
        old, new = seen.find(parent), want.find(parent)
        # What a new mode will do with its devices is nothing for the old one.
        if old is not None and new is not None and _mode(seen, old) == _mode(want, new):
            yield _Place(f"{parent}/", -1, old, new)


def _mode(network: ET.Element, forward: ET.Element) -> tuple[str | None, bool]:
    """With mode bridge it has either a bridge of the host or devices for macvtap."""
    return forward.get("mode"), network.find("bridge") is None


def _dhcp_places(seen: ET.Element, want: ET.Element) -> Iterator[_Place]:
    """The DHCP of each address that stays; what belongs to a new one comes with it."""
    wanted = {_own_address(ip): ip.find("dhcp") for ip in want.findall("ip")}
    for index, ip in enumerate(seen.findall("ip")):
        old, new = ip.find("dhcp"), wanted.get(_own_address(ip))
        if old is not None and new is not None:
            yield _Place(f"ip[{ip.get('address')}]/dhcp/", index, old, new)


def _own_address(ip: ET.Element) -> tuple[str | None, ...]:
    return ip.get("family"), ip.get("address"), ip.get("prefix")


def _updates(section: Section, place: _Place) -> Iterator[Update]:
    """Deleted first, for libvirt refuses two entries of one address, MAC address or name."""
    old, new = place.seen.findall(section.tag), place.want.findall(section.tag)
    before, after = list(map(_value, old)), list(map(_value, new))
    gone = [e for e in old if _value(e) not in after]
    come = [e for e in new if _value(e) not in before]
    pairs, left = identity.pair(come, gone, fits)
    made: list[Update] = [_update(section, place, "DELETE", extra, None) for extra in left]
    for want, match in pairs:
        if match is not None and not section.modify:
            made.append(_update(section, place, "DELETE", match, want))
        command = "MODIFY" if match is not None and section.modify else "ADD_LAST"
        made.append(_update(section, place, command, want, match))
    yield from sorted(made, key=_order)


def _update(
    section: Section, place: _Place, command: str, element: ET.Element, other: ET.Element | None
) -> Update:
    before = None if other is None else summary(other)
    change: tuple[object, object] | None = before, summary(element)
    if command == "DELETE":
        change = (summary(element), None) if other is None else None
    modified = other if command == "MODIFY" else None
    old = None if modified is None else ET.tostring(modified, encoding="unicode").strip()
    path = f"{place.path}{identity.label(element)}"
    text = ET.tostring(element, encoding="unicode").strip()
    return Update(section.name, command, place.index, text, old, path, change)


def _order(update: Update) -> tuple[int, bool]:
    """A portgroup becomes the default after another one has ceased to be it."""
    return COMMANDS.index(update.command), parse(update.xml).get("default") == "yes"


def _value(element: ET.Element) -> object:
    text = (element.text or "").strip()
    return (element.tag, sorted(element.attrib.items()), text, [_value(child) for child in element])


def _after(seen: ET.Element, want: ET.Element) -> ET.Element:
    """Return the network as the updates would leave it."""
    after = copy.deepcopy(seen)
    for section in SECTIONS:
        for place in _places(after, want, section.parent):
            for element in place.seen.findall(section.tag):
                place.seen.remove(element)
            place.seen.extend(copy.deepcopy(place.want.findall(section.tag)))
    return after


def _told_apart(updates: list[Update]) -> Iterator[Update]:
    """Number the changes of one path, so that none hides another."""
    counted: Counter[str] = Counter()
    for update in updates:
        if update.change is not None:
            counted[update.path] += 1
        nth = f"[{counted[update.path]}]" if counted[update.path] > 1 else ""
        yield structs.replace(update, path=f"{update.path}{nth}")
