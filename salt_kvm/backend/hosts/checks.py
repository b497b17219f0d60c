"""What a host should offer to guests, check by check, each with its cure.

A probe returns what was seen and the cure; no cure means that the check passed.
"""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from salt_kvm.backend.hosts import host
from salt_kvm.backend.hosts.levels import ABOVE, DETECTED
from salt_kvm.backend.system import command
from salt_kvm.errors import KvmError

Probe = Callable[[], tuple[str, str]]

TUN = Path("/dev/net/tun")
VHOST_NET = Path("/dev/vhost-net")
TPM_AUTHORITY = Path("/var/lib/swtpm-localca")

BARE_METAL_CURE = (
    "Switch on Intel VT-x or AMD-V (SVM) in the firmware setup; without it guests run under "
    "emulation (virt_type: qemu)."
)
MODULES = {"vmx": "kvm_intel", "svm": "kvm_amd"}
CGROUP_CURES = {
    1: "Mount the cgroup controller {0}: mount -t cgroup -o {0} cgroup /sys/fs/cgroup/{0}, and see "
    "that the kernel's command line does not hold cgroup_disable={0}.",
    2: "See that the kernel has the controller {0}, that its command line does not hold "
    "cgroup_disable={0}, and that no cgroup v1 hierarchy holds it (cgroup_no_v1=all).",
    None: "Mount cgroups, as systemd does, so that libvirt can limit guests by {0}.",
}
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "blkio")
IOMMU_ARGUMENTS = {"vmx": "intel_iommu=on", "svm": "amd_iommu=on"}


class Check(NamedTuple):
    """One row: its name, what a fault means, and how to look."""

    name: str
    fault: Literal["warn", "fail"]
    probe: Probe


def cpu_cure() -> str:
    """Return how to get CPU virtualisation here; an empty string where it is there."""
    if host.cpu_can_virtualise():
        return ""
    over = above()
    return ABOVE[over].cure if over else BARE_METAL_CURE


def above() -> str | None:
    """Return what this host is a guest of, a key of ``levels.ABOVE``; ``None`` on bare metal."""
    found = host.hypervisor()
    if found != "unknown":
        return found
    try:
        said = command.run(["systemd-detect-virt", "--vm"], ok=(0, 1)).strip()
    except KvmError:
        return found
    return DETECTED.get(said, found)


def run() -> Iterator[dict[str, Any]]:
    """Yield each check's ``name``, ``result`` (pass, warn, fail), ``seen`` and ``cure``."""
    for check in CHECKS:
        seen, cure = check.probe()
        result = check.fault if cure else "pass"
        yield {"name": check.name, "result": result, "seen": seen, "cure": cure}


def _cpu() -> tuple[str, str]:
    flag = host.cpu_virtualisation()
    machine = platform.machine()
    none = "neither vmx nor svm" if machine in host.X86 else f"{machine}, which has no CPU flag"
    return none if flag == "none" else flag, cpu_cure()


def _hypervisor_above() -> tuple[str, str]:
    over, flag = above(), host.cpu_virtualisation()
    if over is None:
        return "none: bare metal", ""
    title = ABOVE[over].title
    if host.cpu_can_virtualise():
        return f"{title}; it passes {flag} on to this host", ""
    return f"{title}; it passes neither vmx nor svm on to this host", ABOVE[over].cure


def _dev_kvm() -> tuple[str, str]:
    version = host.kvm_api()
    if host.kvm_usable():
        return f"{host.KVM} answers with API version {version}", ""
    if not host.cpu_can_virtualise():
        seen = f"{host.KVM} is there, but useless" if host.KVM.exists() else f"no {host.KVM}"
        return seen, f"First cure the check cpu: without it {host.KVM} can't work."
    if not host.KVM.exists():
        module = MODULES.get(host.cpu_virtualisation(), "kvm")
        return f"no {host.KVM}", f"Load the kernel module: modprobe {module}."
    if version is None:
        return f"{host.KVM} can't be opened", f"Run as root, or as a member of {host.KVM}'s group."
    cure = f"Use a kernel whose KVM speaks API version {host.KVM_API_VERSION}."
    return f"{host.KVM} answers with API version {version}", cure


