"""The smaller devices of a domain."""

from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.types import Path, Size, Spec
from salt_kvm.spec.values import (
    Count,
    Hex,
    Index,
    PciAddress,
    Positive,
    Set,
    Uuid,
    Word,
    all_different,
    exactly_one,
    goes_with,
)


class Tpm(Spec, frozen=True, kw_only=True):
    """A trusted platform module: emulated by swtpm, or the host's."""

    model: Literal["tpm-crb", "tpm-tis", "tpm-spapr"] | None = None
    type: Literal["emulator", "passthrough"] = "emulator"
    version: Literal["1.2", "2.0"] | float | None = None
    device: Path | None = None
    encryption: Uuid | None = None
    persistent_state: bool | None = None
    active_pcr_banks: list[Literal["sha1", "sha256", "sha384", "sha512"]] | None = None

    def __post_init__(self) -> None:
        if self.version not in (None, "1.2", "2.0", 1.2, 2.0):
            raise ValueError("a TPM has version '1.2' or '2.0'")
        if (self.device is None) == (self.type == "passthrough"):
            raise ValueError("'device' goes with type passthrough, which needs it")
        if str(self.version) == "1.2" and self.model == "tpm-crb":
            raise ValueError("model tpm-crb needs version '2.0'")
        if self.active_pcr_banks and str(self.version) != "2.0":
            raise ValueError("'active_pcr_banks' need version '2.0'")
        all_different("PCR bank", self.active_pcr_banks or [])
        names = ("version", "encryption", "persistent_state", "active_pcr_banks")
        goes_with(self, self.type, dict.fromkeys(names, ("emulator",)))


class Rate(Spec, frozen=True, kw_only=True):
    """At most ``bytes`` in each ``period`` (milliseconds)."""

    bytes: Positive
    period: Positive | None = None


class Rng(Spec, frozen=True, kw_only=True):
    """A source of randomness."""

    model: Literal["virtio"] = "virtio"
    backend: Literal["random", "builtin"] = "random"
    device: Path | None = None
    rate: Rate | None = None

    def __post_init__(self) -> None:
        if self.device is not None and self.backend != "random":
            raise ValueError("'device' goes with backend random")


class Watchdog(Spec, frozen=True, kw_only=True):
    """A clock that the guest must wind up, and what happens when it does not."""

    model: Literal["i6300esb", "ib700", "itco", "diag288"] = "i6300esb"
    action: (
        Literal["reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi"] | None
    ) = None


class Panic(Spec, frozen=True, kw_only=True):
    """How the guest tells that its kernel crashed."""

    model: Literal["isa", "hyperv", "pseries", "s390", "pvpanic"] = "isa"


class Vsock(Spec, frozen=True, kw_only=True):
    """A socket between host and guest; its address is a number from 3 on."""

    cid: Annotated[int, Meta(ge=3, le=2**32 - 2)] | Literal["auto"] = "auto"
    model: Literal["virtio"] = "virtio"


class Filesystem(Spec, frozen=True, kw_only=True):
    """A directory of the host; ``target`` is the tag by which the guest mounts it."""

    source: Path
    target: Word
    driver: Literal["virtiofs", "path"] | None = None
    access_mode: Literal["passthrough", "mapped", "squash"] | None = None
    readonly: bool | None = None
    queue: Positive | None = None
    binary: Path | None = None
    xattr: bool | None = None
    cache: Literal["none", "always"] | None = None

    def __post_init__(self) -> None:
        names = ("queue", "binary", "xattr", "cache")
        goes_with(self, self.driver or "path", dict.fromkeys(names, ("virtiofs",)))
        if self.driver == "virtiofs" and self.access_mode not in (None, "passthrough"):
            raise ValueError("virtiofs has access_mode passthrough only")


class UsbDevice(Spec, frozen=True, kw_only=True):
    """A USB device of the host by its vendor and product (0x1234)."""

    vendor: Hex
    product: Hex


