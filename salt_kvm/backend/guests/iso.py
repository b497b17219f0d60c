"""ISO 9660 images: the only file that imports pycdlib, where it is first needed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from types import ModuleType, SimpleNamespace
from typing import IO, Any

from salt_kvm.backend.system.opening import opened
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import KvmError, ObserveError, UnmetError

# No image tells when it was made: 2000-01-01, UTC.
MOMENT = 946684800
ROCK_RIDGE = "1.09"
JOLIET = 3
# ECMA-119: the descriptors of a volume; El Torito 1.0: the one of a boot record.
SECTOR, FIRST, DESCRIPTORS = 2048, 16, 64
EL_TORITO = b"EL TORITO SPECIFICATION"


def build(label: str, files: Mapping[str, bytes], made_for: str = "") -> bytes:
    """Return an image that Linux (by Rock Ridge) and Windows (by Joliet) read with these names.

    The same arguments make the same bytes.

    :param label: the volume's name
    :param files: contents by path, ``combustion/script``; one level of folders
    :param made_for: what :func:`contents` tells again of an image that was made here
    """
    with _timeless():
        image = _pycdlib().PyCdlib()
        image.new(
            vol_ident=label,
            app_ident_str=made_for,
            interchange_level=3,
            joliet=JOLIET,
            rock_ridge=ROCK_RIDGE,
        )
        folders: dict[str, str] = {"": ""}
        for number, (path, data) in enumerate(sorted(files.items())):
            folder, _, name = path.rpartition("/")
            if folder not in folders:
                folders[folder] = f"/D{number:07}"
                image.add_directory(folders[folder], rr_name=folder, joliet_path=f"/{folder}")
            image.add_fp(
                BytesIO(data),
                len(data),
                f"{folders[folder]}/F{number:07}.;1",
                rr_name=name,
                joliet_path=f"/{path}",
                file_mode=0o100400,
            )
        written = BytesIO()
        image.write_fp(written)
        image.close()
    return written.getvalue()


def contents(data: bytes) -> tuple[str, str, dict[str, bytes]] | None:
    """Return the label of a small image, what it was made for, and its files by path.

    ``None`` is no image with Joliet's names.
    """
    image = _pycdlib().PyCdlib()
    try:
        image.open_fp(BytesIO(data))
        label, made_for = (
            str(each.decode("ascii", "replace")).rstrip()
            for each in (image.pvd.volume_identifier, image.pvd.application_identifier.text)
        )
        files = {}
        for folder, _, names in image.walk(joliet_path="/"):
            for name in names:
                path = f"{folder.rstrip('/')}/{name}"
                got = BytesIO()
                image.get_file_from_iso_fp(got, joliet_path=path)
                files[path.lstrip("/")] = got.getvalue()
    # A file that only begins like an image can raise anything.
    except Exception:
        return None
    return label, made_for, files


def fault(path: str) -> str | None:
    """Tell why a machine can't boot a file as a CD; ``None`` where it can.

    The descriptors from sector 16 on: an ISO's, a UDF's, and that of El Torito.
    """
    with saying(ObserveError, path), opened(path) as file:
        file.seek(FIRST * SECTOR)
        found = [file.read(SECTOR) for _ in range(DESCRIPTORS)]
    if not any(each[1:6] in (b"CD001", b"NSR02", b"NSR03") for each in found):
        return f"{path} is no image of a CD"
    if not any(each[:7] == b"\0CD001\1" and each[7:30] == EL_TORITO for each in found):
        return f"{path} has no boot record, so that no machine boots it"
    return None


def files(path: str, names: Sequence[str]) -> list[str]:
    """Return those of some paths that are files in an image."""
    with _opened(path) as (image, kind):
        return [name for name in names if _record(image, kind, name) is not None]


def extract(path: str, name: str, target: IO[bytes]) -> None:
    """Write a file of an image into an open one."""
    with _opened(path) as (image, kind):
        image.get_file_from_iso_fp(target, **{kind: _spelled(kind, name)})


@contextmanager
def _opened(path: str) -> Iterator[tuple[Any, str]]:
    """Yield an image, and by which of its names its files are found."""
    image = _pycdlib().PyCdlib()
    try:
        with saying(ObserveError, path):
            image.open(path)
        kinds = {"rr_path": image.has_rock_ridge, "joliet_path": image.has_joliet}
        yield image, next((kind for kind, has in kinds.items() if has()), "iso_path")
    except (KvmError, OSError):
        raise
    # A file that only begins like an image can raise anything.
    except Exception as error:
        raise UnmetError(f"{path} can't be read as an image of a CD: {error}") from error
    finally:
        with suppress(Exception):
            image.close()


def _record(image: Any, kind: str, name: str) -> Any:
    try:
        record = image.get_record(**{kind: _spelled(kind, name)})
    except _pycdlib().pycdlibexception.PyCdlibInvalidInput:
        return None
    return record if record.is_file() else None


def _spelled(kind: str, name: str) -> str:
    """A path; plain ISO 9660 knows no small letters, and a version of each file."""
    return f"/{name}" if kind != "iso_path" else f"/{name.upper()};1"


def _pycdlib() -> ModuleType:
    import pycdlib

    return pycdlib


@contextmanager
def _timeless() -> Iterator[None]:
    """Give pycdlib, which takes no date, a clock that stands still at :data:`MOMENT`."""
    _pycdlib()
    still: Any = SimpleNamespace(**vars(time))
    still.time, still.localtime = (lambda: MOMENT), time.gmtime
    asking = [
        module
        for name, module in sys.modules.items()
        if name.startswith("pycdlib.") and getattr(module, "time", None) is time
    ]
    for module in asking:
        vars(module)["time"] = still
    try:
        yield
    finally:
        for module in asking:
            vars(module)["time"] = time
