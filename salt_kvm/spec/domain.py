"""A domain: a guest, in the words of virt-install and of libvirt's domain format."""

from operator import attrgetter
from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec import cloud_init as first_boot
from salt_kvm.spec import console, devices, system, tuning
from salt_kvm.spec.disk import Disk
from salt_kvm.spec.install import Install
from salt_kvm.spec.interface import Interface
from salt_kvm.spec.types import Medium, Path, Size, Spec, matching
from salt_kvm.spec.values import Count, Line, Text, Word, all_different

MiB = 1024**2
Lifecycle = Literal["destroy", "restart"]
Seconds = Annotated[int, Meta(ge=0, le=86400)]
# What each device of a list has of its own.
OWN = {
    "panic": ("model", attrgetter("model")),
    "controllers": ("type and index", attrgetter("type", "index")),
    "disks": ("target", attrgetter("target")),
    "serial": ("port", attrgetter("port")),
    "channels": ("name", attrgetter("name")),
    "filesystems": ("target", attrgetter("target")),
    "hostdevs": ("device", attrgetter("pci", "usb", "mdev")),
    "interfaces": ("mac", attrgetter("mac")),
}


class Domain(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:domains``; its key is the name of the domain."""

    state: Literal["present", "running", "installed", "stopped", "absent"] = "running"
    virt_type: Literal["auto", "kvm", "qemu"] | None = None
    memory: Size | None = None
    max_memory: Size | None = None
    vcpus: Count | None = None
    max_vcpus: Count | None = None
    cpu: Word | tuning.Cpu | None = None
    nested: bool | None = None
    machine: Annotated[str, matching(r"[A-Za-z0-9_.-]+")] | None = None
    boot: list[Literal["hd", "cdrom", "network", "fd"]] | None = None
    os: system.Os | None = None
    cdrom: Medium | None = None
    cloud_init: first_boot.CloudInit | bool | None = None
    ignition: first_boot.Ignition | bool | None = None
    combustion: first_boot.Text | bool | None = None
    disks: list[Disk] | Literal["delete"] | None = None
    interfaces: list[Interface] | None = None
    graphics: list[console.Graphics] | None = None
    video: list[console.Video] | None = None
    serial: list[console.Serial] | None = None
    consoles: list[console.Console] | None = None
    channels: list[console.Channel] | None = None
    agent: bool | None = None
    features: system.Features | None = None
    clock: system.Clock | None = None
    on_poweroff: Lifecycle | None = None
    on_reboot: Lifecycle | None = None
    on_crash: Lifecycle | Literal["preserve", "coredump-destroy", "coredump-restart"] | None = None
    on_lockfailure: Literal["poweroff", "restart", "pause", "ignore"] | None = None
    pm: system.Pm | None = None
    tpm: devices.Tpm | bool | None = None
    rng: list[devices.Rng] | None = None
    watchdog: list[devices.Watchdog] | None = None
    panic: list[devices.Panic] | None = None
    vsock: devices.Vsock | bool | None = None
    memballoon: devices.Memballoon | bool | None = None
    iommu: devices.Iommu | None = None
    inputs: list[devices.Input] | None = None
    sounds: list[devices.Sound] | None = None
    filesystems: list[devices.Filesystem] | None = None
    hostdevs: list[devices.Hostdev] | None = None
    redirdevs: list[devices.Redirdev] | None = None
    controllers: list[devices.Controller] | None = None
    memory_devices: list[devices.MemoryDevice] | None = None
    memory_hotplug: tuning.MemoryHotplug | None = None
    memory_backing: tuning.MemoryBacking | None = None
    iothreads: Count | None = None
    cputune: tuning.Cputune | None = None
    numatune: tuning.Numatune | None = None
    memtune: tuning.Memtune | None = None
    blkiotune: tuning.Blkiotune | None = None
    sysinfo: system.Sysinfo | None = None
    seclabels: list[system.Seclabel] | None = None
    launch_security: system.LaunchSecurity | None = None
    emulator: Path | None = None
    title: Line | None = None
    description: Text | None = None
    metadata: str | None = None
    autostart: bool | None = None
    timeout: Seconds | None = None
    force: bool | None = None
    restart: bool | None = None
    overcommit: bool | None = None
    install: Install | None = None
    xml: str | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < MiB:
            raise ValueError(
                f"{int(self.memory)} bytes of memory is less than any guest can use; "
                f"write a unit, like {int(self.memory)}MiB"
            )
        for field in ("memory", "vcpus"):
            value, limit = getattr(self, field), getattr(self, f"max_{field}")
            if value is not None and limit is not None and limit < value:
                raise ValueError(f"max_{field} is less than {field}; raise it")
        if self.nested is False and self.cpu is None:
            raise ValueError("'nested: false' needs 'cpu', as it takes a feature from that")
        if self.disks == "delete" and self.state != "absent":
            raise ValueError("'disks: delete' goes with 'state: absent' only; list the disks")
        paths = [disk.path for disk in self.disk_list if disk.path is not None]
        if len(paths) != len(set(paths)):
            raise ValueError("two disks name the same path")
        location = None if self.install is None else self.install.location
        if self.state == "installed" and not (self.cdrom or location):
            raise ValueError("state installed needs a 'cdrom', or an 'install' with a 'location'")
        if self.boot_orders() and self.boot:
            raise ValueError("'boot' and a device's 'boot_order' exclude each other")
        if (self.on_poweroff, self.on_reboot) == ("restart", "destroy"):
            raise ValueError("on_poweroff restart and on_reboot destroy exclude each other")
        first_boot.check(self.cloud_init, self.ignition, self.combustion, self.interfaces)
        _check_video(self.video or [])
        for field, (what, own) in OWN.items():
            devices = getattr(self, field)
            if isinstance(devices, list) and len(devices) > 1:
                all_different(what, map(own, devices))
        _check_cpus(self)

    @property
    def disk_list(self) -> list[Disk]:
        """The disks that are declared."""
        return self.disks if isinstance(self.disks, list) else []

    def boot_orders(self) -> list[int]:
        """Return the places in the boot order that devices declare."""
        declared = (self.disk_list, self.interfaces, self.hostdevs, self.redirdevs)
        orders = [d.boot_order for some in declared for d in some or [] if d.boot_order is not None]
        if len(orders) != len(set(orders)):
            raise ValueError("two devices have the same 'boot_order'")
        return orders


def _check_video(cards: list[console.Video]) -> None:
    """libvirt makes the first card the primary one where none is said to be."""
    primary = [index for index, card in enumerate(cards) if card.primary]
    if len(primary) > 1:
        raise ValueError("one video card at most is the primary one")
    first = primary[0] if primary else 0
    for index, card in enumerate(cards):
        if index == first and card.primary is False:
            raise ValueError("the first video card is the primary one; make another one that")
        if card.model == "none" and len(cards) > 1:
            raise ValueError("video model none means that there is no other")
        if card.model not in ("virtio", "qxl") and index != first:
            raise ValueError(f"video model {card.model} can only be the primary card")


def _check_cpus(want: Domain) -> None:
    """libvirt drops the pin of a CPU that is not there."""
    count = want.max_vcpus or want.vcpus
    if count is None:
        return
    for pin in (want.cputune and want.cputune.vcpupin) or []:
        if pin.vcpu >= count:
            raise ValueError(f"there is no vcpu {pin.vcpu} to pin; the last one is {count - 1}")
    if isinstance(want.cpu, tuning.Cpu):
        tuning.check_cells({cell.id: cell.cpus for cell in want.cpu.numa or []}, count)
