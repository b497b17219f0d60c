"""The store: what images are made from, each once on a host, known by what it holds.

An entry is a folder named by the SHA-256 of the file as it was fetched. It gets its name when it
is whole, checked and on the disk, and nothing in it changes afterwards but the list of what stands
on it and the blanks that this began as. ``by`` holds links to entries by other checksums, and by
what a local file was.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from salt_kvm.backend.client import Client
from salt_kvm.backend.storage import qemu_img
from salt_kvm.backend.system import copying, folders, header, lock
from salt_kvm.backend.system.files import anew, sync
from salt_kvm.backend.system.progress import Progress, Report
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError, ObserveError
from salt_kvm.plan.steps import Source
from salt_kvm.spec import checksum
from salt_kvm.spec.checksum import Checksum
from salt_kvm.spec.image import shown_address

FOLDER = "/var/lib/salt-kvm/store"
# The largest file of ext4; what claims more can't be meant.
LARGEST = 16 * 1024**4
# A fetch may take long; who holds a lock lives, as the kernel lets go of a dead one's.
PATIENCE_SECONDS = 86_400.0
_LONGEST_CHECKSUM_FILE = 4 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """One image of the store."""

    folder: str
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image(self) -> str:
        return os.path.join(self.folder, "image")

    @property
    def format(self) -> str:
        return str(self.record["format"])

    @property
    def size(self) -> int:
        return int(self.record["virtual_size"])

    def clones(self) -> Iterator[tuple[str, bool | None]]:
        """Yield the images that were made to stand on it, and whether each is gone.

        ``None``: that can't be told, as its file system is not there or is another one.
        """
        folder = os.path.join(self.folder, "clones")
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            device, _, path = os.readlink(os.path.join(folder, name)).partition(":")
            parent = os.path.dirname(path)
            there = os.path.isdir(parent) and str(os.stat(parent).st_dev) == device
            yield path, not os.path.exists(path) if there else None

    def add_clone(self, path: str) -> None:
        """Note that an image stands on this one, and on which file system that is.

        A link to nowhere: it is on the disk with the image that is made after it, as both are names
        in one journal; only that of another file system is waited for.
        """
        device = os.stat(os.path.dirname(path)).st_dev
        folder = os.path.join(self.folder, "clones")
        if not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
        link = os.path.join(folder, hashlib.sha256(path.encode()).hexdigest())
        with suppress(FileNotFoundError):
            os.unlink(link)
        os.symlink(f"{device}:{path}", link)
        if os.stat(folder).st_dev != device:
            sync(folder)

    def blank(self, name: str) -> str:
        """Return where a blank is, or can be made: an empty image that stands on this one."""
        folder = os.path.join(self.folder, "blank")
        if not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, name)


@dataclass(frozen=True)
class Store:
    """The store of one host; how it fetches and who is told of progress is the client's."""

    client: Client

    @property
    def folder(self) -> str:
        return self.client.store

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep every entry while images are made of them."""
        with lock.held("store", self.folder, shared=True, patience=PATIENCE_SECONDS):
            yield

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Let nobody make images of entries."""
        with lock.held("store", self.folder, patience=PATIENCE_SECONDS):
            yield

    def entries(self) -> list[Entry]:
        """Return all entries, the oldest first."""
        with saying(ObserveError, self.folder):
            try:
                names = os.listdir(self.folder)
            except FileNotFoundError:
                return []
        found = [self._entry(name) for name in names if _is_digest(name)]
        return sorted(filter(None, found), key=lambda entry: str(entry.record["fetched"]))

    def holds(self, path: str) -> bool:
        """Tell whether a file is one of the store's, in which nothing is changed."""
        return os.path.realpath(path).startswith(f"{os.path.realpath(self.folder)}/")

    def has(self, declared: str | None) -> bool:
        """Tell whether an image with a declared checksum is here."""
        wanted = None if declared is None else checksum.value(declared)
        return wanted is not None and self._by(wanted) is not None

    def bring(self, source: Source) -> Entry:
        """Return the entry of a source; fetch and check it where there is none.

        :raises ApplyError: where it can't be fetched or is not what it should be
        """
        key = hashlib.sha256((source.hash or source.address).encode()).hexdigest()
        with (
            lock.held("store", f"{self.folder}/{key}", patience=PATIENCE_SECONDS),
            saying(ApplyError, self.folder),
        ):
            self._begin()
            wanted = self._wanted(source)
            with saying(ApplyError, source.address):
                known = _state_of(source.address) if wanted is None else wanted
            there = None if known is None else self._by(known)
            if there is None:
                there = self._add(source, wanted, known)
            if source.format not in (None, there.format):
                raise ApplyError(
                    f"{source.shown} is a {there.format} image, and source_format: "
                    f"{source.format} is declared"
                )
            return there

    def _begin(self) -> None:
        folders.make(self.folder)

    def _wanted(self, source: Source) -> Checksum | None:
        declared = source.hash or self.client.published(source.address)
        if declared is None:
            return None
        given = checksum.value(declared)
        if given is not None:
            return given
        name = os.path.basename(unquote(urlsplit(source.address).path))
        with self.fetched(declared) as path, open(path, "rb") as file:
            text = checksum.text(file.read(_LONGEST_CHECKSUM_FILE))
        return checksum.in_file(text, name, shown_address(declared))

    @contextmanager
    def fetched(self, address: str) -> Iterator[str]:
        """Fetch into a temporary folder, which goes with what a fetch that failed left in it."""
        self._begin()
        with anew(os.path.join(self.folder, "fetched"), keep=False) as target:
            size = self.client.length(address)
            if size is not None:
                room(self.folder, size)
            with _watched(target, f"fetch of {shown_address(address)}", size, self.client.report):
                try:
                    path = self.client.fetch(address, target)
                except ApplyError as error:
                    text = str(error).replace(address, shown_address(address))
                    # A file client tells that its connection was closed, and not that it did it.
                    if shutil.disk_usage(self.folder).free < copying.BLOCK:
                        text = f"{text}; {self.folder} has no room left; free some space"
                    raise ApplyError(text) from error
            yield path

    def _add(self, source: Source, wanted: Checksum | None, known: Checksum | None) -> Entry:
        algorithms = {"sha256"} | ({wanted.algorithm} if wanted is not None else set())
        with self.fetched(source.address) as path:
            _room_for(path, self.folder)
            with anew(os.path.join(self.folder, "entry"), keep=False) as made:
                folders.make(made)
                image = os.path.join(made, "image")
                progress = Progress(
                    f"copy of {source.shown}", os.path.getsize(path), self.client.report
                )
                digests = copying.take(path, image, algorithms, progress)
                progress.end()
                _unchanged(source.address, known)
                _check_sum(source, wanted, digests)
                record = _inspect(source, image)
                record = {"source": source.shown, **digests, **record, "fetched": _now()}
                return self._settle(made, record, wanted or known)

    def _settle(self, made: str, record: dict[str, Any], known: Checksum | None) -> Entry:
        """Give a whole entry its name."""
        os.chmod(os.path.join(made, "image"), 0o444)
        path = Path(made) / "record.json"
        path.write_text(json.dumps(record, indent=2))
        sync(str(path))
        sync(made)
        digest = record["sha256"]
        place = os.path.join(self.folder, digest)
        if not os.path.isdir(place):
            os.rename(made, place)
        elif self._entry(digest) is None:
            # A removal that was killed has left it; what stands on it is noted there.
            for name in ("image", "record.json"):
                os.replace(os.path.join(made, name), os.path.join(place, name))
            sync(place)
        sync(self.folder)
        if known is not None and known.algorithm != "sha256":
            self._link(known, digest)
        entry = self._entry(digest)
        if entry is None:
            raise ApplyError(f"{place} is no entry of the store; remove it")
        return entry

    def _link(self, known: Checksum, digest: str) -> None:
        by = os.path.join(self.folder, "by")
        os.makedirs(by, exist_ok=True)
        name = os.path.join(by, f"{known.algorithm}-{known.value}")
        if os.path.islink(name):
            os.unlink(name)
        os.symlink(os.path.join("..", digest), name)

    def _by(self, known: Checksum) -> Entry | None:
        if known.algorithm == "sha256":
            return self._entry(known.value)
        with suppress(OSError):
            link = os.readlink(os.path.join(self.folder, "by", "-".join(known)))
            return self._entry(os.path.basename(link))
        return None

    def _entry(self, digest: str) -> Entry | None:
        place = os.path.join(self.folder, digest)
        try:
            record = json.loads((Path(place) / "record.json").read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return Entry(place, record) if os.path.isfile(os.path.join(place, "image")) else None

    def remove(self, entry: Entry) -> None:
        """Remove an entry; half of one is none, as its record goes first."""
        with saying(ApplyError, entry.folder):
            os.unlink(os.path.join(entry.folder, "record.json"))
            shutil.rmtree(entry.folder)
            by = os.path.join(self.folder, "by")
            for name in os.listdir(by) if os.path.isdir(by) else ():
                link = os.path.join(by, name)
                if not os.path.exists(link):
                    os.unlink(link)


@contextmanager
def _watched(target: str, what: str, size: int | None, report: Report) -> Iterator[None]:
    """Tell how much has arrived; a file client tells nobody itself."""
    progress, over = Progress(what, size, report), threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            parts = (f"{target}.part", target)
            progress.reach(max((os.path.getsize(p) for p in parts if os.path.exists(p)), default=0))

    # Whoever is told may need what Salt's loader keeps for each thread, as its functions do.
    here = contextvars.copy_context()
    threading.Thread(target=here.run, args=(watch,), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _unchanged(address: str, known: Checksum | None) -> None:
    """Without a checksum nothing else tells that a file was written to while it was read."""
    with saying(ApplyError, address):
        if known is not None and known.algorithm == "stat" and _state_of(address) != known:
            raise ApplyError(f"{address} was changed while it was read; run this again")


def _check_sum(source: Source, wanted: Checksum | None, digests: Mapping[str, str]) -> None:
    if wanted is not None and digests[wanted.algorithm] != wanted.value:
        raise ApplyError(
            f"{source.shown} has the {wanted.algorithm} checksum "
            f"{digests[wanted.algorithm]}, and {wanted.value} is declared; it is cut off, or "
            "another file, or source_hash is wrong"
        )


def _inspect(source: Source, image: str) -> dict[str, Any]:
    """Return what a foreign image is, or refuse it; QEMU's tools see only what names no other."""
    told = header.read(image)
    address = source.shown
    if source.format not in (None, told.format):
        raise ApplyError(
            f"{address} begins like a {told.format} image, and source_format: {source.format} "
            "is declared"
        )
    if told.damaged:
        raise ApplyError(f"{address} is no whole {told.format} image; get it anew")
    if told.backing is not None or told.data_file is not None:
        other = told.backing or told.data_file
        raise ApplyError(
            f"{address} names another file, {other}, which an image from elsewhere must not; "
            "convert it where it was made"
        )
    if told.encrypted:
        raise ApplyError(f"{address} is encrypted; decrypt it where it was made")
    size = told.size
    if size is None:
        size = int(qemu_img.info(image, told.format)["virtual-size"])
    if not 0 < size <= LARGEST:
        raise ApplyError(f"{address} claims to have {size} bytes, which can't be; get it anew")
    faults = qemu_img.faults(image, told.format)
    if faults:
        raise ApplyError(f"{address} is corrupt, {faults} faults; get it anew")
    return {"format": told.format, "virtual_size": size, "stored": os.path.getsize(image)}


def _room_for(path: str, folder: str) -> None:
    """Refuse before a byte is written what can't fit."""
    found = os.stat(path)
    expanded = copying.expanded(path)
    need = min(found.st_size, found.st_blocks * 512) if expanded is None else expanded
    room(folder, need)


def room(folder: str, need: int) -> None:
    """Refuse what a file system has no room for.

    :raises ApplyError: with what is free
    """
    free = shutil.disk_usage(folder).free
    if need > free:
        mib = 1024 * 1024
        raise ApplyError(
            f"{folder} has {free // mib} MiB free and {-(-need // mib)} MiB are needed; "
            "free some space"
        )


def _state_of(address: str) -> Checksum | None:
    """What a local file is known by while nobody touches it, so that it is read only once."""
    if not address.startswith("/"):
        return None
    found = os.stat(address)
    facts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return Checksum("stat", hashlib.sha256(repr((address, facts)).encode()).hexdigest())


def _is_digest(name: str) -> bool:
    given = checksum.value(name)
    return given is not None and given.algorithm == "sha256"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
