"""What is there, and what was promised: the facts that a plan is made from. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
class Header:
    """What an image says of itself; ``None`` is what its format has not, or does not tell here.

    ``backing`` is the path of the file that backs it, ``data_file`` what else holds its data (``?``
    where only its format's own tools know), ``options`` those of qemu-img. A ``damaged`` one can't
    be what it claims to be.
    """

    format: str
    size: int | None = None
    backing: str | None = None
    backing_format: str | None = None
    data_file: str | None = None
    snapshots: int = 0
    encrypted: bool = False
    damaged: bool = False
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class FileSeen:
    """A file of the host; an image has a ``format``, a ``size`` for its guest and a ``header``."""

    path: str
    kind: str
    owner: str
    group: str
    mode: int
    format: str | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    header: Header | None = None


class Hidden(bytes):
    """A secret, which shows itself to nobody: not in a log, not in a traceback."""

    def __repr__(self) -> str:
        return "(hidden)"

    __str__ = __repr__


@dataclass(frozen=True)
class DeviceSeen:
    """What stands where a pool's device is to be: the signatures that it carries.

    ``blank`` is a block device that holds nothing at all, ``busy`` one that is mounted, or a part
    of something else that runs.
    """

    path: str
    kind: str
    signatures: tuple[str, ...] = ()
    blank: bool = False
    busy: bool = False


@dataclass(frozen=True)
class Facts:
    """What the hypervisor is: its architecture, and whether it can virtualise in hardware."""

    arch: str
    kvm: bool


@dataclass
class Promises:
    """Objects and files as they would be; a key that is missing is as the world has it."""

    objects: dict[tuple[str, str], Observed | None] = field(default_factory=dict)
    files: dict[str, FileSeen | None] = field(default_factory=dict)

    def copy(self) -> Promises:
        """Return promises that can be added to without changing these."""
        return Promises(dict(self.objects), dict(self.files))
