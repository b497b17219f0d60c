"""What ``kvm_pool`` does beside converging."""

from __future__ import annotations

from functools import partial
from typing import Any

from salt_kvm.actions import common
from salt_kvm.backend.storage import pool as backend
from salt_kvm.backend.world import World
from salt_kvm.xml.document import parse

KIND = "pool"
list_ = partial(common.list_, kind=KIND)
xml = partial(common.xml, kind=KIND)
plan = partial(common.plan, noun=KIND)
start = partial(common.start, kind=KIND)
destroy = partial(common.destroy, kind=KIND)
history = partial(common.history, kind=KIND)
revert_definition = partial(common.revert_definition, kind=KIND)


def refresh(world: World, name: str) -> bool:
    """Have libvirt look anew at what an active pool holds."""
    backend.refresh(world.hypervisor, name)
    return True


def types(world: World) -> list[str]:
    """Return the types of pool that libvirt has drivers for; none where it can't say."""
    return sorted(world.pool_types or ())


def info(world: World, name: str) -> dict[str, Any]:
    """Return state, type, path and sizes (bytes) of a pool."""
    seen = common.get(world, KIND, name)
    root = parse(seen.live or seen.xml)
    return {
        **common.state_of(seen),
        "type": root.get("type"),
        "path": root.findtext("target/path"),
        **{key: int(root.findtext(key, "0")) for key in ("capacity", "allocation", "available")},
    }
