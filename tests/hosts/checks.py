"""What can be seen of a host from outside: its sockets, its guest, its files."""

import re
import socket
import struct
import zlib

from waiting import SECONDS, wait_for

from .conftest import CHECKOUT
from .machine import ADDRESS, run

GUEST = "CentOS-7-x86_64"
IMAGE = f"/opt/{GUEST}.raw"


def converge(host, *arguments):
    """Run tools/converge on the host; return what it printed."""
    return host.run(f"{CHECKOUT}/tools/converge", *arguments).stdout


def guest_is_there(host):
    """The guest runs, its console is on the declared address, and the network serves it."""
    assert virsh(host, "domstate", GUEST).strip() == "running"
    listed = run("nsenter", "-t", str(host.init), "-n", "ss", "-H", "-tln")
    assert re.search(r"\s0\.0\.0\.0:5900\s", listed), listed
    assert greeting() == b"RFB"
    state = dict(re.findall(r"^(\w+):\s+(\w+)", virsh(host, "net-info", "default"), re.M))
    assert (state["Active"], state["Autostart"]) == ("yes", "yes")
    assert virsh(host, "pool-list", "--name").split() == ["default"]
    assert host.path(IMAGE).stat().st_size == 10 * 1024**3
    wait_for(lambda: "192.168.122." in virsh(host, "net-dhcp-leases", "default"), "a lease")


def greeting():
    """Connect to the VNC port from another machine; return the first bytes."""
    with socket.create_connection((ADDRESS, 5900), timeout=SECONDS) as console:
        return console.recv(3)


def virsh(host, *arguments):
    return host.run("virsh", "--connect", "qemu:///system", *arguments).stdout


def screenshot(host, printed):
    """Return width, height and whether anything is to be seen of the picture that was announced."""
    path = re.search(rf"^Screenshot of {GUEST}: (.*)$", printed, re.M)[1]
    png = host.path(path).read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    parts, at = [], 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        parts += [png[at + 8 : at + 8 + length]] if kind == b"IDAT" else []
        at += length + 12
    return width, height, len(set(zlib.decompress(b"".join(parts)))) > 1


def photograph(host):
    """What a dry run could leave: packages, and files with their times."""
    seen = {"packages": host.run("dpkg-query", "-W").stdout}
    for top in ("etc", "opt", "usr/bin", "usr/sbin", "var/lib/libvirt", "run/libvirt"):
        for path in sorted((host.root / top).rglob("*")):
            found = path.lstat()
            seen[str(path)] = (found.st_mode, found.st_size, found.st_mtime_ns)
    return seen
