"""What ``kvm_domain`` asks the agent in a guest."""

from __future__ import annotations

import base64 as base64_module
import binascii
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from salt_kvm.actions import common
from salt_kvm.actions.reach import KIND, LONGEST_WAIT, Reveal, number
from salt_kvm.backend.guests import agent
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.backend.world import World
from salt_kvm.errors import AgentError, SpecError, shown
from salt_kvm.seen import Observed
from salt_kvm.spec.types import Size, parse_value

LARGEST_FILE = Size(16 * 1024**2)
NANOSECONDS = 10**9


def _guest(world: World, name: str) -> Hypervisor:
    """Return the hypervisor of a guest whose agent is on its channel."""
    agent.ready(common.get(world, KIND, name))
    return world.hypervisor


def ping(world: World, name: str | None) -> bool | dict[str, bool | str]:
    """Tell whether the agent answers, of one guest or of all that run."""

    def answers(seen: Observed) -> bool:
        agent.ready(seen)
        agent.ping(world.hypervisor, seen.name)
        return True

    return common.of_all(world, answers) if name is None else answers(common.get(world, KIND, name))


def info(world: World, name: str) -> dict[str, Any]:
    """Return the agent's version, and the commands that the guest allows it."""
    told = agent.ask(_guest(world, name), name, "guest-info", agent.Info)
    commands = sorted(each.name for each in told.supported_commands if each.enabled)
    return {"version": told.version, "commands": commands}


def os_info(world: World, name: str) -> dict[str, Any]:
    """Return the guest's operating system, host name and time zone, as far as it tells them."""
    hypervisor = _guest(world, name)
    told = agent.ask(hypervisor, name, "guest-get-osinfo", dict[str, str])
    found: dict[str, Any] = {key.replace("-", "_"): value for key, value in told.items()}
    for command, key in (("guest-get-host-name", "host-name"), ("guest-get-timezone", "zone")):
        with suppress(AgentError):
            answer = agent.ask(hypervisor, name, command, dict[str, Any])
            found[key.replace("-", "")] = answer.get(key)
    return found


def interfaces(world: World, name: str) -> list[dict[str, Any]]:
    """Return the guest's network cards with their addresses, as it knows them."""
    return [
        {
            "name": card.name,
            "mac": card.hardware_address.lower(),
            "addresses": [f"{each.ip_address}/{each.prefix}" for each in card.ip_addresses],
        }
        for card in agent.cards(_guest(world, name), name)
    ]


def execute(
    world: World, name: str, command: str, args: Any, env: Any, stdin: str | None, timeout: Any
) -> dict[str, Any]:
    """Run a program in the guest, and return how it ended and what it printed."""
    seconds = number(timeout, "timeout", 1, LONGEST_WAIT)
    given = _texts(args, "args")
    environment = {} if env is None else env
    if not isinstance(environment, Mapping):
        raise SpecError([f"env: {shown(env)} is no mapping of names to texts"])
    values = {str(key): str(value) for key, value in environment.items()}
    data = None if stdin is None else stdin.encode()
    hypervisor = _guest(world, name)
    status = agent.execute(hypervisor, name, str(command), given, values, data, seconds)
    return {
        "exit_code": status.exitcode,
        "signal": status.signal,
        "stdout": status.out_data.decode("utf-8", "replace"),
        "stderr": status.err_data.decode("utf-8", "replace"),
        "truncated": status.out_truncated or status.err_truncated,
    }


def _texts(value: Any, what: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [str(each) for each in value]
    if isinstance(value, (str, int, float)):
        return [str(value)]
    raise SpecError([f"{what}: {shown(value)} is no list of texts"])


def file_read(world: World, name: str, path: str, limit: Any, *, base64: bool) -> str:
    """Return what a file of the guest holds."""
    most = _size(limit, "limit")
    data = agent.read_file(_guest(world, name), name, str(path), most)
    if base64:
        return base64_module.b64encode(data).decode()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        text = f"{path} in the guest of domain {name} is no text in UTF-8"
        raise AgentError(f"{text}; read it with base64=True") from error


def file_write(
    world: World, name: str, path: str, content: str, *, append: bool, base64: bool
) -> int:
    """Write a file of the guest, and return how many bytes were written."""
    try:
        text = content.encode()
        data = base64_module.b64decode(text, validate=True) if base64 else text
    except binascii.Error as error:
        raise SpecError(["content: that is no base64"]) from error
    if len(data) > LARGEST_FILE:
        raise SpecError([f"content: {LARGEST_FILE} can be written at most, not {len(data)} bytes"])
    agent.write_file(_guest(world, name), name, str(path), data, append=append)
    return len(data)


def _size(value: Any, what: str) -> Size:
    size = LARGEST_FILE if value is None else Size(common.size(value, what))
    if size > LARGEST_FILE:
        raise SpecError([f"{what}: {LARGEST_FILE} can be read at most"])
    return size


def fsfreeze(world: World, name: str, mountpoints: Any) -> int:
    """Freeze all or some file systems of the guest, and return how many are frozen."""
    some: Sequence[str] | None = None if mountpoints is None else _texts(mountpoints, "mountpoints")
    return agent.freeze(_guest(world, name), name, some)


def fsthaw(world: World, name: str) -> int:
    """Thaw the file systems of the guest, and return how many were frozen."""
    return agent.thaw(_guest(world, name), name)


def fsfreeze_status(world: World, name: str) -> str:
    """Return ``frozen`` or ``thawed``."""
    return agent.ask(_guest(world, name), name, "guest-fsfreeze-status", str)


def set_password(
    world: World, name: str, user: Any, password: Any, reveal: Reveal, *, crypted: bool
) -> bool:
    """Set the password of a user of the guest."""
    try:
        value = parse_value(reveal(password)).encode()
    except ValueError as error:
        raise SpecError([f"password: {error}"]) from None
    given = {"username": str(user), "password": value, "crypted": crypted}
    agent.ask(_guest(world, name), name, "guest-set-user-password", dict[str, Any], given)
    return True


def time_sync(world: World, name: str) -> dict[str, float]:
    """Set the guest's clock, and its hardware clock, to the host's; return how wrong it was."""
    hypervisor = _guest(world, name)
    before = agent.ask(hypervisor, name, "guest-get-time", int) - time.time_ns()
    agent.ask(hypervisor, name, "guest-set-time", dict[str, Any], {"time": time.time_ns()})
    after = agent.ask(hypervisor, name, "guest-get-time", int) - time.time_ns()
    return {"before": round(before / NANOSECONDS, 3), "after": round(after / NANOSECONDS, 3)}
