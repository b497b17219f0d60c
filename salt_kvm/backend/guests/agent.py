"""The agent in a guest: a program that does there what it is asked by JSON over a channel.

https://qemu.readthedocs.io/en/latest/interop/qemu-ga-ref.html

Everything goes by the one call that has a time limit of its own: libvirt's calls for single
commands wait for ever for an agent that has stopped, unless the daemon is told a limit that holds
for all of its clients. What the agent answers is the guest's word: it has to be of a type.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import msgspec

from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import AgentError, KvmError, NoAnswerError, UnmetError
from salt_kvm.seen import Observed
from salt_kvm.spec.types import Size
from salt_kvm.xml import reach

T = TypeVar("T")
# libvirt itself takes that long to notice that an agent is silent.
ANSWER_SECONDS = 5
# What is in memory has to reach the disks first.
FREEZE_SECONDS = 60
# libvirt drops an agent that answers more than 10 MiB at once, and its protocol ends at 4.
CHUNK = 256 * 1024
# An order that its socket does not hold at once never reaches the agent, nor does any later one.
LONGEST_ORDER = 96 * 1024
WRITTEN_AT_ONCE = 48 * 1024
NONE: Mapping[str, object] = MappingProxyType({})
# What libvirt says before what the agent said.
_ITSELF = re.compile(
    r"(internal error: )?unable to execute QEMU agent command '[^']*': "
    r"(Guest agent command failed, error was )?"
)
POLL_SECONDS = (0.05, 1.0)


class Reply(msgspec.Struct, rename="kebab"):
    """What the agent answers; bytes come as base64."""


class Command(Reply):
    """A command of the agent, which the guest may have forbidden."""

    name: str
    enabled: bool


class Info(Reply):
    version: str
    supported_commands: list[Command] = msgspec.field(name="supported_commands")


class Process(Reply):
    pid: int


class Status(Reply):
    """A process of the guest; what it printed comes when it has ended."""

    exited: bool
    exitcode: int | None = None
    signal: int | None = None
    out_data: bytes = b""
    err_data: bytes = b""
    out_truncated: bool = False
    err_truncated: bool = False


class Part(Reply):
    """A part of a file."""

    count: int
    eof: bool
    buf_b64: bytes = b""


class Written(Reply):
    count: Annotated[int, msgspec.Meta(gt=0)]


class Address(Reply):
    ip_address: str
    prefix: int


class Card(Reply):
    """A network card as the guest knows it."""

    name: str
    hardware_address: str = ""
    ip_addresses: list[Address] = []


def absent(seen: Observed) -> str | None:
    """Return why a guest has no agent that could answer; ``None`` where one is on its channel."""
    if seen.live is None:
        return f"domain {seen.name} is off; start it"
    state = reach.agent(seen.live)
    if state is None:
        return f"domain {seen.name} has no channel for a guest agent; declare agent: true"
    if state == "disconnected":
        cure = "install and start qemu-guest-agent there"
        return f"no guest agent runs in the guest of domain {seen.name}; {cure}"
    return None


def ready(seen: Observed) -> None:
    """Refuse a guest that has no agent, without asking it.

    :raises UnmetError: with the cure
    """
    reason = absent(seen)
    if reason is not None:
        raise UnmetError(reason)


def ask(
    hypervisor: Hypervisor,
    name: str,
    command: str,
    kind: type[T],
    arguments: Mapping[str, object] = NONE,
    timeout: int = ANSWER_SECONDS,
) -> T:
    """Return what the agent answers to a command.

    :param kind: what the answer has to be
    :param arguments: those of the command; one that is ``None`` is left out
    :param timeout: seconds; a silent agent is noticed after 5, however few these are
    :raises NoAnswerError: when it does not answer in time
    :raises AgentError: when it refuses, or the answer is something else
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    order: dict[str, object] = {"execute": command}
    if given:
        order["arguments"] = given
    text = msgspec.json.encode(order).decode()
    if len(text) > LONGEST_ORDER:
        raise AgentError(
            f"{command} with {len(text)} bytes is too long for the agent of domain {name}; write "
            "what it needs to a file first"
        )
    try:
        told = hypervisor.ask_agent(name, text, timeout)
    except NoAnswerError:
        raise
    except AgentError as error:
        reason = _lacks(hypervisor, name, command)
        raise AgentError(_ITSELF.sub("", str(error)) if reason is None else reason) from error
    try:
        answer = msgspec.json.decode(told, type=dict[str, msgspec.Raw])["return"]
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, KeyError, RecursionError) as error:
        text = f"the agent of domain {name} does not answer {command} as it should"
        raise AgentError(f"{text}; update it in the guest") from error


def _lacks(hypervisor: Hypervisor, name: str, command: str) -> str | None:
    """Return why the agent does not know a command, where that is why it failed."""
    with suppress(KvmError, msgspec.DecodeError, KeyError, RecursionError):
        told = hypervisor.ask_agent(name, '{"execute": "guest-info"}', ANSWER_SECONDS)
        info = msgspec.convert(msgspec.json.decode(told)["return"], Info)
        known = {each.name: each.enabled for each in info.supported_commands}
        who = f"the agent {info.version} of domain {name}"
        if command not in known:
            return f"{who} has no {command}; update it in the guest"
        if not known[command]:
            if _frozen(hypervisor, name):
                return f"the file systems of domain {name} are frozen; thaw them: agent_fsthaw"
            return f"{who} is forbidden {command}; allow it in the guest's configuration of qemu-ga"
    return None


