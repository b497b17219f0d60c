"""A domain outside its devices: processors, memory, firmware, features, clock, security."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.seen import Facts
from salt_kvm.spec import system, tuning
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.values import Word
from salt_kvm.xml.intent import ABSENT, GONE, element
from salt_kvm.xml.rows import (
    Said,
    Tables,
    child,
    enabled,
    entries,
    flag,
    hexadecimal,
    kib,
    plain,
    rows,
    sized,
    state,
    switch,
    texts,
)

CPU_MODES = ("host-passthrough", "host-model", "maximum")
POLICIES = {True: "require", False: "disable"}


def cpu(value: str | tuning.Cpu) -> tuning.Cpu:
    """A word is a mode or a model; a model alone is of mode ``custom``."""
    if isinstance(value, str):
        mode = value if value in CPU_MODES else None
        value = tuning.Cpu(mode=mode) if mode else tuning.Cpu(model=value)  # type: ignore[arg-type]
    if value.model is not None and value.mode is None:
        return msgspec.structs.replace(value, mode="custom")
    return value


def nesting(want: Domain, facts: Facts) -> Domain:
    """A guest that may be a hypervisor has the CPU, and the feature of it, that this takes.

    QEMU's own emulation is of AMD's.
    """
    if want.nested is None:
        return want
    kvm = facts.kvm if want.virt_type in (None, "auto") else want.virt_type == "kvm"
    mode, flag = ("host-passthrough", facts.flag) if kvm else ("maximum", "svm")
    declared = cpu(mode if want.cpu is None else want.cpu)
    if flag == "none":
        return msgspec.structs.replace(want, cpu=declared)
    features = {**(declared.features or {}), flag: "require" if want.nested else "disable"}
    return msgspec.structs.replace(want, cpu=msgspec.structs.replace(declared, features=features))


def _features(value: Mapping[Word, str | bool]) -> Said:
    policies = {name: POLICIES.get(p, p) if isinstance(p, bool) else p for name, p in value.items()}
    return [element("feature", {"name": name, "policy": p}) for name, p in policies.items()]


def _hugepages(value: list[tuning.Page] | bool) -> Said:
    if isinstance(value, bool) or not value:
        return flag(bool(value))
    pages = ({"size": kib(p.size), "unit": "KiB", "nodeset": p.nodeset} for p in value)
    return [element("page", page) for page in pages]


def _nodeset(value: int | str) -> Said:
    return {"nodeset": value, "placement": "static"}


def _placement(value: str) -> Said:
    return {"placement": value, **({"nodeset": ABSENT} if value == "auto" else {})}


def _firmware(name: str) -> Any:
    return lambda value: [element("feature", {"enabled": plain(value), "name": name})]


PERIODS = [
    (f"{whose}{what}", f"{whose}{what}")
    for whose in ("", "global_", "emulator_", "iothread_")
    for what in ("period", "quota")
]
BYTES = ("read_bytes_sec", "write_bytes_sec", "read_iops_sec", "write_iops_sec")
HYPERV = (
    "relaxed",
    "vapic",
    "vpindex",
    "runtime",
    "synic",
    "stimer",
    "reset",
    "frequencies",
    "reenlightenment",
    "tlbflush",
    "ipi",
    "evmcs",
)


def close_distances(xml: ET.Element) -> None:
    """Say of the NUMA cells which are at no declared distance, where one of them has a list.

    libvirt writes a distance into both cells, and where one lacks it takes it from the other.
    """
    cells = {str(cell.get("id")): cell for cell in xml.iterfind("cpu/numa/cell")}
    named = {
        (own, sibling.get("id"))
        for own, cell in cells.items()
        for sibling in cell.iterfind("distances/sibling")
    }
    listing = [own for own, cell in cells.items() if cell.find("distances") is not None]
    pairs = {(own, other) for own in listing for other in cells if other != own}
    for own, other in sorted(pairs | {(other, own) for own, other in pairs}):
        if not {(own, other), (other, own)} & named:
            ET.SubElement(child(cells[own], "distances"), "sibling", {"id": other, **GONE})


def close_firmware(xml: ET.Element) -> None:
    """Take out the keys of secure boot where that is off: libvirt has them with it only."""
    for firmware in xml.iterfind("os/firmware"):
        said = {feature.get("name"): feature.get("enabled") for feature in firmware}
        if said.get("secure-boot") == "no" and "enrolled-keys" not in said:
            firmware.append(element("feature", {"name": "enrolled-keys", **GONE}))


TABLES: Tables = {
    tuning.Cpu: rows(
        ("mode", "@mode"),
        ("match", "@match"),
        ("check", "@check"),
        ("migratable", "@migratable", switch),
        ("model", "model"),
        ("fallback", "model@fallback"),
        ("vendor", "vendor"),
        ("topology", "topology"),
        ("cache", "cache"),
        ("features", "", _features),
        ("numa", "numa/cell"),
    ),
    tuning.Topology: rows(
        ("sockets", "@sockets"), ("dies", "@dies"), ("cores", "@cores"), ("threads", "@threads")
    ),
    tuning.CpuCache: rows(("mode", "@mode"), ("level", "@level")),
    tuning.Cell: rows(
        ("id", "@id"),
        ("cpus", "@cpus"),
        ("memory", "", sized("memory")),
        ("mem_access", "@memAccess"),
        ("discard", "@discard"),
        ("distances", "distances/sibling"),
    ),
    tuning.Sibling: rows(("id", "@id"), ("value", "@value")),
    tuning.MemoryHotplug: rows(("size", "", kib), ("slots", "@slots")),
    tuning.MemoryBacking: rows(
        ("hugepages", "hugepages", _hugepages),
        ("source", "source@type"),
        ("access", "access@mode"),
        ("allocation", "allocation@mode"),
        ("threads", "allocation@threads"),
        ("locked", "locked", flag),
        ("nosharepages", "nosharepages", flag),
        ("discard", "discard", flag),
    ),
    tuning.Cputune: rows(
        ("shares", "shares"),
        *PERIODS,
        ("vcpupin", "vcpupin"),
        ("emulatorpin", "emulatorpin@cpuset"),
        ("iothreadpin", "iothreadpin"),
    ),
    tuning.VcpuPin: rows(("vcpu", "@vcpu"), ("cpuset", "@cpuset")),
    tuning.IothreadPin: rows(("iothread", "@iothread"), ("cpuset", "@cpuset")),
    tuning.Numatune: rows(
        ("mode", "memory@mode"),
        ("nodeset", "memory", _nodeset),
        ("placement", "memory", _placement),
        ("memnode", "memnode"),
    ),
    tuning.Memnode: rows(("cellid", "@cellid"), ("mode", "@mode"), ("nodeset", "@nodeset")),
    tuning.Memtune: rows(
        *((name, name, kib) for name in tuning.Memtune.__struct_fields__),
    ),
    tuning.Blkiotune: rows(("weight", "weight"), ("devices", "device")),
    tuning.BlkioDevice: rows(
        ("path", "path"), ("weight", "weight"), *((name, name) for name in BYTES)
    ),
    system.Os: rows(
        ("firmware", "@firmware"),
        ("secure_boot", "firmware", _firmware("secure-boot")),
        ("enrolled_keys", "firmware", _firmware("enrolled-keys")),
        ("loader", "@firmware", lambda path: None),
        ("loader", "loader"),
        ("loader_type", "loader@type"),
        ("loader_secure", "loader@secure"),
        ("loader_readonly", "loader@readonly"),
        ("nvram", "nvram"),
        ("nvram_template", "nvram@template"),
        ("kernel", "kernel"),
        ("initrd", "initrd"),
        ("cmdline", "cmdline"),
        ("dtb", "dtb"),
        ("bootmenu", "bootmenu@enable"),
        ("bootmenu_timeout", "bootmenu@timeout"),
        ("bios_serial", "bios@useserial"),
        ("reboot_timeout", "bios@rebootTimeout"),
        ("smbios", "smbios@mode"),
    ),
    system.Sysinfo: rows(
        ("bios", "bios", entries("entry")),
        ("system", "system", entries("entry")),
        ("baseboard", "baseBoard", entries("entry")),
        ("chassis", "chassis", entries("entry")),
        ("oem_strings", "oemStrings", texts("entry")),
    ),
    system.Features: rows(
        ("acpi", "acpi", flag),
        ("apic", "apic", flag),
        ("pae", "pae", flag),
        ("hap", "hap", state),
        ("smm", "smm", state),
        ("pmu", "pmu", state),
        ("vmport", "vmport", state),
        ("vmcoreinfo", "vmcoreinfo", state),
        ("pvspinlock", "pvspinlock", state),
        ("ioapic", "ioapic@driver"),
        ("gic", "gic@version"),
        ("kvm", "kvm"),
        ("hyperv", "hyperv"),
    ),
    system.Kvm: rows(
        ("hidden", "hidden", state),
        ("hint_dedicated", "hint-dedicated", state),
        ("poll_control", "poll-control", state),
    ),
    system.Hyperv: rows(
        ("mode", "@mode"),
        *((name, name, state) for name in HYPERV),
        ("spinlocks", "spinlocks", lambda value: {"state": "on", "retries": value}),
        ("vendor_id", "vendor_id", lambda value: {"state": "on", "value": value}),
    ),
    system.Clock: rows(
        ("offset", "@offset"),
        ("timezone", "@timezone"),
        ("basis", "@basis"),
        ("adjustment", "@adjustment"),
        ("timers", "timer"),
    ),
    system.Timer: rows(*((name, f"@{name}") for name in system.Timer.__struct_fields__)),
    system.Pm: rows(
        ("suspend_to_mem", "suspend-to-mem", enabled),
        ("suspend_to_disk", "suspend-to-disk", enabled),
    ),
    system.Seclabel: rows(
        ("type", "@type"),
        ("model", "@model"),
        ("relabel", "@relabel"),
        ("label", "label"),
        ("baselabel", "baselabel"),
    ),
    system.LaunchSecurity: rows(
        ("type", "@type"),
        ("kernel_hashes", "@kernelHashes"),
        ("cbitpos", "cbitpos"),
        ("reduced_phys_bits", "reducedPhysBits"),
        ("policy", "policy", hexadecimal(4)),
        ("dh_cert", "dhCert"),
        ("session", "session"),
    ),
}
