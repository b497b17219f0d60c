"""qemu-img: the format is always said, never guessed by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from salt_kvm.backend.command import run

# What a size is rounded up to when an image is made; a resize does not do it for every format.
SECTOR = 512
# A vpc image is rounded to whole cylinders unless it is told to keep its size.
_EXACT = {"vpc": {"force_size": True}}


def create(
    path: str,
    format: str,
    size: int | None,
    *,
    backing: str | None = None,
    backing_format: str | None = None,
    options: Mapping[str, object] | None = None,
) -> None:
    """Make a new image at ``path``, which must not exist.

    :param size: in bytes; ``None`` takes that of the backing file
    :param options: of the format, by qemu-img's names
    """
    command = ["qemu-img", "create", "-q", "-f", format, *_options(format, options)]
    if backing is not None:
        command += ["-b", backing, "-F", str(backing_format)]
    run([*command, path, *([] if size is None else [str(int(size))])])


def convert(
    path: str,
    format: str,
    target: str,
    target_format: str,
    *,
    options: Mapping[str, object] | None = None,
) -> None:
    """Write what a guest sees of an image and of what backs it into a new one."""
    formats = ["-f", format, "-O", target_format]
    run(["qemu-img", "convert", "-q", *formats, *_options(target_format, options), path, target])


def rebase(path: str, format: str, backing: str | None, backing_format: str | None) -> None:
    """Put an image on another backing file, or on none; a guest sees what it saw."""
    on = ["-b", backing or ""] + (["-F", str(backing_format)] if backing else [])
    run(["qemu-img", "rebase", "-q", "-f", format, *on, path])


def resize(path: str, format: str, size: int, *, shrink: bool = False) -> None:
    """Change the size that a guest sees; what is cut off is lost."""
    how = ["--shrink"] if shrink else []
    whole = -(-size // SECTOR) * SECTOR
    run(["qemu-img", "resize", "-q", "-f", format, *how, path, str(whole)])


def amend(path: str, format: str, options: Mapping[str, object]) -> None:
    """Change options of an image in place."""
    run(["qemu-img", "amend", "-q", "-f", format, *_options(None, options), path])


def _options(format: str | None, options: Mapping[str, object] | None) -> list[str]:
    """Return ``-o`` and the options; a comma in a value is doubled."""
    given = {**_EXACT.get(format or "", {}), **(options or {})}
    words = [f"{name}={_word(value)}" for name, value in given.items()]
    return ["-o", ",".join(words)] if words else []


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(int(value) if isinstance(value, int) else value).replace(",", ",,")


def check(path: str, format: str) -> dict[str, Any]:
    """Return what is wrong inside an image: ``corruptions``, ``leaks``, ``check-errors``.

    :raises ApplyError: for a format that has nothing to check, or when it can't be opened
    """
    told = run(["qemu-img", "check", "--output=json", "-f", format, path], ok=(0, 2, 3))
    data: dict[str, Any] = json.loads(told)
    return data


def info(path: str, format: str) -> dict[str, Any]:
    """Return what qemu-img says of an image; a running guest's may be read too."""
    told = run(["qemu-img", "info", "--force-share", "--output=json", "-f", format, path])
    data: dict[str, Any] = json.loads(told)
    return data
