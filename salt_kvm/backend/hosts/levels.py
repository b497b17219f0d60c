"""What a host may itself be a guest of, and what to switch on there so that it can virtualise.

``source`` is where the cure stands in the words of who makes that hypervisor.
"""

from __future__ import annotations

from typing import NamedTuple


class Level(NamedTuple):
    """A hypervisor: what people call it, the cure, and whose documentation says so."""

    title: str
    cure: str
    source: str


ABOVE = {
    "vmware": Level(
        "VMware",
        'Switch this host off, set vhv.enable = "TRUE" in its .vmx file (the state '
        'vmx.nested_enabled; in the client: "Expose hardware assisted virtualization") and switch '
        "it on again.",
        "Broadcom, vSphere Virtual Machine Administration: Expose VMware Hardware Assisted "
        "Virtualization",
    ),
    "kvm": Level(
        "KVM",
        "On the hypervisor above, set nested=1 for kvm_intel or kvm_amd (the state "
        "kvm_host.nested), give this host the CPU mode host-passthrough (nested: true of its "
        "domain), and switch this host off and on again.",
        "Linux, Documentation/virt/kvm/x86/running-nested-guests.rst",
    ),
    "hyperv": Level(
        "Hyper-V",
        "On the Hyper-V host, run Set-VMProcessor -VMName NAME -ExposeVirtualizationExtensions "
        "$true for this machine while it is off.",
        "Microsoft Learn, Run Hyper-V in a Virtual Machine with Nested Virtualization",
    ),
    "virtualbox": Level(
        "VirtualBox",
        'Switch this host off and tick "Enable Nested VT-x/AMD-V" in its settings (VBoxManage '
        "modifyvm NAME --nested-hw-virt on).",
        "Oracle VirtualBox User Guide, VBoxManage modifyvm",
    ),
    "xen": Level(
        "Xen",
        "On the Xen host, set nestedhvm=1 for this machine and start it anew.",
        "Xen, xl.cfg(5), nestedhvm",
    ),
    "xen-dom0": Level(
        "Xen, whose control domain (dom0) it is",
        "Boot this host without Xen: a control domain's kernel can't use the CPU's virtualisation.",
        "Xen Project, Dom0",
    ),
    "unknown": Level(
        "a hypervisor that does not tell its name",
        "Have nested virtualisation switched on for this machine where it is hosted.",
        "",
    ),
}
# systemd-detect-virt(1) knows a hypervisor by the CPU's signature where the firmware has no name.
DETECTED = {
    "vmware": "vmware",
    "kvm": "kvm",
    "qemu": "kvm",
    "amazon": "kvm",
    "google": "kvm",
    "microsoft": "hyperv",
    "oracle": "virtualbox",
    "xen": "xen",
}
