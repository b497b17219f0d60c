"""Each check of the host: when it passes, and the cure when it does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from salt_kvm.actions import host as actions
from salt_kvm.backend.hosts import checks, host

ALL = ["cpu", "cpuacct", "cpuset", "memory", "devices", "blkio"]
GOOD: dict[str, Any] = {
    "cpu_virtualisation": "vmx",
    "kvm_api": 12,
    "nested": True,
    "hypervisor": None,
    "cgroup": {"version": 2, "controllers": ALL},
    "iommu": {"active": True, "kernel_arguments": ["intel_iommu=on"]},
}
NO_CPU = {"cpu_virtualisation": "none"}


def without(controller: str, version: int | None) -> dict[str, Any]:
    left = [name for name in ALL if name != controller]
    return {"cgroup": {"version": version, "controllers": left}}


def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **facts: Any) -> dict[str, Any]:
    """Check a host that is good but for ``facts``; return the rows by name."""
    absent = facts.pop("absent", ())
    monkeypatch.setattr(host.platform, "machine", lambda: facts.pop("machine", "x86_64"))
    for name, value in {**GOOD, **facts}.items():
        if name != "machine":
            monkeypatch.setattr(host, name, lambda value=value: value)
    monkeypatch.setattr(checks, "TPM_AUTHORITY", tmp_path / "authority")
    for module, name in ((host, "KVM"), (checks, "TUN"), (checks, "VHOST_NET")):
        path = tmp_path / name
        if name not in absent:
            path.touch()
            path.chmod(0o666)
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr(checks, "CHECKS", table())
    monkeypatch.setenv("PATH", str(tmp_path))
    return {row["name"]: row for row in checks.run()}


def table() -> tuple[checks.Check, ...]:
    """The table, its devices looked up anew: its rows hold the paths of the real machine."""
    paths = {"dev_net_tun": "TUN", "dev_vhost_net": "VHOST_NET"}

    def redirected(check: checks.Check) -> checks.Check:
        if check.name not in paths:
            return check
        _, *rest = check.probe.args  # type: ignore[attr-defined]
        return check._replace(
            probe=lambda: checks._device(getattr(checks, paths[check.name]), *rest)
        )

    return tuple(redirected(check) for check in checks.CHECKS)


def test_a_good_host_passes_every_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = seen(monkeypatch, tmp_path)
    assert len(rows) == 15
    assert {(row["result"], row["cure"]) for row in rows.values()} == {("pass", "")}
    assert all(row["seen"] for row in rows.values())


@pytest.mark.parametrize(
    ("name", "facts", "result", "cure"),
    [
        ("cpu", {**NO_CPU}, "fail", "firmware setup"),
        ("cpu", {**NO_CPU, "hypervisor": "vmware"}, "fail", 'vhv.enable = "TRUE"'),
        ("cpu", {**NO_CPU, "hypervisor": "kvm"}, "fail", "host-passthrough"),
        ("cpu", {**NO_CPU, "hypervisor": "hyperv"}, "fail", "ExposeVirtualizationExtensions"),
        ("cpu", {**NO_CPU, "hypervisor": "virtualbox"}, "fail", "Nested VT-x/AMD-V"),
        ("cpu", {**NO_CPU, "hypervisor": "xen"}, "fail", "nestedhvm=1"),
        ("cpu", {**NO_CPU, "hypervisor": "unknown"}, "fail", "where it is hosted"),
        ("dev_kvm", {**NO_CPU}, "fail", "check cpu"),
        ("dev_kvm", {"kvm_api": None, "absent": ["KVM"]}, "fail", "modprobe kvm_intel"),
        (
            "dev_kvm",
            {"cpu_virtualisation": "svm", "kvm_api": None, "absent": ["KVM"]},
            "fail",
            "modprobe kvm_amd",
        ),
        ("dev_kvm", {"kvm_api": None}, "fail", "Run as root"),
        ("dev_kvm", {"kvm_api": 10}, "fail", "API version 12"),
        ("nested", {"nested": False}, "warn", "options kvm_intel nested=1"),
        ("dev_net_tun", {"absent": ["TUN"]}, "fail", "modprobe tun"),
        ("dev_vhost_net", {"absent": ["VHOST_NET"]}, "warn", "modprobe vhost_net"),
        *(
            (f"cgroup_{name}", without(name, 1), "warn", f"mount -t cgroup -o {name} ")
            for name in ALL
        ),
        ("cgroup_cpu", without("cpu", 2), "warn", "hold cgroup_disable=cpu,"),
        ("cgroup_cpu", {"cgroup": {"version": None, "controllers": []}}, "warn", "Mount cgroups"),
        ("iommu", {"iommu": {"active": False, "kernel_arguments": []}}, "warn", "intel_iommu=on"),
        (
            "iommu",
            {"cpu_virtualisation": "svm", "iommu": {"active": False, "kernel_arguments": []}},
            "warn",
            "amd_iommu=on",
        ),
    ],
)
def test_each_fault_names_its_cure(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    facts: dict[str, Any],
    result: str,
    cure: str,
) -> None:
    row = seen(monkeypatch, tmp_path, **facts)[name]
    assert row["result"] == result
    assert cure in row["cure"]
    assert row["cure"].endswith(".")


def test_no_kvm_module_is_no_fault_of_nesting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert seen(monkeypatch, tmp_path, nested=None)["nested"]["result"] == "pass"


KVM_DOMAIN = {"domains": {"web1": {"virt_type": "kvm"}, "web2": None}}
AUTO_DOMAIN = {"domains": {"web1": {"virt_type": "auto"}}}


@pytest.mark.parametrize(
    ("required", "pillar", "faults"),
    [
        (True, None, 1),
        (False, KVM_DOMAIN, 0),
        (None, KVM_DOMAIN, 1),
        (None, AUTO_DOMAIN, 0),
        (None, None, 0),
        (None, {"domains": ["not", "a", "mapping"]}, 0),
    ],
)
def test_virtualisation_is_required_where_somebody_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    required: bool | None,
    pillar: Any,
    faults: int,
) -> None:
    seen(monkeypatch, tmp_path, cpu_virtualisation="none", hypervisor="vmware")
    said = actions.virtualisation(None, required=required, pillar=pillar)  # type: ignore[arg-type]
    assert len(said) == faults
    assert all("vhv.enable" in sentence for sentence in said)


def test_virtualisation_needs_the_device_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen(monkeypatch, tmp_path, kvm_api=None, absent=["KVM"])
    (said,) = actions.virtualisation(None, required=True, pillar=None)  # type: ignore[arg-type]
    assert "modprobe kvm_intel" in said


def test_a_device_that_qemu_can_not_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = seen(monkeypatch, tmp_path)["kvm_access"]
    assert row["result"] == "pass"
    host.KVM.chmod(0o600)
    found, cure = checks._kvm_access()
    assert "-rw-------" in found
    assert f"chmod 660 {host.KVM}" in cure
    host.KVM.unlink()
    assert checks._kvm_access()[1] == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another user")
def test_a_tpm_authority_of_two_owners(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "authority"
    monkeypatch.setattr(checks, "TPM_AUTHORITY", folder)
    assert checks._tpm_authority()[1] == ""
    folder.mkdir()
    (folder / "certserial").touch()
    assert checks._tpm_authority()[1] == ""
    os.chown(folder, 1234, 0)
    found, cure = checks._tpm_authority()
    assert str(folder / "certserial") in found
    assert f"chown -R 1234 {folder}" in cure
