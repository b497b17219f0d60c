"""Typed fields on running guests: what libvirt writes into a live document is no drift."""

import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from waiting import wait_for

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
    says(log, b"BdsDxe")
    assert "Waits" not in converge("kvm_domain.running", **fields)["comment"]


BOOT = Path(__file__).parents[2] / ".cache" / "guest" / "boot"
MENU = """set timeout=0
menuentry a {{
  linux /vmlinuz {arguments} loglevel=7
  initrd /initramfs
}}
"""


def boot_disk(guest_kernel, path, loader):
    """A disk that firmware boots: ``loader``, GRUB, and the tests' kernel with its initramfs."""
    menu = path.with_name("grub.cfg")
    menu.write_text(MENU.format(arguments=guest_kernel.arguments))
    files = {
        "::/EFI/BOOT/BOOTX64.EFI": loader,
        "::/EFI/BOOT/grubx64.efi": BOOT / "grubx64.efi",
        "::/EFI/debian/grub.cfg": menu,
        "::/vmlinuz": guest_kernel.kernel,
        "::/initramfs": guest_kernel.initramfs,
    }
    path.write_bytes(b"")
    os.truncate(path, 64 * 1024**2)
    commands = [["mformat", "-F"], ["mmd", "::/EFI", "::/EFI/BOOT", "::/EFI/debian"]]
    commands += [["mcopy", str(source), target] for target, source in files.items()]
    for program, *arguments in commands:
        subprocess.run([program, "-i", str(path), *arguments], check=True)


SECURE = {
    "memory": "512MiB",
    "os": {"firmware": "efi", "secure_boot": True, "enrolled_keys": True},
    "features": {"smm": True},
    "tpm": True,
}


@pytest.mark.skipif(not FIRMWARE.exists(), reason="ovmf is not installed")
@pytest.mark.skipif(not BOOT.is_dir(), reason=f"no boot loaders in {BOOT}; tools/test fetches them")
@pytest.mark.parametrize("signed", [True, False])
def test_a_system_boots_securely_and_only_a_signed_one(
    converge, guest, guest_kernel, folder, signed
):
    """Firmware, shim, GRUB and kernel, each of which checks the next; and the TPM is there."""
    program = bytearray((BOOT / "shimx64.efi").read_bytes())
    program[len(program) // 2] ^= not signed
    loader = folder / "loader.efi"
    loader.write_bytes(program)
    boot_disk(guest_kernel, folder / "a.raw", loader)
    log = folder / "serial.log"
    fields = {**guest, **SECURE, "serial": [{"type": "pty", "log": str(log)}]}
    seen = no_drift(converge, fields)
    if not signed:
        says(log, b"Access Denied")
        assert b"tick" not in log.read_bytes()
        return
    says(log, b"tick")
    told = log.read_bytes()
    assert b"Secure boot enabled" in told
    assert b"TPMEventLog=" in told
    off = {**fields, "timeout": 120}
    converge("kvm_domain.stopped", **off)
    before = kept(guest["name"], seen)
    converge("kvm_domain.stopped", **{**off, "vcpus": 2, "title": "new"})
    assert ET.fromstring(virsh("dumpxml", guest["name"])).findtext("vcpu") == "2"
    assert kept(guest["name"], seen) == before


def test_what_a_tpm_holds_outlives_its_domain(converge, guest):
    converge("kvm_domain.running", **guest, tpm=True)
    uuid = ET.fromstring(virsh("dumpxml", guest["name"])).findtext("uuid")
    held = Path("/var/lib/libvirt/swtpm", uuid)
    assert list(held.rglob("*.permall"))
    converge("kvm_domain.absent", name=guest["name"], timeout=0, force=True)
    assert list(held.rglob("*.permall"))
    shutil.rmtree(held)


def kept(name, document):
    """The variables of a guest's firmware and what its TPM holds, which no redefinition touches."""
    nvram = Path(f"/var/lib/libvirt/qemu/nvram/{name}_VARS.fd")
    tpm = list(Path("/var/lib/libvirt/swtpm", document.findtext("uuid")).rglob("*.permall"))
    assert len(tpm) == 1
    return {path: path.read_bytes() for path in (nvram, *tpm)}


def says(log, text):
    """The firmware writes to the serial port what it tries to boot from."""
    wait_for(lambda: text in log.read_bytes(), log.read_bytes)
