"""What ``kvm_domain`` does beside converging."""

from __future__ import annotations

from functools import partial
from typing import Any
from xml.etree import ElementTree as ET

from salt_kvm.actions import common
from salt_kvm.backend import files
from salt_kvm.backend.perform import perform
from salt_kvm.backend.world import World
from salt_kvm.errors import ObserveError
from salt_kvm.picture import png
from salt_kvm.plan.domain import TIMEOUT
from salt_kvm.plan.steps import Shutdown
from salt_kvm.xml.graphics import listening
from salt_kvm.xml.live import due

KIND = "domain"
SCREENSHOTS = "/var/cache/salt-kvm/screenshots"
list_ = partial(common.list_, kind=KIND)
xml = partial(common.xml, kind=KIND)
plan = partial(common.plan, noun=KIND)
start = partial(common.start, kind=KIND)
destroy = partial(common.destroy, kind=KIND)
history = partial(common.history, kind=KIND)
revert_definition = partial(common.revert_definition, kind=KIND)


def info(world: World, name: str) -> dict[str, Any]:
    """Return state, sizes (memory in bytes), disks, interfaces and consoles of a domain."""
    seen = common.get(world, KIND, name)
    root = ET.fromstring(seen.live or seen.xml)
    return {
        **common.state_of(seen),
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


def pending(world: World, name: str) -> dict[str, Any]:
    """Return what the definition of a running guest has and the guest gets at its next start."""
    seen = common.get(world, KIND, name)
    differences = () if seen.live is None else due(seen.live, seen.xml)
    return {difference.path: difference.change() for difference in differences}


def vnc(world: World, name: str) -> dict[str, Any]:
    """Return where the VNC console of a running guest listens; empty where it has none."""
    live = common.get(world, KIND, name).live or "<domain/>"
    return next((console for console in listening(live) if console["type"] == "vnc"), {})


def screenshot(world: World, name: str, path: str | None) -> str:
    """Write the guest's screen as a PNG file and return its path."""
    if not common.get(world, KIND, name).active:
        raise ObserveError(f"domain {name} is off and has no screen; start it")
    target = path or f"{SCREENSHOTS}/{name}.png"
    files.write(target, png(world.hypervisor.screenshot(name)))
    return target
