"""What ``kvm_network`` does beside converging."""

from __future__ import annotations

from functools import partial
from typing import Any

from salt_kvm.actions import common
from salt_kvm.backend.virt import network as backend
from salt_kvm.backend.world import World
from salt_kvm.xml.document import parse

KIND = "network"
list_ = partial(common.list_, kind=KIND)
xml = partial(common.xml, kind=KIND)
plan = partial(common.plan, noun=KIND)
start = partial(common.start, kind=KIND)
destroy = partial(common.destroy, kind=KIND)
history = partial(common.history, kind=KIND)
revert_definition = partial(common.revert_definition, kind=KIND)


def info(world: World, name: str) -> dict[str, Any]:
    """Return state, forward mode, bridge and addresses of a network."""
    seen = common.get(world, KIND, name)
    root = parse(seen.live or seen.xml)
    forward, bridge = root.find("forward"), root.find("bridge")
    return {
        **common.state_of(seen),
        "forward": "isolated" if forward is None else forward.get("mode", "nat"),
        "bridge": None if bridge is None else bridge.get("name"),
        "addresses": [dict(ip.attrib) for ip in root.iterfind("ip")],
    }


def leases(world: World, name: str) -> list[dict[str, Any]]:
    """Return the leases that the network's dnsmasq has handed out."""
    return backend.leases(world.hypervisor, name)
