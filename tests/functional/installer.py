"""A small installer, made here: an ISO that boots by BIOS and UEFI and copies itself to the disk.

It looks for its answers where real installers look: in its initrd, and on CDs. What is installed is
the same system, which finds the installer's note at the end of the disk and so knows what it is,
where a boot loader has started it.
"""

import shutil
import subprocess
from io import BytesIO
from typing import NamedTuple

import pycdlib

from . import talking
from .ramdisk import BUTTON, GUEST, initramfs

KERNEL, INITRD = "images/pxeboot/vmlinuz", "images/pxeboot/initrd.img"
MiB = 1024**2
DISK = 96
# In the order in which they need each other.
MODULES = (
    "button evdev virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci "
    "virtio_blk scsi_common scsi_mod libata ata_piix cdrom sr_mod isofs failover net_failover "
    "virtio_net virtio_console"
)
CONFIG = f"""
set timeout=0
linux /{KERNEL} console=ttyS0 quiet
initrd /{INITRD}
boot
"""
INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin /cd /tmp /var/run
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
for module in /modules/*.ko; do insmod $module 2>/dev/null; done
for second in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; sleep 1; done
note() {{ dd if=/dev/vda bs=1M skip={DISK - 1} 2>/dev/null | tr -d '\\0' | head -c 4000; }}
{BUTTON}
(pressed; poweroff -f) &
if [ "$(note | head -c 9)" = INSTALLED ] && grep -q BOOT_IMAGE /proc/cmdline; then
    echo "the installed system is up"
    export PATH=/bin:/usr/sbin
    {talking.PORTS}
    agent 2>/dev/null
    {talking.CARD}
    while sleep 1; do echo tick; done
fi
echo "the installer is up"
cat /proc/cmdline
from=nowhere
for file in /ks.cfg /preseed.cfg /autoinst.xml; do
    [ -f $file ] && from=initrd:$file answers=$(cat $file) && ls -ln $file
done
for drive in /dev/sr*; do
    mount -t iso9660 -o ro $drive /cd 2>/dev/null || continue
    for file in ks.cfg user-data autoinst.xml Autounattend.xml; do
        [ -f /cd/$file ] && from=$(dd if=$drive bs=1 skip=32808 count=32 2>/dev/null) &&
            from=${{from%% *}}:$file answers=$(cat /cd/$file)
    done
    [ -f /cd/{KERNEL} ] && payload=$drive
    umount /cd
done
case $from in nowhere) echo "press enter to install"; read -r line ;; esac
case $answers in *hold*) echo "holding"; dd if=/dev/zero bs=512 count=1 2>/dev/null | tr '\\0' x |
    dd of=/dev/vda conv=notrunc 2>/dev/null; sync; echo "half installed"; sleep 100000 ;; esac
case $answers in *nothing*) poweroff -f ;; *linger*) sleep 20 ;; esac
[ -z "$payload" ] || dd if=$payload of=/dev/vda bs=1M conv=notrunc 2>/dev/null
{{ echo "INSTALLED from $from"; echo "$answers"; cat /proc/cmdline; }} |
    dd of=/dev/vda bs=1M seek={DISK - 1} conv=notrunc 2>/dev/null
sync
echo "installed"
case $from$answers in *reboot* | nowhere) reboot -f ;; *) poweroff -f ;; esac
"""


class Installer(NamedTuple):
    """The ISO, and a directory with the same tree."""

    iso: str
    tree: str


def make(folder):
    """Make the installer in ``folder``."""
    tree = folder / "tree"
    (tree / "images" / "pxeboot").mkdir(parents=True)
    (tree / "boot" / "grub").mkdir(parents=True)
    shutil.copy(GUEST / "vmlinuz", tree / KERNEL)
    (tree / INITRD).write_bytes(initramfs(talking.root(folder / "root"), INIT, MODULES.split()))
    (tree / "boot" / "grub" / "grub.cfg").write_text(CONFIG)
    iso = folder / "installer.iso"
    modules = "--install-modules=linux normal iso9660 search part_gpt part_msdos"
    command = ["grub-mkrescue", "-o", iso, "--fonts=", "--locales=", "--themes=", modules, tree]
    subprocess.run([*command, "--", "-volid", "INSTALLER"], check=True, capture_output=True)
    return Installer(str(iso), str(tree))


def note(path):
    """Return what the installer has noted at the end of a raw disk."""
    with open(path, "rb") as disk:
        disk.seek((DISK - 1) * MiB)
        return disk.read(4096).rstrip(b"\0").decode()


# Installs within a second of its guest's start: adds one to the number in the second sector of the
# first IDE disk (ATA's READ, WRITE, FLUSH), and powers off where SeaBIOS has put ACPI's register.
SMALL = """
.code16
    cld
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov $0x20, %al
    call command
    call ready
    mov $0x8000, %di
    mov $0x1f0, %dx
    rep insw
    incw 0x8000
    mov $0x30, %al
    call command
    call ready
    mov $0x8000, %si
    mov $0x1f0, %dx
    rep outsw
    mov $0xe7, %al
    call command
    call idle
    mov $0x604, %dx
    mov $0x2000, %ax
    out %ax, %dx
stop:
    hlt
    jmp stop
command:
    push %ax
    mov $0x1f2, %dx
    mov $1, %al
    out %al, %dx
    inc %dx
    out %al, %dx
    xor %al, %al
    inc %dx
    out %al, %dx
    inc %dx
    out %al, %dx
    inc %dx
    mov $0xe0, %al
    out %al, %dx
    inc %dx
    pop %ax
    out %al, %dx
    mov $256, %cx
    ret
idle:
    in %dx, %al
    test $0x80, %al
    jnz idle
    ret
ready:
    call idle
    test $8, %al
    jz ready
    ret
"""
SECTOR = 512


def make_small(folder):
    """Return the path of a CD with the small installer, for a BIOS and a disk on IDE."""
    code, path = folder / "small", folder / "small.iso"
    work = folder / "small.o"
    subprocess.run(["as", "--32", "-o", work], input=SMALL.encode(), check=True)
    link = ["ld", "-m", "elf_i386", "--oformat=binary", "-Ttext=0x7c00", "-e0x7c00"]
    subprocess.run([*link, "-o", code, work], check=True)
    image = pycdlib.PyCdlib()
    image.new(vol_ident="SMALL")
    data = code.read_bytes().ljust(4 * SECTOR, b"\0")
    image.add_fp(BytesIO(data), len(data), "/BOOT.;1")
    image.add_eltorito("/BOOT.;1", "/BOOT.CAT;1", boot_load_size=4)
    image.write(str(path))
    image.close()
    return str(path)


def times(path):
    """Return how often the small installer has written to a raw disk."""
    with open(path, "rb") as disk:
        disk.seek(SECTOR)
        return int.from_bytes(disk.read(2), "little")
