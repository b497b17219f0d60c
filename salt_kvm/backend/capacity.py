"""What a host has, what its guests are promised of it, and whether a policy allows one more.

A guest is promised what it may take without another start: its ``<memory>``, which all of it is
its own until its balloon is up, and its maximum of CPUs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from salt_kvm.backend.view import View
from salt_kvm.backend.virt import domain_calls, host_calls
from salt_kvm.backend.world import World
from salt_kvm.plan.steps import Need
from salt_kvm.seen import Observed
from salt_kvm.spec.convert import convert
from salt_kvm.spec.host import Overcommit
from salt_kvm.spec.types import Size, parse_size
from salt_kvm.xml.document import parse

PATH = "kvm:host:overcommit"
# libvirt's numbers of the states in which a guest has nothing of the host
# (https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainState).
OFF = (5, 6)
FREE = ("free", "buffers", "cached")
RESOURCES = {"memory": "memory", "cpu": "vcpus"}


@dataclass(frozen=True)
class Share:
    """What a domain is promised, bytes and CPUs; ``used`` is what it has of the host's memory."""

    running: bool
    memory: int
    vcpus: int
    used: int | None = None


def policy(world: World) -> Overcommit:
    """Return what may be promised; a policy that says nothing is no limit."""
    plain = json.loads(json.dumps(world.overcommit or {}, default=str))
    return convert(Overcommit, plain, PATH)


def describe(world: World) -> dict[str, Any]:
    """Return what the host has, has promised and may promise, and each domain's part of it."""
    domains = _shares(world)
    used = {"memory": _memory_used(world), "cpu": os.getloadavg()[0] if world.local else None}
    return {
        **{
            what: {"used": used[what], **_account(what, domains.values(), world)}
            for what in RESOURCES
        },
        "domains": {
            name: {
                "running": share.running,
                "memory": share.memory,
                "memory_used": share.used,
                "vcpus": share.vcpus,
            }
            for name, share in sorted(domains.items())
        },
    }


def unmet(view: View, need: Need) -> str | None:
    """Return what the start of a domain would break; ``None`` where the policy allows it.

    A guest that runs already, and is to be restarted with no more than it has, breaks nothing.
    """
    world = view.world
    limits = policy(world)
    if limits.memory is None and limits.cpu is None:
        return None
    now = _shares(world)
    domains = {**now, **_promised(view)}
    own, had = domains[need.name], now.get(need.name)
    others = [share for name, share in domains.items() if name != need.name and share.running]
    total = _total(world)
    for what, key in RESOURCES.items():
        ratio, wanted = getattr(limits, what), getattr(own, key)
        grows = had is None or not had.running or wanted > getattr(had, key)
        promised = sum(getattr(share, key) for share in others)
        if ratio is not None and grows and promised + wanted > total[what] * ratio:
            say = Size if what == "memory" else str
            return (
                f"domain {need.name} would be promised {say(wanted)} of {key} where {say(promised)}"
                f" are promised already and {PATH}:{what} allows {say(int(total[what] * ratio))}"
            )
    return None


def _account(what: str, domains: Iterable[Share], world: World) -> dict[str, Any]:
    """One resource: everything in bytes or CPUs; null where there is no limit."""
    domains, key = list(domains), RESOURCES[what]
    total, ratio = _total(world)[what], getattr(policy(world), what)
    promised = sum(getattr(share, key) for share in domains if share.running)
    allowed = None if ratio is None else int(total * ratio)
    return {
        "total": total,
        "promised": promised,
        "defined": sum(getattr(share, key) for share in domains),
        "ratio": ratio,
        "allowed": allowed,
        "left": None if allowed is None else allowed - promised,
    }


def _total(world: World) -> Mapping[str, int]:
    if not world.hypervisor.born:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        return {"memory": pages * size, "cpu": os.cpu_count() or 1}
    cpus, memory = host_calls.resources(world.hypervisor)
    return {"memory": memory["total"] * 1024, "cpu": cpus}


def _memory_used(world: World) -> int:
    _cpus, memory = host_calls.resources(world.hypervisor)
    return (memory["total"] - sum(memory.get(key, 0) for key in FREE)) * 1024


def _shares(world: World) -> dict[str, Share]:
    if not world.hypervisor.born:
        return {name: _of(seen) for name, seen in world.hypervisor.read_all("domain").items()}
    return {name: _share(stats) for name, stats in domain_calls.shares(world.hypervisor).items()}


def _share(stats: Mapping[str, int]) -> Share:
    running = stats.get("state.state") not in OFF
    rss = stats.get("balloon.rss")
    return Share(
        running,
        stats.get("balloon.maximum", 0) * 1024,
        stats.get("vcpu.maximum", 0),
        None if rss is None else rss * 1024,
    )


def _promised(view: View) -> dict[str, Share]:
    """The domains as this run, and in a dry run those before it, would leave them."""
    objects = view.promises.objects.items()
    return {name: _of(seen) for (kind, name), seen in objects if kind == "domain"}


def _of(seen: Observed | None) -> Share:
    if seen is None:
        return Share(running=False, memory=0, vcpus=0)
    xml = parse(seen.live or seen.xml)
    memory = xml.find("memory")
    unit = "KiB" if memory is None else memory.get("unit", "KiB")
    number = "0" if memory is None else (memory.text or "0").strip()
    size = parse_size(f"{number}{unit}") if int(number) else 0
    return Share(seen.active, size, int(xml.findtext("vcpu", "1")))
