"""What a Salt loader file calls: the bridge between Salt's conventions and the engine.

Only this file knows Salt's dunders, its return dictionary and its result values. It imports
nothing heavy and nothing that may be missing on a bare host, so that the faces always load; the
engine comes in with the first call.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from salt_kvm.errors import ApplyError, ConnectError, DependencyError, KvmError, UnmetError

if TYPE_CHECKING:
    from salt_kvm.backend.client import Client
    from salt_kvm.backend.world import World

DEFAULT_URI = "qemu:///system"
DEFAULT_STORE = "/var/lib/salt-kvm/store"
# Who runs a state that is not about one object.
ENGINES = {"only": "prune"}
Salt = dict[str, Any]
Verdict = dict[str, Any]
KEYWORDS = inspect.signature(lambda name, **arguments: None)
F = TypeVar("F", bound=Callable[..., Verdict])


def state_function(function: F) -> F:
    """Mark a function of a state module; return it as it is.

    Of each state Salt reads the signature twice, fills in every default and walks every value. Of
    sixty parameters that takes longer than to compare a guest, so one that takes any keyword shows
    Salt no more than that; ``sys.state_doc`` tells what it takes.
    """
    signature = inspect.signature(function)
    if any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values()):
        signature = KEYWORDS
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def state(
    noun: str, target: str, salt: Salt, arguments: dict[str, Any], *, restart: bool = False
) -> Verdict:
    """Converge one object and return Salt's state dictionary.

    :param noun: which noun: ``domain``, ``network``, ``pool``, ``image``
    :param target: the ``state`` field of the spec: ``present``, ``running``, ...; ``only``
    :param salt: the ``globals()`` of the loader file, where Salt packs its dunders
    :param arguments: the ``locals()`` of the state function: its parameters; ``unknown`` holds
        those that it does not have. Without it Salt would drop the whole run and not name the state
    :param restart: restart it, because something that it watches has changed
    """
    unknown = arguments.pop("unknown", {})
    fields = {key: value for key, value in arguments.items() if value is not None} | unknown
    name = str(fields.pop("name"))
    uri = fields.pop("connection", None)
    fields.pop("sfun", None)
    test = bool(salt["__opts__"].get("test"))
    try:
        converge, engine = _engine("converge"), _engine(ENGINES.get(target, "converge"))
        world = _world(salt, uri)
        look = bool(salt.get("__low__", {}).get("__prereq__"))
        wanted = {**fields, "state": target}
        if noun == "secret" and "value" in fields:
            wanted["value"] = reveal(fields["value"], salt)
        planner = "restart" if restart else "plan"
        mode = converge.Mode(test=test, keep=not look, planner=planner)
        outcome = engine.run(world, noun, name, wanted, mode)
    except KvmError as error:
        return _failed(name, error, salt, test=test)
    result = outcome.failure is None and (None if test and outcome.changes else True)
    return verdict(name, result, outcome.comment, outcome.changes)


def reveal(value: Any, salt: Salt) -> Any:
    """Return a secret's value, where it is declared by where it is kept.

    :param value: ``sdb://profile/key``, ``pillar://name`` (of ``kvm:secrets``), or the value
    :param salt: the ``globals()`` of the loader file
    :raises UnmetError: when there is none; what Salt says of it may tell too much
    """
    where = value if isinstance(value, str) else ""
    if where.startswith("pillar://"):
        section = (salt["__pillar__"].get("kvm") or {}).get("secrets") or {}
        value = (section.get(where.removeprefix("pillar://")) or {}).get("value")
    if isinstance(value, str) and value.startswith("sdb://"):
        where, value = value, _from_sdb(value, salt)
    if value is None or (value == where and where.startswith("sdb://")):
        raise UnmetError(f"{where} gives no value; make it, or correct it")
    return value


def revealer(salt: Salt) -> Callable[[Any], Any]:
    """Return :func:`reveal` for a loader file."""
    return lambda value: reveal(value, salt)


def _from_sdb(where: str, salt: Salt) -> Any:
    try:
        return salt["__salt__"]["sdb.get"](where)
    except Exception:  # whatever a driver of Salt's raises
        return None


def check(noun: str, function: str, salt: Salt, name: str, **arguments: Any) -> Verdict:
    """Return Salt's state dictionary for a fact of the host that no step can change.

    The action ``function`` of ``noun`` returns a list of sentences, one for each fault.
    """
    try:
        faults = _act(noun, function, _world(salt, None), arguments)
    except KvmError as error:
        return _failed(name, error, salt, test=bool(salt["__opts__"].get("test")))
    return verdict(name, not faults, "\n".join(faults) or "As declared.")


def verdict(
    name: str, result: bool | None, comment: str, changes: dict[str, Any] | None = None
) -> Verdict:
    """Return Salt's state dictionary."""
    return {"name": name, "result": result, "changes": changes or {}, "comment": comment}


