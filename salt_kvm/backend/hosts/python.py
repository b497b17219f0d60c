"""The Python that runs this process: what is installed in it, and whether it can build more."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LIBRARIES = ("libvirt-python", "msgspec", "pycdlib")
REQUIREMENT = re.compile(
    r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:==\s*([^\s;,]+))?"
)


def listed(requirements: Iterable[str] | str) -> list[str]:
    """Return requirements, of which there may be a single one; its letters are names of others."""
    return [
        str(each) for each in ([requirements] if isinstance(requirements, str) else requirements)
    ]


def describe(requirements: Iterable[str] | str) -> dict[str, Any]:
    """Return this Python's path and version, and which of ``requirements`` it lacks.

    :param requirements: as pip takes them; of a version only ``==`` is looked at
    """
    # A package that an earlier state of the same run installed is seen only with fresh caches.
    importlib.invalidate_caches()
    # Before Python 3.12 the line above leaves out metadata; an instance serves all versions.
    importlib.metadata.MetadataPathFinder().invalidate_caches()
    wanted = listed(requirements)
    missing = [requirement for requirement in wanted if not _satisfied(requirement)]
    return {
        "executable": sys.executable,
        "version": platform.python_version(),
        "libraries": {_name(requirement): _installed(_name(requirement)) for requirement in wanted},
        "missing": missing,
        "complete": not missing,
        "headers": Path(sysconfig.get_path("include"), "Python.h").is_file(),
    }


def _satisfied(requirement: str) -> bool:
    match = REQUIREMENT.match(requirement)
    version = _installed(_name(requirement))
    pinned = match.group(2) if match else None
    return version is not None and pinned in (None, version)


def _name(requirement: str) -> str:
    match = REQUIREMENT.match(requirement)
    return match.group(1) if match else requirement


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