def _frozen(hypervisor: Hypervisor, name: str) -> bool:
    told = hypervisor.ask_agent(name, '{"execute": "guest-fsfreeze-status"}', ANSWER_SECONDS)
    return bool(msgspec.json.decode(told)["return"] == "frozen")


def ping(hypervisor: Hypervisor, name: str) -> None:
    """Ask the agent for any answer."""
    ask(hypervisor, name, "guest-ping", dict[str, Any])


def execute(
    hypervisor: Hypervisor,
    name: str,
    command: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes | None,
    timeout: int,
) -> Status:
    """Run a program in the guest and wait until it ends.

    :raises AgentError: where it can't be started, or has not ended in time; it goes on then
    """
    given: dict[str, object] = {
        "path": command,
        "arg": list(arguments),
        "env": [f"{key}={value}" for key, value in environment.items()] or None,
        "input-data": stdin,
        "capture-output": True,
    }
    pid = ask(hypervisor, name, "guest-exec", Process, given).pid
    end, pause = time.monotonic() + timeout, POLL_SECONDS[0]
    while not (status := _status(hypervisor, name, pid)).exited:
        if time.monotonic() >= end:
            raise AgentError(
                f"{command} still runs in the guest of domain {name} after {timeout} s, as process "
                f"{pid} there; raise timeout, or end it there"
            )
        time.sleep(pause)
        pause = min(2 * pause, POLL_SECONDS[1])
    return status


def _status(hypervisor: Hypervisor, name: str, pid: int) -> Status:
    """libvirt can't pass on what is too long, and whatever it is, it is lost then."""
    try:
        return ask(hypervisor, name, "guest-exec-status", Status, {"pid": pid})
    except NoAnswerError:
        raise
    except AgentError as error:
        raise AgentError(
            f"what process {pid} in the guest of domain {name} printed can't be had: {error}; let "
            "what prints more than 2 MiB write to a file"
        ) from error


def read_file(hypervisor: Hypervisor, name: str, path: str, limit: Size) -> bytes:
    """Return what a file of the guest holds.

    :raises AgentError: where it can't be read, or is larger than ``limit``
    """
    handle = ask(hypervisor, name, "guest-file-open", int, {"path": path, "mode": "r"})
    data = bytearray()
    try:
        while True:
            given = {"handle": handle, "count": CHUNK}
            part = ask(hypervisor, name, "guest-file-read", Part, given)
            data += part.buf_b64
            if len(data) > limit:
                raise AgentError(
                    f"{path} in the guest of domain {name} is larger than {limit}; raise limit"
                )
            if part.eof or not part.buf_b64:
                return bytes(data)
    finally:
        _close(hypervisor, name, handle)


def write_file(hypervisor: Hypervisor, name: str, path: str, data: bytes, *, append: bool) -> None:
    """Write a file of the guest.

    :raises AgentError: where it can't be written whole; how much of it was sent is told
    """
    mode = "a" if append else "w"
    handle = ask(hypervisor, name, "guest-file-open", int, {"path": path, "mode": mode})
    done = 0
    try:
        while done < len(data):
            given = {"handle": handle, "buf-b64": data[done : done + WRITTEN_AT_ONCE]}
            done += ask(hypervisor, name, "guest-file-write", Written, given).count
        ask(hypervisor, name, "guest-file-flush", dict[str, Any], {"handle": handle})
    except KvmError as error:
        raise AgentError(
            f"{path} in the guest of domain {name} was not written whole; {done} of {len(data)} "
            f"bytes were sent: {error}"
        ) from error
    finally:
        _close(hypervisor, name, handle)


def _close(hypervisor: Hypervisor, name: str, handle: int) -> None:
    with suppress(KvmError):
        ask(hypervisor, name, "guest-file-close", dict[str, Any], {"handle": handle})


def freeze(hypervisor: Hypervisor, name: str, mountpoints: Sequence[str] | None) -> int:
    """Freeze file systems; return how many are. Where that fails none stays frozen."""
    command = "guest-fsfreeze-freeze" if mountpoints is None else "guest-fsfreeze-freeze-list"
    given = {} if mountpoints is None else {"mountpoints": list(mountpoints)}
    try:
        return ask(hypervisor, name, command, int, given, FREEZE_SECONDS)
    except BaseException:
        with suppress(KvmError):
            thaw(hypervisor, name)
        raise


def thaw(hypervisor: Hypervisor, name: str) -> int:
    """Thaw all that is frozen; return how many file systems were."""
    return ask(hypervisor, name, "guest-fsfreeze-thaw", int, timeout=FREEZE_SECONDS)


def cards(hypervisor: Hypervisor, name: str) -> list[Card]:
    """Return the network cards of the guest, as it knows them."""
    return ask(hypervisor, name, "guest-network-get-interfaces", list[Card])
