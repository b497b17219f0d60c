"""What can be waited for in a guest: a condition is looked at again and again until it holds."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from salt_kvm.backend.guests import addresses, agent, console, screen
from salt_kvm.backend.system.progress import Progress
from salt_kvm.backend.virt import domain_calls
from salt_kvm.backend.world import World
from salt_kvm.errors import KvmError, NotFoundError, UnmetError
from salt_kvm.seen import Observed

POLL_SECONDS = 1.0
# How long one address gets to answer.
CONNECT_SECONDS = 2.0
# What is looked through once more, for a pattern that is spread over several reads.
LONGEST_MATCH = 64 * 1024
Facts = dict[str, Any]
# What each look finds; ``None`` where the condition does not hold yet.
Looks = Iterator[Facts | None]


class Goal(msgspec.Struct, frozen=True):
    """What is waited for.

    ``address`` and ``port`` are what a connection is tried to, ``log`` is the file of a serial
    port, and ``lines`` so many of its last lines count as new.
    """

    condition: str
    timeout: int
    port: int = 0
    address: str | None = None
    pattern: re.Pattern[str] | None = None
    log: str = ""
    lines: int = 0

    @property
    def words(self) -> str:
        """Return what is waited for, in words."""
        said = {
            "poweroff": "its power-off",
            "running": "its start",
            "agent": "its agent",
            "address": "an address",
            "port": f"port {self.port}",
            "console": f"{self.pattern.pattern!r} on its console" if self.pattern else "",
        }
        return said[self.condition]


def wait(world: World, name: str, goal: Goal) -> Facts | None:
    """Return what was found and after how many seconds; ``None`` where the time was over.

    :raises UnmetError: where the guest goes off and so can't fulfil it
    """
    start = time.monotonic()
    what = f"wait for domain {name}: {goal.words}, {goal.timeout} s at most"
    progress = Progress(what, goal.timeout, world.client.report)
    looks = CONDITIONS[goal.condition](world, name, goal)
    for found in looks:
        seconds = time.monotonic() - start
        if found is not None:
            progress.end()
            return {"condition": goal.condition, "seconds": round(seconds, 1), **found}
        if seconds >= goal.timeout:
            break
        progress.reach(int(seconds))
        time.sleep(min(POLL_SECONDS, goal.timeout - seconds))
    return None


def vain(world: World, name: str, goal: Goal) -> str:
    """Return what is seen of a guest that was waited for in vain; its last screen is kept."""
    paused = ""
    with suppress(KvmError):
        if why := domain_calls.pause(world.hypervisor, name):
            paused = f"it is paused ({why}), and {domain_calls.GOES_ON}; "
    told = f"domain {name}: waited {goal.timeout} s for {goal.words} in vain"
    return f"{told}; {paused}{screen.last(world.hypervisor, name)}"


def _power(world: World, name: str, goal: Goal) -> Looks:
    while world.hypervisor.active("domain", name) is not (goal.condition == "running"):
        yield None
    yield {}


def _on(world: World, name: str) -> Observed:
    """Return the guest, which has to run: what is off does nothing that could be waited for."""
    seen = world.hypervisor.read("domain", name, autostart=False)
    if seen is None:
        raise NotFoundError(f"there is no domain {name!r} at {world.uri} any more")
    if not seen.active:
        raise UnmetError(f"domain {name} is off; start it")
    return seen


def _agent(world: World, name: str, goal: Goal) -> Looks:
    while True:
        seen = _on(world, name)
        with suppress(KvmError):
            agent.ready(seen)
            agent.ping(world.hypervisor, name)
            yield {}
        yield None


def _address(world: World, name: str, goal: Goal) -> Looks:
    while True:
        found = far(world, _on(world, name))
        yield {"address": found[0]} if found else None


def far(world: World, seen: Observed) -> list[str]:
    """Return the addresses of a guest that can be reached without naming a link."""
    sources = tuple(addresses.SOURCES)
    heard = addresses.neighbours if world.local else None
    found = addresses.find(world.hypervisor, seen, sources, heard)
    return [
        each["address"]
        for each in addresses.joined([one for one in found if not one.address.is_link_local])
    ]


def _port(world: World, name: str, goal: Goal) -> Looks:
    while True:
        seen = _on(world, name)
        for address in [goal.address] if goal.address else far(world, seen):
            with (
                suppress(OSError),
                socket.create_connection((address, goal.port), CONNECT_SECONDS),
            ):
                yield {"address": address, "port": goal.port}
        yield None


def _console(world: World, name: str, goal: Goal) -> Looks:
    added = console.follow(goal.log)
    next(added)
    data = _known(goal)
    while goal.pattern is not None:
        data += next(added)
        text = console.plain(data)
        data = data[-LONGEST_MATCH:]
        found = goal.pattern.search(text)
        if found is not None:
            start = text.rfind("\n", 0, found.start()) + 1
            yield {"line": text[start:].partition("\n")[0]}
        _on(world, name)
        yield None


def _known(goal: Goal) -> bytes:
    """Return the lines that were there before and count as new."""
    with suppress(KvmError):
        return "\n".join(console.tail(goal.log, goal.lines)).encode()
    return b""


CONDITIONS: Mapping[str, Callable[[World, str, Goal], Looks]] = {
    "poweroff": _power,
    "running": _power,
    "agent": _agent,
    "address": _address,
    "port": _port,
    "console": _console,
}
