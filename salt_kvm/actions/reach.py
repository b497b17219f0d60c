"""What ``kvm_domain`` does to see and reach a guest."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

from msgspec import structs

from salt_kvm import keys as keyboard
from salt_kvm.actions import common
from salt_kvm.backend.guests import addresses as where
from salt_kvm.backend.guests import conditions, console
from salt_kvm.backend.guests.keyboard import press
from salt_kvm.backend.system.lock import held
from salt_kvm.backend.virt import live
from salt_kvm.backend.world import World
from salt_kvm.errors import SpecError, UnmetError, shown
from salt_kvm.seen import Observed
from salt_kvm.spec.console import LONGEST_PASSWORD, check_password
from salt_kvm.spec.types import parse_moment, parse_value
from salt_kvm.xml import reach
from salt_kvm.xml.document import parse

KIND = "domain"
CODESETS = (
    "linux", "xt", "atset1", "atset2", "atset3", "osx", "xt_kbd", "usb", "win32", "qnum",
)  # fmt: skip
# QEMU's own, and one that a slow guest keeps up with.
HOLD_MILLISECONDS = 100
TYPING_MILLISECONDS = 20
LONGEST_HOLD = 60_000
LONGEST_TEXT = 4096
LONGEST_WAIT = 86_400
Reveal = Callable[[Any], Any]


def running(world: World, name: str) -> Observed:
    """Return a domain that runs.

    :raises UnmetError: where it is off
    """
    seen = common.get(world, KIND, name)
    if not seen.active:
        raise UnmetError(f"domain {name} is off; start it")
    return seen


def number(value: Any, what: str, least: int, most: int) -> int:
    """Return a whole number that a caller gave.

    :raises SpecError: where it is none, or out of its limits
    """
    digits = str(value)
    if isinstance(value, bool) or not digits.isdigit() or not least <= int(digits) <= most:
        raise SpecError([f"{what}: {shown(value)} is no number from {least} to {most}"])
    return int(digits)


def log_of(world: World, seen: Observed, serial: int) -> str:
    """Return the file that a serial port of a domain is written to.

    :raises UnmetError: where it is written to none
    """
    if not world.local:
        raise UnmetError(
            f"the log of domain {seen.name} is a file of the host {world.uri}; read it there"
        )
    ports, path = reach.log(seen.live or seen.xml, serial)
    if serial >= ports:
        raise UnmetError(
            f"domain {seen.name} has {ports} serial ports, and none of number {serial}"
        )
    if path is None:
        raise UnmetError(
            f"serial port {serial} of domain {seen.name} is written to no file; declare "
            "serial: [{log: true}] and restart the guest"
        )
    return path


def console_log(world: World, name: str, lines: Any, serial: Any) -> str:
    """Return the last lines that a guest printed on a serial port."""
    most, port = number(lines, "lines", 1, 100_000), number(serial, "serial", 0, 3)
    return "\n".join(console.tail(log_of(world, common.get(world, KIND, name), port), most))


def send_key(
    world: World, name: str, keys: str | Iterable[str | int], holdtime: Any, codeset: str
) -> bool:
    """Press key combinations, one after another."""
    if codeset not in CODESETS:
        raise SpecError([f"{shown(codeset)} is no codeset; known are {', '.join(CODESETS)}"])
    hold = HOLD_MILLISECONDS if holdtime is None else number(holdtime, "holdtime", 1, LONGEST_HOLD)
    combinations = keyboard.combinations(keys, codeset)
    running(world, name)
    press(world.hypervisor, name, combinations, codeset, hold)
    return True


def type_text(world: World, name: str, text: Any, holdtime: Any, reveal: Reveal) -> int:
    """Type a text, and return how many characters it has."""
    hold = (
        TYPING_MILLISECONDS if holdtime is None else number(holdtime, "holdtime", 1, LONGEST_HOLD)
    )
    combinations = keyboard.typed(str(reveal(text)))
    if len(combinations) > LONGEST_TEXT:
        raise SpecError([f"a text to be typed has {LONGEST_TEXT} characters at most; shorten it"])
    running(world, name)
    press(world.hypervisor, name, combinations, "linux", hold)
    return len(combinations)


def set_graphics_password(
    world: World, name: str, password: Any, kind: str | None, expires: Any, reveal: Reveal
) -> dict[str, Any]:
    """Change the password of a running guest's consoles; the definition keeps its own."""
    if kind not in (None, *LONGEST_PASSWORD):
        raise SpecError([f"{shown(kind)} is no console; known are {', '.join(LONGEST_PASSWORD)}"])
    valid_to = _end(expires)
    try:
        value = parse_value(reveal(password)).encode().decode()
        with held(KIND, name):
            consoles = _consoles(running(world, name), kind)
            for graphics in consoles:
                check_password(graphics.get("type", ""), value)
            for graphics in consoles:
                graphics.attrib.pop("passwdValidTo", None)
                graphics.attrib.update({"passwd": value}, **valid_to)
                live.update(world.hypervisor, name, ET.tostring(graphics, encoding="unicode"))
    except ValueError as error:
        raise SpecError([f"password: {error}"]) from None
    return {
        "consoles": [graphics.get("type") for graphics in consoles],
        "valid_to": valid_to.get("passwdValidTo", "never"),
    }


