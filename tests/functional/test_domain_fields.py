"""Typed fields on running guests: what libvirt writes into a live document is no drift."""

import os
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from .conftest import virsh

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
VSOCK = Path("/dev/vhost-vsock")


def no_drift(converge, fields):
    """Make a guest run; nothing of what is declared may wait for its next start."""
    told = converge("kvm_domain.running", **fields)
    assert "Waits" not in told["comment"], told["comment"]
    return ET.fromstring(virsh("dumpxml", fields["name"]))


def test_many_fields_of_a_running_guest(converge, guest, folder):
    (folder / "b.raw").write_bytes(b"\0" * 1024**2)
    limits = {"total_bytes_sec": 10_000_000, "read_iops_sec": 100, "write_iops_sec": 200}
    no_drift(
        converge,
        {
            **guest,
            "vcpus": 2,
            "max_vcpus": 4,
            "iothreads": 1,
            "cpu": {
                "mode": "custom",
                "model": "Nehalem",
                "topology": {"sockets": 1, "cores": 2, "threads": 2},
                "features": {"aes": "optional", "vmx": "disable"},
            },
            "features": {"acpi": True, "apic": True, "pae": True, "vmport": False},
            "clock": {
                "offset": "utc",
                "timers": [
                    {"name": "rtc", "tickpolicy": "catchup"},
                    {"name": "pit", "tickpolicy": "delay"},
                    {"name": "hpet", "present": False},
                ],
            },
            "on_crash": "restart",
            "pm": {"suspend_to_mem": False, "suspend_to_disk": False},
            "title": "A title",
            "description": "About it",
            "disks": [
                {
                    **guest["disks"][0],
                    "cache": "none",
                    "discard": "unmap",
                    "detect_zeroes": "unmap",
                    "serial": "disk-a",
                    "iothread": 1,
                    "iotune": limits,
                    "boot_order": 1,
                },
                {"path": str(folder / "b.raw"), "bus": "scsi", "shareable": True, "wwn": "5" * 16},
            ],
            "interfaces": [
                {
                    **guest["interfaces"][0],
                    "queues": 2,
                    "link": "down",
                    "boot_order": 2,
                }
            ],
            "graphics": [
                {"type": "vnc", "listen": "127.0.0.1", "websocket": "auto", "keymap": "de"},
                {"type": "spice", "port": "auto", "clipboard": False},
            ],
            "video": [{"model": "qxl", "heads": 1, "vram": "32MiB"}],
            "serial": [
                {"type": "pty", "log": str(folder / "serial.log")},
                {"type": "file", "path": str(folder / "second.log"), "append": True},
            ],
            "consoles": [{"type": "pty"}],
            "channels": [{"type": "spicevmc", "name": "com.redhat.spice.0"}],
            "agent": True,
            "tpm": True,
            "rng": [{"rate": {"bytes": 1024, "period": 1000}, "device": "/dev/urandom"}],
            "watchdog": [{"model": "i6300esb", "action": "reset"}],
            "panic": [{"model": "isa"}],
            "vsock": VSOCK.exists() and {"cid": 4000 + os.getpid()},
            "memballoon": {"autodeflate": True, "stats_period": 5},
            "inputs": [{"type": "tablet", "bus": "usb"}, {"type": "keyboard", "bus": "virtio"}],
            "sounds": [{"model": "ich9", "codecs": ["micro"]}],
            "redirdevs": [{}],
            "controllers": [{"type": "scsi", "model": "virtio-scsi", "queues": 2}],
            "memory_backing": {"source": "memfd", "access": "shared"},
            "sysinfo": {"system": {"manufacturer": "Example"}, "oem_strings": ["one"]},
            "emulator": "/usr/bin/qemu-system-x86_64",
        },
    )


@pytest.mark.parametrize("cpu", ["maximum", {"mode": "custom", "model": "qemu64"}], ids=str)
def test_the_cpu_that_a_running_guest_got_is_no_drift(converge, guest, cpu):
    no_drift(converge, {**guest, "cpu": cpu})


def test_cells_and_pins_of_a_running_guest(converge, guest):
    cells = [{"id": 0, "cpus": 0, "memory": "64MiB"}, {"id": 1, "cpus": 1, "memory": "64MiB"}]
    no_drift(
        converge,
        {
            **guest,
            "vcpus": 2,
            "memory": "128MiB",
            "memory_hotplug": {"size": "1GiB", "slots": 2},
            "cpu": {"mode": "maximum", "numa": cells},
            "iothreads": 1,
            "cputune": {
                "shares": 2048,
                "period": 100_000,
                "quota": 50_000,
                "vcpupin": [{"vcpu": 0, "cpuset": "0,1"}, {"vcpu": 1, "cpuset": 1}],
                "emulatorpin": "0-1",
                "iothreadpin": [{"iothread": 1, "cpuset": 0}],
            },
            "memtune": {"soft_limit": "4GiB"},
        },
    )


def test_a_serial_port_goes_with_the_console_that_mirrors_it(converge, guest):
    converge("kvm_domain.present", **guest, serial=[{"type": "pty"}])
    converge("kvm_domain.present", **guest, serial=[{"type": "null"}])
    converge("kvm_domain.present", **guest, serial=[])
    assert "<serial" not in virsh("dumpxml", guest["name"])


def test_one_boot_order_drives_out_the_other(converge, guest):
    converge("kvm_domain.present", **guest, boot=["hd", "network"])
    ordered = {**guest, "disks": [{**guest["disks"][0], "boot_order": 1}]}
    converge("kvm_domain.present", **ordered)
    seen = ET.fromstring(virsh("dumpxml", guest["name"]))
    assert (seen.find("os/boot"), seen.find("devices/disk/boot").get("order")) == (None, "1")
    converge("kvm_domain.present", **guest, boot=["network"])
    seen = ET.fromstring(virsh("dumpxml", guest["name"]))
    assert (seen.find("devices/disk/boot"), len(seen.findall("os/boot"))) == (None, 1)


@pytest.mark.skipif(not FIRMWARE.exists(), reason="ovmf is not installed")
def test_secure_boot_and_a_tpm(converge, guest, folder):
    log = folder / "firmware.log"
    fields = {
        **guest,
        "memory": "256MiB",
        "os": {"firmware": "efi", "secure_boot": True, "enrolled_keys": True},
        "features": {"smm": True},
        "tpm": True,
        "serial": [{"type": "file", "path": str(log)}],
    }
    seen = no_drift(converge, fields)
    assert seen.find("os/loader").get("secure") == "yes"
    assert seen.find("devices/tpm/backend").attrib["type"] == "emulator"
    wait_for(log, b"BdsDxe")
    assert "Waits" not in converge("kvm_domain.running", **fields)["comment"]


def wait_for(log, text):
    """The firmware writes to the serial port what it tries to boot from."""
    end = time.monotonic() + 90
    while text not in log.read_bytes():
        assert time.monotonic() < end, log.read_bytes()
        time.sleep(0.2)
