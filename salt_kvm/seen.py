"""What is there: the facts that a plan is made from. Pure values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Observed:
    """A domain, network or pool as libvirt has it.

    ``xml`` is the persistent definition, ``live`` that of the running object (``None`` when it is
    off); a transient object is gone when it is stopped.
    """

    kind: str
    name: str
    xml: str
    live: str | None = None
    autostart: bool = False
    persistent: bool = True

    @property
    def active(self) -> bool:
        return self.live is not None


@dataclass(frozen=True)
class FileSeen:
    """A file of the host; ``format`` and ``size`` (bytes, as a guest sees it) are an image's."""

    path: str
    kind: str
    owner: str
    group: str
    mode: int
    format: str | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class Facts:
    """What the hypervisor is: its architecture, and whether it can virtualise in hardware."""

    arch: str
    kvm: bool
