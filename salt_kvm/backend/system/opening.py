"""How a file is opened whose name somebody else has chosen."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO


def opened(path: str) -> IO[bytes]:
    """Open a file or a block device to read.

    A guest can name in its image what must not be opened, as a watchdog, and anybody what never
    answers, as a pipe.

    :raises OSError: where it is something else, or can't be read
    """
    if not _is_opened(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no file", path)
    return open(path, "rb", opener=_at_once)


def _is_opened(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def _at_once(path: str, flags: int) -> int:
    """Open without waiting, whatever came there since it was looked at."""
    return os.open(path, flags | os.O_NONBLOCK)
