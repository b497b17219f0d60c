"""Guests that really boot, emulated: their serial port is read, their console answers."""

import socket
import subprocess
from pathlib import Path

import pytest

from waiting import wait_for

from .conftest import PREFIX, SUBNET, virsh

NAME = f"{PREFIX}guest"
ISO = "/usr/lib/ipxe/ipxe.iso"


@pytest.fixture
def booting(guest_kernel, folder, network):
    """The fields of a guest that boots a kernel directly and writes its serial port to a file."""
    log = folder / "serial.log"
    xml = (
        f"<os><kernel>{guest_kernel.kernel}</kernel><initrd>{guest_kernel.initramfs}</initrd>"
        f"<cmdline>{guest_kernel.arguments} net.ifnames=0 biosdevname=0</cmdline></os>"
    )
    return {
        "name": NAME,
        "virt_type": "auto",
        "memory": "256MiB",
        "disks": [],
        "interfaces": [{"network": network}],
        "graphics": [{"type": "vnc", "listen": "0.0.0.0"}],
        "serial": [{"type": "pty", "log": str(log)}],
        "xml": xml,
    }


def test_a_guest_boots_and_powers_off_when_it_is_asked(converge, booting):
    log = Path(booting["serial"][0]["log"])
    converge("kvm_domain.running", **booting)
    wait_for(lambda: "tick 1" in log.read_text(), "the guest's userspace")
    text = log.read_text()
    assert "salt-kvm guest up" in text
    assert "net.ifnames=0 biosdevname=0" in text
    stopped = converge("kvm_domain.stopped", **booting, timeout=300)
    assert stopped["changes"] == {"state": {"old": "running", "new": "off"}}
    wait_for(lambda: "power button" in log.read_text(), "what it said at last")


def test_a_guest_that_starts_up_is_asked_until_it_hears(run, booting):
    """Before its system is up nobody sees the power button."""
    run()("kvm_domain.running", **booting)
    told = run()("kvm_domain.stopped", **booting, timeout=300)
    assert told["result"] is True, told["comment"]


def test_shutdown_returns_when_the_guest_is_off(run, modules, booting):
    run()("kvm_domain.running", **booting)
    log = Path(booting["serial"][0]["log"])
    wait_for(lambda: "tick 1" in log.read_text(), "the guest's userspace")
    assert modules["kvm_domain.shutdown"](NAME, timeout=300) is True
    assert virsh("domstate", NAME).strip() == "shut off"
    assert modules["kvm_domain.shutdown"](NAME) is False


def test_vnc_answers_on_the_declared_address(run, modules, booting):
    told = run()("kvm_domain.running", **booting)
    vnc = modules["kvm_domain.vnc"](NAME)
    assert vnc["listen"] == "0.0.0.0"
    assert f"VNC at 0.0.0.0:{vnc['port']}" in told["comment"]
    with socket.create_connection(("127.0.0.1", vnc["port"]), timeout=10) as client:
        assert client.recv(12).startswith(b"RFB 003.")
    sockets = subprocess.check_output(["ss", "-H", "-tln"], text=True)
    assert f"0.0.0.0:{vnc['port']}" in sockets


def test_an_iso_boots_to_its_picture(run, modules, guest, folder):
    """A blank disk first in the boot order: the firmware goes on to the CD, as for an installer."""
    run()("kvm_domain.running", cdrom=ISO, **guest)
    path = str(folder / "screen.png")

    def colours():
        assert modules["kvm_domain.screenshot"](guest["name"], path=path) == path
        return Path(path).read_bytes()

    blank = colours()
    assert blank.startswith(b"\x89PNG\r\n\x1a\n")
    wait_for(lambda: len(colours()) > 2000, "text on the screen")


def test_leases_are_those_that_dnsmasq_gave(run, modules, guest):
    """The ISO's iPXE asks for an address before it boots on."""
    run()("kvm_domain.running", cdrom=ISO, **guest)
    network = guest["interfaces"][0]["network"]
    (card,) = modules["kvm_domain.info"](guest["name"])["interfaces"]
    wait_for(lambda: modules["kvm_network.leases"](network), "a DHCP lease")
    (lease,) = modules["kvm_network.leases"](network)
    assert lease["mac"] == card["mac"]["address"]
    assert lease["ipaddr"].startswith(f"{SUBNET}.")
