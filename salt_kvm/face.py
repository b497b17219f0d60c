"""What a Salt loader file calls: the bridge between Salt's conventions and the engine.

Only this file knows Salt's dunders, its return dictionary and its result values. It imports
nothing heavy and nothing that may be missing on a bare host, so that the faces always load; the
engine comes in with the first call.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from salt_kvm import rendering
from salt_kvm.arguments import fitting, is_text, plain
from salt_kvm.errors import (
    ApplyError,
    ConnectError,
    DependencyError,
    KvmError,
    SpecError,
    UnmetError,
)

if TYPE_CHECKING:
    from salt_kvm.backend.client import Client
    from salt_kvm.backend.world import World

DEFAULT_URI = "qemu:///system"
DEFAULT_STORE = "/var/lib/salt-kvm/store"
# Who runs a state that is not about one object.
ENGINES = {"only": "prune"}
# What the tags of our own states begin with.
OWN = ("kvm_", "vmx_")
Salt = dict[str, Any]
Verdict = dict[str, Any]
ENDED = "not looked at: a check above has found faults, and the real run ends there"
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
    path = fields.pop("pillar", None)
    fields.pop("sfun", None)
    test = bool(salt["__opts__"].get("test"))
    try:
        converge, engine = _engine("converge"), _engine(ENGINES.get(target, "converge"))
        world = _world(salt, uri)
        if path is not None:
            fields = {**_entry(path, name, world.section, salt), **fields}
        if test and world.ended:
            return verdict(name, False, ENDED)
        world.coming = lambda error: test and _awaited(error, salt)
        look = bool(salt.get("__low__", {}).get("__prereq__"))
        wanted = {**fields, "state": target, **resource(salt)}
        if noun in FILLED:
            wanted |= FILLED[noun](name, wanted, salt)
        wanted = converge.looked_up(noun, wanted, revealer(salt))
        planner = "restart" if restart else "plan"
        mode = converge.Mode(test=test, keep=not look, planner=planner)
        outcome = engine.run(world, noun, name, wanted, mode)
    except KvmError as error:
        return _failed(name, error, salt, test=test)
    result = outcome.failure is None and (None if test and outcome.changes else True)
    return verdict(name, result, outcome.comment, outcome.changes)


def resource(salt: Salt) -> dict[str, Any]:
    """Return how a Salt resource that is an ESXi host is reached, as ``host``; elsewhere nothing.

    :param salt: the ``globals()`` of the loader file
    """
    options = salt["__opts__"]
    if options.get("resource_type") != "esxi":
        return {}
    # States see a part of the pillar only: who runs them says how their host is reached.
    host = options.get("resource_host") or esxi_host(options, salt["__resource__"]["id"])
    return {"host": host}


def esxi_hosts(options: Salt) -> dict[str, Any]:
    """Return what the pillar says of the ESXi hosts that are Salt resources of this minion.

    :param options: Salt's ``__opts__``
    :raises SpecError: where that is no mapping
    """
    tree = (options.get("pillar") or {}).get(options.get("resource_pillar_key") or "resources")
    for key in ("esxi", "hosts"):
        if not isinstance(tree, Mapping):
            break
        tree = tree.get(key)
    if tree is not None and not isinstance(tree, Mapping):
        raise SpecError(
            ["resources:esxi:hosts: Expected 'mapping'; write each host as a key of it"]
        )
    return dict(tree or {})


def esxi_host(options: Salt, name: str) -> Any:
    """Return how an ESXi host that is a Salt resource is reached; by its name if nothing is said.

    :raises SpecError: where the pillar does not know it
    """
    hosts = esxi_hosts(options)
    if name not in hosts:
        raise SpecError([f"resources:esxi:hosts: there is no {name!r}; declare how it is reached"])
    said = hosts[name]
    if isinstance(said, dict):
        return {"host": name, **{key: each for key, each in said.items() if key != "vmx"}}
    return said or name


def esxi_pillar(options: Salt, name: str) -> dict[str, Any]:
    """Return the pillar for an ESXi host's states: its ``vmx`` as ``kvm:vmx``, and no more."""
    said = esxi_hosts(options).get(name)
    return {"kvm": {"vmx": (said.get("vmx") or {}) if isinstance(said, dict) else {}}}


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


