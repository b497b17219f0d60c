"""What the steps of pools and volumes need, looked up in a view of the world."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping

from salt_kvm.backend.hosts import host
from salt_kvm.backend.storage import usage, volume_usage
from salt_kvm.backend.view import View
from salt_kvm.backend.virt import secret_calls, volume_calls
from salt_kvm.plan.steps import Need
from salt_kvm.spec.pool import DIRECTORIES
from salt_kvm.xml import pool as pool_xml
from salt_kvm.xml import secret as secret_xml
from salt_kvm.xml.document import parse
from salt_kvm.xml.equality import same_uuid


def _unused_volume(view: View, need: Need) -> str | None:
    users = volume_usage.of_volume(view.guests(), need.name, _volume_path(view, need.name))
    return f"volume {need.name} is in use by {', '.join(users)}" if users else None


def _volume_path(view: View, name: str) -> str | None:
    seen = view.read("volume", name)
    return None if seen is None else parse(seen.xml).findtext("target/path")


def _idle_pool(view: View, need: Need) -> str | None:
    seen = view.read("pool", need.name, autostart=False)
    running = [each for each in view.guests() if each.live is not None]
    if not running or seen is None:
        return None
    live = seen.live or seen.xml
    kind, place = pool_xml.kind(live), pool_xml.path(live)
    volumes = {} if kind in DIRECTORIES else volume_calls.paths(view.world.hypervisor, need.name)
    users = volume_usage.below(running, need.name, volumes.values() or [str(place)])
    return f"pool {need.name} is in use by {', '.join(users)}" if users else None


def _idle_volume(view: View, need: Need) -> str | None:
    users = runners(view, need.name)
    return f"volume {need.name} is in use by the running {users[0][0]}" if users else None


def _sole_volume(view: View, need: Need) -> str | None:
    path = _volume_path(view, need.name)
    others = volume_usage.of_volume(view.guests(), need.name, path, but=need.user)
    return f"volume {need.name} is in use by {', '.join(others)}" if others else None


def _sole_remote(view: View, need: Need) -> str | None:
    others = usage.sharers(view.guests(), need.name, but=need.user)
    return f"{need.name} is in use by {', '.join(others)}" if others else None


def runners(view: View, name: str) -> list[tuple[str, str]]:
    """Return the running domains that have a volume as a disk, each with the disk's target."""
    return volume_usage.runners(view.guests(), name, _volume_path(view, name))


def _active_pool(view: View, need: Need) -> str | None:
    seen = view.read("pool", need.name, autostart=False)
    if seen is None:
        return f"there is no pool {need.name!r}"
    return None if seen.active else f"the pool {need.name!r} is not active"


def _volume(view: View, need: Need) -> str | None:
    if view.read("volume", need.name) is not None:
        return None
    return _active_pool(view, Need("", need.name.partition("/")[0], "")) or (
        f"there is no volume {need.name!r}"
    )


def _secret(view: View, need: Need) -> str | None:
    if "/" in need.name:
        there = view.read("secret", need.name) is not None
    else:
        promised = [o for (kind, _), o in view.promises.objects.items() if kind == "secret"]
        documents = [secret_xml.uuid(each.xml) or "" for each in promised if each is not None]
        there = any(same_uuid(uuid, need.name) for uuid in documents) or (
            secret_calls.there(view.world.hypervisor, need.name)
        )
    return None if there else f"there is no secret {need.name}"


def _selinux(view: View, need: Need) -> str | None:
    on = not view.world.local or host.selinux()
    return None if on else "this host has no SELinux"


def _pool_type(view: View, need: Need) -> str | None:
    types = view.world.pool_types
    known = types is None or need.name in types
    return None if known else f"libvirt on this host has no pools of type {need.name}"


def _program(view: View, need: Need) -> str | None:
    there = not view.world.local or shutil.which(need.name) is not None
    return None if there else f"the program {need.name} is not installed"


def _block_device(view: View, need: Need) -> str | None:
    if not view.world.local:
        return None
    seen = view.file(need.name)
    if seen is None:
        return f"the device {need.name} is not there"
    return None if seen.kind == "block device" else f"{need.name} is a {seen.kind}, not a device"


CHECKS: Mapping[str, Callable[[View, Need], str | None]] = {
    "block device": _block_device,
    "pool type": _pool_type,
    "program": _program,
    "idle pool": _idle_pool,
    "idle volume": _idle_volume,
    "selinux": _selinux,
    "secret": _secret,
    "sole volume": _sole_volume,
    "sole remote": _sole_remote,
    "active pool": _active_pool,
    "volume": _volume,
    "unused volume": _unused_volume,
}
