"""The hypervisor, through libvirt: the only file that imports it.

What only one kind of object has stands in the files named `*_calls`. Errors are told apart by
libvirt's codes, never by their text.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from salt_kvm.backend.virt.kinds import KINDS
from salt_kvm.errors import (
    AgentError,
    ApplyError,
    ConnectError,
    DependencyError,
    KvmError,
    LostError,
    NoAnswerError,
    NotFoundError,
    ObserveError,
    RefusedError,
)
from salt_kvm.seen import Observed

CURES = {
    "VIR_ERR_AUTH_UNAVAILABLE": "run as root",
    "VIR_ERR_AUTH_FAILED": "run as root",
    "VIR_ERR_ACCESS_DENIED": "run as root",
    "VIR_ERR_NO_CONNECT": "correct the connection URI, or install libvirt's driver for it",
    "VIR_ERR_INVALID_ARG": "correct the connection URI",
}
LEVELS = ("VIR_ERR_NONE", "VIR_ERR_WARNING", "VIR_ERR_ERROR")
# How libvirt says that the agent in a guest is silent.
SILENCE = (
    "VIR_ERR_AGENT_UNRESPONSIVE",
    "VIR_ERR_AGENT_UNSYNCED",
    "VIR_ERR_AGENT_COMMAND_TIMEOUT",
    "VIR_ERR_OPERATION_TIMEOUT",
)
# What libvirt or QEMU can't do as they are, or as this host is.
REFUSALS = (
    "VIR_ERR_NO_SUPPORT",
    "VIR_ERR_OPERATION_INVALID",
    "VIR_ERR_CONFIG_UNSUPPORTED",
    "VIR_ERR_ARGUMENT_UNSUPPORTED",
    "VIR_ERR_OPERATION_UNSUPPORTED",
)
# What this libvirt, or its driver, does not have.
UNKNOWN = ("VIR_ERR_NO_SUPPORT", "VIR_ERR_OPERATION_UNSUPPORTED")
# What QEMU or its guest could not do, for whichever reason.
FAILURES = ("VIR_ERR_INTERNAL_ERROR", "VIR_ERR_OPERATION_FAILED")
# The first version that removes a domain without what its TPM holds.
KEEPS_TPM = 8_009_000
START_DAEMON = "start libvirtd, or on modular hosts virtqemud.socket and its siblings; run as root"


# How long a daemon may take to come back in the middle of a run; it looks at each of its guests.
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.25

_RUNNING = re.compile(r"<domain\s[^>]*\bid=")

Given = ParamSpec("Given")
Got = TypeVar("Got")


def is_local(uri: str) -> bool:
    """Tell whether a hypervisor's files are this host's files."""
    return not urlsplit(uri).netloc


def again(
    look: Callable[Concatenate[Hypervisor, Given], Got],
) -> Callable[Concatenate[Hypervisor, Given], Got]:
    """A look changes nothing: one that a broken connection cut off is taken again."""

    @functools.wraps(look)
    def looked(hypervisor: Hypervisor, /, *args: Given.args, **kwargs: Given.kwargs) -> Got:
        try:
            return look(hypervisor, *args, **kwargs)
        except LostError:
            return look(hypervisor, *args, **kwargs)

    return looked


class Hypervisor:
    """One connection to libvirt, good for one process."""

    # False for what stands for a libvirt that is yet to come.
    born = True

    def __init__(self, uri: str, *, patience: float = 0.0) -> None:
        """Connect.

        :param uri: libvirt's address of the hypervisor: ``qemu:///system``
        :param patience: how many seconds to wait for a daemon that is coming up
        :raises DependencyError: without libvirt-python
        :raises ConnectError: when nothing answers there
        """
        self.uri = uri
        self.local = is_local(uri)
        self.libvirt = _libvirt()
        self._patience = patience
        self._link: Any = self._open()
        self._handles: dict[str, Any] | None = None
        # libvirt's handles of volumes by pool and name, while many are looked at.
        self.volumes: dict[str, dict[str, Any]] | None = None

    def alive(self) -> bool:
        """Tell whether the connection still stands, as far as its last call knows."""
        try:
            return self._link is not None and bool(self._link.isAlive())
        except self.libvirt.libvirtError:
            return False

    @property
    def connection(self) -> Any:
        """libvirt's connection; one that broke is made anew."""
        if self._link is None:
            self._link = self._open()
        return self._link

    def _open(self) -> Any:
        """Connect; after a break give the daemon time to come back, but only once."""
        end = time.monotonic() + self._patience
        self._patience = 0.0
        while True:
            try:
                return self.libvirt.open(self.uri)
            except self.libvirt.libvirtError as error:
                if time.monotonic() >= end:
                    cure = CURES.get(self._code(error), START_DAEMON)
                    text = f"{self.uri} can't be reached: {_text(error)}; {cure}"
                    raise ConnectError(text) from error
            time.sleep(POLL_SECONDS)

    @again
    def read(self, kind: str, name: str, *, autostart: bool = True) -> Observed | None:
        """Return an object as it is; ``None`` where there is none.

        :param autostart: false where nobody will ask for it, which saves a call
        """
        with self.saying(ObserveError, f"{kind} {name}"):
            listed = self._listed(name) if kind == "domain" else None
            if listed is not None:
                seen = self._observe(kind, name, listed, autostart=autostart)
                # What was listed may be gone by now, or have another name.
                if seen is not None and f"<name>{name}</name>" in seen.xml:
                    return seen
            found = self.find(kind, name)
            return None if found is None else self._observe(kind, name, found, autostart=autostart)

    def _listed(self, name: str) -> Any:
        """Return libvirt's handle of a domain: one list saves a look-up for each of hundreds.

        Only what is read by a handle is believed, so its age does not matter.
        """
        if self._handles is None:
            self._handles = {each.name(): each for each in self.connection.listAllDomains(0)}
        return self._handles.get(name)

    def _observe(self, kind: str, name: str, found: Any, *, autostart: bool) -> Observed | None:
        try:
            xml, live = self._documents(kind, found)
            return Observed(
                kind=kind,
                name=name,
                xml=xml,
                live=live,
                autostart=autostart and bool(found.autostart()),
                persistent=live is None or bool(found.isPersistent()),
            )
        except self.libvirt.libvirtError as error:
            if self._code(error) == KINDS[kind].missing:
                return None
            raise

    def _documents(self, kind: str, found: Any) -> tuple[str, str | None]:
        """Return the definition, and the document of what runs; ``None`` where it is off.

        A domain is not asked whether it runs: its document has an ID only then, and is its
        definition otherwise (https://libvirt.org/formatdomain.html#general-metadata).
        """
        inactive = self.flag(KINDS[kind].inactive)
        if kind != "domain":
            return found.XMLDesc(inactive), found.XMLDesc(0) if found.isActive() else None
        secure = self.flag("VIR_DOMAIN_XML_SECURE")
        now = found.XMLDesc(secure)
        if _RUNNING.match(now):
            return found.XMLDesc(inactive | secure), now
        return now, None

    @again
    def read_all(self, kind: str) -> dict[str, Observed]:
        """Return all objects of a kind by name, with two list calls and a document for each."""
        calls = KINDS[kind]
        with self.saying(ObserveError, f"the list of {kind}s"):
            every = getattr(self.connection, calls.list_all)
            autostarted = {each.name() for each in every(self.flag(calls.list_autostart))}
            found = {each.name(): each for each in every(0)}
            seen = {
                name: self._observe(kind, name, each, autostart=False)
                for name, each in found.items()
            }
        return {
            name: replace(each, autostart=name in autostarted)
            for name, each in seen.items()
            if each is not None
        }

    @again
    def names(self, kind: str, *, active: bool = False) -> list[str]:
        """Return the names of all objects of a kind, or of those that are on, sorted."""
        with self.saying(ObserveError, f"the list of {kind}s"):
            flags = self.flag(KINDS[kind].list_active) if active else 0
            return sorted(
                each.name() for each in getattr(self.connection, KINDS[kind].list_all)(flags)
            )

    def define(self, kind: str, xml: str) -> None:
        """Write a persistent definition."""
        with self.saying(ApplyError, f"defining a {kind}"):
            getattr(self.connection, KINDS[kind].define)(xml)

    def undefine(self, kind: str, name: str) -> None:
        """Remove a persistent definition, and of a domain what libvirt kept beside it.

        The NVRAM file and what a TPM holds stay, so that the domain can be brought back; a saved
        memory and the records of snapshots and checkpoints go.
        """
        if kind != "domain":
            self.call(kind, name, "undefining", "undefine")
            return
        beside = self._beside(name)
        # An older libvirt refuses the flags that it does not know, so only those that it takes.
        flags = self.flag("VIR_DOMAIN_UNDEFINE_KEEP_NVRAM")
        for flag in (flag for flag, there in beside.items() if there):
            flags |= self.flag(f"VIR_DOMAIN_UNDEFINE_{flag}")
        self.call(kind, name, "undefining", "undefineFlags", flags)

    @again
    def _beside(self, name: str) -> dict[str, bool]:
        """Tell what is beside a domain's definition, by the flag that each needs."""
        with self.saying(ObserveError, f"domain {name}"):
            found = self.get("domain", name)
            return {
                "MANAGED_SAVE": bool(found.hasManagedSaveImage()),
                "SNAPSHOTS_METADATA": bool(found.snapshotNum()),
                "CHECKPOINTS_METADATA": self._checkpoints(found),
                "KEEP_TPM": self._keeps_tpm(found),
            }

    def _checkpoints(self, found: Any) -> bool:
        return bool(self.unless(UNKNOWN, found.listAllCheckpoints))

    def _keeps_tpm(self, found: Any) -> bool:
        """Tell of a domain with a TPM whether libvirt can leave alone what that holds."""
        known = hasattr(self.libvirt, "VIR_DOMAIN_UNDEFINE_KEEP_TPM")
        if not known or self.connection.getLibVersion() < KEEPS_TPM:
            return False
        return "<tpm " in found.XMLDesc(self.flag(KINDS["domain"].inactive))

    def set_autostart(self, kind: str, name: str, value: bool) -> None:
        """Say whether the object starts with the host."""
        self.call(kind, name, "setting autostart of", "setAutostart", int(value))

    def start(self, kind: str, name: str) -> None:
        """Start an object that is off."""
        self.call(kind, name, "starting", "create")

    def destroy(self, kind: str, name: str) -> None:
        """Take an object down at once; a guest loses what it had not written."""
        self.call(kind, name, "stopping", "destroy")

    @again
    def active(self, kind: str, name: str) -> bool:
        """Tell whether an object is on; one that is gone is not."""
        with self.saying(ObserveError, f"{kind} {name}"):
            found = self.find(kind, name)
            return found is not None and bool(found.isActive())

    def call(
        self,
        kind: str,
        name: str,
        doing: str,
        method: str,
        *arguments: object,
        refusals: Container[str] = REFUSALS,
    ) -> Any:
        """Call a method of libvirt's object.

        :param doing: what to say it was when it fails
        :param refusals: the codes by which libvirt says that it can't do that
        :raises RefusedError: where libvirt can't do that
        """
        with self.saying(ApplyError, f"{doing} {kind} {name}"):
            found = self.get(kind, name)
            try:
                return getattr(found, method)(*arguments)
            except self.libvirt.libvirtError as error:
                if self._code(error) in refusals:
                    raise RefusedError(f"{doing} {kind} {name}: {_text(error)}") from error
                raise

    def ask_agent(self, name: str, order: str, timeout: int) -> str:
        """Return what the agent in a guest answers; both are JSON.

        :raises NoAnswerError: when it does not within ``timeout`` seconds
        """
        what = f"the agent of domain {name}"
        with self.saying(AgentError, what):
            found = self.get("domain", name)
            try:
                return str(_libvirt_qemu().qemuAgentCommand(found, order, timeout, 0))
            except self.libvirt.libvirtError as error:
                if self._code(error) in SILENCE:
                    cure = "restart qemu-guest-agent in the guest"
                    raise NoAnswerError(
                        f"{what} does not answer: {_text(error)}; {cure}"
                    ) from error
                raise

    def unless(self, codes: Sequence[str], call: Callable[..., Any], *arguments: object) -> Any:
        """Return what a call returns; ``None`` where libvirt answers with one of these codes."""
        try:
            return call(*arguments)
        except self.libvirt.libvirtError as error:
            if self._code(error) in codes:
                return None
            raise

    def find(self, kind: str, name: str) -> Any:
        """Return libvirt's handle of an object; ``None`` where there is none."""
        calls = KINDS[kind]
        return self.unless((calls.missing,), getattr(self.connection, calls.lookup), name)

    def get(self, kind: str, name: str) -> Any:
        """Return libvirt's handle of an object.

        :raises NotFoundError: where there is none
        """
        found = self.find(kind, name)
        if found is None:
            raise NotFoundError(f"there is no {kind} {name!r} at {self.uri}; declare it first")
        return found

    def flag(self, name: str) -> int:
        """Return one of libvirt's constants by its name."""
        return int(getattr(self.libvirt, name))

    def _code(self, error: Any) -> str:
        return _code_names(self.libvirt).get(error.get_error_code(), "")

    @contextmanager
    def saying(self, error: type[KvmError], what: str) -> Iterator[None]:
        """Turn what libvirt refuses into a sentence that says what was being done."""
        try:
            yield
        except self.libvirt.libvirtError as cause:
            if not self.alive():
                self._link, self._handles, self._patience = None, None, PATIENCE_SECONDS
                self.volumes = None
                text = f"{what}: the connection to {self.uri} broke: {_text(cause)}"
                raise LostError(f"{text}; {START_DAEMON}, then run this again") from cause
            raise error(f"{what}: {_text(cause)}") from cause
        except UnicodeDecodeError as cause:
            near = cause.object[max(cause.start - 60, 0) : cause.end + 60]
            raise error(f"{what}: {near!r} is no UTF-8; rename that") from cause


@functools.cache
def _libvirt() -> Any:
    try:
        import libvirt
    except ImportError as error:
        raise DependencyError(
            "libvirt-python is not installed in the Python that runs Salt; "
            "apply kvm.host, which installs it"
        ) from error
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt


def _libvirt_qemu() -> Any:
    """What only QEMU's driver has; it comes with libvirt-python."""
    import libvirt_qemu

    return libvirt_qemu


@functools.cache
def _code_names(libvirt: Any) -> dict[int, str]:
    """Without the names of an error's levels, which are numbers of codes too."""
    names = (name for name in dir(libvirt) if name.startswith("VIR_ERR_") and name not in LEVELS)
    return {getattr(libvirt, name): name for name in names}


def _text(error: Any) -> str:
    """The first line; of a program that failed libvirt tells all that it said."""
    return str(error.get_error_message() or error).strip().splitlines()[0].rstrip(".")