def _config_files(name: str, wanted: dict[str, Any], salt: Salt) -> dict[str, Any]:
    """A rendered SLS, which Salt logs, holds no value; the state takes them from the pillar."""
    return {} if "files" in wanted else {"files": _of_host(salt).get("config") or {}}


def _sasl_password(name: str, wanted: dict[str, Any], salt: Salt) -> dict[str, Any]:
    """As with a file's values: none stands in an SLS."""
    users = (_of_host(salt).get("sasl") or {}).get("users") or {}
    password = None if "password" in wanted else users.get(name)
    return {} if password is None else {"password": password}


def _of_host(salt: Salt) -> dict[str, Any]:
    host = plain(_declared(salt, "host"))
    return host if isinstance(host, dict) else {}


FILLED: dict[str, Callable[[str, dict[str, Any], Salt], dict[str, Any]]] = {
    "config": _config_files,
    "sasl_user": _sasl_password,
}


def revealer(salt: Salt) -> Callable[[Any], Any]:
    """Return :func:`reveal` for a loader file."""
    return lambda value: reveal(value, salt)


def distribution(salt: Salt) -> Callable[[], dict[str, Any]]:
    """Return what tells, once, what a host of this distribution gets: ``kvm`` of ``map.jinja``.

    Where the SLS files are not to be had, nothing is known of it.
    """

    @functools.cache
    def load() -> dict[str, Any]:
        functions = salt["__salt__"]
        try:
            there = functions["cp.hash_file"]("salt://kvm/map.jinja")
            found = functions["jinja.load_map"]("kvm/map.jinja", "kvm") if there else {"host": {}}
        except Exception:  # whatever Salt's renderer and file client raise
            return {}
        return dict(found["host"])

    return load


def _from_sdb(where: str, salt: Salt) -> Any:
    try:
        return salt["__salt__"]["sdb.get"](where)
    except Exception:  # whatever a driver of Salt's raises
        return None


def check(noun: str, function: str, salt: Salt, name: str, **arguments: Any) -> Verdict:
    """Return Salt's state dictionary for a fact of the host that no step can change.

    The action ``function`` of ``noun`` returns a list of sentences, one for each fault.
    """
    options = salt["__opts__"]
    try:
        world = _world(salt, None)
        faults = _act(noun, function, world, arguments)
    except KvmError as error:
        return _failed(name, error, salt, test=bool(options.get("test")))
    # Salt's dry runs go on behind such a state, which ends a real run.
    failhard = salt.get("__low__", {}).get("failhard", options.get("failhard"))
    world.ended |= bool(faults and failhard)
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
            return _act(noun, function, world, {**arguments, **resource(salt)})
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
        return action(world, **fitting(action, arguments))


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
    if not is_text(address):
        raise SpecError(
            [f"kvm:connection: Expected 'str', not {address!r}; write it like {DEFAULT_URI}"]
        )
    context = salt["__context__"]
    key = f"salt_kvm:{os.getpid()}:{address}"
    if key not in context:
        # A state that runs in parallel sees what those before it promised, in the forking process.
        context[key] = module.World(address, context.get(f"salt_kvm:{os.getppid()}:{address}"))
    world: World = context[key]
    world.begin(salt.get("__instance_id__"), partial(_client, salt))
    host = _declared(salt, "host")
    world.overcommit = host.get("overcommit") if isinstance(host, dict) else None
    return world


def _client(salt: Salt) -> Client:
    folder = salt["__opts__"].get("kvm.store") or _declared(salt, "store") or DEFAULT_STORE
    callbacks = _fetcher(salt), _hasher(salt), _measurer(salt), _reporter(salt), _renderer(salt)
    made: Client = _engine("backend.client").Client(folder, *callbacks)
    return made


def _fetcher(salt: Salt) -> Callable[[str, str], str]:
    """What fetches an address into a file, or tells where it is, through Salt's file client."""

    def fetch(address: str, target: str) -> str:
        try:
            # In a path Salt would take a "?" for the begin of a query.
            local = address.startswith("/")
            path = address if local else _fetched(salt, address, target)
        except Exception as error:
            # Each of Salt's ways to fetch raises something of its own.
            raise ApplyError(f"{address} can't be fetched: {error}") from error
        if not path or not os.path.isfile(path):
            raise ApplyError(f"{address} can't be fetched; correct it, or see the minion's log")
        return str(path)

    return fetch


