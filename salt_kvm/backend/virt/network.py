"""Changes of an active network: of a section, without anybody noticing, or by a restart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from salt_kvm.backend.virt.hypervisor import Hypervisor, again
from salt_kvm.errors import ApplyError, ConnectError, KvmError, ObserveError
from salt_kvm.plan.steps import UpdateNetwork
from salt_kvm.xml.document import parse

INVERSE = {"ADD_LAST": "DELETE", "DELETE": "ADD_LAST", "MODIFY": "MODIFY"}


class Card(NamedTuple):
    """A network card of a running guest, as its document has it."""

    domain: str
    xml: ET.Element


def update(hypervisor: Hypervisor, step: UpdateNetwork) -> Callable[[], None]:
    """Change a section; return what takes that back."""
    call = partial(_update, hypervisor, step)
    call(step.command, step.xml)
    return partial(call, INVERSE[step.command], step.old or step.xml)


@again
def leases(hypervisor: Hypervisor, name: str) -> list[dict[str, Any]]:
    """Return the DHCP leases of a network."""
    with hypervisor.saying(ObserveError, f"the leases of network {name}"):
        found: list[dict[str, Any]] = hypervisor.get("network", name).DHCPLeases()
        return found


def _update(hypervisor: Hypervisor, step: UpdateNetwork, command: str, xml: str) -> None:
    hypervisor.call(
        "network",
        step.name,
        f"changing {step.part} of",
        "update",
        hypervisor.flag(f"VIR_NETWORK_UPDATE_COMMAND_{command}"),
        hypervisor.flag(f"VIR_NETWORK_SECTION_{step.section}"),
        step.index,
        xml,
        hypervisor.flag("VIR_NETWORK_UPDATE_AFFECT_LIVE"),
    )


def restart(hypervisor: Hypervisor, name: str, definition: str, live: str) -> Callable[[], None]:
    """Restart a network and plug the running guests in again; return what takes that back.

    :param definition: its persistent definition, which it will have
    :param live: its document as it is
    """
    plugged = _cards(hypervisor, name)
    if plugged and parse(definition).find("bridge") is None:
        raise ApplyError(
            f"network {name} will have no bridge, and the running guest {plugged[0].domain} can't "
            "follow; shut it down first"
        )
    back = partial(_back, hypervisor, name, definition, live)
    try:
        _cycle(hypervisor, name)
    except KvmError as error:
        try:
            back()
        except ConnectError:
            raise
        except KvmError as worse:
            raise ApplyError(f"{error}; bringing it back failed too: {worse}") from error
        raise
    return back


def _cycle(hypervisor: Hypervisor, name: str) -> None:
    if hypervisor.active("network", name):
        hypervisor.destroy("network", name)
    hypervisor.start("network", name)
    for card in _cards(hypervisor, name):
        _replug(hypervisor, name, card)


def _back(hypervisor: Hypervisor, name: str, definition: str, live: str) -> None:
    """Start the network as it was before; then its definition is again what it is now."""
    before = parse(live)
    before.attrib.pop("connections", None)
    hypervisor.define("network", ET.tostring(before, encoding="unicode"))
    try:
        _cycle(hypervisor, name)
    finally:
        hypervisor.define("network", definition)


def _cards(hypervisor: Hypervisor, network: str) -> list[Card]:
    """Return the running guests' cards that a bridge of the network connects."""
    found = []
    for domain in hypervisor.names("domain", active=True):
        seen = hypervisor.read("domain", domain, autostart=False)
        document = parse((seen and seen.live) or "<domain/>")
        for card in document.iterfind("devices/interface"):
            source = card.find("source")
            if source is not None and source.get("network") == network and source.get("bridge"):
                found.append(Card(domain, card))
    return found


def _replug(hypervisor: Hypervisor, network: str, card: Card) -> None:
    """Put a card's tap device into the bridge as it is now.

    A bridge that libvirt made anew has lost its ports, and libvirt 9 takes the same interface again
    for no change. One that is told to be plugged into the bridge itself, and then into the network,
    is put back into the bridge, and gets a new port of the network.
    """
    seen = hypervisor.read("network", network, autostart=False)
    document = parse((seen and seen.live) or "<network/>")
    bridge, forward = document.find("bridge"), document.find("forward")
    name = "" if bridge is None else bridge.get("name", "")
    source = card.xml.find("source")
    own = forward is None or forward.get("mode") != "bridge"
    if source is None or (not own and source.get("bridge") == name):
        # A bridge of the host has kept its ports.
        return
    portgroup = source.get("portgroup")
    to_network = {"network": network, **({"portgroup": portgroup} if portgroup else {})}
    for kind, attributes in (("bridge", {"bridge": name}), ("network", to_network)):
        xml = copy.deepcopy(card.xml)
        xml.set("type", kind)
        target = xml.find("source")
        if target is not None:
            target.attrib.clear()
            target.attrib.update(attributes)
        text = ET.tostring(xml, encoding="unicode")
        live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")
        doing = "plugging a network card into its bridge again of"
        hypervisor.call("domain", card.domain, doing, "updateDeviceFlags", text, live)
