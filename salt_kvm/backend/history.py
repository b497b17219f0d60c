"""The definitions and files that were: each one that is replaced or removed is kept on the host.

They hold what libvirt holds, passwords too, so only root may read them.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

from salt_kvm.backend.system.files import write
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError, NotFoundError, ObserveError

FOLDER = "/var/lib/salt-kvm/history"
KEPT = 20
ESCAPED = "surrogateescape"


def keep(kind: str, name: str, xml: str) -> None:
    """Keep a definition, the newest :data:`KEPT` of each object; the last one is not kept twice."""
    there = versions(kind, name)
    if there and read(kind, name, there[-1]) == xml:
        return
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    path = _folder(kind, name) / f"{stamp}{_suffix(kind)}"
    write(str(path), xml.encode(errors=ESCAPED), mode=0o600)
    with saying(ApplyError, str(_folder(kind, name))):
        os.chmod(FOLDER, 0o700)
        for stale in there[: max(0, len(there) + 1 - KEPT)]:
            (_folder(kind, name) / f"{stale}{_suffix(kind)}").unlink(missing_ok=True)


def versions(kind: str, name: str) -> list[str]:
    """Return the versions that are kept, oldest first: when each was replaced, in UTC."""
    with saying(ObserveError, FOLDER):
        return sorted(path.stem for path in _folder(kind, name).glob(f"*{_suffix(kind)}"))


def read(kind: str, name: str, version: str) -> str:
    """Return a kept definition.

    :raises NotFoundError: where there is no such version
    """
    if version not in versions(kind, name):
        raise NotFoundError(f"no version {version!r} of {kind} {name} is kept; see its history")
    with saying(ObserveError, FOLDER):
        return (_folder(kind, name) / f"{version}{_suffix(kind)}").read_text(errors=ESCAPED)


def _suffix(kind: str) -> str:
    return ".txt" if kind == "file" else ".xml"


def _folder(kind: str, name: str) -> Path:
    return Path(FOLDER) / kind / quote(name, safe="")
