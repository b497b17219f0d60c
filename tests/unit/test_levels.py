"""The levels of nesting that ``kvm_host.check`` tells, over trees written as such machines are.

The texts are written for these tests; the directories stand in for the kernel's /proc and /sys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from salt_kvm.backend.hosts import checks, host, levels

PATHS = ("CPUINFO", "MODULES", "DMI", "XEN", "XEN_CAPABILITIES", "KVM")
BARE = "processor : 0\nvendor_id : GenuineIntel\nflags : fpu sse2 vmx\n"
GUEST = "processor : 0\nvendor_id : GenuineIntel\nflags : fpu sse2 hypervisor\n"
GUEST_VMX = GUEST.replace("hypervisor", "hypervisor vmx")
GUEST_SVM = GUEST.replace("GenuineIntel", "AuthenticAMD").replace("hypervisor", "hypervisor svm")


def firmware(vendor: str, product: str) -> dict[str, str]:
    folder = "sys/class/dmi/id"
    return {f"{folder}/sys_vendor": f"{vendor}\n", f"{folder}/product_name": f"{product}\n"}


DELL = firmware("Dell Inc.", "PowerEdge R640")
VMWARE = firmware("VMware, Inc.", "VMware Virtual Platform")
QEMU = firmware("QEMU", "Standard PC (Q35 + ICH9, 2009)")
REDHAT = firmware("Red Hat", "KVM")
HYPERV = firmware("Microsoft Corporation", "Virtual Machine")
SURFACE = firmware("Microsoft Corporation", "Surface Laptop 4")
VBOX = firmware("innotek GmbH", "VirtualBox")
XEN = firmware("Xen", "HVM domU")
EC2 = firmware("Amazon EC2", "m5.large")
XEN_TYPE = {"sys/hypervisor/type": "xen\n"}
NESTED = {"sys/module/kvm_intel/parameters/nested": "Y\n"}
NOT_NESTED = {"sys/module/kvm_amd/parameters/nested": "0\n"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes a machine of texts by path and returns its checks by name."""
    for name in PATHS:
        monkeypatch.setattr(host, name, tmp_path / getattr(host, name).relative_to("/"))
    monkeypatch.setattr(host.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(cpuinfo: str, *parts: dict[str, str]) -> dict[str, dict[str, Any]]:
        files = {"proc/cpuinfo": cpuinfo}
        for part in parts:
            files |= part
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        return {row["name"]: row for row in checks.run()}

    return make


@pytest.mark.parametrize(
    ("cpuinfo", "parts", "above", "cure"),
    [
        (BARE, [DELL], "none: bare metal", ""),
        (BARE, [SURFACE], "none: bare metal", ""),
        (GUEST, [VMWARE], "VMware; it passes neither", 'vhv.enable = "TRUE"'),
        (GUEST_VMX, [VMWARE], "VMware; it passes vmx on", ""),
        (GUEST, [QEMU], "KVM; it passes neither", "host-passthrough"),
        (GUEST_SVM, [REDHAT], "KVM; it passes svm on", ""),
        (GUEST, [EC2], "KVM; it passes neither", "host-passthrough"),
        (GUEST, [HYPERV], "Hyper-V; it passes neither", "ExposeVirtualizationExtensions $true"),
        (GUEST, [VBOX], "VirtualBox; it passes neither", "--nested-hw-virt on"),
        (GUEST, [XEN, XEN_TYPE], "Xen; it passes neither", "nestedhvm=1"),
        (
            GUEST,
            [DELL, XEN_TYPE, {"proc/xen/capabilities": "control_d\n"}],
            "dom0",
            "Boot this host without Xen",
        ),
        (GUEST, [], "does not tell its name", "where it is hosted"),
    ],
)
def test_what_is_above_and_what_to_switch_on_there(
    machine: Any, cpuinfo: str, parts: list[dict[str, str]], above: str, cure: str
) -> None:
    row = machine(cpuinfo, *parts)["hypervisor_above"]
    assert above in row["seen"]
    assert row["result"] == ("warn" if cure else "pass")
    assert cure in row["cure"]


@pytest.mark.parametrize(
    ("said", "title"), [("microsoft", "Hyper-V"), ("oracle", "VirtualBox"), ("acrn", "its name")]
)
def test_a_machine_without_firmware_tables_is_asked_by_its_cpu(
    machine: Any, said: str, title: str
) -> None:
    program = {"bin/systemd-detect-virt": f"#!/bin/sh\necho {said}\n"}
    assert title in machine(GUEST, program)["hypervisor_above"]["seen"]


def test_each_level_has_its_row(machine: Any) -> None:
    """Above, what this host's CPU got of it, and what its guests get."""
    rows = machine(GUEST_VMX, VMWARE, NESTED)
    assert rows["cpu"]["seen"] == "vmx"
    assert (rows["nested"]["result"], rows["nested"]["seen"]) == ("pass", "on")


def test_guests_that_get_nothing_on(machine: Any) -> None:
    row = machine(GUEST_SVM, QEMU, NOT_NESTED)["nested"]
    assert row["result"] == "warn"
    assert "kvm:host:nested: true" in row["cure"]
    assert "options kvm_amd nested=1" in row["cure"]


def test_every_cure_has_its_source() -> None:
    assert all(level.source for name, level in levels.ABOVE.items() if name != "unknown")
    assert set(levels.DETECTED.values()) <= set(levels.ABOVE)
