"""What ``vmx`` does beside converging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from salt_kvm import converge, vmx
from salt_kvm.actions import common
from salt_kvm.backend.system.ssh import run
from salt_kvm.backend.vmware import esxi
from salt_kvm.backend.vmware import vmx as backend
from salt_kvm.backend.world import World
from salt_kvm.errors import ApplyError, NotFoundError, SpecError
from salt_kvm.seen import VmxSeen
from salt_kvm.spec.convert import convert
from salt_kvm.spec.vmx import VmxFile, file_path

Host = dict[str, Any] | str | None


def find(
    world: World,
    directories: list[str] | str | None = None,
    depth: int = 4,
    host: Host = None,
    *,
    volumes: bool = False,
) -> list[dict[str, Any]]:
    """Return the machines of this host, or of an ESXi host."""
    where = _want(host).on()
    if where is None:
        return backend.find(directories, depth)
    return esxi.find(where, volumes=volumes, depth=depth)


def ping(world: World, host: Host = None) -> bool:
    """Log in to an ESXi host; true."""
    where = _want(host).on()
    return where is not None and run(where, ":").code == 0


def get(world: World, path: str, key: str, host: Host = None) -> str | None:
    """Return the value of a key; ``None`` where it is not there."""
    return vmx.get(_look(path, host).text or b"", key)


def info(world: World, path: str, host: Host = None) -> dict[str, Any]:
    """Return what a file holds, and whether its machine is on."""
    where = _want(host).on()
    seen = _look(path, host)
    on = seen.session() is not None
    return {
        "path": seen.path,
        "host": None if where is None else str(where),
        "powered_on": on,
        "machines": list(seen.machines()),
        **vmx.info(seen.text or b""),
        "waiting": dict(seen.waiting) if on and seen.waits_for == seen.session() else {},
    }


def set_(
    world: World, path: str, key: str, value: Any, reveal: Callable[[Any], Any], **fields: Any
) -> bool:
    """Set a key; true when that is a change."""
    wanted = {**fields, "key": key, "value": value, "state": "option_present"}
    return _run(world, path, converge.looked_up("vmx", wanted, reveal))


def remove(world: World, path: str, key: str, **fields: Any) -> bool:
    """Remove a key; true when that is a change."""
    return _run(world, path, {**fields, "key": key, "state": "option_absent"})


def plan(
    world: World,
    name: str,
    fields: dict[str, Any],
    reveal: Callable[[Any], Any],
    host: Host = None,
) -> dict[str, Any]:
    """Return what a state with these fields would do."""
    on = {} if host is None else {"host": host}
    wanted = converge.looked_up("vmx", {**fields, **on}, reveal)
    return common.plan(world, noun="vmx", name=name, fields=wanted)


def _run(world: World, path: str, fields: dict[str, Any]) -> bool:
    given = {key: value for key, value in fields.items() if value is not None}
    outcome = converge.run(world, "vmx", path, given)
    if outcome.failure is not None:
        raise ApplyError(outcome.failure)
    return bool(outcome.changes)


def _look(path: str, host: Host) -> VmxSeen:
    try:
        seen = backend.look(_want(host).on(), file_path(path))
    except ValueError as error:
        raise SpecError([str(error)]) from error
    if seen.text is None:
        raise NotFoundError(f"{seen.where} is not there; vmx.find lists what is")
    return seen


def _want(host: Host) -> VmxFile:
    on = {} if host is None else {"host": host}
    return convert(VmxFile, {**on, "nested": True}, "vmx")
