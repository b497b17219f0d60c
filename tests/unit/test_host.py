"""Reads of the machine, over small trees that look like /proc, /sys and /dev."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from salt_kvm.backend.hosts import host

INTEL = (
    "processor\t: 0\nmodel name\t: Xeon\nphysical id\t: 0\ncore id\t: 0\nflags\t\t: fpu vmx sse2\n"
)
AMD = (
    "processor\t: 0\nmodel name\t: EPYC\nphysical id\t: 0\ncore id\t: 0\nflags\t\t: fpu svm sse2\n"
)
GUEST = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu hypervisor sse2\n"
# A flag must be a word: this CPU only talks of vmx.
TALK = "processor\t: 0\nmodel name\t: vmx svm\nflags\t\t: fpu xvmx svm_lock\nvmx flags\t: vnmi\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An x86 host whose every path lies under a directory of the test."""
    for name in (
        *("CPUINFO", "MEMINFO", "CMDLINE", "MOUNTS", "CGROUP2", "IOMMU", "MODULES", "DMI"),
        *("XEN", "KVM", "UNITS", "LIBRARIES", "QEMU_CACHE"),
    ):
        monkeypatch.setattr(host, name, tmp_path / getattr(host, name).relative_to("/"))
    monkeypatch.setattr(host.platform, "machine", lambda: "x86_64")
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("cpuinfo", "flag"), [(INTEL, "vmx"), (AMD, "svm"), (GUEST, "none"), (TALK, "none")]
)
def test_cpu_virtualisation(machine: Path, cpuinfo: str, flag: str) -> None:
    put(host.CPUINFO, cpuinfo)
    assert host.cpu_virtualisation() == flag
    assert host.cpu_can_virtualise() is (flag != "none")


def test_only_x86_announces_virtualisation(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.platform, "machine", lambda: "aarch64")
    put(host.CPUINFO, "processor\t: 0\nFeatures\t: fp asimd\n")
    assert host.cpu_virtualisation() == "none"
    assert host.cpu_can_virtualise()


def test_a_device_that_is_no_kvm_is_not_usable(machine: Path) -> None:
    put(host.CPUINFO, INTEL)
    assert not host.kvm_usable()
    host.KVM.parent.mkdir(parents=True)
    host.KVM.symlink_to("/dev/null")
    assert host.kvm_api() is None
    assert not host.kvm_usable()


@pytest.mark.parametrize(
    ("cpuinfo", "version", "usable"), [(INTEL, 12, True), (INTEL, 11, False), (GUEST, 12, False)]
)
def test_kvm_needs_the_flag_and_the_api(
    machine: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, version: int, usable: bool
) -> None:
    put(host.CPUINFO, cpuinfo)
    put(host.KVM, "")
    monkeypatch.setattr(
        host.fcntl, "ioctl", lambda _, request: version if request == 0xAE00 else None
    )
    assert host.kvm_usable() is usable


@pytest.mark.parametrize(
    ("module", "value", "expected"),
    [
        ("kvm_intel", "Y\n", True),
        ("kvm_amd", "1\n", True),
        ("kvm_intel", "N\n", False),
        ("kvm_amd", "0\n", False),
        ("loop", "Y\n", None),
    ],
)
def test_nested(machine: Path, module: str, value: str, expected: bool | None) -> None:
    put(host.MODULES / module / "parameters" / "nested", value)
    assert host.nested() is expected


def test_cgroup_v2_under_the_names_of_v1(machine: Path) -> None:
    put(host.CGROUP2, "cpuset cpu io memory hugetlb pids rdma\n")
    found = host.cgroup()
    assert found["version"] == 2
    assert {"cpu", "cpuacct", "cpuset", "memory", "devices", "blkio"} <= set(found["controllers"])


def test_cgroup_v2_without_io_has_no_blkio(machine: Path) -> None:
    put(host.CGROUP2, "cpu memory\n")
    assert "blkio" not in host.cgroup()["controllers"]


def test_cgroup_v1(machine: Path) -> None:
    mounts = (
        "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0\n"
        "cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n"
        "devices /mnt tmpfs rw,memory 0 0\n"
    )
    put(host.MOUNTS, mounts)
    assert host.cgroup() == {"version": 1, "controllers": ["cpu", "cpuacct"]}


def test_no_cgroups(machine: Path) -> None:
    assert host.cgroup() == {"version": None, "controllers": []}


