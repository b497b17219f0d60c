"""Volumes of storage pools; a volume's full name is ``pool/volume``."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from io import RawIOBase

from salt_kvm.backend.storage import begun, images, qemu_img
from salt_kvm.backend.storage.store import Store, room
from salt_kvm.backend.system import copying
from salt_kvm.backend.system.files import anew
from salt_kvm.backend.system.progress import Progress, Report, silent
from salt_kvm.backend.system.saying import saying
from salt_kvm.backend.virt import volume_calls
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import ApplyError, ConnectError, KvmError, ObserveError
from salt_kvm.plan.steps import CreateVolume, Source
from salt_kvm.seen import Hidden, Observed
from salt_kvm.spec.types import Size
from salt_kvm.xml.volume import capacity, is_file, resized
from salt_kvm.xml.volume import format as format_of
from salt_kvm.xml.volume import path as path_of

PART = 1024**2


def read(hypervisor: Hypervisor, name: str) -> Observed | None:
    """Return a volume; ``None`` where there is none, or its pool is off."""
    pool, _, volume = name.partition("/")
    _known, xml = volume_calls.read(hypervisor, pool, volume)
    return None if xml is None else Observed("volume", name, xml)


def known(hypervisor: Hypervisor, name: str) -> bool:
    """Tell whether libvirt has a volume on its list, be its file there or not."""
    pool, _, volume = name.partition("/")
    return volume_calls.read(hypervisor, pool, volume)[0]


def is_half(uri: str, there: Observed, *, local: bool) -> bool:
    """Tell whether a volume is what a run that was killed had begun to fill."""
    return begun.is_half(uri, there.name, there.xml, lambda: _holds(there.xml) if local else None)


def _holds(document: str) -> bool | None:
    """Tell whether a file holds anything that a guest would see; ``None`` of what is no file."""
    path, format = path_of(document), format_of(document)
    if path is None or not os.path.isfile(path):
        return None
    if format == "raw":
        return not blank(path)
    return any(extent["data"] and not extent["zero"] for extent in qemu_img.map_(path, format))


def create(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Make a volume."""
    pool = name.partition("/")[0]
    qemu_img.measured(
        lambda: hypervisor.call("pool", pool, "making a volume in", "createXML", xml, 0)
    )


def clone(hypervisor: Hypervisor, name: str, xml: str, source: str) -> None:
    """Make a volume as a copy of another one of its pool."""
    volume_calls.clone(hypervisor, name.partition("/")[0], xml, source.partition("/")[2])


def create_from(hypervisor: Hypervisor, step: CreateVolume, source: Source, store: Store) -> None:
    """Make a volume that holds what its source does; it is whole or not there."""
    with store.used():
        path, format, size = _contents(source, store)
        if format != step.format:
            raise ApplyError(
                f"{source.shown} is a {format} image, but volume {step.name} is declared as "
                f"{step.format}; declare its format"
            )
        if step.size is not None and step.size < size:
            raise ApplyError(
                f"{source.shown} has {Size(size)}, more than the declared {step.size}; "
                "declare more, or leave capacity out"
            )
        begun.begin(hypervisor.uri, step.name)
        try:
            create(hypervisor, step.name, resized(step.xml, max(size, step.size or 0)))
        except ConnectError:
            # It may be there, and empty: the record stays.
            raise
        except BaseException:
            begun.end(hypervisor.uri, step.name)
            raise
        there = read(hypervisor, step.name)
        document = None if there is None else there.xml
        begun.begin(hypervisor.uri, step.name, document)
        try:
            if there is not None:
                _fits(hypervisor, there, _taken(path))
            upload(hypervisor, step.name, path, store.client.report, new=True)
            # What was uploaded says its own size.
            if format != "raw" and step.size is not None and step.size > size:
                resize(hypervisor, step.name, step.size, shrink=False)
        except BaseException:
            with suppress(KvmError):
                delete(hypervisor, step.name)
            raise
        begun.end(hypervisor.uri, step.name, document)


def direct(address: str, hash: str | None) -> bool:
    """Tell whether a source is uploaded as it stands, and need not go through the store."""
    there = address.startswith("/") and os.path.isfile(address)
    return hash is None and there and copying.compression(address) is None


def _contents(source: Source, store: Store) -> tuple[str, str, int]:
    """Return the path, the format and the size (bytes) of the image that a source is."""
    if direct(source.address, source.hash):
        seen = images.see(source.address, None)
        if seen is not None and seen.size is not None:
            images.refuse_corrupt(source.address, str(seen.format))
            return source.address, str(seen.format), seen.size
    entry = store.bring(source)
    return entry.image, entry.format, entry.size


