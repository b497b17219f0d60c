"""What a person looks at: graphical consoles, video cards, serial ports and channels."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.types import Path, Size, Spec
from salt_kvm.spec.values import Line, Natural, Port, Positive, Word


class Graphics(Spec, frozen=True, kw_only=True):
    """A graphical console; without ``port`` the next free one from 5900 on is taken."""

    type: Literal["vnc", "spice"] = "vnc"
    listen: str | None = None
    socket: Path | None = None
    port: Annotated[int, Meta(ge=5900, le=65535)] | Literal["auto"] | None = None
    tls_port: Annotated[int, Meta(ge=5900, le=65535)] | None = None
    websocket: Annotated[int, Meta(ge=5700, le=65535)] | Literal["auto"] | None = None
    password: Line | None = None
    default_mode: Literal["secure", "insecure", "any"] | None = None
    keymap: Annotated[str, Meta(pattern=r"^[a-z]{2}(-[a-z]{2})?$")] | None = None
    share_policy: Literal["allow-exclusive", "force-shared", "ignore"] | None = None
    gl: bool | None = None
    clipboard: bool | None = None
    file_transfer: bool | None = None

    def __post_init__(self) -> None:
        if self.listen not in (None, "none"):
            ipaddress.ip_address(self.listen or "")
        if self.socket is not None and (self.listen, self.port) != (None, None):
            raise ValueError("'socket' takes the place of 'listen' and 'port'; remove these")
        # The VNC protocol's own limit.
        if self.type == "vnc" and self.password is not None and len(self.password) > 8:
            raise ValueError("a VNC password has 8 characters at most; shorten it")
        spice = ("default_mode", "tls_port", "gl", "clipboard", "file_transfer")
        for other, fields in (("vnc", spice), ("spice", ("websocket", "share_policy"))):
            wrong = [name for name in fields if getattr(self, name) is not None]
            if self.type == other and wrong:
                raise ValueError(f"{wrong[0]!r} does not go with type {other}")


class Resolution(Spec, frozen=True, kw_only=True):
    """The screen that the guest finds, in pixels."""

    x: Positive
    y: Positive


class Video(Spec, frozen=True, kw_only=True):
    """A graphics card."""

    model: Literal["virtio", "vga", "qxl", "bochs", "cirrus", "ramfb", "vmvga", "none"]
    heads: Positive | None = None
    vram: Size | None = None
    ram: Size | None = None
    vgamem: Size | None = None
    primary: bool | None = None
    accel3d: bool | None = None
    resolution: Resolution | None = None
    driver: Literal["qemu", "vhostuser"] | None = None


class Stream(Spec, frozen=True, kw_only=True):
    """What serial ports, consoles and channels have in common: where the bytes go."""

    type: Literal[
        "pty", "file", "tcp", "unix", "null", "dev", "pipe", "spicevmc", "qemu-vdagent"
    ] = "pty"
    path: Path | None = None
    append: bool | None = None
    mode: Literal["bind", "connect"] | None = None
    host: Word | None = None
    service: Port | None = None
    protocol: Literal["raw", "telnet", "telnets", "tls"] | None = None
    tls: bool | None = None
    log: Path | None = None

    def __post_init__(self) -> None:
        needs = {"file": ("path",), "dev": ("path",), "pipe": ("path",), "tcp": ("service",)}
        for field in needs.get(self.type, ()):
            if getattr(self, field) is None:
                raise ValueError(f"type {self.type} needs {field!r}")
        wrong = [f for f in ("host", "service", "protocol", "tls") if getattr(self, f) is not None]
        if self.type != "tcp" and wrong:
            raise ValueError(f"{wrong[0]!r} goes with type tcp")


class Serial(Stream, frozen=True, kw_only=True):
    """A serial port; ``log`` is a file into which libvirt writes all that the guest prints."""

    target: Literal["isa-serial", "usb-serial", "pci-serial", "system-serial"] | None = None
    port: Natural | None = None


class Console(Stream, frozen=True, kw_only=True):
    """A text console over virtio; that of the first serial port is there by itself."""

    target: Literal["virtio", "sclp", "sclplm"] = "virtio"


class Channel(Stream, frozen=True, kw_only=True):
    """A channel between a program of the host and one in the guest, known by its name."""

    name: Word
