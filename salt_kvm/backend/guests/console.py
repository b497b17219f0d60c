"""What guests print: the log files that virtlogd writes and rotates."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ObserveError

# A log that is full becomes PATH.0, which is the newest of the old ones.
MOST_ROTATED = 100
# However long the lines are, no more than this is read of a log.
LARGEST = 4 * 1024**2
BLOCK = 64 * 1024
# A guest must not command the terminal that shows what it printed.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def plain(data: bytes) -> str:
    """Return what a guest printed as text, without what moves cursors and changes colours."""
    return _CONTROL.sub("", data.decode("utf-8", "replace"))


def tail(path: str, lines: int) -> list[str]:
    """Return the last lines of a log, also out of the files that it was rotated to.

    :raises ObserveError: where there is no log, or it can't be read
    """
    data = b""
    for name in (path, *(f"{path}.{number}" for number in range(MOST_ROTATED))):
        with saying(ObserveError, name):
            try:
                data = _end(name, data, lines) + data
            except FileNotFoundError:
                if name == path:
                    raise
                break
        if data.count(b"\n") > lines or len(data) >= LARGEST:
            break
    return plain(data).removesuffix("\n").split("\n")[-lines:] if data and lines else []


def _end(path: str, after: bytes, lines: int) -> bytes:
    """Return as much of the end of a file as completes so many lines with what comes after it."""
    found = b""
    with open(path, "rb") as log:
        left = log.seek(0, os.SEEK_END)
        while left and (found + after).count(b"\n") <= lines and len(found) < LARGEST:
            size = min(BLOCK, left)
            left = log.seek(left - size)
            found = log.read(size) + found
    return found


def follow(path: str) -> Iterator[bytes]:
    """Yield what was added to a log since the last time; what was there before is not yielded.

    The log may be rotated meanwhile, or yet to come.
    """
    log: IO[bytes] | None = None
    with suppress(FileNotFoundError):
        log = open(path, "rb")  # noqa: SIM115
        log.seek(0, os.SEEK_END)
    try:
        yield b""
        while True:
            more = b"" if log is None else log.read(LARGEST)
            if not more and _replaced(log, path):
                if log is not None:
                    log.close()
                log = open(path, "rb")  # noqa: SIM115
                more = log.read(LARGEST)
            yield more
    finally:
        if log is not None:
            log.close()


def _replaced(log: IO[bytes] | None, path: str) -> bool:
    """Tell whether another file has the name of the log now, or the log was emptied."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    if log is None:
        return True
    held = os.fstat(log.fileno())
    another = (there.st_ino, there.st_dev) != (held.st_ino, held.st_dev)
    return another or there.st_size < log.tell()
