"""Where the consoles of a running guest listen, read from its live document."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET


def listening(live: str) -> list[dict[str, Any]]:
    """Return one entry for each VNC or SPICE console that has a port.

    :param live: the document of the running domain
    :returns: mappings with ``type``, ``listen``, ``port`` (an integer) and ``address``
        (``listen:port``)
    """
    consoles = []
    for graphics in ET.fromstring(live).iterfind("devices/graphics"):
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