def command(noun: str, failure: type[Exception]) -> Callable[..., Any]:
    """Return the caller that an execution module uses: ``run(function, globals(), **arguments)``.

    :param noun: the module of :mod:`salt_kvm.actions` that holds the functions
    :param failure: what to raise for a :class:`KvmError` (Salt's ``CommandExecutionError``)
    """

    def run(function: str, salt: Salt, connection: str | None = None, **arguments: Any) -> Any:
        try:
            world = _world(salt, connection)
            return _act(noun, function, world, arguments)
        except KvmError as error:
            raise failure(str(error)) from error

    return run


def _engine(name: str) -> ModuleType:
    with _naming_what_is_lacking():
        return importlib.import_module(f"salt_kvm.{name}")


def _act(noun: str, function: str, world: World, arguments: dict[str, Any]) -> Any:
    """Call an action; it may import parts of the library that the host lacks."""
    action = getattr(_engine(f"actions.{noun}"), function)
    with _naming_what_is_lacking():
        return action(world, **arguments)


@contextmanager
def _naming_what_is_lacking() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("salt_kvm"):
            raise
        raise DependencyError(
            f"the Python library {error.name} is not installed in the Python that runs Salt; "
            "apply kvm.host, which installs it"
        ) from error


def _world(salt: Salt, uri: str | None) -> World:
    """The world that the calls of one process share, and within it the states of one run."""
    module = _engine("backend.world")
    address = (
        uri
        or salt["__opts__"].get("kvm.connection")
        or _declared(salt, "connection")
        or DEFAULT_URI
    )
    context = salt["__context__"]
    key = f"salt_kvm:{os.getpid()}:{address}"
    if key not in context:
        # A state that runs in parallel sees what those before it promised, in the forking process.
        context[key] = module.World(address, context.get(f"salt_kvm:{os.getppid()}:{address}"))
    world: World = context[key]
    world.begin(salt.get("__instance_id__"), partial(_client, salt))
    return world


def _client(salt: Salt) -> Client:
    folder = salt["__opts__"].get("kvm.store") or _declared(salt, "store") or DEFAULT_STORE
    callbacks = _fetcher(salt), _hasher(salt), _reporter(salt)
    made: Client = _engine("backend.client").Client(folder, *callbacks)
    return made


def _fetcher(salt: Salt) -> Callable[[str, str], str]:
    """What fetches an address into a file, or tells where it is, through Salt's file client."""

    def fetch(address: str, target: str) -> str:
        environment = salt["__opts__"].get("saltenv") or salt.get("__env__") or "base"
        try:
            path = salt["__salt__"]["cp.get_url"](address, target, saltenv=environment)
        except Exception as error:
            # Each of Salt's ways to fetch raises something of its own.
            raise ApplyError(f"{address} can't be fetched: {error}") from error
        if not path or not os.path.isfile(path):
            raise ApplyError(f"{address} can't be fetched; correct it, or see the minion's log")
        return str(path)

    return fetch


def _reporter(salt: Salt) -> Callable[[str, int | None, int], None]:
    """Who is told how far long work is: the terminal of ``salt-call``, and the master's events."""
    options = salt["__opts__"]
    terminal = str(options.get("__cli", "")).startswith("salt-call")
    masterless = options.get("file_client") == "local"

    def report(what: str, percent: int | None, done: int) -> None:
        share = f"{done // 1024**2} MiB" if percent is None else f"{percent} %"
        if terminal:
            print(f"{what}: {share}", file=sys.stderr, flush=True)
        if not masterless:
            tag = f"salt/kvm/{options['id']}/progress/{what.split()[0]}"
            data = {"what": what, "percent": percent, "done": done}
            # A courtesy: that nobody hears of the work must not end it.
            with suppress(Exception):
                salt["__salt__"]["event.send"](tag, data)

    return report


def _hasher(salt: Salt) -> Callable[[str], str | None]:
    """What asks the master for the checksum of a file that it serves."""

    def published(address: str) -> str | None:
        if not address.startswith("salt://"):
            return None
        told = salt["__salt__"]["cp.hash_file"](address) or {}
        return f"{told['hash_type']}={told['hsum']}" if "hsum" in told else None

    return published


def _declared(salt: Salt, key: str) -> str | None:
    section = salt.get("__pillar__", {}).get("kvm")
    return section.get(key) if isinstance(section, dict) else None


def _failed(name: str, error: KvmError, salt: Salt, *, test: bool) -> Verdict:
    """A dry run can't foretell what it can't see yet; that is no failure."""
    if test and _may_come(error, salt):
        return verdict(name, None, f"can't be observed yet: {error}")
    return verdict(name, False, str(error))


def _may_come(error: KvmError, salt: Salt) -> bool:
    """True when what is missing may be made by an earlier state of this dry run.

    What our own states would make is promised among them, unless they ran in a process of their
    own; of the files that a package or another module's state would bring nothing is known.
    """
    due = _due(salt)
    if isinstance(error, UnmetError):
        return any(
            not tag.startswith("kvm_") or ran.get("__parallel__") for tag, ran in due.items()
        )
    return isinstance(error, DependencyError) or (isinstance(error, ConnectError) and bool(due))


def _due(salt: Salt) -> dict[str, Any]:
    """Return this dry run's earlier states that would change the host, by their tag."""
    running = salt.get("__running__", {})
    return {tag: ran for tag, ran in running.items() if ran.get("result") is None}
