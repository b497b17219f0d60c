"""Machines' files on VMware hosts: those of this host here, those of ESXi hosts by ``esxi``."""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from typing import Any
from urllib.parse import quote

from salt_kvm import vmx
from salt_kvm.backend.system import files
from salt_kvm.backend.system.saying import saying
from salt_kvm.backend.vmware import esxi, vmx_lock
from salt_kvm.errors import ApplyError, ObserveError, UnmetError
from salt_kvm.plan.steps import ReloadVm, VmxStep, WriteVmx
from salt_kvm.seen import VmxSeen
from salt_kvm.spec.vmx import Esxi, where

FOLDER = "/var/lib/salt-kvm/vmx"
# VMware's own have some kilobytes.
LARGEST = 1024**2
CHANGED = "was changed by somebody else while this run was at work on it; run this again"
# Where Workstation and Fusion put machines unless they are told otherwise.
HOMES = ("~", "/home/*", "/Users/*")
PLACES = ("vmware", "Virtual Machines.localized", "Documents/Virtual Machines.localized")
SHARED = "/var/lib/vmware/Virtual Machines"
DIRECTORIES_AT_MOST = 20_000


def look(host: Esxi | None, path: str) -> VmxSeen:
    """Return a machine's file."""
    named = where(host, path)
    kept = _record(path, named)
    machines: Callable[[], tuple[int, ...]] = tuple
    if host is None:
        text, session = _read(path), partial(vmx_lock.held, path)
    else:
        text = esxi.read(host, path, LARGEST)
        machines = cache(partial(esxi.machines, host, path))
        session = partial(esxi.session, host, path, machines)
    return VmxSeen(
        path,
        named,
        text,
        session,
        machines,
        kept.get("waiting", {}),
        kept.get("session"),
        kept.get("unloaded", False),
    )


def _read(path: str) -> bytes | None:
    with saying(ObserveError, path):
        try:
            with open(path, "rb") as file:
                data = file.read(LARGEST + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
    if len(data) > LARGEST:
        raise ObserveError(f"{path} is too large for a .vmx file; correct the path")
    return data


def write(step: WriteVmx, seen: VmxSeen) -> tuple[str | None, Callable[[], None]]:
    """Write a text; return what is to be told of it, and what takes it back.

    What is noted first is right whether or not the file gets written: a run that is killed in
    between is ended by the next one.
    """
    kept = _record(seen.path, seen.where)
    backup = _backup_name(step.path) if step.backup else None
    _keep(step, _due(step, seen, kept))
    try:
        _put(step.host, step.path, step.old, step.text, backup)
    except ApplyError:
        _keep(step, kept)
        raise
    note = None if backup is None else f"The old text is {backup}."
    return note, partial(_take_back, step, seen, kept, backup)


def _take_back(step: WriteVmx, seen: VmxSeen, kept: dict[str, Any], backup: str | None) -> None:
    _put(step.host, step.path, step.text, step.old, None)
    if step.host is not None and step.session is None:
        for number in seen.machines():
            esxi.reload(step.host, number)
    _keep(step, kept)
    if backup is not None:
        _drop(step.host, backup)


def _due(step: WriteVmx, seen: VmxSeen, kept: dict[str, Any]) -> dict[str, Any]:
    """What the machine, or its host, has yet to read."""
    if step.session is None:
        return {"unloaded": True} if seen.machines() else {}
    before = kept.get("waiting", {}) if kept.get("session") == step.session else {}
    told = vmx.changes(step.old, step.text, step.keys, step.hidden)
    waiting = {**{key: was for key, (was, _new) in told.items()}, **before}
    return {"session": step.session, "waiting": waiting}


def reload(step: ReloadVm) -> None:
    """Have the host read the file again."""
    if step.host is not None:
        esxi.reload(step.host, step.number)
    _keep(step, {})


def _backup_name(path: str) -> str:
    return f"{path}.{time.strftime('%Y%m%d-%H%M%S')}.bak"


def _put(host: Esxi | None, path: str, old: bytes, new: bytes, backup: str | None) -> None:
    if host is not None:
        esxi.write(host, path, old, new, backup)
        return
    # A link to the file stays one.
    real = os.path.realpath(path)
    with saying(ApplyError, path), ExitStack() as failing:
        if backup is not None:
            with files.anew(backup) as made:
                _copy(real, made, old)
            failing.callback(files.remove, backup)
        with files.anew(real, over=True) as made:
            _copy(real, made, new)
            if _read(real) != old:
                raise ApplyError(f"{path} {CHANGED}")
        failing.pop_all()


def _copy(source: str, target: str, data: bytes) -> None:
    """Write a file with another's owner, mode and extended attributes, an ACL among them."""
    with open(target, "xb") as file:
        file.write(data)
        found = os.stat(source)
        os.chown(target, found.st_uid, found.st_gid)
    shutil.copystat(source, target)
    os.utime(target)


def _drop(host: Esxi | None, path: str) -> None:
    if host is None:
        files.remove(path)
    else:
        esxi.remove(host, path)


def find(directories: list[str] | str | None = None, depth: int = 4) -> list[dict[str, Any]]:
    """Return the machines' files below directories of this host.

    :param directories: ``None``: where Workstation and Fusion put machines
    :param depth: how many directories deep to look; a link is not followed
    """
    named = [directories] if isinstance(directories, str) else directories
    tops = [top.rstrip("/") for top in named or _places()]
    walked = itertools.chain.from_iterable(_walk(top, depth) for top in dict.fromkeys(tops))
    found = []
    for count, (folder, names) in enumerate(walked):
        if count == DIRECTORIES_AT_MOST:
            raise ObserveError(
                f"more than {DIRECTORIES_AT_MOST} directories are below {', '.join(tops)}; name "
                "the directories of the machines"
            )
        paths = [os.path.join(folder, name) for name in names if name.lower().endswith(".vmx")]
        found += [_machine(path) for path in sorted(paths) if os.path.isfile(path)]
    return found


def _places() -> list[str]:
    patterns = [os.path.expanduser(f"{home}/{place}") for home in HOMES for place in PLACES]
    return [path for pattern in (*patterns, SHARED) for path in sorted(glob.glob(pattern))]


def _walk(top: str, depth: int) -> Iterator[tuple[str, list[str]]]:
    for folder, below, names in os.walk(top):
        if folder.removeprefix(top).count("/") >= depth:
            below.clear()
        yield folder, names


def _machine(path: str) -> dict[str, Any]:
    try:
        name = vmx.get(_read(path) or b"", "displayName")
    except (ObserveError, UnmetError):
        name = None
    return {"path": path, "name": name, "powered_on": vmx_lock.held(path) is not None}


def _record(path: str, named: str) -> dict[str, Any]:
    try:
        with open(_record_path(path, named), encoding="utf-8") as file:
            kept: dict[str, Any] = json.load(file)
    except (OSError, ValueError):
        return {}
    return kept


def _keep(step: VmxStep, record: dict[str, Any]) -> None:
    path = _record_path(step.path, step.where)
    if record:
        files.write(path, json.dumps(record).encode(), 0o600)
    elif os.path.exists(path):
        files.remove(path)


def _record_path(path: str, named: str) -> str:
    """Two files of one name on two hosts have two records."""
    whole = hashlib.sha256(os.fsencode(named)).hexdigest()[:16]
    return f"{FOLDER}/{quote(os.path.basename(path), safe='')[:150]}-{whole}"
