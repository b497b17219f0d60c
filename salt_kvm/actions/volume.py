"""What ``kvm_volume`` does beside converging."""

from __future__ import annotations

from functools import partial
from typing import Any

from salt_kvm import converge
from salt_kvm.actions import common
from salt_kvm.backend import needs
from salt_kvm.backend.storage import volume as backend
from salt_kvm.backend.system import files
from salt_kvm.backend.view import View
from salt_kvm.backend.virt import volume_calls
from salt_kvm.backend.world import World
from salt_kvm.errors import ApplyError, NotFoundError, SpecError, UnmetError
from salt_kvm.plan.steps import Need
from salt_kvm.seen import Promises
from salt_kvm.spec.types import parse_path, parse_volume_name
from salt_kvm.xml import volume as document
from salt_kvm.xml.document import parse

plan = partial(common.plan, noun="volume")
ALGORITHMS = ("zero", "nnsa", "dod", "bsi", "gutmann", "schneier", "pfitzner7", "pfitzner33",
              "random", "trim")  # fmt: skip


def list_(world: World, pool: str) -> dict[str, dict[str, Any]]:
    """Return path and sizes of every volume of an active pool, by name."""
    return volume_calls.sizes(world.hypervisor, pool)


def info(world: World, name: str) -> dict[str, Any]:
    """Return path, format, sizes, owner and backing image of a volume."""
    root = parse(xml(world, name))
    owned = {key: root.findtext(f"target/permissions/{key}") for key in ("owner", "group", "mode")}
    return {
        "name": name,
        "type": root.get("type"),
        "path": root.findtext("target/path"),
        "format": document.format(xml(world, name)),
        **{key: int(root.findtext(key, "0")) for key in ("capacity", "allocation", "physical")},
        **owned,
        "backing": root.findtext("backingStore/path"),
    }


def xml(world: World, name: str) -> str:
    """Return libvirt's document of a volume."""
    seen = backend.read(world.hypervisor, _name(name))
    if seen is None:
        raise NotFoundError(
            f"there is no volume {name!r} in an active pool at {world.uri}; declare it first"
        )
    return seen.xml


def clone(world: World, name: str, target: str) -> bool:
    """Copy a volume to a new one of its pool."""
    pool, _, new = _name(target).partition("/")
    if pool != name.partition("/")[0]:
        raise SpecError([f"{target} is not in the pool of {name}; name a volume of that pool"])
    _idle(world, name)
    backend.clone(world.hypervisor, target, document.copied(xml(world, name), new), name)
    return True


def resize(world: World, name: str, capacity: Any, *, shrink: bool) -> bool:
    """Change the capacity of a volume; false when it had that."""
    xml(world, name)
    outcome = converge.run(world, "volume", name, {"capacity": capacity, "shrink": shrink})
    if outcome.failure is not None:
        raise ApplyError(outcome.failure)
    return bool(outcome.changes)


def upload(world: World, name: str, source: str) -> bool:
    """Write a file over a volume."""
    there = files.look(_path(source))
    if there is None or there.kind != "file":
        raise NotFoundError(f"there is no file {source}; correct the path")
    if there.format != document.format(xml(world, name)):
        raise UnmetError(f"{source} is a {there.format} image, and volume {name} is none")
    _idle(world, name)
    backend.upload(world.hypervisor, name, source)
    return True


def download(world: World, name: str, target: str) -> bool:
    """Write what a volume holds into a new file."""
    xml(world, name)
    backend.download(world.hypervisor, name, _path(target))
    return True


def wipe(world: World, name: str, algorithm: str) -> bool:
    """Write over all that a volume holds."""
    if algorithm not in ALGORITHMS:
        raise SpecError([f"{algorithm!r} is no way to wipe; known are {', '.join(ALGORITHMS)}"])
    xml(world, name)
    _idle(world, name)
    backend.wipe(world.hypervisor, name, algorithm)
    return True


def _idle(world: World, name: str) -> None:
    fault = needs.unmet(View(world, Promises()), Need("idle volume", name, "shut them down first"))
    if fault is not None:
        raise UnmetError(fault)


def _name(name: str) -> str:
    try:
        return parse_volume_name(name)
    except ValueError as error:
        raise SpecError([str(error)]) from error


def _path(path: str) -> str:
    try:
        return parse_path(path)
    except ValueError as error:
        raise SpecError([str(error)]) from error
