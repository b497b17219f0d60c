"""Bytes from here to there: sparse, cloned where the file system can, decompressed on the way."""

from __future__ import annotations

import bz2
import errno
import fcntl
import gzip
import hashlib
import importlib
import lzma
import os
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

from salt_kvm.backend.system.progress import Progress
from salt_kvm.errors import ApplyError, DependencyError

BLOCK = 1024 * 1024
# What is all zeros in pieces of this size becomes a hole.
HOLE = 64 * 1024
_ZEROS = bytes(HOLE)
# Linux's FICLONE: _IOW(0x94, 9, int).
_FICLONE = 0x40049409
_MAGIC = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
_DAMAGED = (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, ValueError)


class Hashing:
    """A file that is read once, with the checksums of all that was read."""

    def __init__(self, file: IO[bytes], algorithms: set[str], progress: Progress) -> None:
        """Read ``file`` from where it stands."""
        self._file, self._progress = file, progress
        self._digests = {name: hashlib.new(name) for name in algorithms}

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data = self._file.read(size)
        for digest in self._digests.values():
            digest.update(data)
        self._progress.add(len(data))
        return data

    def seekable(self) -> bool:
        """It is read once."""
        return False

    def finish(self) -> dict[str, str]:
        """Read what is left; return each checksum."""
        while self.read(BLOCK):
            pass
        return {name: digest.hexdigest() for name, digest in self._digests.items()}


def compression(path: str) -> str | None:
    """Return how a file is compressed, by what it begins with."""
    with open(path, "rb") as file:
        head = file.read(6)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def take(source: str, target: str, algorithms: set[str], progress: Progress) -> dict[str, str]:
    """Write what a file holds, decompressed, and return the checksums of the file itself.

    :raises ApplyError: where it is cut off or damaged
    :raises OSError: where it can't be read or written
    """
    with open(source, "rb") as file, open(target, "xb") as out:
        hashing = Hashing(file, algorithms, progress)
        try:
            with _plain(hashing, compression(source)) as plain:
                write_sparse(plain.read, out)
        except _DAMAGED as error:
            raise ApplyError(f"{source} is cut off or damaged: {error}") from error
        except OSError as error:
            # What bz2 says of data that is not its own has no number.
            if error.errno is not None:
                raise
            raise ApplyError(f"{source} is cut off or damaged: {error}") from error
        out.flush()
        os.fsync(out.fileno())
        return hashing.finish()


@contextmanager
def _plain(file: Hashing, compressed: str | None) -> Iterator[Any]:
    source = cast("IO[bytes]", file)
    if compressed is None:
        yield file
    elif compressed == "gz":
        yield gzip.GzipFile(fileobj=source)
    elif compressed == "bz2":
        with bz2.BZ2File(source) as plain:
            yield plain
    elif compressed == "xz":
        with lzma.LZMAFile(source) as plain:
            yield plain
    else:
        with _zstd(file) as plain:
            yield plain


@contextmanager
def _zstd(file: Hashing) -> Iterator[Any]:
    """Python's own from 3.14 on, else the program."""
    with suppress(ModuleNotFoundError):
        own = importlib.import_module("compression.zstd")
        try:
            yield own.ZstdFile(file)
        except own.ZstdError as error:
            raise ValueError(str(error)) from error
        return
    if shutil.which("zstd") is None:
        raise DependencyError("the program zstd is not installed; install it")
    command = ["zstd", "-q", "-d", "-c"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        failed: list[OSError] = []
        feeder = threading.Thread(target=_feed, args=(file, process.stdin, failed), daemon=True)
        feeder.start()
        try:
            yield process.stdout
        except BaseException:
            process.kill()
            feeder.join()
            raise
        feeder.join()
        if failed:
            raise failed[0]
        if process.wait():
            told = process.stderr.read().decode(errors="replace") if process.stderr else ""
            raise ValueError(told.strip() or "zstd failed")


def _feed(file: Hashing, pipe: IO[bytes], failed: list[OSError]) -> None:
    """Give a program its input to the end; it would wait for the rest of what can't be read."""
    with suppress(BrokenPipeError):
        try:
            shutil.copyfileobj(file, pipe, BLOCK)
        except BrokenPipeError:
            pass
        except OSError as error:
            failed.append(error)
        finally:
            pipe.close()


def write_sparse(read: Callable[[int], bytes], out: IO[bytes]) -> None:
    """Write all that ``read`` gives; what is zero becomes a hole."""
    length = 0
    while data := read(BLOCK):
        for at in range(0, len(data), HOLE):
            piece = data[at : at + HOLE]
            if piece == _ZEROS[: len(piece)]:
                out.seek(len(piece), os.SEEK_CUR)
            else:
                out.write(piece)
        length += len(data)
    out.truncate(length)


def reflink(source: str, target: str) -> bool:
    """Make a file that shares the blocks of another; false where the file system can't."""
    with open(source, "rb") as file, open(target, "xb") as out:
        try:
            fcntl.ioctl(out.fileno(), _FICLONE, file.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
                raise
        else:
            return True
    os.unlink(target)
    return False


def copy(source: str, target: str, progress: Progress) -> None:
    """Copy a file; its holes stay holes."""
    with open(source, "rb") as file, open(target, "xb") as out:
        end, at = os.fstat(file.fileno()).st_size, 0
        while at < end:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            stop = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            _range(file.fileno(), out.fileno(), start, stop, progress)
            at = stop
        out.truncate(end)


def _range(source: int, target: int, start: int, stop: int, progress: Progress) -> None:
    os.lseek(source, start, os.SEEK_SET)
    os.lseek(target, start, os.SEEK_SET)
    while start < stop:
        done = os.sendfile(target, source, None, min(BLOCK, stop - start))
        if not done:
            raise ApplyError("the file became shorter while it was copied; run this again")
        start += done
        progress.add(done)


def expanded(path: str) -> int | None:
    """Return how large a compressed file says it becomes, at least; ``None`` where it can't say."""
    kind = compression(path)
    with open(path, "rb") as file:
        if kind == "gz":
            # The size of the last member, without what is above 4 GiB.
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little")
        if kind == "xz":
            return _expanded_xz(file)
        if kind == "zst":
            return _expanded_zst(file.read(18))
    return os.path.getsize(path) if kind else None


def _expanded_xz(file: IO[bytes]) -> int | None:
    """The sum of the index of the last stream: https://tukaani.org/xz/xz-file-format.txt, 4."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 12))
    footer = file.read(12)
    length = (int.from_bytes(footer[4:8], "little") + 1) * 4
    if footer[10:] != b"YZ" or length > end:
        return None
    file.seek(end - 12 - length)
    index = iter(file.read(length)[1:])
    records, total = _number(index), 0
    for _ in range(min(records, length)):
        _number(index)
        total += _number(index)
    return total


def _number(data: Iterator[int]) -> int:
    """A number of seven bits in each byte, the lowest first."""
    value = 0
    for shift, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            break
    return value


def _expanded_zst(head: bytes) -> int | None:
    """The content size of the first frame: RFC 8878, 3.1.1.1."""
    if len(head) < 6:
        return None
    flags, single = head[4], head[4] >> 5 & 1
    size_of = (1 if single else 0, 2, 4, 8)[flags >> 6]
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(head[at : at + size_of], "little")
    return (size + 256 if size_of == 2 else size) if size_of else None
