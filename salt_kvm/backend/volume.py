"""Volumes of storage pools; a volume's full name is ``pool/volume``."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from io import RawIOBase

from salt_kvm.backend import begun, copying, images, qemu_img
from salt_kvm.backend.files import anew, saying
from salt_kvm.backend.hypervisor import Hypervisor
from salt_kvm.backend.progress import Progress, Report, silent
from salt_kvm.backend.store import Store
from salt_kvm.errors import ApplyError, ConnectError, KvmError, ObserveError
from salt_kvm.plan.steps import CreateVolume, Source
from salt_kvm.seen import Observed
from salt_kvm.spec.types import Size
from salt_kvm.xml.volume import capacity, resized
from salt_kvm.xml.volume import format as format_of

PART = 1024**2


def read(hypervisor: Hypervisor, name: str) -> Observed | None:
    """Return a volume; ``None`` where there is none, or its pool is off."""
    pool, _, volume = name.partition("/")
    _known, xml = hypervisor.read_volume(pool, volume)
    return None if xml is None else Observed("volume", name, xml)


def known(hypervisor: Hypervisor, name: str) -> bool:
    """Tell whether libvirt has a volume on its list, be its file there or not."""
    pool, _, volume = name.partition("/")
    return hypervisor.read_volume(pool, volume)[0]


def create(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Make a volume."""
    pool = name.partition("/")[0]
    qemu_img.measured(
        lambda: hypervisor.call("pool", pool, "making a volume in", "createXML", xml, 0)
    )


def clone(hypervisor: Hypervisor, name: str, xml: str, source: str) -> None:
    """Make a volume as a copy of another one of its pool."""
    hypervisor.clone_volume(name.partition("/")[0], xml, source.partition("/")[2])


def create_from(hypervisor: Hypervisor, step: CreateVolume, source: Source, store: Store) -> None:
    """Make a volume that holds what its source does; it is whole or not there."""
    with store.used():
        path, format, size = _contents(source, store)
        if format != step.format:
            raise ApplyError(
                f"{source.address} is a {format} image, but volume {step.name} is declared as "
                f"{step.format}; declare its format"
            )
        if step.size is not None and step.size < size:
            raise ApplyError(
                f"{source.address} has {Size(size)}, more than the declared {step.size}; "
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
        data = min(found.st_blocks * 512, found.st_size) if new else found.st_size
        progress = Progress(f"upload into volume {name}", data, report)
        hypervisor.upload(pool, volume, file, progress.add, sparse=new)
        progress.end()
    hypervisor.call("pool", pool, "refreshing", "refresh", 0)
    # A hole at the end of a file cuts a volume that is a file off there.
    if before > _raw_capacity(hypervisor, name) > 0:
        resize(hypervisor, name, before, shrink=False)


def _raw_capacity(hypervisor: Hypervisor, name: str) -> int:
    """Return the size of a raw volume, 0 of any other: that says its own size."""
    seen = read(hypervisor, name)
    return capacity(seen.xml) if seen is not None and format_of(seen.xml) == "raw" else 0


def download(hypervisor: Hypervisor, name: str, target: str) -> None:
    """Write what a volume holds into a file of this host, which is whole or not there."""
    pool, _, volume = name.partition("/")
    with anew(target) as made, open(made, "xb") as file:
        hypervisor.download(pool, volume, file)


def resize(hypervisor: Hypervisor, name: str, size: int, *, shrink: bool) -> None:
    """Change the capacity of a volume that no running guest uses."""
    pool, _, volume = name.partition("/")
    flags = hypervisor.flag("VIR_STORAGE_VOL_RESIZE_SHRINK") if shrink else 0
    hypervisor.call_volume(pool, volume, "resizing", "resize", int(size), flags)


def wipe(hypervisor: Hypervisor, name: str, algorithm: str = "zero") -> None:
    """Write over all that a volume holds."""
    pool, _, volume = name.partition("/")
    pattern = hypervisor.flag(f"VIR_STORAGE_VOL_WIPE_ALG_{algorithm.upper()}")
    hypervisor.call_volume(pool, volume, "wiping", "wipePattern", pattern, 0)


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
    hypervisor.call_volume(pool, volume, "deleting", "delete", 0)
    begun.end(hypervisor.uri, name)
