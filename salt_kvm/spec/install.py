"""How a guest is installed: where the installer is, what it is told, and when it is done."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from salt_kvm.spec.image import trusted
from salt_kvm.spec.types import Location, Spec, Value, matching
from salt_kvm.spec.values import Line, Port, Text, exactly_one

# A path within a tree or an ISO.
Inside = Annotated[str, matching(r"(?!(.*/)?\.\.(/.*)?$)[^/\x00-\x1f][^\x00-\x1f]{0,254}")]
ARGUMENTS = r"[^\x00-\x1f\ud800-\udfff]{1,2048}"
Argument = Annotated[str, matching(ARGUMENTS)]
Until = Literal["poweroff", "agent", "port"]
Way = Literal["initrd", "volume"]
HOUR = 3600


class Layout(msgspec.Struct, frozen=True):
    """Where the installers of a system have their kernel and initrd."""

    system: str
    kernel: str
    initrd: str


# As the systems' own installation guides name them; docs/install.md says which.
LAYOUTS = (
    Layout("Fedora, RHEL and kin", "images/pxeboot/vmlinuz", "images/pxeboot/initrd.img"),
    Layout("openSUSE, SLE", "boot/x86_64/loader/linux", "boot/x86_64/loader/initrd"),
    Layout("openSUSE, SLE", "boot/aarch64/linux", "boot/aarch64/initrd"),
    Layout("Ubuntu Server", "casper/vmlinuz", "casper/initrd"),
    Layout("Ubuntu Server", "casper/vmlinuz", "casper/initrd.gz"),
    Layout("Debian CD", "install.amd/vmlinuz", "install.amd/initrd.gz"),
    Layout("Debian CD", "install.a64/vmlinuz", "install.a64/initrd.gz"),
    Layout("Debian CD", "install.386/vmlinuz", "install.386/initrd.gz"),
    Layout("Debian netboot", "debian-installer/amd64/linux", "debian-installer/amd64/initrd.gz"),
    Layout("Debian netboot", "debian-installer/arm64/linux", "debian-installer/arm64/initrd.gz"),
    Layout("Debian netboot", "debian-installer/i386/linux", "debian-installer/i386/initrd.gz"),
    Layout("Ubuntu CD", "install/vmlinuz", "install/initrd.gz"),
    Layout("Ubuntu netboot", "ubuntu-installer/amd64/linux", "ubuntu-installer/amd64/initrd.gz"),
)


class Delivery(msgspec.Struct, frozen=True):
    """Where an installer looks for its answers.

    ``file`` is the name that it knows; ``initrd`` what its kernel must be told where that file is
    in the initrd, ``volume`` where it is on a volume with the name ``label``. ``None`` is where it
    does not look. ``beside`` are other files that the volume must have.
    """

    file: str
    initrd: str | None = None
    volume: str | None = None
    label: str = ""
    beside: tuple[str, ...] = ()


# "Answers" in docs/install.md names the pages that say so. Windows takes a CD wherever it takes a
# floppy, and a q35 machine has no floppy drive.
ANSWERS = {
    "kickstart": Delivery("ks.cfg", "inst.ks=file:/ks.cfg", "", "OEMDRV"),
    "preseed": Delivery("preseed.cfg", "auto=true priority=critical"),
    "autoinstall": Delivery("user-data", None, "autoinstall", "cidata", ("meta-data",)),
    "autoyast": Delivery(
        "autoinst.xml",
        "autoyast=file:///autoinst.xml",
        "autoyast=label://OEMDRV/autoinst.xml",
        "OEMDRV",
    ),
    "autounattend": Delivery("Autounattend.xml", None, "", "UNATTEND"),
}


class Wait(Spec, frozen=True, kw_only=True):
    """How long a run stays with an installation."""

    until: Until = "poweroff"
    port: Port | None = None
    address: Annotated[str, matching(r"[0-9A-Za-z_.:-]{1,253}")] | None = None
    timeout: Annotated[int, Meta(ge=1, le=7 * 86400)] = HOUR

    def __post_init__(self) -> None:
        if (self.until == "port") != (self.port is not None):
            raise ValueError("'port' goes with until: port, and until: port needs it")
        if self.address is not None and self.until != "port":
            raise ValueError("'address' goes with until: port")


class Install(Spec, frozen=True, kw_only=True):
    """The ``install`` of a domain; without ``location`` its ``cdrom`` is started as it is."""

    location: Location | None = None
    location_hash: Text | None = None
    kernel: Inside | None = None
    initrd: Inside | None = None
    kernel_args: list[Argument] | str | None = None
    kickstart: Value | None = None
    preseed: Value | None = None
    autoinstall: Value | None = None
    autoyast: Value | None = None
    autounattend: Value | None = None
    deliver: Way | None = None
    wait: Wait | Literal["poweroff", "agent"] | None = None
    reinstall: bool | Line | None = None

    def __post_init__(self) -> None:
        if (self.kernel is None) != (self.initrd is None):
            raise ValueError("declare both 'kernel' and 'initrd', or none of them")
        if self.location is None:
            for field in ("kernel", "kernel_args"):
                if getattr(self, field) is not None:
                    raise ValueError(f"{field!r} goes with 'location', whose kernel is started")
        self._check_hash()
        if isinstance(self.kernel_args, str) and not re.fullmatch(ARGUMENTS, self.kernel_args):
            raise ValueError("'kernel_args' is one line of text, or a list of texts")
        if self.answer is None and self.deliver is not None:
            raise ValueError("'deliver' goes with an answer file")
        if self.answer is not None:
            self._check_answer(self.answer)

    def _check_hash(self) -> None:
        if self.location_hash is not None and not self.fetched:
            raise ValueError("'location_hash' goes with the address of an ISO as 'location'")
        if self.fetched and self.location_hash is None and not trusted(self.location or ""):
            raise ValueError(
                "'location_hash' is needed with an ISO from elsewhere as 'location'; "
                "give the checksum, or the address of the file with it"
            )

    def _check_answer(self, kind: str) -> None:
        known = ANSWERS[kind]
        if kind == "autounattend" and self.location is not None:
            raise ValueError("'autounattend' goes with 'cdrom', not with 'location'")
        if self.location is None and (self.deliver == "initrd" or known.volume is None):
            raise ValueError(f"{kind!r} in an initrd goes with 'location'")
        if self.deliver is not None and getattr(known, self.deliver) is None:
            raise ValueError(f"no installer looks for {kind!r} in its {self.deliver}")

    @property
    def fetched(self) -> bool:
        """True where the location is the address of an ISO; any other address is that of a tree."""
        return bool(
            re.fullmatch(r"[a-z][a-z0-9+]*://[^?#]*\.iso([?#].*)?", self.location or "", re.I)
        )

    @property
    def answer(self) -> str | None:
        """The key of the answer file that is declared."""
        declared = {kind: getattr(self, kind) for kind in ANSWERS}
        if not any(value is not None for value in declared.values()):
            return None
        return exactly_one("an installation takes one answer file; it", **declared)

    @property
    def way(self) -> Way:
        """How the answer file reaches the installer."""
        if self.deliver is not None:
            return self.deliver
        known = ANSWERS[self.answer or "kickstart"]
        return "volume" if self.location is None or known.initrd is None else "initrd"

    @property
    def arguments(self) -> str:
        """What the installer's kernel is told: where its answers are, then what is declared."""
        declared = [self.kernel_args] if isinstance(self.kernel_args, str) else self.kernel_args
        known = ANSWERS.get(self.answer or "")
        found = None if known is None else getattr(known, self.way)
        return " ".join(filter(None, [found, *(declared or [])]))

    @property
    def token(self) -> str | None:
        """What asks for another installation; each value does so once."""
        return None if not self.reinstall else "true" if self.reinstall is True else self.reinstall

    @property
    def until(self) -> Wait | None:
        """What a run waits for."""
        return Wait(until=self.wait) if isinstance(self.wait, str) else self.wait