def _end(expires: Any) -> dict[str, str]:
    """A number is seconds from now on."""
    if expires is None:
        return {}
    if str(expires).isdigit() and not isinstance(expires, bool):
        end = time.time() + number(expires, "expires", 1, 10**9)
        expires = datetime.fromtimestamp(end, timezone.utc).isoformat(timespec="seconds")
    try:
        moment = parse_moment(expires)
    except ValueError as error:
        raise SpecError([f"expires: {error}"]) from error
    return {} if moment == "never" else {"passwdValidTo": moment}


def _consoles(seen: Observed, kind: str | None) -> list[ET.Element]:
    """Return the consoles that take a password: QEMU gives none to one that was started without."""
    every = parse(seen.live or "<domain/>").findall("devices/graphics")
    wanted = [each for each in every if kind in (None, each.get("type"))]
    found = [each for each in wanted if each.get("passwd") is not None]
    if not wanted:
        raise UnmetError(
            f"domain {seen.name} has no {kind or 'graphical'} console; declare graphics"
        )
    if not found or (kind is not None and len(found) < len(wanted)):
        raise UnmetError(
            f"the console of domain {seen.name} was started without a password and can't get one "
            "now; declare one in graphics and restart the guest"
        )
    return found


def addresses(world: World, name: str | None, source: Any) -> Any:
    """Return the addresses of a guest, or of all that run, and who says so."""
    known = tuple(where.SOURCES)
    if source not in ("auto", *known):
        raise SpecError([f"{shown(source)} is no source; known are auto, {', '.join(known)}"])
    sources = known if source == "auto" else (source,)
    heard = cache(where.neighbours) if world.local else None

    def found(seen: Observed) -> list[dict[str, Any]]:
        return where.joined(where.find(world.hypervisor, seen, sources, heard))

    return common.of_all(world, found) if name is None else found(running(world, name))


def wait_for(
    world: World, name: str, condition: str, timeout: Any, given: dict[str, Any]
) -> dict[str, Any]:
    """Wait until something is so, and return what was found."""
    goal = _goal(condition, number(timeout, "timeout", 1, LONGEST_WAIT), given)
    seen = common.get(world, KIND, name)
    if condition == "console":
        port = number(given["serial"], "serial", 0, 3)
        goal = structs.replace(goal, log=log_of(world, seen, port))
    found = conditions.wait(world, name, goal)
    if found is None:
        raise UnmetError(f"{conditions.vain(world, name, goal)}look what it does, or raise timeout")
    return found


def _goal(condition: str, timeout: int, given: dict[str, Any]) -> conditions.Goal:
    """Return what is waited for; what does not belong to it is a slip."""
    known = ", ".join(conditions.CONDITIONS)
    if condition not in conditions.CONDITIONS:
        raise SpecError([f"{shown(condition)} is nothing to wait for; known are {known}"])
    for key, of in (("port", "port"), ("address", "port"), ("pattern", "console")):
        if given[key] is not None and of != condition:
            raise SpecError([f"{key!r} goes with condition {of}, not with {condition}"])
    needed = {"port": "port", "console": "pattern"}.get(condition)
    if needed is not None and given[needed] is None:
        raise SpecError([f"condition {condition} needs {needed!r}"])
    try:
        pattern = re.compile(str(given["pattern"]), re.MULTILINE)
    except re.error as error:
        raise SpecError([f"pattern: {error} in {shown(given['pattern'])}"]) from error
    return conditions.Goal(
        condition,
        timeout,
        port=number(given["port"] or 1, "port", 1, 65535),
        address=given["address"],
        pattern=pattern,
        lines=number(given["lines"], "lines", 0, 100_000),
    )
