"""Reads of the machine itself: what its CPU, kernel and firmware offer to a hypervisor.

Standard library only, no process and no libvirt: the grain calls this at every minion start.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
from pathlib import Path
from typing import Any, Literal

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
CMDLINE = Path("/proc/cmdline")
MOUNTS = Path("/proc/self/mounts")
CGROUP2 = Path("/sys/fs/cgroup/cgroup.controllers")
IOMMU = Path("/sys/class/iommu")
MODULES = Path("/sys/module")
DMI = Path("/sys/class/dmi/id")
XEN = Path("/sys/hypervisor/type")
XEN_CAPABILITIES = Path("/proc/xen/capabilities")
KVM = Path("/dev/kvm")
SELINUX = Path("/sys/fs/selinux/enforce")
UNITS = Path("/etc/systemd/system")
LIBRARIES = Path("/usr")
QEMU_CACHE = Path("/var/cache/libvirt/qemu/capabilities")

KVM_GET_API_VERSION = 0xAE00
KVM_API_VERSION = 12

X86 = {"x86_64", "amd64", "i386", "i686"}
CPU_FLAGS: tuple[Literal["vmx", "svm"], ...] = ("vmx", "svm")
NESTED_MODULES = ("kvm_intel", "kvm_amd", "kvm")
CGROUP1_CONTROLLERS = {"cpu", "cpuacct", "cpuset", "memory", "devices", "blkio", "freezer"}
# cgroup v2 renames one controller, folds one into another and does two without a controller file.
CGROUP2_NAMES = {"io": ("blkio",), "cpu": ("cpu", "cpuacct")}
CGROUP2_ALWAYS = ("devices", "freezer")
VENDORS = (
    ("vmware", "vmware"),
    ("innotek", "virtualbox"),
    ("virtualbox", "virtualbox"),
    ("microsoft corporation virtual", "hyperv"),
    ("xen", "xen"),
    ("qemu", "kvm"),
    ("kvm", "kvm"),
    ("amazon ec2", "kvm"),
    ("google compute engine", "kvm"),
)
DAEMONS = {
    "monolithic": ("libvirtd.socket", "libvirtd.service"),
    "modular": ("virtqemud.socket", "virtqemud.service"),
}


def cpu_virtualisation(cpuinfo: Path | None = None) -> Literal["vmx", "svm", "none"]:
    """Return the CPU's virtualisation flag: ``vmx`` (Intel), ``svm`` (AMD) or ``none``."""
    flags = _cpu_flags(cpuinfo)
    return next((flag for flag in CPU_FLAGS if flag in flags), "none")


def cpu_can_virtualise() -> bool:
    """Return whether the CPU offers virtualisation; only x86 announces it as a flag."""
    return platform.machine() not in X86 or cpu_virtualisation() != "none"


def kvm_api() -> int | None:
    """Return the API version that ``/dev/kvm`` answers; None when it can't be opened or asked."""
    try:
        device = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return fcntl.ioctl(device, KVM_GET_API_VERSION)
    except OSError:
        return None
    finally:
        os.close(device)


def kvm_usable() -> bool:
    """Return whether a guest of type ``kvm`` can run here.

    The device node alone proves nothing: it may exist where the CPU can't virtualise.
    """
    return cpu_can_virtualise() and kvm_api() == KVM_API_VERSION


def nested() -> bool | None:
    """Return whether guests may be hypervisors themselves; None when no KVM module says so."""
    for module in NESTED_MODULES:
        value = _text(MODULES / module / "parameters" / "nested").strip()
        if value:
            return value in ("Y", "y", "1")
    return None


def selinux() -> bool:
    """Return whether files have SELinux labels here."""
    return SELINUX.exists()


def cgroup() -> dict[str, Any]:
    """Return the cgroup version in charge and its controllers, under their version 1 names."""
    if CGROUP2.exists():
        found = _text(CGROUP2).split()
        names = {name for key in found for name in CGROUP2_NAMES.get(key, (key,))}
        return {"version": 2, "controllers": sorted(names.union(CGROUP2_ALWAYS))}
    mounts = (line.split() for line in _text(MOUNTS).splitlines())
    options = {word for row in mounts if row[2] == "cgroup" for word in row[3].split(",")}
    controllers = sorted(options & CGROUP1_CONTROLLERS)
    return {"version": 1 if controllers else None, "controllers": controllers}