class Hostdev(Spec, frozen=True, kw_only=True):
    """A device of the host that the guest gets for itself."""

    pci: PciAddress | None = None
    usb: UsbDevice | None = None
    mdev: Uuid | None = None
    model: Literal["vfio-pci", "vfio-ccw", "vfio-ap"] | None = None
    managed: bool | None = None
    rom: bool | None = None
    boot_order: Positive | None = None

    def __post_init__(self) -> None:
        kind = exactly_one("a hostdev", pci=self.pci, usb=self.usb, mdev=self.mdev)
        if (self.model is not None) != (kind == "mdev"):
            raise ValueError("'model' goes with 'mdev', which needs it")
        goes_with(self, kind, {"rom": ("pci",), "boot_order": ("pci", "usb")})


class Sound(Spec, frozen=True, kw_only=True):
    """A sound card."""

    model: Literal["ich9", "ich6", "ich7", "ac97", "es1370", "sb16", "pcspk", "usb"]
    codecs: list[Literal["duplex", "micro", "output"]] | None = None

    def __post_init__(self) -> None:
        goes_with(self, self.model, {"codecs": ("ich6", "ich9")})


class Input(Spec, frozen=True, kw_only=True):
    """A keyboard, a mouse or a tablet."""

    type: Literal["tablet", "mouse", "keyboard", "passthrough"]
    bus: Literal["usb", "virtio", "ps2"] | None = None
    device: Path | None = None

    def __post_init__(self) -> None:
        if (self.device is None) == (self.type == "passthrough"):
            raise ValueError("'device' goes with type passthrough, which needs it")
        buses = {"tablet": ("usb", "virtio"), "passthrough": ("virtio",)}
        if self.bus not in (None, *buses.get(self.type, (self.bus,))):
            raise ValueError(f"a {self.type} is not on bus {self.bus}")


class Redirdev(Spec, frozen=True, kw_only=True):
    """A USB port through which a SPICE client lends its own devices."""

    type: Literal["spicevmc"] = "spicevmc"
    bus: Literal["usb"] = "usb"
    boot_order: Positive | None = None


class Memballoon(Spec, frozen=True, kw_only=True):
    """The device through which a running guest gives memory back."""

    model: Literal["virtio", "none"] = "virtio"
    autodeflate: bool | None = None
    free_page_reporting: bool | None = None
    stats_period: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class Iommu(Spec, frozen=True, kw_only=True):
    """A memory management unit for devices that the guest hands on."""

    model: Literal["intel", "smmuv3", "virtio"]
    intremap: bool | None = None
    caching_mode: bool | None = None
    eim: bool | None = None
    iotlb: bool | None = None
    aw_bits: Annotated[int, Meta(ge=32, le=64)] | None = None


CONTROLLERS = {"queues": ("scsi",), "iothread": ("scsi",), "ports": ("usb", "virtio-serial")}


class Controller(Spec, frozen=True, kw_only=True):
    """A controller of disks, of USB devices or of channels."""

    type: Literal["scsi", "usb", "sata", "virtio-serial", "ide"]
    index: Annotated[int, Meta(ge=0, le=255)] = 0
    model: Word | None = None
    queues: Count | None = None
    iothread: Count | None = None
    ports: Annotated[int, Meta(ge=1, le=511)] | None = None

    def __post_init__(self) -> None:
        goes_with(self, self.type, CONTROLLERS)


class MemoryDevice(Spec, frozen=True, kw_only=True):
    """A memory module."""

    model: Literal["dimm", "nvdimm", "virtio-mem", "virtio-pmem"] = "dimm"
    size: Size
    node: Index | None = None
    path: Path | None = None
    access: Literal["shared", "private"] | None = None
    block: Size | None = None
    requested: Size | None = None
    label: Size | None = None
    page_size: Size | None = None
    nodemask: Set | None = None
