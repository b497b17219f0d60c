"""The devices of a domain, but for disks and network cards."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from salt_kvm.spec import console, devices
from salt_kvm.spec.values import pci
from salt_kvm.xml.intent import GONE, element
from salt_kvm.xml.rows import Said, Tables, flag, hexadecimal, kib, plain, rows, switch

PORTS = (
    ("type", "@type"),
    ("path", "source@path"),
    ("append", "source@append", switch),
    ("mode", "source@mode"),
    ("host", "source@host"),
    ("service", "source@service"),
    ("tls", "source@tls"),
    ("protocol", "protocol@type"),
    ("log", "log", lambda path: None if path == "none" else {"file": path, "append": "on"}),
)


def _listen(value: str) -> Said:
    if value == "none":
        return [element("listen", {"type": "none"})]
    return [element("listen", {"type": "address", "address": value})]


def _socket(value: str) -> Said:
    return [element("listen", {"type": "socket", "socket": value})]


def _port(value: int | str) -> Said:
    auto = value == "auto"
    return {"port": -1 if auto else value, "autoport": "yes" if auto else "no"}


def _vnc_socket(value: str) -> Said:
    return "-1" if value == "auto" else str(value)


def _cid(value: int | str) -> Said:
    return {"auto": "yes"} if value == "auto" else {"auto": "no", "address": value}


def _rom(value: bool) -> Said:
    return {"enabled": plain(value)}


PCR_BANKS = ("sha1", "sha256", "sha384", "sha512")


def _pcr_banks(value: list[str]) -> Said:
    """Each bank is an element of its own: a list that is declared in full says which are not on."""
    return [ET.Element(name, {} if name in value else GONE) for name in PCR_BANKS]


TABLES: Tables = {
    console.Graphics: rows(
        ("type", "@type"),
        ("port", "", _port),
        ("tls_port", "@tlsPort"),
        ("websocket", "@websocket", _vnc_socket),
        ("listen", "@listen", lambda value: None if value == "none" else str(value)),
        ("password", "@passwd", lambda value: value.encode().decode()),
        ("password_valid_to", "@passwdValidTo", lambda at: None if at == "never" else str(at)),
        ("default_mode", "@defaultMode"),
        ("keymap", "@keymap"),
        ("share_policy", "@sharePolicy"),
        ("listen", "", _listen),
        ("socket", "", _socket),
        ("gl", "gl@enable"),
        ("clipboard", "clipboard@copypaste"),
        ("file_transfer", "filetransfer@enable"),
    ),
    console.Video: rows(
        ("model", "model@type"),
        ("heads", "model@heads"),
        ("vram", "model@vram", kib),
        ("ram", "model@ram", kib),
        ("vgamem", "model@vgamem", kib),
        ("primary", "model@primary"),
        ("accel3d", "model/acceleration@accel3d"),
        ("resolution", "model/resolution"),
        ("driver", "driver@name"),
    ),
    console.Resolution: rows(("x", "@x"), ("y", "@y")),
    console.Serial: rows(*PORTS, ("target", "target@type"), ("port", "target@port")),
    console.Console: rows(*PORTS, ("target", "target@type")),
    console.Channel: rows(
        *PORTS, ("name", "target", lambda name: {"type": "virtio", "name": name})
    ),
    devices.Tpm: rows(
        ("model", "@model"),
        ("type", "backend@type"),
        ("version", "backend@version"),
        ("persistent_state", "backend@persistent_state"),
        ("device", "backend/device@path"),
        ("encryption", "backend/encryption@secret"),
        ("active_pcr_banks", "backend/active_pcr_banks", _pcr_banks),
    ),
    devices.Rng: rows(
        ("model", "@model"),
        ("rate", "rate"),
        ("backend", "backend@model"),
        ("device", "backend"),
    ),
    devices.Rate: rows(("bytes", "@bytes"), ("period", "@period")),
    devices.Watchdog: rows(("model", "@model"), ("action", "@action")),
    devices.Panic: rows(("model", "@model")),
    devices.Vsock: rows(("model", "@model"), ("cid", "cid", _cid)),
    devices.Filesystem: rows(
        ("driver", "driver@type"),
        ("queue", "driver@queue"),
        ("access_mode", "@accessmode"),
        ("binary", "binary@path"),
        ("xattr", "binary@xattr", switch),
        ("cache", "binary/cache@mode"),
        ("source", "source@dir"),
        ("target", "target@dir"),
        ("readonly", "readonly", flag),
    ),
    devices.Hostdev: rows(
        ("managed", "@managed"),
        ("pci", "", lambda value: {"mode": "subsystem", "type": "pci"}),
        ("pci", "source/address", pci),
        ("usb", "", lambda value: {"mode": "subsystem", "type": "usb"}),
        ("usb", "source"),
        ("mdev", "", lambda value: {"mode": "subsystem", "type": "mdev"}),
        ("model", "@model"),
        ("mdev", "source/address@uuid"),
        ("rom", "rom", _rom),
        ("boot_order", "boot@order"),
    ),
    devices.UsbDevice: rows(
        ("vendor", "vendor@id", hexadecimal(4)), ("product", "product@id", hexadecimal(4))
    ),
    devices.Sound: rows(("model", "@model"), ("codecs", "codec@type")),
    devices.Input: rows(("type", "@type"), ("bus", "@bus"), ("device", "source@evdev")),
    devices.Redirdev: rows(("bus", "@bus"), ("type", "@type"), ("boot_order", "boot@order")),
    devices.Memballoon: rows(
        ("model", "@model"),
        ("autodeflate", "@autodeflate", switch),
        ("free_page_reporting", "@freePageReporting", switch),
        ("stats_period", "stats@period"),
    ),
    devices.Iommu: rows(
        ("model", "@model"),
        ("intremap", "driver@intremap", switch),
        ("caching_mode", "driver@caching_mode", switch),
        ("eim", "driver@eim", switch),
        ("iotlb", "driver@iotlb", switch),
        ("aw_bits", "driver@aw_bits"),
    ),
    devices.Controller: rows(
        ("type", "@type"),
        ("index", "@index"),
        ("model", "@model"),
        ("ports", "@ports"),
        ("queues", "driver@queues"),
        ("iothread", "driver@iothread"),
    ),
    devices.MemoryDevice: rows(
        ("model", "@model"),
        ("access", "@access"),
        ("path", "source/path"),
        ("page_size", "source/pagesize", kib),
        ("nodemask", "source/nodemask"),
        ("size", "target/size", kib),
        ("node", "target/node"),
        ("block", "target/block", kib),
        ("requested", "target/requested", kib),
        ("label", "target/label/size", kib),
    ),
}