def _kvm_access() -> tuple[str, str]:
    """libvirt tries QEMU with root's rights, and then whether QEMU's user may: where that differs,
    no answer of QEMU's is kept."""
    try:
        found = host.KVM.stat()
    except OSError:
        return f"no {host.KVM}", ""
    others, group = (found.st_mode & mask == mask for mask in (0o006, 0o060))
    seen = f"{stat.filemode(found.st_mode)}, owner {found.st_uid}, group {found.st_gid}"
    if others or (group and found.st_gid != 0):
        return seen, ""
    cure = (
        f"Let udev set it (udevadm trigger {host.KVM}), or chgrp kvm {host.KVM} and chmod 660 "
        f"{host.KVM}: QEMU's user can't open it, and libvirt starts a QEMU at nearly each call."
    )
    return seen, cure


def _nested() -> tuple[str, str]:
    nested = host.nested()
    module = MODULES.get(host.cpu_virtualisation(), "kvm_intel or kvm_amd")
    cure = (
        f"Declare kvm:host:nested: true, or set options {module} nested=1 in /etc/modprobe.d and "
        "load the module anew while no guest runs, if guests are to be hypervisors."
    )
    seen = {True: "on", False: "off", None: "no KVM module is loaded"}[nested]
    return seen, cure if nested is False else ""


def _device(path: Path, module: str, purpose: str) -> tuple[str, str]:
    if os.access(path, os.R_OK | os.W_OK):
        return f"{path} is there", ""
    seen = f"{path} can't be opened" if path.exists() else f"no {path}"
    return seen, f"Load the kernel module {module} (modprobe {module}) and run as root: {purpose}."


def _controller(name: str) -> tuple[str, str]:
    found = host.cgroup()
    version = found["version"]
    known = f"cgroup v{version}" if version else "no cgroups"
    if name in found["controllers"]:
        return known, ""
    return f"{known} without {name}", CGROUP_CURES[version].format(name)


def _iommu() -> tuple[str, str]:
    found = host.iommu()
    arguments = " ".join(found["kernel_arguments"]) or "no iommu kernel argument"
    if found["active"]:
        return f"in use ({arguments})", ""
    wanted = IOMMU_ARGUMENTS.get(host.cpu_virtualisation(), "intel_iommu=on or amd_iommu=on")
    cure = (
        "If devices of the host are to be passed to guests, switch on VT-d or AMD-Vi in the "
        f"firmware setup, and declare kvm:host:iommu: true, or boot the kernel with {wanted}."
    )
    return f"not in use ({arguments})", cure


def _tpm_authority() -> tuple[str, str]:
    """A libvirtd from before swtpm's user was there works as root, the next one as that user."""
    try:
        owner = TPM_AUTHORITY.stat().st_uid
        others = [path for path in TPM_AUTHORITY.iterdir() if path.stat().st_uid != owner]
    except OSError as error:
        return f"{TPM_AUTHORITY}: {(error.strerror or str(error)).lower()}", ""
    if not others:
        return f"{TPM_AUTHORITY} is of one owner", ""
    cure = f"Give them back, or no guest with a TPM can start: chown -R {owner} {TPM_AUTHORITY}."
    return f"{', '.join(sorted(map(str, others)))}: another owner than their directory's", cure


CHECKS = (
    Check("hypervisor_above", "warn", _hypervisor_above),
    Check("cpu", "fail", _cpu),
    Check("dev_kvm", "fail", _dev_kvm),
    Check("kvm_access", "warn", _kvm_access),
    Check("nested", "warn", _nested),
    Check("dev_net_tun", "fail", partial(_device, TUN, "tun", "guests' network cards need it")),
    Check(
        "dev_vhost_net",
        "warn",
        partial(_device, VHOST_NET, "vhost_net", "it makes guests' networks fast"),
    ),
    *(Check(f"cgroup_{name}", "warn", partial(_controller, name)) for name in CONTROLLERS),
    Check("iommu", "warn", _iommu),
    Check("tpm_authority", "warn", _tpm_authority),
)
