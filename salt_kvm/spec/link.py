"""What a guest's card and the ports of a network have in common: speed, VLAN tags, virtual port."""

from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.types import Spec, matching
from salt_kvm.spec.values import all_different

Device = Annotated[str, matching(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}")]
Kilobytes = Annotated[int, Meta(ge=1, le=2**32 - 1)]
VlanId = Annotated[int, Meta(ge=1, le=4094)]
VirtualPortType = Literal["openvswitch", "802.1Qbg", "802.1Qbh", "midonet"]


class Rate(Spec, frozen=True, kw_only=True):
    """A limit in kilobytes per second; ``burst`` in kilobytes."""

    average: Kilobytes
    peak: Kilobytes | None = None
    burst: Kilobytes | None = None


class Bandwidth(Spec, frozen=True, kw_only=True):
    """What may come in to the guests and go out from them."""

    inbound: Rate | None = None
    outbound: Rate | None = None


class CardRate(Spec, frozen=True, kw_only=True):
    """The same for one guest; ``floor`` is guaranteed."""

    average: Kilobytes | None = None
    peak: Kilobytes | None = None
    burst: Kilobytes | None = None
    floor: Kilobytes | None = None

    def __post_init__(self) -> None:
        if self.average is None and self.floor is None:
            raise ValueError("a rate needs 'average' or, inbound, 'floor'")


class CardBandwidth(Spec, frozen=True, kw_only=True):
    """What the guest may receive and send."""

    inbound: CardRate | None = None
    outbound: CardRate | None = None

    def __post_init__(self) -> None:
        if self.outbound is not None and self.outbound.floor is not None:
            raise ValueError("'floor' goes with inbound")


class Vlan(Spec, frozen=True, kw_only=True):
    """VLAN tags of the guests' traffic; several make a trunk, ``native`` is sent untagged."""

    tags: list[VlanId]
    trunk: bool | None = None
    native: VlanId | None = None

    def __post_init__(self) -> None:
        if not self.tags:
            raise ValueError("'tags' is empty; name a VLAN")
        all_different("VLAN tag", self.tags)
        if self.native is not None and self.native not in self.tags:
            raise ValueError(f"the native VLAN {self.native} is not among 'tags'; add it there")
        if self.trunk is False and len(self.tags) > 1:
            raise ValueError("several VLAN tags are a trunk; leave 'trunk' out")

    @property
    def modes(self) -> dict[int, str | None]:
        """Each tag, and how libvirt says that it is the native one."""
        return {tag: "untagged" if tag == self.native else None for tag in self.tags}
