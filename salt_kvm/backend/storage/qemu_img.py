"""qemu-img: the format is always said, never guessed by it."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from salt_kvm.backend.system.command import run
from salt_kvm.backend.system.progress import Progress
from salt_kvm.errors import ApplyError
from salt_kvm.seen import Hidden

# What a size is rounded up to when an image is made; a resize does not do it for every format.
SECTOR = 512
# The formats that it can check.
CHECKED = ("qcow2", "qed", "vdi", "vhdx", "vmdk")
# LUKS measures how fast this machine hashes, and gives up where that was too fast for its clock.
_UNMEASURED = "Unable to get accurate CPU usage"
_MEASURING_SECONDS = 60.0
# What its passphrase is called in an image's options.
_KEY_OF = {"luks": "", "qcow2": "encrypt."}
IDENTICAL = "Images are identical."
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
    key: Hidden | None = None,
    known: bool = False,
) -> None:
    """Make a new image at ``path``, which must not exist.

    :param size: in bytes; ``None`` takes that of the backing file
    :param options: of the format, by qemu-img's names
    :param key: encrypt it with this passphrase, by LUKS; of ``raw`` and ``qcow2``
    :param known: the backing file was checked, and ``size`` is not left to it: it is not opened
    """
    format = _driver(format, key)
    luks = {} if key is None else {f"{_KEY_OF[format]}key-secret": "key"}
    if format == "qcow2" and key is not None:
        luks["encrypt.format"] = "luks"
    command = ["qemu-img", "create", "-q", "-f", format]
    command += _options(format, {**(options or {}), **luks})
    if backing is not None:
        command += [*(["-u"] if known else []), "-b", backing, "-F", str(backing_format)]
    with _passed(key) as (secret, handles):
        whole = [*command, *secret, path, *([] if size is None else [str(int(size))])]
        measured(lambda: run(whole, handles=handles))


def identity() -> str:
    """Return what another version of the program has another of."""
    path = shutil.which("qemu-img")
    return "none" if path is None else f"{os.stat(path).st_mtime_ns:x}"


def measured(make: Callable[[], object]) -> None:
    """Make what LUKS encrypts, again where the clock was too coarse for its measurement."""
    end = time.monotonic() + _MEASURING_SECONDS
    while True:
        try:
            make()
        except ApplyError as error:
            if _UNMEASURED not in str(error) or time.monotonic() >= end:
                raise
        else:
            return


def convert(
    path: str,
    format: str,
    target: str,
    target_format: str,
    *,
    options: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write what a guest sees of an image and of what backs it into a new one.

    :param progress: is brought to 100
    """
    formats = ["-f", format, "-O", target_format]
    command = ["qemu-img", "convert", "-p", *formats, *_options(target_format, options)]
    run([*command, path, target], heard=_percent(progress))
    if progress is not None:
        progress.end()


def rebase(
    path: str,
    format: str,
    backing: str | None,
    backing_format: str | None,
    *,
    unsafe: bool = False,
) -> None:
    """Put an image on another backing file, or on none; a guest sees what it saw.

    :param unsafe: only write the name, for a file that holds the same
    """
    how = ["-u"] if unsafe else []
    on = ["-b", backing or ""] + (["-F", str(backing_format)] if backing else [])
    run(["qemu-img", "rebase", "-q", "-f", format, *how, *on, path])


