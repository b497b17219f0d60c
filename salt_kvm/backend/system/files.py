"""Files and directories of the host."""

from __future__ import annotations

import errno
import functools
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from salt_kvm.backend.system import folders, header, temporary
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError, ObserveError, UnmetError
from salt_kvm.seen import FileSeen

SELINUX = "security.selinux"
# Why a file can be removed and yet not be put aside.
NO_SECOND_NAME = (errno.ENOSPC, errno.EDQUOT, errno.EPERM, errno.ENOTSUP, errno.EMLINK)
# One more stands for "as it is".
_LARGEST_ID = 2**32 - 2
_MOST_DIGITS = 100
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


def is_link(path: str) -> bool:
    """Tell whether a name is that of a symbolic link, wherever that leads."""
    return os.path.islink(path)


def unwritable(path: str) -> str | None:
    """Return why a file can't be written to, or in a directory; ``None`` where it can be."""
    with saying(ObserveError, path):
        if os.access(path, os.W_OK):
            return None
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return f"{path} is on a file system that is mounted read-only; mount it writable"
        return f"{path} can't be written to: run as root, or see lsattr, whether it is immutable"


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
def anew(
    path: str, *, over: bool = False, keep: bool = True, flushed: bool = False
) -> Iterator[str]:
    """Yield a name beside ``path``; what is made there gets the name ``path`` when it is whole.

    :param over: take the place of the file that is there, which is kept until then
    :param keep: false: what is made there goes in the end, unless it was moved away
    :param flushed: a single file, which whoever makes it leaves on the disk and which does not hold
        its own name: then it needs neither a folder nor to be waited for
    """
    parent, own = os.path.split(path)
    with saying(ApplyError, path):
        with temporary.name(parent) as passing:
            made = passing if flushed else _inside(passing, own)
            yield made
            if keep:
                if not flushed:
                    sync(made)
                (os.replace if over else os.link)(made, path)
        if keep:
            try:
                sync(parent)
            except OSError:
                # Whoever replaces a file has the old one put aside.
                if not over:
                    os.unlink(path)
                raise


def _inside(passing: str, own: str) -> str:
    os.mkdir(passing, 0o700)
    return os.path.join(passing, own)


def put_aside(path: str) -> str:
    """Give a file a second, temporary name beside it, and return that."""
    with saying(ApplyError, path):
        kept = temporary.begin(os.path.dirname(path))
        try:
            os.link(path, kept)
        except BaseException:
            temporary.end(kept)
            raise
    return kept


def put_back(kept: str, path: str) -> None:
    """Let a file that was put aside take its place again."""
    with saying(ApplyError, path):
        os.replace(kept, path)
        sync(os.path.dirname(path))


def sync(path: str) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: str) -> None:
    """Remove a file."""
    with saying(ApplyError, path):
        os.unlink(path)


def make_directory(path: str) -> None:
    """Make a directory as libvirt makes a pool's: for root to write and for all to pass."""
    with saying(ApplyError, path):
        os.mkdir(path)
        try:
            os.chmod(path, 0o711)
        except OSError:
            os.rmdir(path)
            raise


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
    if name is None:
        return -1
    if name.isascii() and name.isdigit():
        # Python makes no number of thousands of digits.
        if len(name) > _MOST_DIGITS or int(name) > _LARGEST_ID:
            raise ApplyError(f"{name} is no number of a {what}; correct it")
        return int(name)
    try:
        return int(database(name)[2])
    except (KeyError, ValueError) as error:
        raise ApplyError(
            f"there is no {what} {name!r} on this host; make it, or correct it"
        ) from error


def text(path: str) -> str | None:
    """Return what a text file holds, whatever its encoding; ``None`` where there is none."""
    with saying(ObserveError, path):
        try:
            return Path(path).read_bytes().decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return None


def rewrite(path: str, text: str, mode: int, *, secret: bool = False) -> None:
    """Write a text file; one that is there keeps its owner, mode and SELinux label.

    :param secret: nobody but its owner may read it, whatever its mode was
    """
    path = os.path.realpath(path)
    with saying(ApplyError, path):
        there = os.stat(path) if os.path.exists(path) else None
        kept = None if there is None else label(path)
    keep = None if there is None else (there.st_uid, there.st_gid)
    mode = mode if there is None else stat.S_IMODE(there.st_mode)
    mode &= 0o700 if secret else 0o7777
    write(path, text.encode("utf-8", "surrogateescape"), mode, keep)
    if kept is not None:
        set_label(path, kept)


def put(path: str, text: str) -> None:
    """Write into a file of the kernel's, which takes it at once."""
    with saying(ApplyError, path):
        Path(path).write_text(text)


def write(path: str, data: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write a file that is either whole or as it was; make its directory where that is missing."""
    with saying(ApplyError, path):
        parent = Path(path).parent
        folders.make(str(parent.parent))
        parent.mkdir(exist_ok=True)
        with temporary.name(str(parent)) as made:
            with open(made, "xb", opener=private) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                if owner is not None:
                    os.chown(made, *owner)
                os.chmod(made, mode)
            os.replace(made, path)


def private(path: str, flags: int) -> int:
    """Open a file, which only its owner may read where it is made."""
    return os.open(path, flags, 0o600)
