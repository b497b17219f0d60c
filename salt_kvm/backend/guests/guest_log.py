"""libvirt's log of a guest: when it started, and how it ended.

libvirtd forgets the reason when it is restarted; the log keeps it. It is libvirt's own text, in the
words of ``virDomainShutoffReason``: https://libvirt.org/html/libvirt-libvirt-domain.html
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

FOLDER = "/var/log/libvirt/qemu"
TAIL = 256 * 1024
_LINE = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000): "
    r"(?:(starting up) libvirt|shutting down, reason=([a-z ]+))",
    re.MULTILINE,
)
START, SAVED = "start", "saved"


def now() -> str:
    """Return the time as the log has it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "+0000"


def events(name: str, since: str) -> list[str]:
    """Return what happened to a guest: ``start``, or the reason of an end; oldest first.

    One whose memory was saved, and that went on from there, has neither ended nor started.

    :param since: when to begin, as the log has it
    """
    try:
        with open(f"{FOLDER}/{name}.log", "rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    found: list[str] = []
    for moment, start, reason in (match.groups() for match in _LINE.finditer(text)):
        if moment < since:
            continue
        if start and found[-1:] == [SAVED]:
            found.pop()
        else:
            found.append(START if start else reason)
    return found