def resize(
    path: str, format: str, size: int, *, shrink: bool = False, key: Hidden | None = None
) -> None:
    """Change the size that a guest sees; what is cut off is lost.

    :param key: the passphrase of an encrypted image
    """
    how = ["--shrink"] if shrink else []
    whole = str(-(-size // SECTOR) * SECTOR)
    image = ["-f", format, path]
    if key is not None:
        driver = _driver(format, key)
        image = ["--image-opts", f"{_opened(path, driver)},{_KEY_OF[driver]}key-secret=key"]
    with _passed(key) as (secret, handles):
        run(["qemu-img", "resize", "-q", *how, *secret, *image, whole], handles=handles)


def _driver(format: str, key: Hidden | None) -> str:
    """Return what QEMU calls a format: an encrypted raw image has one of its own."""
    return "luks" if format == "raw" and key is not None else format


@contextmanager
def _passed(key: Hidden | None) -> Iterator[tuple[list[str], list[int]]]:
    """Yield what names a passphrase to qemu-img, and the handle of the memory that holds it.

    So it stands in no argument, no variable and no file.
    """
    if key is None:
        yield [], []
        return
    handle = os.memfd_create("key")
    try:
        os.write(handle, key)
        yield ["--object", f"secret,id=key,file=/dev/fd/{handle}"], [handle]
    finally:
        os.close(handle)


def amend(path: str, format: str, options: Mapping[str, object]) -> None:
    """Change options of an image in place."""
    run(["qemu-img", "amend", "-q", "-f", format, *_options(None, options), path])


def _percent(progress: Progress | None) -> Callable[[str], None] | None:
    """What takes a line like ``(12.50/100%)``."""
    if progress is None:
        return None

    def heard(line: str) -> None:
        found = re.search(r"\(([0-9.]+)/100%\)", line)
        if found is not None:
            progress.reach(int(float(found[1])))

    return heard


def _options(format: str | None, options: Mapping[str, object] | None) -> list[str]:
    """Return ``-o`` and the options; a comma in a value is doubled."""
    given = {**_EXACT.get(format or "", {}), **(options or {})}
    words = [f"{name}={_word(value)}" for name, value in given.items()]
    return ["-o", ",".join(words)] if words else []


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(int(value) if isinstance(value, int) else value).replace(",", ",,")


def measure(path: str, format: str, target_format: str) -> dict[str, Any]:
    """Return how many bytes a conversion would take: ``required``, ``fully-allocated``.

    Formats that qemu-img can't foretell take about what qcow2 does.
    """
    foretold = target_format if target_format in ("raw", "qcow2") else "qcow2"
    data: dict[str, Any] = _json("measure", "-f", format, "-O", foretold, path)
    return data


def check(path: str, format: str, *, repair: str | None = None) -> dict[str, Any]:
    """Return what is wrong inside an image: ``corruptions``, ``leaks``, ``check-errors``.

    :param repair: ``leaks`` or ``all``: mend it too
    :raises ApplyError: for a format that has nothing to check, or when it can't be opened
    """
    how = [] if repair is None else ["-r", repair]
    data: dict[str, Any] = _json("check", "-f", format, *how, path, ok=(0, 2, 3))
    return data


def commit(path: str, format: str) -> None:
    """Write what an image adds to its backing file into that file."""
    run(["qemu-img", "commit", "-q", "-f", format, path])


def compare(path: str, format: str, other: str, other_format: str) -> str:
    """Return :data:`IDENTICAL`, or where a guest would see a difference."""
    formats = ["-f", format, "-F", other_format]
    return run(["qemu-img", "compare", "-U", *formats, path, other], ok=(0, 1)).strip()


def blank(path: str, format: str) -> bool:
    """Tell whether a guest sees nothing but zeros: as in an image of no size at all."""
    nothing = "driver=null-co,size=0,read-zeroes=on"
    command = ["qemu-img", "compare", "-U", "--image-opts", _opened(path, format), nothing]
    return IDENTICAL in run(command, ok=(0, 1))


def map_(path: str, format: str) -> list[dict[str, Any]]:
    """Return the extents of an image: ``start``, ``length``, ``depth``, ``zero``, ``data``."""
    data: list[dict[str, Any]] = _json("map", "-U", "-f", format, path)
    return data


def snapshot(path: str, format: str, how: str, name: str) -> None:
    """Make (``create``), ``apply`` or ``delete`` an internal snapshot."""
    flag = {"create": "-c", "apply": "-a", "delete": "-d"}[how]
    run(["qemu-img", "snapshot", "-q", flag, name, "--image-opts", _opened(path, format)])


def bitmap(
    path: str,
    format: str,
    how: str,
    name: str,
    *,
    granularity: int | None = None,
    source: str | None = None,
) -> None:
    """Change a dirty bitmap.

    :param how: ``add``, ``remove``, ``clear``, ``enable``, ``disable``, ``merge``
    :param granularity: of a new one, in bytes
    :param source: the bitmap of the same image that is merged into this one
    """
    more = [] if granularity is None else ["-g", str(granularity)]
    what = [f"--{how}", *([str(source)] if how == "merge" else [])]
    run(["qemu-img", "bitmap", *what, *more, "-f", format, path, name])


def dd(
    path: str,
    format: str,
    target: str,
    target_format: str,
    *,
    block_size: int,
    count: int | None,
    skip: int,
) -> None:
    """Write ``count`` blocks of an image, after the ``skip`` first, into a new one."""
    blocks = [f"bs={block_size}", f"skip={skip}", *([] if count is None else [f"count={count}"])]
    files = [f"if={path}", f"of={target}"]
    run(["qemu-img", "dd", "-f", format, "-O", target_format, *blocks, *files])


def _opened(path: str, format: str) -> str:
    """An image as QEMU's options; a comma in its name is doubled."""
    return f"driver={format},file.driver=file,file.filename={_word(path)}"


def faults(path: str, format: str) -> int:
    """Return how many faults an image has that lose data; 0 of a format that can't be checked."""
    if format not in CHECKED:
        return 0
    found = check(path, format)
    return int(found.get("corruptions", 0) + found.get("check-errors", 0))


def info(path: str, format: str) -> dict[str, Any]:
    """Return what qemu-img says of an image; a running guest's may be read too."""
    data: dict[str, Any] = _json("info", "--force-share", "-f", format, path)
    return data


def _json(function: str, *arguments: str, ok: Sequence[int] = (0,)) -> Any:
    return json.loads(run(["qemu-img", function, "--output=json", *arguments], ok=ok))