def _fetched(salt: Salt, address: str, target: str) -> Any:
    return salt["__salt__"]["cp.get_url"](address, target, saltenv=_saltenv(salt))


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


def _measurer(salt: Salt) -> Callable[[str], int | None]:
    """What asks a server how large a file is; not every one tells."""
    ways = {"http": _web_length, "https": _web_length, "salt": _master_length}

    def length(address: str) -> int | None:
        # A courtesy too: a server that does not like to be asked may still give the file.
        with suppress(Exception):
            return ways[urlsplit(address).scheme](salt, address)
        return None

    return length


def _web_length(salt: Salt, address: str) -> int:
    parts = urlsplit(address)
    # Salt logs an address with what is in it.
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    given = {"username": parts.username, "password": parts.password} if parts.username else {}
    told = salt["__salt__"]["http.query"](plain, method="HEAD", headers=True, **given)
    return int(told["headers"]["Content-Length"])


def _master_length(salt: Salt, address: str) -> int | None:
    """A minion without a master reads its files where they are: nothing is fetched.

    Of what Salt's file client is told of a file, none of Salt's functions returns the size.
    """
    options = salt["__opts__"]
    if options.get("file_client") == "local":
        return None
    path, environment = importlib.import_module("salt.utils.url").split_env(address)
    with importlib.import_module("salt.fileclient").get_file_client(options) as client:
        _checksum, told = client.hash_and_stat_file(path, environment or _saltenv(salt))
    return int(told[stat.ST_SIZE])


def _renderer(salt: Salt) -> Callable[[str], str]:
    """What renders a file of the master or of this host as Salt renders its own."""

    def render(address: str) -> str:
        return rendering.render(salt["__salt__"], address, _saltenv(salt))

    return render


def _saltenv(salt: Salt) -> str:
    return str(salt["__opts__"].get("saltenv") or salt.get("__env__") or "base")


def _declared(salt: Salt, key: str) -> Any:
    section = salt.get("__pillar__", {}).get("kvm")
    return section.get(key) if isinstance(section, dict) else None


def _entry(path: Any, name: str, known: dict[str, Any], salt: Salt) -> dict[str, Any]:
    """Return what an entry of the pillar says but its state: Salt logs what stands in an SLS.

    :param known: the ``kvm`` section as it was read before, or nothing
    :raises SpecError: where there is no such entry
    """
    entry = _named({"kvm": known}, path, name)
    if entry is None:
        entry = plain(_named(salt.get("__pillar__"), path, name))
    if not isinstance(entry, Mapping):
        raise SpecError([f"{path}:{name} is no mapping of the pillar; declare it there"])
    return {key: value for key, value in entry.items() if key != "state"}


def _named(tree: Any, path: Any, name: str) -> Any:
    """Return an entry of a mapping, whose key may be a number."""
    for key in str(path).split(":"):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    section = tree if isinstance(tree, Mapping) else {}
    if name in section:
        return section[name]
    return next((section[key] for key in section if str(key) == name), None)


def _failed(name: str, error: KvmError, salt: Salt, *, test: bool) -> Verdict:
    """A dry run can't foretell what it can't see yet; that is no failure."""
    if test and _may_come(error, salt):
        return verdict(name, None, f"can't be observed yet: {error}")
    return verdict(name, False, str(error))


def _may_come(error: KvmError, salt: Salt) -> bool:
    """True when what is missing may be made before the real run."""
    missing = isinstance(error, (ConnectError, UnmetError)) and _awaited(error, salt)
    return missing or isinstance(error, DependencyError)


def _awaited(error: KvmError, salt: Salt) -> bool:
    """True when what is missing may be made by an earlier state of this dry run.

    What our own states would make is promised among them, unless they ran in a process of their
    own; of the files that a package or another module's state would bring nothing is known.
    """
    due = _due(salt)
    if isinstance(error, UnmetError):
        return any(not tag.startswith(OWN) or ran.get("__parallel__") for tag, ran in due.items())
    return bool(due)


def _due(salt: Salt) -> dict[str, Any]:
    """Return this dry run's earlier states that would change the host, by their tag."""
    running = salt.get("__running__", {})
    return {tag: ran for tag, ran in running.items() if ran.get("result") is None}
