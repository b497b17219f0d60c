"""A network card of a domain."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.types import Mac, Name, Path, Spec
from salt_kvm.spec.values import Natural, PciAddress, Positive, Text, Uuid, Word, exactly_one

Device = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,15}$")]
VlanId = Annotated[int, Meta(ge=0, le=4095)]


class VirtualPort(Spec, frozen=True, kw_only=True):
    """A port of a virtual switch, as of Open vSwitch."""

    type: Literal["openvswitch", "802.1Qbg", "802.1Qbh", "midonet"]
    interface_id: Uuid | None = None
    profile_id: Word | None = None


class VhostUser(Spec, frozen=True, kw_only=True):
    """The socket of a switch that runs as a process, like that of DPDK."""

    path: Path
    mode: Literal["client", "server"] = "client"


class CardRate(Spec, frozen=True, kw_only=True):
    """Kilobytes per second; ``burst`` is kilobytes; ``floor`` is guaranteed."""

    average: Positive | None = None
    peak: Positive | None = None
    burst: Positive | None = None
    floor: Positive | None = None


class CardBandwidth(Spec, frozen=True, kw_only=True):
    """What the guest may receive and send."""

    inbound: CardRate | None = None
    outbound: CardRate | None = None


class Filter(Spec, frozen=True, kw_only=True):
    """A filter of libvirt's packet filters, with its variables."""

    name: Name
    parameters: dict[Word, Text] | None = None


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
    portgroup: Name | None = None
    virtualport: VirtualPort | None = None
    mac: Mac | None = None
    model: Annotated[str, Meta(pattern=r"^[a-z0-9-]+$")] | None = None
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
    acpi_index: Natural | None = None

    def __post_init__(self) -> None:
        kind = exactly_one("an interface", **{name: getattr(self, name) for name in KINDS})
        for field, kinds in GOES_WITH.items():
            if getattr(self, field) is not None and kind not in kinds:
                raise ValueError(f"{field!r} goes with {' or '.join(kinds)}, not with {kind!r}")


KINDS = ("network", "bridge", "direct", "user", "ethernet", "vhostuser", "hostdev")
GOES_WITH = {
    "mode": ("direct",),
    "portgroup": ("network",),
    "managed": ("hostdev",),
    "vlan": ("network", "bridge", "direct", "hostdev"),
    "filterref": ("network", "bridge", "ethernet"),
    "bandwidth": ("network", "bridge", "direct", "ethernet"),
}
