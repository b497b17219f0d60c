"""What the execution modules of all libvirt nouns have in common."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from salt_kvm import converge
from salt_kvm.backend.history import read, versions
from salt_kvm.backend.perform import perform
from salt_kvm.backend.system.lock import held
from salt_kvm.backend.view import View
from salt_kvm.backend.world import World
from salt_kvm.errors import KvmError, NotFoundError, SpecError
from salt_kvm.plan.steps import Define
from salt_kvm.seen import Observed, Promises
from salt_kvm.spec.types import parse_size
from salt_kvm.xml import adopt
from salt_kvm.xml.merge import without_secrets

T = TypeVar("T")
# As many calls of one client a libvirtd works on at a time.
AT_A_TIME = 5


def get(world: World, kind: str, name: str) -> Observed:
    """Return an object.

    :raises NotFoundError: where there is none
    """
    seen = world.hypervisor.read(kind, name)
    if seen is None:
        raise NotFoundError(f"there is no {kind} {name!r} at {world.uri}; declare it first")
    return seen


def size(value: Any, what: str) -> int:
    """Return how many bytes a caller's size is.

    :raises SpecError: where it is none
    """
    try:
        return int(parse_size(value))
    except ValueError as error:
        raise SpecError([f"{what}: {error}"]) from error


def state_of(seen: Observed) -> dict[str, Any]:
    """Return what every object has, as plain data."""
    return {
        "name": seen.name,
        "state": "running" if seen.active else "off",
        "autostart": seen.autostart,
        "persistent": seen.persistent,
    }


def list_(world: World, kind: str) -> dict[str, str]:
    """Return the state (``running`` or ``off``) of every object of a kind, by name."""
    on = set(world.hypervisor.names(kind, active=True))
    return {name: "running" if name in on else "off" for name in world.hypervisor.names(kind)}


def xml(world: World, kind: str, name: str, *, live: bool) -> str:
    """Return libvirt's document: the persistent one, or that of the running object."""
    seen = get(world, kind, name)
    return without_secrets(seen.live if live and seen.live is not None else seen.xml)


def start(world: World, kind: str, name: str) -> bool:
    """Start an object; true when it was off."""
    off = not get(world, kind, name).active
    if off:
        world.hypervisor.start(kind, name)
    return off


def destroy(world: World, kind: str, name: str) -> bool:
    """Take an object down at once; true when it was on."""
    on = get(world, kind, name).active
    if on:
        world.hypervisor.destroy(kind, name)
    return on


def history(world: World, kind: str, name: str) -> list[str]:
    """Return the versions of an object's definition that were replaced, oldest first."""
    return versions(kind, name)


def revert_definition(world: World, kind: str, name: str, version: str) -> bool:
    """Define a kept version again; what was defined is kept in turn. True when that is a change."""
    text = read(kind, name, version)
    with held(kind, name):
        seen = world.hypervisor.read(kind, name)
        if seen is not None:
            text = adopt.uuid(text, seen.xml)
        if seen is not None and seen.persistent and seen.xml == text:
            return False
        perform(Define(kind=kind, name=name, xml=text), seen, world)
    return True


def plan(world: World, noun: str, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return what a state with these fields would do, and what waits for the next start."""
    target = converge.aim(noun, name, fields)
    seen = target.observe(View(world, Promises()))
    plan = target.plan(seen)
    return {
        "steps": [step.sentence(done=False) for step in plan.steps],
        "changes": converge.changes(plan.steps),
        "waiting": {d.path: d.change() for d in plan.waiting},
    }


def of_all(world: World, question: Callable[[Observed], T]) -> dict[str, T | str]:
    """Ask all running guests at a time; where one gives no answer stands why.

    A guest without an agent is not asked, so that it costs no wait.
    """

    def answer(seen: Observed) -> T | str:
        try:
            return question(seen)
        except KvmError as error:
            return str(error)

    running = [each for each in world.hypervisor.read_all("domain").values() if each.active]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return dict(zip((each.name for each in running), pool.map(answer, running), strict=True))
