"""Folders with the mode that they need, whatever the umask of the run that makes them."""

from __future__ import annotations

import os
from contextlib import suppress


def make(path: str, mode: int = 0o755) -> None:
    """Make a folder, and those above it that are missing.

    :param mode: of the folder itself; those above it are for all to pass
    :raises OSError: where it can't be made
    """
    if os.path.isdir(path or os.curdir):
        return
    make(os.path.dirname(path))
    # Another run may have been faster.
    with suppress(FileExistsError):
        os.mkdir(path, mode)
        os.chmod(path, mode)
