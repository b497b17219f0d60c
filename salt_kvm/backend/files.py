"""Files and directories of the host."""

from __future__ import annotations

import errno
import functools
import grp
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from salt_kvm.backend import header
from salt_kvm.errors import ApplyError, ObserveError, UnmetError
from salt_kvm.seen import FileSeen

PREFIX = ".salt-kvm-"
SELINUX = "security.selinux"
_KINDS = {stat.S_IFDIR: "directory", stat.S_IFBLK: "block device", stat.S_IFREG: "file"}


def look(path: str) -> FileSeen | None:
    """Return what is at ``path``; ``None`` where nothing is."""
    with saying(ObserveError, path):
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "special file")
        told = header.read(path) if kind == "file" else None
        return FileSeen(
            path=path,
            kind=kind,
            owner=_name_of(found.st_uid, pwd.getpwuid),
            group=_name_of(found.st_gid, grp.getgrgid),
            mode=stat.S_IMODE(found.st_mode),
            format=None if told is None else told.format,
            size=found.st_size,
            uid=found.st_uid,
            gid=found.st_gid,
            header=told,
        )


def _name_of(number: int, database: Callable[[int], Any]) -> str:
    try:
        return _entry(number, database)
    except KeyError:
        return str(number)


@functools.cache
def _entry(number: int, database: Callable[[int], Any]) -> str:
    """A name once found is kept; one that is missing may come any time."""
    return str(database(number)[0])


@contextmanager
def anew(path: str, *, over: bool = False, keep: bool = True) -> Iterator[str]:
    """Yield a name beside ``path``; what is made there gets the name ``path`` when it is whole.

    :param over: take the place of the file that is there, which is kept until then
    :param keep: false: what is made there goes in the end, unless it was moved away
    """
    parent = os.path.dirname(path)
    with saying(ApplyError, path):
        sweep(parent)
        folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent)
        try:
            made = os.path.join(folder, os.path.basename(path))
            yield made
            if keep:
                sync(made)
                (os.replace if over else os.link)(made, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if keep:
            try:
                sync(parent)
            except OSError:
                # Whoever replaces a file has the old one put aside.
                if not over:
                    os.unlink(path)
                raise


def put_aside(path: str) -> str:
    """Give a file a second, temporary name beside it, and return that."""
    parent = os.path.dirname(path)
    with saying(ApplyError, path):
        sweep(parent)
        folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent)
        kept = os.path.join(folder, os.path.basename(path))
        try:
            os.link(path, kept)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return kept


def put_back(kept: str, path: str) -> None:
    """Let a file that was put aside take its place again."""
    with saying(ApplyError, path):
        os.replace(kept, path)
        sync(os.path.dirname(path))


def drop(kept: str) -> None:
    """Take the temporary name away again."""
    shutil.rmtree(os.path.dirname(kept), ignore_errors=True)


def sync(path: str) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(parent: str) -> None:
    """Remove what a run that was killed had begun here."""
    for name in os.listdir(parent):
        process = name.removeprefix(PREFIX).split("-")[0] if name.startswith(PREFIX) else ""
        if process.isdigit() and not os.path.exists(f"/proc/{process}"):
            shutil.rmtree(os.path.join(parent, name))


def remove(path: str) -> None:
    """Remove a file."""
    with saying(ApplyError, path):
        os.unlink(path)


def make_directory(path: str) -> None:
    """Make a directory as libvirt makes a pool's: for root to write and for all to pass."""
    with saying(ApplyError, path):
        os.mkdir(path, 0o711)


def remove_directory(path: str) -> None:
    """Remove an empty directory."""
    with saying(ApplyError, path):
        os.rmdir(path)


def set_ownership(path: str, owner: str | None, group: str | None, mode: int | None) -> None:
    """Set what is not ``None``."""
    with saying(ApplyError, path):
        uid, gid = _number(owner, pwd.getpwnam, "user"), _number(group, grp.getgrnam, "group")
        if (uid, gid) != (-1, -1):
            os.chown(path, uid, gid)
        if mode is not None:
            os.chmod(path, mode)


def label(path: str) -> str | None:
    """Return the SELinux label of a file; ``None`` where it has none."""
    with saying(ObserveError, path):
        try:
            return os.getxattr(path, SELINUX).decode().rstrip("\0")
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.ENOTSUP):
                return None
            raise


def set_label(path: str, label: str) -> None:
    """Set the SELinux label of a file."""
    with saying(ApplyError, path):
        os.setxattr(path, SELINUX, label.encode() + b"\0")


def user_number(user: int | str | None, *, local: bool = True) -> int | None:
    """Return the number of a user, as the host counts; ``None`` where none is declared."""
    return _declared(user, pwd.getpwnam, "user", local=local)


def group_number(group: int | str | None, *, local: bool = True) -> int | None:
    """Return the number of a group, as the host counts; ``None`` where none is declared."""
    return _declared(group, grp.getgrnam, "group", local=local)


def _declared(
    name: int | str | None, database: Callable[[str], Any], what: str, *, local: bool
) -> int | None:
    if name is None or str(name).isdigit():
        return None if name is None else int(name)
    if not local:
        raise UnmetError(f"the {what} {name!r} is another host's; declare its number")
    try:
        return int(database(str(name))[2])
    except KeyError as error:
        raise UnmetError(
            f"there is no {what} {name!r} on this host; make it, or correct it"
        ) from error


def _number(name: str | None, database: Callable[[str], Any], what: str) -> int:
    if name is None or name.isdigit():
        return int(name or -1)
    try:
        return int(database(name)[2])
    except KeyError as error:
        raise ApplyError(
            f"there is no {what} {name!r} on this host; make it, or correct it"
        ) from error


def write(path: str, data: bytes, mode: int = 0o644) -> None:
    """Write a file that is either whole or as it was; make its directory where that is missing."""
    with saying(ApplyError, path):
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=PREFIX, dir=folder, delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, mode)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise


@contextmanager
def saying(error: type[ApplyError] | type[ObserveError], path: str) -> Iterator[None]:
    """Turn what the system refuses into a sentence with the path and the cure."""
    try:
        yield
    except OSError as cause:
        raise error(
            f"{path}: {(cause.strerror or str(cause)).lower()}{_CURES.get(cause.errno or 0, '')}"
        ) from cause


_CURES = {
    1: "; run as root",
    13: "; run as root",
    17: "; something is there already",
    28: "; free some space",
    30: "; mount it writable",
}
