"""The hypervisor, through libvirt: the only file that imports it.

Errors are told apart by libvirt's codes, never by their text.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import RawIOBase
from typing import IO, Any, Concatenate, ParamSpec, TypeVar

from salt_kvm.errors import (
    ApplyError,
    ConnectError,
    DependencyError,
    KvmError,
    LostError,
    NotFoundError,
    ObserveError,
    RefusedError,
)
from salt_kvm.seen import Observed


@dataclass(frozen=True)
class Calls:
    """What libvirt calls the same thing for one kind of object."""

    lookup: str
    define: str
    list_all: str
    list_active: str
    list_autostart: str
    inactive: str
    missing: str


KINDS = {
    "domain": Calls(
        lookup="lookupByName",
        define="defineXML",
        list_all="listAllDomains",
        list_active="VIR_CONNECT_LIST_DOMAINS_ACTIVE",
        list_autostart="VIR_CONNECT_LIST_DOMAINS_AUTOSTART",
        inactive="VIR_DOMAIN_XML_INACTIVE",
        missing="VIR_ERR_NO_DOMAIN",
    ),
    "network": Calls(
        lookup="networkLookupByName",
        define="networkDefineXML",
        list_all="listAllNetworks",
        list_active="VIR_CONNECT_LIST_NETWORKS_ACTIVE",
        list_autostart="VIR_CONNECT_LIST_NETWORKS_AUTOSTART",
        inactive="VIR_NETWORK_XML_INACTIVE",
        missing="VIR_ERR_NO_NETWORK",
    ),
    "pool": Calls(
        lookup="storagePoolLookupByName",
        define="storagePoolDefineXML",
        list_all="listAllStoragePools",
        list_active="VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE",
        list_autostart="VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART",
        inactive="VIR_STORAGE_XML_INACTIVE",
        missing="VIR_ERR_NO_STORAGE_POOL",
    ),
}
CURES = {
    "VIR_ERR_AUTH_UNAVAILABLE": "run as root",
    "VIR_ERR_AUTH_FAILED": "run as root",
    "VIR_ERR_ACCESS_DENIED": "run as root",
    "VIR_ERR_NO_CONNECT": "correct the connection URI, or install libvirt's driver for it",
    "VIR_ERR_INVALID_ARG": "correct the connection URI",
}
# What libvirt or QEMU can't do as they are, or as this host is.
REFUSALS = (
    "VIR_ERR_NO_SUPPORT",
    "VIR_ERR_OPERATION_INVALID",
    "VIR_ERR_CONFIG_UNSUPPORTED",
    "VIR_ERR_ARGUMENT_UNSUPPORTED",
    "VIR_ERR_OPERATION_UNSUPPORTED",
)
START_DAEMON = "start libvirtd, or on modular hosts virtqemud.socket and its siblings; run as root"


# How long a daemon may take to come back in the middle of a run.
PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.25

_RUNNING = re.compile(r"<domain\s[^>]*\bid=")

Given = ParamSpec("Given")
Got = TypeVar("Got")


def _again(
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

    def __init__(self, uri: str) -> None:
        """Connect.

        :param uri: libvirt's address of the hypervisor: ``qemu:///system``
        :raises DependencyError: without libvirt-python
        :raises ConnectError: when nothing answers there
        """
        self.uri = uri
        self.libvirt = _libvirt()
        self._patience = 0.0
        self._link: Any = self._open()
        self._handles: dict[str, Any] | None = None

    def alive(self) -> bool:
        """Tell whether the connection still stands, as far as its last call knows."""
        try:
            return self._link is not None and bool(self._link.isAlive())
        except self.libvirt.libvirtError:
            return False

    @property
    def _connection(self) -> Any:
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

    @_again
    def read(self, kind: str, name: str, *, autostart: bool = True) -> Observed | None:
        """Return an object as it is; ``None`` where there is none.

        :param autostart: false where nobody will ask for it, which saves a call
        """
        with self._saying(ObserveError, f"{kind} {name}"):
            listed = self._listed(name) if kind == "domain" else None
            if listed is not None:
                seen = self._observe(kind, name, listed, autostart=autostart)
                # What was listed may be gone by now, or have another name.
                if seen is not None and f"<name>{name}</name>" in seen.xml:
                    return seen
            found = self._find(kind, name)
            return None if found is None else self._observe(kind, name, found, autostart=autostart)

    def _listed(self, name: str) -> Any:
        """Return libvirt's handle of a domain: one list saves a look-up for each of hundreds.

        Only what is read by a handle is believed, so its age does not matter.
        """
        if self._handles is None:
            self._handles = {each.name(): each for each in self._connection.listAllDomains(0)}
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

    @_again
    def read_all(self, kind: str) -> dict[str, Observed]:
        """Return all objects of a kind by name, with two list calls and a document for each."""
        calls = KINDS[kind]
        with self._saying(ObserveError, f"the list of {kind}s"):
            every = getattr(self._connection, calls.list_all)
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

    @_again
    def names(self, kind: str, *, active: bool = False) -> list[str]:
        """Return the names of all objects of a kind, or of those that are on, sorted."""
        with self._saying(ObserveError, f"the list of {kind}s"):
            flags = self.flag(KINDS[kind].list_active) if active else 0
            return sorted(
                each.name() for each in getattr(self._connection, KINDS[kind].list_all)(flags)
            )

    def define(self, kind: str, xml: str) -> None:
        """Write a persistent definition."""
        with self._saying(ApplyError, f"defining a {kind}"):
            getattr(self._connection, KINDS[kind].define)(xml)

    def undefine(self, kind: str, name: str) -> None:
        """Remove a persistent definition, and of a domain what libvirt kept beside it.

        The NVRAM file stays; a saved memory and the records of snapshots and checkpoints go.
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

    @_again
    def _beside(self, name: str) -> dict[str, bool]:
        """Tell what libvirt keeps beside a domain's definition, by the flags that remove it."""
        with self._saying(ObserveError, f"domain {name}"):
            found = self._get("domain", name)
            return {
                "MANAGED_SAVE": bool(found.hasManagedSaveImage()),
                "SNAPSHOTS_METADATA": bool(found.snapshotNum()),
                "CHECKPOINTS_METADATA": self._checkpoints(found),
            }

    def _checkpoints(self, found: Any) -> bool:
        try:
            return bool(found.listAllCheckpoints())
        except self.libvirt.libvirtError as error:
            if self._code(error) in ("VIR_ERR_NO_SUPPORT", "VIR_ERR_OPERATION_UNSUPPORTED"):
                return False
            raise

    def set_autostart(self, kind: str, name: str, value: bool) -> None:
        """Say whether the object starts with the host."""
        self.call(kind, name, "setting autostart of", "setAutostart", int(value))

    def start(self, kind: str, name: str) -> None:
        """Start an object that is off."""
        self.call(kind, name, "starting", "create")

    def destroy(self, kind: str, name: str) -> None:
        """Take an object down at once; a guest loses what it had not written."""
        self.call(kind, name, "stopping", "destroy")

    def shutdown(self, name: str) -> None:
        """Ask a guest to power off."""
        self.call("domain", name, "shutting down", "shutdown")

    @_again
    def active(self, kind: str, name: str) -> bool:
        """Tell whether an object is on; one that is gone is not."""
        with self._saying(ObserveError, f"{kind} {name}"):
            found = self._find(kind, name)
            return found is not None and bool(found.isActive())

    def call(self, kind: str, name: str, doing: str, method: str, *arguments: object) -> Any:
        """Call a method of libvirt's object.

        :param doing: what to say it was when it fails
        :raises RefusedError: where libvirt can't do that
        """
        with self._saying(ApplyError, f"{doing} {kind} {name}"):
            found = self._get(kind, name)
            try:
                return getattr(found, method)(*arguments)
            except self.libvirt.libvirtError as error:
                if self._code(error) in REFUSALS:
                    raise RefusedError(f"{doing} {kind} {name}: {_text(error)}") from error
                raise

    @_again
    def screenshot(self, name: str) -> bytes:
        """Return the screen of a running guest, as PNG or, with an older QEMU, as PPM."""
        with self._saying(ObserveError, f"the screen of domain {name}"):
            stream = self._connection.newStream()
            self._get("domain", name).screenshot(stream, 0)
            parts: list[bytes] = []
            stream.recvAll(lambda _stream, data, _opaque: parts.append(data), None)
            stream.finish()
            return b"".join(parts)

    @_again
    def leases(self, name: str) -> list[dict[str, Any]]:
        """Return the DHCP leases of a network."""
        with self._saying(ObserveError, f"the leases of network {name}"):
            leases: list[dict[str, Any]] = self._get("network", name).DHCPLeases()
            return leases

    @_again
    def arch(self) -> str:
        """Return the architecture of the hypervisor's host."""
        with self._saying(ObserveError, "the host's architecture"):
            return str(self._connection.getInfo()[0])

    @_again
    def capabilities(self) -> str:
        """Return libvirt's capabilities document."""
        with self._saying(ObserveError, "the host's capabilities"):
            return str(self._connection.getCapabilities())

    @_again
    def pool_capabilities(self) -> str | None:
        """Return libvirt's document of the pool types that it knows; an old one has none."""
        with self._saying(ObserveError, "the types of storage pools"):
            try:
                return str(self._connection.getStoragePoolCapabilities())
            except self.libvirt.libvirtError as error:
                if self._code(error) in ("VIR_ERR_NO_SUPPORT", "VIR_ERR_OPERATION_UNSUPPORTED"):
                    return None
                raise

    @_again
    def volumes(self, pool: str) -> dict[str, str]:
        """Return the path of each volume of an active pool, by the volume's name."""
        with self._saying(ObserveError, f"the volumes of pool {pool}"):
            return {each.name(): each.path() for each in self._get("pool", pool).listAllVolumes(0)}

    @_again
    def volume_sizes(self, pool: str) -> dict[str, dict[str, Any]]:
        """Return path, capacity and allocation (bytes) of each volume of an active pool."""
        with self._saying(ObserveError, f"the volumes of pool {pool}"):
            sizes = {}
            for each in self._get("pool", pool).listAllVolumes(0):
                _type, capacity, allocation = each.info()
                sizes[each.name()] = {
                    "path": each.path(),
                    "capacity": capacity,
                    "allocation": allocation,
                }
            return sizes

    @_again
    def read_volume(self, pool: str, name: str) -> tuple[bool, str | None]:
        """Return whether libvirt knows a volume of a pool that is on, and the volume's document.

        There is none of a volume whose file went without libvirt.
        """
        with self._saying(ObserveError, f"volume {pool}/{name}"):
            found = self._volume(pool, name)
            try:
                return found is not None, None if found is None else str(found.XMLDesc(0))
            except self.libvirt.libvirtError as error:
                if self._code(error) == "VIR_ERR_NO_STORAGE_VOL":
                    return True, None
                raise

    def call_volume(self, pool: str, name: str, doing: str, method: str, *arguments: object) -> Any:
        """Call a method of a volume; ``doing`` is what to say it was when it fails."""
        with self._saying(ApplyError, f"{doing} volume {pool}/{name}"):
            found = self._volume(pool, name)
            if found is None:
                raise NotFoundError(f"there is no volume {name!r} in pool {pool!r}; declare it")
            return getattr(found, method)(*arguments)

    def clone_volume(self, pool: str, xml: str, source: str) -> None:
        """Make a volume as a copy of another one of its pool."""
        with self._saying(ApplyError, f"copying volume {pool}/{source}"):
            found = self._volume(pool, source)
            if found is None:
                raise NotFoundError(f"there is no volume {source!r} in pool {pool!r}; declare it")
            self._get("pool", pool).createXMLFrom(xml, found, 0)

    def upload(
        self, pool: str, name: str, file: RawIOBase, count: Callable[[int], None], *, sparse: bool
    ) -> None:
        """Write a file into a volume; ``count`` is told of each part.

        :param sparse: skip its holes: of a volume that held something that would stay in them
        """

        def part(_stream: Any, length: int, _: Any) -> bytes:
            data = file.read(length) or b""
            count(len(data))
            return data

        with self._saying(ApplyError, f"uploading into volume {pool}/{name}"):
            stream = self._connection.newStream()
            flags = self.flag("VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM") if sparse else 0
            self._volume(pool, name).upload(stream, 0, 0, flags)
            if sparse:
                stream.sparseSendAll(
                    part,
                    lambda _stream, _: _extent(file),
                    lambda _stream, length, _: file.seek(length, os.SEEK_CUR),
                    None,
                )
            else:
                stream.sendAll(part, None)
            stream.finish()

    def download(self, pool: str, name: str, file: IO[bytes]) -> None:
        """Write what a volume holds into a file, its holes as holes."""
        with self._saying(ApplyError, f"downloading volume {pool}/{name}"):
            sparse = self.flag("VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM")
            stream = self._connection.newStream()
            self._volume(pool, name).download(stream, 0, 0, sparse)
            stream.sparseRecvAll(
                lambda _stream, data, _: file.write(data),
                lambda _stream, length, _: file.seek(length, os.SEEK_CUR),
                None,
            )
            stream.finish()
            file.truncate(file.tell())

    def read_secret(self, usage: str, identity: str) -> str | None:
        """Return the document of a secret, which holds no value; ``None`` where there is none."""
        with self._saying(ObserveError, f"secret {usage}/{identity}"):
            found = self._secret(usage, identity)
            return None if found is None else str(found.XMLDesc(0))

    def secrets(self) -> list[str]:
        """Return the documents of all secrets."""
        with self._saying(ObserveError, "the list of secrets"):
            return [str(each.XMLDesc(0)) for each in self._connection.listAllSecrets(0)]

    def secret_value(self, usage: str, identity: str) -> bytes | None:
        """Return the value of a secret; ``None`` where it has none, or tells it to nobody."""
        with self._saying(ObserveError, f"the value of secret {usage}/{identity}"):
            found = self._secret(usage, identity)
            try:
                return None if found is None else bytes(found.value(0))
            except self.libvirt.libvirtError as error:
                if self._code(error) in ("VIR_ERR_NO_SECRET", "VIR_ERR_INVALID_SECRET"):
                    return None
                raise

    def passphrase(self, uuid: str) -> bytes:
        """Return the value of a secret, which libvirt tells unless it is private."""
        with self._saying(ApplyError, f"reading the secret {uuid}"):
            return bytes(self._connection.secretLookupByUUIDString(uuid).value(0))

    def define_secret(self, xml: str) -> None:
        """Write the definition of a secret."""
        with self._saying(ApplyError, "defining a secret"):
            self._connection.secretDefineXML(xml, 0)

    def set_secret(self, usage: str, identity: str, value: bytes) -> None:
        """Set the value of a secret."""
        with self._saying(ApplyError, f"setting the value of secret {usage}/{identity}"):
            found = self._secret(usage, identity)
            if found is None:
                raise NotFoundError(f"there is no secret {usage}/{identity}; declare it first")
            found.setValue(value, 0)

    def undefine_secret(self, usage: str, identity: str) -> None:
        """Remove a secret and its value."""
        with self._saying(ApplyError, f"removing secret {usage}/{identity}"):
            found = self._secret(usage, identity)
            if found is not None:
                found.undefine()

    def _secret(self, usage: str, identity: str) -> Any:
        try:
            kind = self.flag(f"VIR_SECRET_USAGE_TYPE_{usage.upper()}")
            return self._connection.secretLookupByUsage(kind, identity)
        except self.libvirt.libvirtError as error:
            if self._code(error) == "VIR_ERR_NO_SECRET":
                return None
            raise

    def _volume(self, pool: str, name: str) -> Any:
        try:
            found = self._find("pool", pool)
            return None if found is None else found.storageVolLookupByName(name)
        except self.libvirt.libvirtError as error:
            if self._code(error) in ("VIR_ERR_NO_STORAGE_VOL", "VIR_ERR_OPERATION_INVALID"):
                return None
            raise

    @_again
    def versions(self) -> dict[str, str]:
        """Return the versions of libvirt's daemon, of its client library and of the hypervisor."""
        with self._saying(ObserveError, "the versions"):
            return {
                "libvirt": _version(self._connection.getLibVersion()),
                "libvirt_client": _version(self.libvirt.getVersion()),
                "hypervisor": _version(self._connection.getVersion()),
                "hypervisor_type": str(self._connection.getType()),
            }

    def _find(self, kind: str, name: str) -> Any:
        try:
            return getattr(self._connection, KINDS[kind].lookup)(name)
        except self.libvirt.libvirtError as error:
            if self._code(error) == KINDS[kind].missing:
                return None
            raise

    def _get(self, kind: str, name: str) -> Any:
        found = self._find(kind, name)
        if found is None:
            raise NotFoundError(f"there is no {kind} {name!r} at {self.uri}; declare it first")
        return found

    def flag(self, name: str) -> int:
        """Return one of libvirt's constants by its name."""
        return int(getattr(self.libvirt, name))

    def _code(self, error: Any) -> str:
        return _code_names(self.libvirt).get(error.get_error_code(), "")

    @contextmanager
    def _saying(self, error: type[KvmError], what: str) -> Iterator[None]:
        try:
            yield
        except self.libvirt.libvirtError as cause:
            if not self.alive():
                self._link, self._handles, self._patience = None, None, PATIENCE_SECONDS
                text = f"{what}: the connection to {self.uri} broke: {_text(cause)}"
                raise LostError(f"{text}; {START_DAEMON}, then run this again") from cause
            raise error(f"{what}: {_text(cause)}") from cause


def _extent(file: RawIOBase) -> tuple[bool, int]:
    """Tell whether data or a hole comes next in a file, and how much of it."""
    at = file.tell()
    end = os.fstat(file.fileno()).st_size
    if at >= end:
        return False, 0
    try:
        data = os.lseek(file.fileno(), at, os.SEEK_DATA)
    except OSError:
        data = end
    hole = os.lseek(file.fileno(), at, os.SEEK_HOLE) if data == at else at
    file.seek(at)
    return (True, hole - at) if data == at else (False, data - at)


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


@functools.cache
def _code_names(libvirt: Any) -> dict[int, str]:
    return {getattr(libvirt, name): name for name in dir(libvirt) if name.startswith("VIR_ERR_")}


def _text(error: Any) -> str:
    """The first line; of a program that failed libvirt tells all that it said."""
    return str(error.get_error_message() or error).strip().splitlines()[0].rstrip(".")


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