def test_iommu(machine: Path) -> None:
    put(host.CMDLINE, "ro quiet intel_iommu=on iommu=pt root=UUID=iommu\n")
    assert host.iommu() == {"active": False, "kernel_arguments": ["intel_iommu=on", "iommu=pt"]}
    put(host.IOMMU / "dmar0", "")
    assert host.iommu()["active"]


@pytest.mark.parametrize(
    ("vendor", "product", "above"),
    [
        ("VMware, Inc.", "VMware Virtual Platform", "vmware"),
        ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "kvm"),
        ("Red Hat", "KVM", "kvm"),
        ("Microsoft Corporation", "Virtual Machine", "hyperv"),
        ("Microsoft Corporation", "Surface Pro", None),
        ("innotek GmbH", "VirtualBox", "virtualbox"),
        ("Xen", "HVM domU", "xen"),
        ("Dell Inc.", "PowerEdge R750", None),
    ],
)
def test_hypervisor_above(machine: Path, vendor: str, product: str, above: str | None) -> None:
    put(host.CPUINFO, INTEL)
    put(host.DMI / "sys_vendor", f"{vendor}\n")
    put(host.DMI / "product_name", f"{product}\n")
    assert host.hypervisor() == above


def test_hypervisor_without_firmware_tables(machine: Path) -> None:
    put(host.CPUINFO, GUEST)
    assert host.hypervisor() == "unknown"
    put(host.XEN, "xen\n")
    assert host.hypervisor() == "xen"


def test_cpu_counts(machine: Path) -> None:
    row = "processor\t: {}\nmodel name\t: Xeon\nphysical id\t: {}\ncore id\t: {}\n\n"
    threads = [(0, 0, 0), (1, 0, 0), (2, 0, 1), (3, 0, 1), (4, 1, 0), (5, 1, 0)]
    put(host.CPUINFO, "".join(row.format(*thread) for thread in threads))
    assert host.cpu() == {"model": "Xeon", "logical": 6, "cores": 3, "sockets": 2}


def test_memory_in_bytes(machine: Path) -> None:
    put(host.MEMINFO, "MemTotal:       1024 kB\nMemAvailable:    512 kB\nSwapTotal:      0 kB\n")
    assert host.memory() == {"total": 1048576, "available": 524288, "swap": 0}


@pytest.mark.parametrize(
    ("units", "kind"),
    [
        (["sockets.target.wants/libvirtd.socket"], "monolithic"),
        (["multi-user.target.wants/virtqemud.service"], "modular"),
        (["sockets.target.wants/libvirtd.socket", "sockets.target.wants/virtqemud.socket"], None),
        ([], None),
    ],
)
def test_daemons_by_what_is_enabled(machine: Path, units: list[str], kind: str | None) -> None:
    for unit in units:
        path = host.UNITS / unit
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("/usr/lib/systemd/system/gone")
    assert host.daemons() == kind


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("lib/x86_64-linux-gnu/libvirt.so.0.9000.0", "9.0.0"),
        ("lib64/libvirt.so.0.4005.0", "4.5.0"),
        ("lib/libvirt.so.0.12008.1", "12.8.1"),
        ("lib/libvirt-lxc.so.0.9000.0", None),
    ],
)
def test_libvirt_version(machine: Path, path: str, version: str | None) -> None:
    put(host.LIBRARIES / path, "")
    assert host.libvirt_version() == version


def test_qemu_version_only_from_the_emulator_that_is_there(machine: Path) -> None:
    emulator = machine / "qemu-system-x86_64"
    put(emulator, "")
    ctime = int(os.stat(emulator).st_ctime)
    cached = (
        "<qemuCaps><emulator>{}</emulator><qemuctime>{}</qemuctime><version>{}</version></qemuCaps>"
    )
    put(host.QEMU_CACHE / "old.xml", cached.format(emulator, ctime - 5, 9000000))
    assert host.qemu_version() is None
    put(host.QEMU_CACHE / "new.xml", cached.format(emulator, ctime, 7002022))
    assert host.qemu_version() == "7.2.22"


def test_everything_answers_on_a_machine_that_shows_nothing(machine: Path) -> None:
    assert host.cpu_virtualisation() == "none"
    assert host.cpu()["logical"] == 0
    assert host.memory() == {"total": 0, "available": 0, "swap": 0}
    assert (host.libvirt_version(), host.qemu_version(), host.hypervisor()) == (None, None, None)
