"""What ``kvm_secret`` does beside converging; it tells no value."""

from __future__ import annotations

from functools import partial
from typing import Any

from salt_kvm.actions import common
from salt_kvm.backend.storage import secret as backend
from salt_kvm.backend.world import World
from salt_kvm.errors import NotFoundError, SpecError
from salt_kvm.spec.secret import USAGES
from salt_kvm.xml import secret as document
from salt_kvm.xml.document import parse

plan = partial(common.plan, noun="secret")


def list_(world: World) -> dict[str, str | None]:
    """Return the ``usage/name`` of every secret by its UUID."""
    documents = backend.read_all(world.hypervisor)
    return {str(document.uuid(text)): document.name(text) for text in documents}


def info(world: World, name: str, usage: str) -> dict[str, Any]:
    """Return what libvirt keeps of a secret, but for its value."""
    if usage not in USAGES:
        raise SpecError([f"{usage!r} is no usage of a secret; known are {', '.join(USAGES)}"])
    seen = backend.read(world.hypervisor, f"{usage}/{name}")
    if seen is None:
        raise NotFoundError(f"there is no secret {usage}/{name} at {world.uri}; declare it first")
    private = document.private(seen.xml)
    known = None if private else backend.value(world.hypervisor, seen.name) is not None
    return {
        "name": name,
        "usage": usage,
        "uuid": document.uuid(seen.xml),
        "description": parse(seen.xml).findtext("description"),
        "private": private,
        "ephemeral": document.ephemeral(seen.xml),
        "has_value": known,
    }
