"""What is there, and what was promised: the facts that a plan is made from. Pure values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace


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

    @property
    def documents(self) -> list[str]:
        """What it is now and what it will be: its definition, and the document of what runs."""
        return [self.xml] if self.live is None else [self.xml, self.live]


@dataclass(frozen=True)
class Mark:
    """How far the installation of a domain is: of its metadata, and never compared.

    ``phase`` of a definition is ``installing``, ``booting`` (installed, but not yet reached in the
    way that was asked for) or ``installed``; of a running guest ``installer`` where that is what
    runs. ``since`` is when that was started, as libvirt's log of a guest writes it, ``reinstall``
    what was followed last, and ``autostart`` not empty where that is to be set again at the end.
    """

    phase: str
    since: str = ""
    reinstall: str = ""
    autostart: str = ""


@dataclass(frozen=True)
class Header:
    """What an image says of itself; ``None`` is what its format has not, or does not tell here.

    ``backing`` is the path of the file that backs it, ``data_file`` what else holds its data (``?``
    where only its format's own tools know), ``snapshots`` and ``bitmaps`` how many of these it
    holds, ``options`` those of qemu-img. A ``damaged`` one can't
    be what it claims to be. ``luks`` is where (in bytes) the data begin in a raw image that begins
    with a LUKS header: the host's, or, as far as anybody can tell, one that its guest has written.
    """

    format: str
    size: int | None = None
    backing: str | None = None
    backing_format: str | None = None
    data_file: str | None = None
    snapshots: int = 0
    bitmaps: int = 0
    encrypted: bool = False
    damaged: bool = False
    luks: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)

    def opened(self) -> Header:
        """Return what the image is for a guest that has its passphrase."""
        if self.luks is None:
            return self
        size = max(0, (self.size or 0) - self.luks)
        return replace(self, size=size, encrypted=True, luks=None)


@dataclass(frozen=True)
class FileSeen:
    """A file of the host; an image has a ``format``, a ``size`` for its guest and a ``header``.

    ``seed`` are the files in a seed that is only promised.
    """

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
    seed: Mapping[str, Hidden] | None = None


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
class VmxSeen:
    """A machine's file on a VMware host, ``where``; ``text`` is ``None`` where there is none.

    ``session`` tells the power cycle that the machine is in, ``None`` where it is off; ``machines``
    the numbers that an ESXi host has registered it by. Both are asked only where it matters.
    ``waiting`` is what keys were before they were written in the cycle ``waits_for``; an
    ``unloaded`` text is one that the host has not read since it was written.
    """

    path: str
    where: str
    text: bytes | None = None
    session: Callable[[], str | None] = lambda: None
    machines: Callable[[], tuple[int, ...]] = tuple
    waiting: Mapping[str, str | None] = field(default_factory=dict)
    waits_for: str | None = None
    unloaded: bool = False


@dataclass(frozen=True)
class Facts:
    """What the hypervisor is: its architecture, and whether it can virtualise in hardware.

    ``flag`` is the feature by which its CPU can: ``vmx``, ``svm`` or ``none``.
    """

    arch: str
    kvm: bool
    flag: str = "none"


@dataclass
class Promises:
    """What objects and files would be; a key that is missing is as the world has it."""

    objects: dict[tuple[str, str], Observed | None] = field(default_factory=dict)
    files: dict[str, FileSeen | None] = field(default_factory=dict)
    texts: dict[str, str | None] = field(default_factory=dict)
    vmx: dict[str, VmxSeen] = field(default_factory=dict)

    def copy(self) -> Promises:
        """Return promises that can be added to without changing these."""
        return Promises(dict(self.objects), dict(self.files), dict(self.texts), dict(self.vmx))
