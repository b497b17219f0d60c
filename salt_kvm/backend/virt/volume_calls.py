"""libvirt's calls for volumes of storage pools."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import RawIOBase
from typing import IO, Any

from salt_kvm.backend.virt.hypervisor import Hypervisor, again
from salt_kvm.errors import ApplyError, NotFoundError, ObserveError

# There is no such volume, or its pool is off or has gone since it was found.
MISSING = ("VIR_ERR_NO_STORAGE_VOL", "VIR_ERR_OPERATION_INVALID", "VIR_ERR_NO_STORAGE_POOL")


@again
def paths(hypervisor: Hypervisor, pool: str) -> dict[str, str]:
    """Return the path of each volume of an active pool, by the volume's name."""
    return {name: each.path() for name, each in _all(hypervisor, pool).items()}


@again
def sizes(hypervisor: Hypervisor, pool: str) -> dict[str, dict[str, Any]]:
    """Return path, capacity and allocation (bytes) of each volume of an active pool."""
    found = {}
    for name, each in _all(hypervisor, pool).items():
        with hypervisor.saying(ObserveError, f"volume {pool}/{name}"):
            _type, capacity, allocation = each.info()
            found[name] = {"path": each.path(), "capacity": capacity, "allocation": allocation}
    return found


def _all(hypervisor: Hypervisor, pool: str) -> dict[str, Any]:
    with hypervisor.saying(ObserveError, f"the volumes of pool {pool}"):
        return {each.name(): each for each in hypervisor.get("pool", pool).listAllVolumes(0)}


@again
def read(hypervisor: Hypervisor, pool: str, name: str) -> tuple[bool, str | None]:
    """Return whether libvirt knows a volume of a pool that is on, and the volume's document.

    There is none of a volume whose file went without libvirt.
    """
    with hypervisor.saying(ObserveError, f"volume {pool}/{name}"):
        found = _find(hypervisor, pool, name)
        return found is not None, None if found is None else _document(hypervisor, found)


def _document(hypervisor: Hypervisor, found: Any) -> str | None:
    text = hypervisor.unless(MISSING, found.XMLDesc, 0)
    return None if text is None else str(text)


def call(
    hypervisor: Hypervisor, pool: str, name: str, doing: str, method: str, *arguments: object
) -> Any:
    """Call a method of a volume; ``doing`` is what to say it was when it fails."""
    with hypervisor.saying(ApplyError, f"{doing} volume {pool}/{name}"):
        return getattr(_get(hypervisor, pool, name), method)(*arguments)


def clone(hypervisor: Hypervisor, pool: str, xml: str, source: str) -> None:
    """Make a volume as a copy of another one of its pool."""
    with hypervisor.saying(ApplyError, f"copying volume {pool}/{source}"):
        found = _get(hypervisor, pool, source)
        hypervisor.get("pool", pool).createXMLFrom(xml, found, 0)


def upload(
    hypervisor: Hypervisor,
    pool: str,
    name: str,
    file: RawIOBase,
    count: Callable[[int], None],
    *,
    sparse: bool,
) -> None:
    """Write a file into a volume; ``count`` is told of each part.

    :param sparse: skip its holes: of a volume that held something that would stay in them
    """

    def part(_stream: Any, length: int, _: Any) -> bytes:
        data = file.read(length) or b""
        count(len(data))
        return data

    with hypervisor.saying(ApplyError, f"uploading into volume {pool}/{name}"):
        stream = hypervisor.connection.newStream()
        flags = hypervisor.flag("VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM") if sparse else 0
        _get(hypervisor, pool, name).upload(stream, 0, 0, flags)
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


def download(hypervisor: Hypervisor, pool: str, name: str, file: IO[bytes]) -> None:
    """Write what a volume holds into a file, its holes as holes."""
    with hypervisor.saying(ApplyError, f"downloading volume {pool}/{name}"):
        sparse = hypervisor.flag("VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM")
        stream = hypervisor.connection.newStream()
        _get(hypervisor, pool, name).download(stream, 0, 0, sparse)
        stream.sparseRecvAll(
            lambda _stream, data, _: file.write(data),
            lambda _stream, length, _: file.seek(length, os.SEEK_CUR),
            None,
        )
        stream.finish()
        file.truncate(file.tell())


@contextmanager
def in_bulk(hypervisor: Hypervisor) -> Iterator[None]:
    """Look for volumes in one list of each pool, as long as nothing is changed."""
    hypervisor.volumes = {}
    try:
        yield
    finally:
        hypervisor.volumes = None


def _find(hypervisor: Hypervisor, pool: str, name: str) -> Any:
    """Return libvirt's handle of a volume; ``None`` where there is none, or its pool is off."""
    listed = hypervisor.volumes
    if listed is None:
        found = hypervisor.find("pool", pool)
        look_up = None if found is None else found.storageVolLookupByName
        return None if look_up is None else hypervisor.unless(MISSING, look_up, name)
    if pool not in listed:
        found = hypervisor.find("pool", pool)
        every = None if found is None else hypervisor.unless(MISSING, found.listAllVolumes, 0)
        listed[pool] = {each.name(): each for each in every or ()}
    return listed[pool].get(name)


def _get(hypervisor: Hypervisor, pool: str, name: str) -> Any:
    found = _find(hypervisor, pool, name)
    if found is None:
        raise NotFoundError(f"there is no volume {name!r} in pool {pool!r}; declare it")
    return found


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