def iommu() -> dict[str, Any]:
    """Return whether an IOMMU is in use, and the kernel arguments that speak of one."""
    arguments = [word for word in _text(CMDLINE).split() if "iommu" in word.split("=")[0]]
    return {"active": _has_entries(IOMMU), "kernel_arguments": arguments}


def hypervisor() -> str | None:
    """Return what this host is itself a guest of.

    ``vmware``, ``kvm``, ``hyperv``, ``virtualbox``, ``xen``, ``xen-dom0``, ``unknown``; None on
    bare metal.
    """
    firmware = " ".join(_text(DMI / name).strip() for name in ("sys_vendor", "product_name"))
    for needle, name in VENDORS:
        if needle in firmware.lower():
            return name
    if _text(XEN).strip() == "xen":
        return "xen-dom0" if "control_d" in _text(XEN_CAPABILITIES) else "xen"
    return "unknown" if "hypervisor" in _cpu_flags() else None


def cpu() -> dict[str, Any]:
    """Return the CPU's model, and how many logical CPUs, cores and sockets the host has."""
    processors = [_fields(block) for block in _text(CPUINFO).strip().split("\n\n")]
    processors = [fields for fields in processors if "processor" in fields]
    sockets = {fields.get("physical id", "0") for fields in processors}
    cores = {(fields.get("physical id", "0"), fields.get("core id")) for fields in processors}
    known = all(core is not None for _, core in cores)
    return {
        "model": next((f["model name"] for f in processors if "model name" in f), None),
        "logical": len(processors),
        "cores": len(cores) if known else len(processors),
        "sockets": len(sockets),
    }


def memory() -> dict[str, int]:
    """Return the host's memory in bytes: ``total``, ``available``, ``swap``."""
    fields = _fields(_text(MEMINFO))
    names = {"total": "MemTotal", "available": "MemAvailable", "swap": "SwapTotal"}
    return {key: int(fields.get(name, "0 kB").split()[0]) * 1024 for key, name in names.items()}


def daemons() -> Literal["monolithic", "modular"] | None:
    """Return which libvirt daemons systemd starts at boot; None when neither or both."""
    enabled = [
        kind
        for kind, units in DAEMONS.items()
        if any(os.path.lexists(path) for unit in units for path in _wants(unit))
    ]
    return enabled[0] if len(enabled) == 1 else None  # type: ignore[return-value]


def libvirt_version() -> str | None:
    """Return libvirt's version as the name of its shared library tells it."""
    for pattern in ("lib64", "lib/*-linux-gnu*", "lib"):
        for path in LIBRARIES.glob(f"{pattern}/libvirt.so.0.*.*"):
            release, micro = (int(part) for part in path.name.split(".")[3:5])
            return f"{release // 1000}.{release % 1000}.{micro}"
    return None


def qemu_version() -> str | None:
    """Return the emulator's version from libvirt's cache of what it asked the emulator.

    A cached answer counts only while the emulator is the file that gave it; None otherwise.
    """
    newest = 0
    for path in _listed(QEMU_CACHE, "*.xml"):
        text = _text(path)
        emulator, ctime, version = (
            _element(text, name) for name in ("emulator", "qemuctime", "version")
        )
        if emulator and version and _changed(Path(emulator)) == ctime:
            newest = max(newest, int(version))
    return f"{newest // 1000000}.{newest // 1000 % 1000}.{newest % 1000}" if newest else None


def _cpu_flags(cpuinfo: Path | None = None) -> set[str]:
    fields = _fields(_text(cpuinfo or CPUINFO).split("\n\n", 1)[0])
    return set(fields.get("flags", "").split())


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _has_entries(path: Path) -> bool:
    return bool(_listed(path, "*"))


def _listed(path: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path.glob(pattern))
    except OSError:
        return []


def _wants(unit: str) -> tuple[Path, ...]:
    targets = ("sockets.target.wants", "multi-user.target.wants")
    return tuple(UNITS / target / unit for target in targets)


def _element(text: str, name: str) -> str | None:
    found = re.search(rf"<{name}>([^<]+)</{name}>", text)
    return found.group(1) if found else None


def _changed(path: Path) -> str | None:
    try:
        return str(int(path.stat().st_ctime))
    except OSError:
        return None
