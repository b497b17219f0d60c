"""A network card of a domain."""

from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.link import CardBandwidth, Device, VirtualPortType, VlanId
from salt_kvm.spec.types import Mac, Name, Path, Spec, matching
from salt_kvm.spec.values import (
    PciAddress,
    Positive,
    Uuid,
    Word,
    all_different,
    exactly_one,
    goes_with,
)


class VirtualPort(Spec, frozen=True, kw_only=True):
    """A port of a virtual switch, as of Open vSwitch."""

    type: VirtualPortType
    interface_id: Uuid | None = None
    profile_id: Word | None = None


class VhostUser(Spec, frozen=True, kw_only=True):
    """The socket of a switch that runs as a process, like that of DPDK."""

    path: Path
    mode: Literal["client", "server"] = "client"


# libvirt drops a variable with any other character in it.
Variable = Annotated[str, matching(r"[A-Za-z0-9_]{1,255}")]
VariableValue = Annotated[str, matching(r"[A-Za-z0-9_.:]{1,255}")]


class Filter(Spec, frozen=True, kw_only=True):
    """A filter of libvirt's packet filters, with its variables."""

    # libvirt writes it into its own document without escaping it.
    name: Word
    parameters: dict[Variable, VariableValue] | None = None


class Interface(Spec, frozen=True, kw_only=True):
    """A network card; one of its first seven keys says what it is plugged into."""

    network: Name | None = None
    bridge: Name | None = None
    direct: Device | None = None
    user: bool | None = None
    ethernet: bool | None = None
    vhostuser: VhostUser | None = None
    hostdev: PciAddress | None = None
    mode: Literal["bridge", "vepa", "private", "passthrough"] | None = None
    portgroup: Word | None = None
    virtualport: VirtualPort | None = None
    mac: Mac | None = None
    model: Annotated[str, matching(r"[a-z0-9-]+")] | None = None
    driver: Literal["vhost", "qemu", "vfio"] | None = None
    queues: Annotated[int, Meta(ge=1, le=256)] | None = None
    rx_queue_size: Positive | None = None
    tx_queue_size: Positive | None = None
    mtu: Annotated[int, Meta(ge=68, le=65535)] | None = None
    vlan: Annotated[list[VlanId], Meta(min_length=1)] | VlanId | None = None
    filterref: Filter | None = None
    link: Literal["up", "down"] | None = None
    bandwidth: CardBandwidth | None = None
    target: Device | None = None
    isolated: bool | None = None
    trust_guest_rx_filters: bool | None = None
    managed: bool | None = None
    rom: bool | None = None
    boot_order: Positive | None = None
    acpi_index: Annotated[int, Meta(ge=1, le=16383)] | None = None

    def __post_init__(self) -> None:
        kind = exactly_one("an interface", **{name: getattr(self, name) for name in KINDS})
        goes_with(self, kind, GOES_WITH)
        if isinstance(self.vlan, list):
            all_different("VLAN tag", self.vlan)
        if self.driver is not None and (self.driver == "vfio") != (kind == "hostdev"):
            raise ValueError("driver vfio goes with 'hostdev', and no other does")
        virtio = ("driver", "queues", "rx_queue_size", "tx_queue_size")
        if kind != "hostdev" and self.model is not None and not self.model.startswith("virtio"):
            if kind == "vhostuser":
                raise ValueError("'vhostuser' goes with a model of virtio")
            goes_with(self, self.model, dict.fromkeys(virtio, ("virtio",)))
        inbound = self.bandwidth and self.bandwidth.inbound
        if inbound and inbound.floor is not None and kind != "network":
            raise ValueError("'floor' goes with 'network'")
        if self.isolated and self.virtualport and self.virtualport.type == "openvswitch":
            raise ValueError("'isolated' does not go with virtualport openvswitch")
        for name in ("rx_queue_size", "tx_queue_size"):
            size = getattr(self, name)
            if size is not None and size & (size - 1):
                raise ValueError(f"{name!r} is a power of two, like 512")


CARDS = ("network", "bridge", "direct", "user", "ethernet", "vhostuser")
KINDS = (*CARDS, "hostdev")
GOES_WITH = {
    "mode": ("direct",),
    "portgroup": ("network",),
    "managed": ("hostdev",),
    "vlan": ("network", "bridge", "direct", "hostdev"),
    "filterref": ("network", "bridge", "ethernet"),
    "bandwidth": ("network", "bridge", "direct", "ethernet"),
    "isolated": ("network", "bridge"),
    "virtualport": ("network", "bridge", "direct", "hostdev"),
    "mtu": ("network", "bridge", "ethernet", "vhostuser"),
    **dict.fromkeys(("queues", "rx_queue_size", "tx_queue_size"), CARDS),
}
