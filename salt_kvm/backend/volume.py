"""Volumes of storage pools; a volume's full name is ``pool/volume``."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import IO

from salt_kvm.backend.files import anew, saying
from salt_kvm.backend.hypervisor import Hypervisor
from salt_kvm.errors import ApplyError, ObserveError
from salt_kvm.seen import Observed

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
    hypervisor.call("pool", name.partition("/")[0], "making a volume in", "createXML", xml, 0)


def clone(hypervisor: Hypervisor, name: str, xml: str, source: str) -> None:
    """Make a volume as a copy of another one of its pool."""
    hypervisor.clone_volume(name.partition("/")[0], xml, source.partition("/")[2])


def upload(hypervisor: Hypervisor, name: str, source: str) -> None:
    """Write a file of this host into a volume; what is a hole in one stays one in the other."""
    pool, _, volume = name.partition("/")
    with saying(ApplyError, source), open(source, "rb") as file:
        hypervisor.upload(pool, volume, file)
    hypervisor.call("pool", pool, "refreshing", "refresh", 0)


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
    with saying(ObserveError, path), open(path, "rb") as file:
        return not any(any(part) for part in _data(file))


def _data(file: IO[bytes]) -> Iterator[bytes]:
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
        part = file.read(PART)
        at += len(part)
        yield part


def delete(hypervisor: Hypervisor, name: str) -> None:
    """Delete a volume and what it holds."""
    pool, _, volume = name.partition("/")
    hypervisor.call_volume(pool, volume, "deleting", "delete", 0)
