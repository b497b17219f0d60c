"""Firmware, boot, features, clock and security of a domain."""

from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.types import Path, Spec, matching
from salt_kvm.spec.values import Hex, Natural, Positive, Text, Word


class Os(Spec, frozen=True, kw_only=True):
    """Firmware, or a kernel that is started without one."""

    firmware: Literal["bios", "efi"] | None = None
    secure_boot: bool | None = None
    enrolled_keys: bool | None = None
    loader: Path | None = None
    loader_type: Literal["rom", "pflash"] | None = None
    loader_secure: bool | None = None
    loader_readonly: bool | None = None
    nvram: Path | None = None
    nvram_template: Path | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: Text | None = None
    dtb: Path | None = None
    bootmenu: bool | None = None
    bootmenu_timeout: Annotated[int, Meta(ge=0, le=65535)] | None = None
    bios_serial: bool | None = None
    reboot_timeout: Annotated[int, Meta(ge=-1, le=65535)] | None = None
    smbios: Literal["emulate", "host", "sysinfo"] | None = None

    def __post_init__(self) -> None:
        efi = {name: getattr(self, name) for name in ("secure_boot", "enrolled_keys")}
        if self.firmware != "efi" and any(value is not None for value in efi.values()):
            raise ValueError("'secure_boot' and 'enrolled_keys' need firmware: efi")
        if self.firmware == "efi" and self.loader is not None:
            raise ValueError("firmware: efi chooses the loader; declare one of the two")
        chosen = ("loader_type", "loader_readonly", "nvram_template")
        wrong = [name for name in chosen if getattr(self, name) is not None]
        if self.firmware is not None and wrong:
            raise ValueError(f"'firmware' chooses {wrong[0]!r}; declare one of the two")
        # Where libvirt chooses the loader it writes a template of its own.
        if self.nvram_template is not None and self.loader is None:
            raise ValueError("'nvram_template' goes with a loader; declare 'loader' too")


# libvirt drops every other name.
Bios = Literal["vendor", "version", "date", "release"]
System = Literal["manufacturer", "product", "version", "serial", "uuid", "sku", "family"]
Baseboard = Literal["manufacturer", "product", "version", "serial", "asset", "location"]
Chassis = Literal["manufacturer", "version", "serial", "asset", "sku"]


class Sysinfo(Spec, frozen=True, kw_only=True):
    """What the guest reads in its SMBIOS tables; names as in libvirt's format."""

    bios: dict[Bios, Text] | None = None
    system: dict[System, Text] | None = None
    baseboard: dict[Baseboard, Text] | None = None
    chassis: dict[Chassis, Text] | None = None
    oem_strings: list[Text] | None = None


class Kvm(Spec, frozen=True, kw_only=True):
    """What KVM shows of itself."""

    hidden: bool | None = None
    hint_dedicated: bool | None = None
    poll_control: bool | None = None


class Hyperv(Spec, frozen=True, kw_only=True):
    """Enlightenments for Windows guests."""

    mode: Literal["custom", "passthrough"] | None = None
    relaxed: bool | None = None
    vapic: bool | None = None
    spinlocks: Annotated[int, Meta(ge=4095, le=2**31 - 1)] | None = None
    vpindex: bool | None = None
    runtime: bool | None = None
    synic: bool | None = None
    stimer: bool | None = None
    reset: bool | None = None
    vendor_id: Annotated[str, matching(r"[A-Za-z0-9 _.-]{1,12}")] | None = None
    frequencies: bool | None = None
    reenlightenment: bool | None = None
    tlbflush: bool | None = None
    ipi: bool | None = None
    evmcs: bool | None = None


class Features(Spec, frozen=True, kw_only=True):
    """Features of the machine; those that are not named are left alone."""

    acpi: bool | None = None
    apic: bool | None = None
    pae: bool | None = None
    hap: bool | None = None
    smm: bool | None = None
    pmu: bool | None = None
    vmport: bool | None = None
    vmcoreinfo: bool | None = None
    pvspinlock: bool | None = None
    ioapic: Literal["kvm", "qemu"] | None = None
    gic: Literal["2", "3", "host"] | Annotated[int, Meta(ge=2, le=3)] | None = None
    kvm: Kvm | None = None
    hyperv: Hyperv | None = None


class Timer(Spec, frozen=True, kw_only=True):
    """One of the guest's sources of time."""

    name: Literal["rtc", "pit", "hpet", "tsc", "kvmclock", "hypervclock", "platform", "armvtimer"]
    present: bool | None = None
    tickpolicy: Literal["delay", "catchup", "merge", "discard"] | None = None
    track: Literal["boot", "guest", "wall"] | None = None
    mode: Literal["auto", "native", "emulate", "paravirt", "smpsafe"] | None = None
    frequency: Positive | None = None


class Clock(Spec, frozen=True, kw_only=True):
    """The guest's clock; ``adjustment`` is seconds."""

    offset: Literal["utc", "localtime", "timezone", "variable"] | None = None
    timezone: Word | None = None
    basis: Literal["utc", "localtime"] | None = None
    adjustment: Annotated[int, Meta(ge=-(2**31), le=2**31)] | Literal["reset"] | None = None
    timers: list[Timer] | None = None

    def __post_init__(self) -> None:
        if (self.timezone is None) == (self.offset == "timezone"):
            raise ValueError("'timezone' goes with offset timezone, which needs it")
        if self.basis is not None and self.offset != "variable":
            raise ValueError("'basis' goes with offset variable")
        offsets = ("utc", "localtime") if self.adjustment == "reset" else ("variable",)
        if self.adjustment is not None and self.offset not in offsets:
            raise ValueError(
                f"adjustment {self.adjustment} goes with offset {' or '.join(offsets)}"
            )


class Pm(Spec, frozen=True, kw_only=True):
    """Whether the guest's firmware offers to suspend."""

    suspend_to_mem: bool | None = None
    suspend_to_disk: bool | None = None


class Seclabel(Spec, frozen=True, kw_only=True):
    """How the host's security driver confines the guest."""

    type: Literal["dynamic", "static", "none"]
    model: Literal["apparmor", "selinux", "dac"] | None = None
    relabel: bool | None = None
    label: Text | None = None
    baselabel: Text | None = None


class LaunchSecurity(Spec, frozen=True, kw_only=True):
    """Memory that the host can't read."""

    type: Literal["sev", "s390-pv"]
    policy: Hex | None = None
    cbitpos: Natural | None = None
    reduced_phys_bits: Natural | None = None
    dh_cert: Text | None = None
    session: Text | None = None
    kernel_hashes: bool | None = None