def upload(
    hypervisor: Hypervisor, name: str, source: str, report: Report = silent, *, new: bool = False
) -> None:
    """Write a file of this host into a volume, which keeps its size if it is larger.

    :param new: the volume holds nothing, so that the file's holes can stay holes
    """
    pool, _, volume = name.partition("/")
    before = _raw_capacity(hypervisor, name)
    # Unbuffered: a buffer does not learn that the search for holes moves the position.
    with saying(ApplyError, source), open(source, "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        data = _taken(source) if new else found.st_size
        there = None if new else read(hypervisor, name)
        if there is not None:
            _fits(hypervisor, there, data)
        progress = Progress(f"upload into volume {name}", data, report)
        volume_calls.upload(hypervisor, pool, volume, file, progress.add, sparse=new)
        progress.end()
        after = os.stat(source)
        if (after.st_size, after.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
            raise ApplyError(f"{source} was changed while it was read; run this again")
    hypervisor.call("pool", pool, "refreshing", "refresh", 0)
    # A hole at the end of a file cuts a volume that is a file off there.
    if before > _raw_capacity(hypervisor, name) > 0:
        resize(hypervisor, name, before, shrink=False)


def _fits(hypervisor: Hypervisor, there: Observed, need: int) -> None:
    """Refuse what a volume that is a file can't grow to hold, before it is written over."""
    path = path_of(there.xml)
    if hypervisor.local and is_file(there.xml) and path is not None and os.path.isfile(path):
        room(os.path.dirname(path), need - _taken(path))


def _taken(path: str) -> int:
    """Return how many bytes of its file system a file takes."""
    with saying(ApplyError, path):
        found = os.stat(path)
    return min(found.st_blocks * 512, found.st_size)


def _raw_capacity(hypervisor: Hypervisor, name: str) -> int:
    """Return the size of a raw volume, 0 of any other: that says its own size."""
    seen = read(hypervisor, name)
    return capacity(seen.xml) if seen is not None and format_of(seen.xml) == "raw" else 0


def download(hypervisor: Hypervisor, name: str, target: str) -> None:
    """Write what a volume holds into a file of this host, which is whole or not there."""
    pool, _, volume = name.partition("/")
    with anew(target) as made, open(made, "xb") as file:
        volume_calls.download(hypervisor, pool, volume, file)


def resize(
    hypervisor: Hypervisor, name: str, size: int, *, shrink: bool, key: Hidden | None = None
) -> None:
    """Change the capacity of a volume that no running guest uses.

    :param key: the passphrase of an encrypted one: libvirt knows no more, once it has looked at the
        pool anew, which secret that is
    """
    pool, _, volume = name.partition("/")
    there = read(hypervisor, name) if key is not None else None
    path = None if there is None else path_of(there.xml)
    if there is not None and path is not None and os.path.isfile(path):
        qemu_img.resize(path, format_of(there.xml), size, shrink=shrink, key=key)
        hypervisor.call("pool", pool, "refreshing", "refresh", 0)
        return
    flags = hypervisor.flag("VIR_STORAGE_VOL_RESIZE_SHRINK") if shrink else 0
    volume_calls.call(hypervisor, pool, volume, "resizing", "resize", int(size), flags)


def wipe(hypervisor: Hypervisor, name: str, algorithm: str = "zero") -> None:
    """Write over all that a volume holds."""
    pool, _, volume = name.partition("/")
    pattern = hypervisor.flag(f"VIR_STORAGE_VOL_WIPE_ALG_{algorithm.upper()}")
    volume_calls.call(hypervisor, pool, volume, "wiping", "wipePattern", pattern, 0)
    # Empty because somebody wanted it so, it is no half of anything.
    begun.end(hypervisor.uri, name)


def blank(path: str | None) -> bool | None:
    """Tell whether a file or device holds nothing but zeros; ``None`` where it can't be read."""
    if path is None or not os.path.exists(path):
        return None
    with saying(ObserveError, path), open(path, "rb", buffering=0) as file:
        return not any(any(part) for part in _data(file))


def _data(file: RawIOBase) -> Iterator[bytes]:
    """The parts of a file that are no holes."""
    end, at = file.seek(0, os.SEEK_END), 0
    while at < end:
        try:
            at = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        file.seek(at)
        part = file.read(PART) or b""
        at += len(part)
        yield part


def delete(hypervisor: Hypervisor, name: str) -> None:
    """Delete a volume and what it holds."""
    pool, _, volume = name.partition("/")
    volume_calls.call(hypervisor, pool, volume, "deleting", "delete", 0)
    begun.end(hypervisor.uri, name)
