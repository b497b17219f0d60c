"""What ``kvm_domain`` does beside converging."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from xml.etree import ElementTree as ET

from salt_kvm.actions import common
from salt_kvm.backend.guests import screen, seed
from salt_kvm.backend.perform import perform
from salt_kvm.backend.virt import domain_calls
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.backend.world import World
from salt_kvm.errors import ObserveError
from salt_kvm.plan.domain import TIMEOUT
from salt_kvm.plan.steps import Shutdown, change
from salt_kvm.xml.document import parse
from salt_kvm.xml.graphics import listening
from salt_kvm.xml.live import due
from salt_kvm.xml.merge import HIDDEN

KIND = "domain"
xml = partial(common.xml, kind=KIND)
plan = partial(common.plan, noun=KIND)
start = partial(common.start, kind=KIND)
destroy = partial(common.destroy, kind=KIND)
history = partial(common.history, kind=KIND)
revert_definition = partial(common.revert_definition, kind=KIND)


def list_(world: World) -> dict[str, str]:
    """Return the state (``running``, ``paused`` or ``off``) of every domain, by name."""
    states = common.list_(world, KIND)
    return states | dict.fromkeys(domain_calls.paused(world.hypervisor), "paused")


def info(world: World, name: str) -> dict[str, Any]:
    """Return state, sizes (memory in bytes), disks, interfaces and consoles of a domain."""
    seen = common.get(world, KIND, name)
    root = parse(seen.live or seen.xml)
    why = domain_calls.pause(world.hypervisor, name) if seen.active else None
    return {
        **common.state_of(seen),
        **({"state": "paused", "paused": why} if why else {}),
        "uuid": root.findtext("uuid"),
        "virt_type": root.get("type"),
        "memory": int(root.findtext("memory", "0")) * 1024,
        "vcpus": int(root.findtext("vcpu", "0")),
        "disks": [_device(disk, "target", "driver") for disk in root.iterfind("devices/disk")],
        "interfaces": [
            _device(card, "mac", "model", "target") for card in root.iterfind("devices/interface")
        ],
        "graphics": listening(seen.live or "<domain/>"),
    }


def _device(device: ET.Element, *parts: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        f"{device.tag}_{key}": value for key, value in device.attrib.items()
    }
    for tag in ("source", *parts):
        part = device.find(tag)
        if part is not None:
            attributes[tag] = dict(part.attrib)
    return attributes


def shutdown(world: World, name: str, timeout: int | None, *, force: bool) -> bool:
    """Ask a guest to power off and wait until it is; true when it was running."""
    seen = common.get(world, KIND, name)
    if not seen.active:
        return False
    seconds = TIMEOUT if timeout is None else timeout
    perform(Shutdown(kind=KIND, name=name, timeout=seconds, force=force), seen, world)
    return True


def suspend(world: World, name: str) -> bool:
    """Make a guest stand still; true when it ran."""
    runs = common.get(world, KIND, name).active and not domain_calls.pause(world.hypervisor, name)
    if runs:
        domain_calls.suspend(world.hypervisor, name)
    return runs


def resume(world: World, name: str) -> bool:
    """Let a guest that is paused go on; true when it was."""
    common.get(world, KIND, name)
    paused = domain_calls.pause(world.hypervisor, name) is not None
    if paused:
        domain_calls.resume(world.hypervisor, name)
    return paused


def reboot(world: World, name: str) -> bool:
    """Ask a guest to boot anew; true when it was asked, false when it is off."""
    return _when_on(world, name, domain_calls.reboot)


def reset(world: World, name: str) -> bool:
    """Boot a guest anew at once; false when it is off."""
    return _when_on(world, name, domain_calls.reset)


def _when_on(world: World, name: str, do: Callable[[Hypervisor, str], None]) -> bool:
    on = common.get(world, KIND, name).active
    if on:
        do(world.hypervisor, name)
    return on


def pending(world: World, name: str) -> dict[str, Any]:
    """Return what the definition of a running guest has and the guest gets at its next start."""
    seen = common.get(world, KIND, name)
    differences = () if seen.live is None else due(seen.live, seen.xml)
    told = {difference.path: difference.change() for difference in differences}
    return told | {f"seed[{kind}]": change(HIDDEN, HIDDEN) for kind in seed.overtaken(seen)}


def vnc(world: World, name: str) -> dict[str, Any]:
    """Return where the VNC console of a running guest listens; empty where it has none."""
    live = common.get(world, KIND, name).live or "<domain/>"
    return next((console for console in listening(live) if console["type"] == "vnc"), {})


def screenshot(world: World, name: str, path: str | None) -> str:
    """Write the guest's screen as a PNG file, which only root reads, and return its path."""
    if not common.get(world, KIND, name).active:
        raise ObserveError(f"domain {name} is off and has no screen; start it")
    return screen.keep(world.hypervisor, name, path)
