"""What a person looks at: graphical consoles, video cards, serial ports and channels."""

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.types import Log, Moment, Path, Size, Spec, Value, matching
from salt_kvm.spec.values import Index, Port, Positive, Word, goes_with

# The protocols' own limits, in bytes.
LONGEST_PASSWORD = {"vnc": 8, "spice": 60}


def check_password(kind: str, password: str) -> None:
    """Raise where a console takes no such password; no fault tells anything of it."""
    most = LONGEST_PASSWORD[kind]
    if len(password.encode()) > most:
        raise ValueError(
            f"a {kind.upper()} password has {most} characters of ASCII at most; shorten it"
        )
    if not password.isprintable():
        raise ValueError("a password has no control characters; take them out")


class Graphics(Spec, frozen=True, kw_only=True):
    """A graphical console; without ``port`` the next free one from 5900 on is taken."""

    type: Literal["vnc", "spice"] = "vnc"
    listen: str | None = None
    socket: Path | None = None
    port: Annotated[int, Meta(ge=5900, le=65535)] | Literal["auto"] | None = None
    tls_port: Annotated[int, Meta(ge=5900, le=65535)] | None = None
    websocket: Annotated[int, Meta(ge=5700, le=65535)] | Literal["auto"] | None = None
    password: Value | None = None
    password_valid_to: Moment | None = None
    default_mode: Literal["secure", "insecure", "any"] | None = None
    keymap: Annotated[str, matching(r"[a-z]{2}(-[a-z]{2})?")] | None = None
    share_policy: Literal["allow-exclusive", "force-shared", "ignore"] | None = None
    gl: bool | None = None
    clipboard: bool | None = None
    file_transfer: bool | None = None

    def __post_init__(self) -> None:
        if self.listen not in (None, "none"):
            ipaddress.ip_address(self.listen or "")
        if self.tls_port is not None and not isinstance(self.port, int):
            raise ValueError("'tls_port' goes with a 'port' that is a number")
        others = (self.listen, self.port, self.websocket)
        if self.socket is not None and any(other is not None for other in others):
            raise ValueError("'socket' takes the place of 'listen' and of ports; remove these")
        if self.listen == "none" and any(other is not None for other in others[1:]):
            raise ValueError("listen none goes with no port; remove one of them")
        if self.password is not None:
            check_password(self.type, self.password)
        elif self.password_valid_to is not None:
            raise ValueError("'password_valid_to' goes with 'password'")
        spice = ("default_mode", "tls_port", "gl", "clipboard", "file_transfer")
        for other, fields in (("vnc", spice), ("spice", ("websocket", "share_policy"))):
            wrong = [name for name in fields if getattr(self, name) is not None]
            if self.type == other and wrong:
                raise ValueError(f"{wrong[0]!r} does not go with type {other}")


class Resolution(Spec, frozen=True, kw_only=True):
    """The screen that the guest finds, in pixels."""

    x: Positive
    y: Positive


VIDEO = {
    "ram": ("qxl",),
    "vgamem": ("qxl",),
    "accel3d": ("virtio",),
    "resolution": ("virtio", "vga", "qxl", "bochs"),
}


class Video(Spec, frozen=True, kw_only=True):
    """A graphics card."""

    model: Literal["virtio", "vga", "qxl", "bochs", "cirrus", "ramfb", "vmvga", "none"]
    heads: Annotated[int, Meta(ge=1, le=64)] | None = None
    vram: Size | None = None
    ram: Size | None = None
    vgamem: Size | None = None
    primary: bool | None = None
    accel3d: bool | None = None
    resolution: Resolution | None = None
    driver: Literal["qemu", "vhostuser"] | None = None

    def __post_init__(self) -> None:
        goes_with(self, self.model, VIDEO)
        declared = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if self.model == "none" and declared != ["model"]:
            raise ValueError("video model none has no other key")
        if self.driver == "vhostuser" and self.model != "virtio":
            raise ValueError("driver vhostuser goes with model virtio")


NEEDS = {"file": ("path",), "dev": ("path",), "pipe": ("path",), "tcp": ("host", "service")}
STREAMS = {
    "path": ("file", "dev", "pipe", "unix"),
    "append": ("file",),
    "mode": ("tcp", "unix"),
    **dict.fromkeys(("host", "service", "protocol", "tls"), ("tcp",)),
}


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
    log: Log | None = None

    def __post_init__(self) -> None:
        for field in NEEDS.get(self.type, ()):
            if getattr(self, field) is None:
                raise ValueError(f"type {self.type} needs {field!r}")
        if (self.type, self.path) == ("unix", None) and not isinstance(self, Channel):
            raise ValueError("type unix needs 'path'")
        if self.type == "unix" and self.path is None and self.mode is not None:
            raise ValueError("'mode' goes with 'path'")
        goes_with(self, self.type, STREAMS)


class Serial(Stream, frozen=True, kw_only=True):
    """A serial port; ``log`` is a file into which libvirt writes all that the guest prints.

    libvirt starts a new file when one is full, and keeps a few old ones.
    """

    target: Literal["isa-serial", "usb-serial", "pci-serial", "system-serial"] | None = None
    port: Index | None = None


class Console(Stream, frozen=True, kw_only=True):
    """A text console over virtio; that of the first serial port is there by itself."""

    target: Literal["virtio", "sclp", "sclplm"] = "virtio"


class Channel(Stream, frozen=True, kw_only=True):
    """A channel between a program of the host and one in the guest, known by its name."""

    name: Word
