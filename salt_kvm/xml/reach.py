"""Where a guest can be seen and reached, read from its document."""

from __future__ import annotations

from salt_kvm.xml.document import parse
from salt_kvm.xml.identity import AGENT, at


def log(document: str, number: int) -> tuple[int, str | None]:
    """Return how many serial ports a domain has, and the file that one of them is written to."""
    ports = parse(document).findall("devices/serial")
    if number >= len(ports):
        return len(ports), None
    port = ports[number]
    path = at("log", "file")(port) or (
        at("source", "path")(port) if port.get("type") == "file" else None
    )
    return len(ports), None if path is None else str(path)


def agent(document: str) -> str | None:
    """Return the state of the guest agent's channel: ``connected``, ``disconnected``.

    A libvirt before 1.2.14 tells none (``unknown``); ``None`` is a guest without the channel.
    """
    for target in parse(document).iterfind("devices/channel/target"):
        if target.get("name") == AGENT:
            return target.get("state", "unknown")
    return None


def cards(document: str) -> dict[str, str]:
    """Return the host's device behind each network card, by the card's MAC address."""
    found = parse(document).iterfind("devices/interface")
    return {
        str(at("mac", "address")(card)).lower(): str(at("target", "dev")(card) or "")
        for card in found
    }
