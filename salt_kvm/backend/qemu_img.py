"""qemu-img: the format is always said, never guessed by it."""

from __future__ import annotations

import json
from typing import Any

from salt_kvm.backend.command import run

# A vpc image is rounded to whole cylinders unless it is told to keep its size.
EXACT = {"vpc": ["-o", "force_size=on"]}


def create(path: str, format: str, size: int) -> None:
    """Make a new image of ``size`` bytes at ``path``, which must not exist."""
    run(["qemu-img", "create", "-q", "-f", format, *EXACT.get(format, []), path, str(int(size))])


def info(path: str, format: str) -> dict[str, Any]:
    """Return what qemu-img says of an image; a running guest's may be read too."""
    told = run(["qemu-img", "info", "--force-share", "--output=json", "-f", format, path])
    data: dict[str, Any] = json.loads(told)
    return data
