"""Where the consoles of a guest listen, and which of them let everybody in."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any

from salt_kvm.xml.document import parse

# One that begins with a literal is looked for ten times as fast as one that begins with a boundary.
_LISTENS = re.compile(r"listen=['\"]([^'\"]*)")


def listening(live: str) -> list[dict[str, Any]]:
    """Return one entry for each VNC or SPICE console that has a port.

    :param live: the document of the running domain
    :returns: mappings with ``type``, ``listen``, ``port`` (an integer) and ``address``
        (``listen:port``)
    """
    consoles = []
    for graphics in parse(live).iterfind("devices/graphics"):
        port = int(graphics.get("port", "-1"))
        listen = graphics.get("listen") or "127.0.0.1"
        if port > 0:
            shown = f"[{listen}]" if ":" in listen else listen
            consoles.append(
                {
                    "type": graphics.get("type", ""),
                    "listen": listen,
                    "port": port,
                    "address": f"{shown}:{port}",
                }
            )
    return consoles


def unguarded(document: str) -> list[str]:
    """Return a sentence for each console that other hosts reach without a password.

    :param document: the document of the running domain, or the definition of one that is off
    """
    # Most guests have none that could be, and to parse a document costs as much as to plan it.
    if not any(map(_public, _LISTENS.findall(document))):
        return []
    return [
        f"{graphics.get('type', '').upper()} on {graphics.get('listen')} has no password: who "
        "reaches it sits at the guest's keyboard."
        for graphics in parse(document).iterfind("devices/graphics")
        if graphics.get("passwd") is None and _public(graphics.get("listen"))
    ]


@lru_cache
def _public(listen: str | None) -> bool:
    """Without ``listen`` qemu.conf decides, and its default is loopback."""
    try:
        return listen is not None and not ipaddress.ip_address(listen).is_loopback
    except ValueError:
        return True
