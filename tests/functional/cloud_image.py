"""A cloud image made here: Debian with cloud-init, sshd and the guest agent.

It is kept for the next run. Its kernel is booted directly, since there is no boot loader in it.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from hosts.machine import CACHE, bare_system, dress, locked, run

from .ramdisk import GUEST, initramfs

PACKAGES = ["cloud-init", "iproute2", "kmod", "openssh-server", "qemu-guest-agent", "sudo", "udev"]
SIZE = "1G"

# What the kernel needs to reach its root file system.
MODULES = (
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
    "virtio_blk",
)  # fmt: skip
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /dev /root
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do /bin/busybox insmod $module; done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount -o move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""
# What is slow under emulation, or looks for a network that is not there, is left out.
CLOUD = """\
datasource_list: [NoCloud, None]
system_info: {network: {renderers: [networkd]}}
ssh_deletekeys: false
ssh_genkeytypes: [ed25519]
cloud_init_modules: [bootcmd, write-files, set_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [write-files-deferred, scripts-user, final-message]
"""
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "dpkg-db-backup.timer", "systemd-networkd-wait-online.service",
)  # fmt: skip


class CloudImage(NamedTuple):
    """``disk`` is a raw image to back a guest's first, virtio, disk; the rest boots it.

    The serial port is its console; root's password there is ``root``.
    """

    disk: str
    kernel: str
    initramfs: str
    arguments: str = "console=ttyS0 root=/dev/vda rw net.ifnames=0 quiet"


@contextmanager
def image(kernel):
    """Yield the image, with this kernel and what it needs, where QEMU can read them."""
    if os.getuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("only root, with debootstrap, can make a cloud image")
    disk = _disk(kernel)
    with tempfile.TemporaryDirectory(prefix="salt-kvm-cloud-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = folder / "initramfs"
        made.write_bytes(initramfs(folder / "root", INIT, MODULES))
        yield CloudImage(str(disk), kernel, str(made))


def _disk(kernel):
    """Return the image of this recipe and kernel; those of older ones go."""
    version = _version(Path(kernel).read_bytes())
    recipe = hashlib.sha256(Path(__file__).read_bytes() + version.encode()).hexdigest()[:16]
    disk = CACHE / f"cloud-{recipe}.raw"
    with locked("cloud.lock"):
        if not disk.is_file():
            for old in CACHE.glob("cloud-*"):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            _make(CACHE / "cloud-root", version, disk)
    return disk


def _version(kernel):
    """The boot protocol's header says where the kernel's version stands."""
    start = int.from_bytes(kernel[0x20E:0x210], "little") + 0x200
    return kernel[start : kernel.index(b" ", start)].decode()


def _make(root, version, disk):
    try:
        subprocess.run(["cp", "-a", "--reflink=auto", bare_system(), root], check=True)
        dress(root, "unnamed")
        _install(root)
        shutil.copytree(GUEST / "modules", root / "lib/modules" / version)
        run("chroot", str(root), "depmod", version)
        (root / "etc/cloud/cloud.cfg.d/99-test.cfg").write_text(CLOUD)
        (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
        for unit in MASKED:
            (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
        run("systemctl", "--root", str(root), "enable", "systemd-networkd.service")
        run("chroot", str(root), "chpasswd", input="root:root\n")
        work = disk.with_name(f"{disk.stem}.new")
        run("mkfs.ext4", "-q", "-d", str(root), "-L", "cloud", str(work), SIZE)
        work.rename(disk)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _install(root):
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    apt = ("chroot", str(root), "apt-get", "-q")
    run(*apt, "update", env=quiet)
    run(*apt, "install", "-y", "--no-install-recommends", *PACKAGES, env=quiet)
    policy.unlink()
    for folder in ("var/lib/apt/lists", "var/cache/apt", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(root / folder)


def cloud_init(disk, folder):
    """Take the image's cloud-init out into a folder; return the program.

    Debian's Python runs it here, as the image is of the release that this machine has.
    """
    packages = "/usr/lib/python3/dist-packages"
    run("debugfs", "-R", f"rdump {packages} {folder}", disk)
    program = folder / "cloud-init"
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH={folder}/dist-packages "
        'exec /usr/bin/python3 -m cloudinit.cmd.main "$@"\n'
    )
    program.chmod(0o755)
    return program
