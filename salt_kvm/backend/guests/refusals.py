"""What libvirt refused to change on a running guest: that waits until the guest starts again.

Without this each run would foretell the change, ask for it and be refused once more. A file under
``/run`` holds it for as long as the guest runs.
"""

from __future__ import annotations

import json

from salt_kvm.backend.system import files
from salt_kvm.seen import Observed
from salt_kvm.xml.document import parse

FOLDER = "/run/salt-kvm/refused"


def refused(seen: Observed) -> dict[str, str]:
    """Return libvirt's reasons by the marks of what it refused to this guest."""
    try:
        with open(f"{FOLDER}/{seen.name}", encoding="utf-8") as file:
            kept = json.load(file)
    except (OSError, ValueError):
        return {}
    reasons: dict[str, str] = kept["reasons"] if kept["guest"] == guest(seen) else {}
    return reasons


def remember(seen: Observed, mark: str, reason: str) -> None:
    """Note that libvirt refused what ``mark`` stands for."""
    kept = {"guest": guest(seen), "reasons": {**refused(seen), mark: reason}}
    files.write(f"{FOLDER}/{seen.name}", json.dumps(kept).encode(), 0o600)


def guest(seen: Observed) -> str:
    """Return what a running guest is known by; another one after each start."""
    live = parse(seen.live or "<domain/>")
    return f"{live.findtext('uuid')} {live.get('id')}"
