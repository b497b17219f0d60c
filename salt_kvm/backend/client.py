"""What a face knows and the engine does not: how to fetch, where to keep, whom to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from salt_kvm.backend.system.progress import Report, silent
from salt_kvm.errors import ApplyError


def only_literal(address: str) -> str:
    """Render a file; only a face knows to."""
    raise ApplyError(f"{address} can't be rendered here; only Salt can")


def only_local(address: str, target: str) -> str:
    """Fetch what is on this host; what is elsewhere a face knows to fetch."""
    if address.startswith("/"):
        return address
    raise ApplyError(f"{address} can't be fetched here; only Salt's file client can")


@dataclass(frozen=True)
class Client:
    """The settings and the callbacks of one call.

    ``store`` is the folder of the store of images. ``fetch`` brings an address into a file, or
    returns the path of what is here already; ``published`` returns the checksum that the server of
    an address has for it, and ``length`` its size in bytes, if it tells them; ``render`` returns a
    template with its values in place.
    """

    store: str = "/var/lib/salt-kvm/store"
    fetch: Callable[[str, str], str] = only_local
    published: Callable[[str], str | None] = lambda address: None
    length: Callable[[str], int | None] = lambda address: None
    report: Report = silent
    render: Callable[[str], str] = only_literal
