"""What ``kvm_image`` does beside converging."""

from __future__ import annotations

from functools import partial
from typing import Any

from salt_kvm import converge
from salt_kvm.actions import common
from salt_kvm.backend import files, qemu_img
from salt_kvm.backend.world import World
from salt_kvm.errors import ApplyError, NotFoundError, UnmetError

plan = partial(common.plan, noun="image")


def info(world: World, path: str) -> dict[str, Any]:
    """Return what qemu-img says of an image, with its owner and mode."""
    seen = files.look(path)
    if seen is None or seen.format is None:
        raise NotFoundError(f"there is no image {path}; correct the path")
    if seen.header is not None and seen.header.data_file is not None:
        raise UnmetError(f"{path} names another file, {seen.header.data_file}, and is not opened")
    owned = {"owner": seen.owner, "group": seen.group, "mode": f"{seen.mode:04o}"}
    return {**qemu_img.info(path, seen.format), **owned}


def create(world: World, path: str, fields: dict[str, Any]) -> bool:
    """Make an image; false when it is there as described."""
    outcome = converge.run(world, "image", path, fields)
    if outcome.failure is not None:
        raise ApplyError(outcome.failure)
    return bool(outcome.changes)
