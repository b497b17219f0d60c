"""A domain: a guest, in the words of virt-install and of libvirt's domain format."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.image import Format
from salt_kvm.spec.types import Mac, Medium, Name, Path, Size, Spec

MiB = 1024**2
Count = Annotated[int, Meta(ge=1, le=4096)]
Seconds = Annotated[int, Meta(ge=0, le=86400)]


class Disk(Spec, frozen=True, kw_only=True):
    """A disk over an image file. With ``size`` the image is made when the disk is new."""

    path: Path
    size: Size | None = None
    format: Format | None = None
    bus: Literal["virtio", "scsi", "sata", "ide", "usb"] | None = None
    target: Annotated[str, Meta(pattern=r"^(vd|sd|hd)[a-z]{1,2}$")] | None = None
    cache: Literal["none", "writeback", "writethrough", "directsync", "unsafe"] | None = None
    serial: Annotated[str, Meta(max_length=20, min_length=1)] | None = None


class Interface(Spec, frozen=True, kw_only=True):
    """A network card, plugged into a libvirt network or into a bridge of the host."""

    network: Name | None = None
    bridge: Name | None = None
    mac: Mac | None = None
    model: Annotated[str, Meta(pattern=r"^[a-z0-9-]+$")] | None = None

    def __post_init__(self) -> None:
        if (self.network is None) == (self.bridge is None):
            raise ValueError("an interface needs either 'network' or 'bridge'")


class Graphics(Spec, frozen=True, kw_only=True):
    """A graphical console; without ``port`` the next free one from 5900 on is taken."""

    type: Literal["vnc", "spice"] = "vnc"
    listen: str | None = None
    port: Annotated[int, Meta(ge=5900, le=65535)] | Literal["auto"] | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        if self.listen is not None:
            ipaddress.ip_address(self.listen)
        # The VNC protocol's own limit.
        if self.type == "vnc" and self.password is not None and len(self.password) > 8:
            raise ValueError("a VNC password has 8 characters at most; shorten it")


class Serial(Spec, frozen=True, kw_only=True):
    """A serial port; ``log`` is a file into which libvirt writes all that the guest prints."""

    type: Literal["pty"] = "pty"
    log: Path | None = None


class Domain(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:domains``; its key is the name of the domain."""

    state: Literal["present", "running", "stopped", "absent"] = "running"
    virt_type: Literal["auto", "kvm", "qemu"] | None = None
    memory: Size | None = None
    max_memory: Size | None = None
    vcpus: Count | None = None
    max_vcpus: Count | None = None
    cpu: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    machine: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    boot: list[Literal["hd", "cdrom", "network", "fd"]] | None = None
    cdrom: Medium | None = None
    disks: list[Disk] | None = None
    interfaces: list[Interface] | None = None
    graphics: list[Graphics] | None = None
    serial: list[Serial] | None = None
    autostart: bool | None = None
    timeout: Seconds | None = None
    force: bool | None = None
    restart: bool | None = None
    xml: str | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < MiB:
            raise ValueError(
                f"{int(self.memory)} bytes of memory is less than any guest can use; "
                f"write a unit, like {int(self.memory)}MiB"
            )
        for field in ("memory", "vcpus"):
            value, limit = getattr(self, field), getattr(self, f"max_{field}")
            if value is not None and limit is not None and limit < value:
                raise ValueError(f"max_{field} is less than {field}; raise it")
        paths = [disk.path for disk in self.disks or []]
        if len(paths) != len(set(paths)):
            raise ValueError("two disks name the same path")
