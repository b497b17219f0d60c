"""A disk of a domain: where it is stored, and how the guest sees it."""

from typing import Annotated, Literal

from salt_kvm.spec.image import CONTENT_FIELDS, Content, Encryption, Format, check_encryption
from salt_kvm.spec.types import Name, Path, Spec, matching
from salt_kvm.spec.values import (
    Count,
    Line,
    Natural,
    PciAddress,
    Port,
    Positive,
    Uuid,
    Word,
    exactly_one,
    goes_with,
)

BUSES = {"vd": ("virtio",), "sd": ("scsi", "sata", "usb"), "hd": ("ide",), "fd": ("fdc",)}


class Iotune(Spec, frozen=True, kw_only=True):
    """Limits of a disk, in bytes and in requests per second; 0 is no limit."""

    total_bytes_sec: Natural | None = None
    read_bytes_sec: Natural | None = None
    write_bytes_sec: Natural | None = None
    total_iops_sec: Natural | None = None
    read_iops_sec: Natural | None = None
    write_iops_sec: Natural | None = None
    total_bytes_sec_max: Natural | None = None
    read_bytes_sec_max: Natural | None = None
    write_bytes_sec_max: Natural | None = None
    total_iops_sec_max: Natural | None = None
    read_iops_sec_max: Natural | None = None
    write_iops_sec_max: Natural | None = None
    size_iops_sec: Natural | None = None
    group_name: Word | None = None

    def __post_init__(self) -> None:
        for what in ("bytes_sec", "iops_sec", "bytes_sec_max", "iops_sec_max"):
            both = getattr(self, f"total_{what}")
            if both and (getattr(self, f"read_{what}") or getattr(self, f"write_{what}")):
                raise ValueError(
                    f"'total_{what}' and those of reading and writing exclude each other"
                )


class Volume(Spec, frozen=True, kw_only=True):
    """A volume of a storage pool."""

    pool: Name
    volume: Name


class Server(Spec, frozen=True, kw_only=True):
    """A server that stores a network disk."""

    name: Word
    port: Port | None = None
    transport: Literal["tcp", "rdma"] | None = None


class DiskSecret(Spec, frozen=True, kw_only=True):
    """The user of a network disk, and the libvirt secret that holds the password."""

    type: Literal["ceph", "iscsi"]
    username: Word
    uuid: Uuid | None = None
    usage: Line | None = None

    def __post_init__(self) -> None:
        exactly_one("the secret of a disk", uuid=self.uuid, usage=self.usage)


class RemoteDisk(Spec, frozen=True, kw_only=True):
    """A disk that QEMU itself reaches over the network."""

    protocol: Literal["rbd", "iscsi", "nbd", "http", "https", "ftp", "ftps", "ssh", "gluster"]
    name: Line | None = None
    hosts: list[Server] | None = None
    auth: DiskSecret | None = None
    tls: bool | None = None
    query: Line | None = None

    def __post_init__(self) -> None:
        if self.name is None and self.protocol != "nbd":
            raise ValueError(f"protocol {self.protocol} needs 'name'")
        if self.protocol == "nbd" and len(self.hosts or []) != 1:
            raise ValueError("protocol nbd needs one of 'hosts'")
        goes_with(self, self.protocol, {"query": ("http", "https")})


class Nvme(Spec, frozen=True, kw_only=True):
    """A namespace of an NVMe controller of the host."""

    address: PciAddress
    namespace: Positive = 1
    managed: bool = True


class Disk(Content, frozen=True, kw_only=True):
    """A disk. With ``size``, ``source`` or ``backing`` its image is made when the disk is new."""

    path: Path | None = None
    block: Path | None = None
    volume: Volume | None = None
    network: RemoteDisk | None = None
    nvme: Nvme | None = None
    format: Format | None = None
    encryption: Encryption | None = None
    device: Literal["disk", "lun", "cdrom", "floppy"] | None = None
    bus: Literal["virtio", "scsi", "sata", "ide", "usb", "fdc"] | None = None
    target: Annotated[str, matching(r"(vd|sd|hd|fd)[a-z]{1,2}")] | None = None
    cache: Literal["none", "writeback", "writethrough", "directsync", "unsafe"] | None = None
    io: Literal["threads", "native", "io_uring"] | None = None
    discard: Literal["unmap", "ignore"] | None = None
    detect_zeroes: Literal["off", "on", "unmap"] | None = None
    error_policy: Literal["stop", "report", "ignore", "enospace"] | None = None
    iothread: Count | None = None
    queues: Count | None = None
    serial: Annotated[str, matching(r"[A-Za-z0-9_.+ -]+", max_length=20)] | None = None
    wwn: Annotated[str, matching(r"[0-9a-f]{16}")] | None = None
    iotune: Iotune | None = None
    readonly: bool | None = None
    shareable: bool | None = None
    boot_order: Positive | None = None

    def __post_init__(self) -> None:
        places = {n: getattr(self, n) for n in ("path", "block", "volume", "network", "nvme")}
        if self.device not in ("cdrom", "floppy") or any(places.values()):
            exactly_one("a disk", **places)
        made_of = [name for name in CONTENT_FIELDS if getattr(self, name) is not None]
        if made_of and self.path is None:
            raise ValueError(f"{made_of[0]!r} makes an image, so it goes with 'path'")
        self.check(self.format or "raw")
        check_encryption(self.encryption, self.format or "raw", self)
        if self.io == "native" and self.cache not in (None, "none", "directsync"):
            raise ValueError("io native needs cache none or directsync")
        if self.wwn is not None and self.bus not in (None, "ide", "scsi"):
            raise ValueError("'wwn' goes with bus scsi or ide")
        fdc = "fdc" in (self.bus, *BUSES.get((self.target or "")[:2], ()))
        if (self.bus or self.target) and fdc != (self.device == "floppy"):
            raise ValueError("bus fdc goes with device floppy, and no other does")
        if self.device == "lun" and self.path is not None:
            raise ValueError("device lun is a block device; declare it under 'block'")
        if self.device == "cdrom" and self.readonly is False:
            raise ValueError("device cdrom can only be read; leave out 'readonly'")
        if self.format == "vhdx":
            raise ValueError("libvirt knows no vhdx disk; convert the image by hand")
        if self.target and self.bus and self.bus not in BUSES[self.target[:2]]:
            raise ValueError(f"target {self.target} is none of bus {self.bus}")
