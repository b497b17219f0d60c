"""What a new guest is told at its first boot: for cloud-init, Ignition and Combustion.

Keys and formats: https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html
"""

import ipaddress
from typing import Annotated, Any, Literal

from msgspec import Meta, structs

from salt_kvm.spec.interface import Interface
from salt_kvm.spec.types import Mac, Spec, matching
from salt_kvm.spec.values import Line, all_different

Text = Annotated[str, Meta(min_length=1)]
Hostname = Annotated[
    str,
    matching(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*"),
]
KeyLine = Annotated[str, matching(r"[^\x00-\x1f]+", min_length=1, max_length=16384)]
Mtu = Annotated[int, Meta(ge=68, le=65535)]
SERVERS = ("/", "salt://")


class Nic(Spec, frozen=True, kw_only=True):
    """One network card as the guest sets it up."""

    name: Annotated[str, matching(r"[A-Za-z][A-Za-z0-9_.-]*", max_length=15)] | None = None
    mac: Mac | None = None
    dhcp: bool | None = None
    addresses: list[str] | None = None
    gateway: str | list[str] | None = None
    nameservers: list[str] | None = None
    search: list[Hostname] | None = None
    mtu: Mtu | None = None

    def __post_init__(self) -> None:
        for address in self.addresses or []:
            if "/" not in address:
                raise ValueError(f"address {address!r} needs its prefix; write {address}/24")
            ipaddress.ip_interface(address)
        for address in (*self.gateways, *(self.nameservers or [])):
            ipaddress.ip_address(address)
        families = {ipaddress.ip_interface(address).version for address in self.addresses or []}
        reached = [ipaddress.ip_address(gateway).version for gateway in self.gateways]
        if not set(reached) <= families or len(reached) != len(set(reached)):
            raise ValueError("'gateway' goes with an address of its family, one for each")

    @property
    def gateways(self) -> list[str]:
        return [self.gateway] if isinstance(self.gateway, str) else self.gateway or []


class CloudInit(Spec, frozen=True, kw_only=True):
    """What cloud-init is told by a NoCloud seed; a text is a document or the name of a file."""

    user_data: dict[str, Any] | Text | None = None
    meta_data: dict[str, Any] | Text | None = None
    network_config: dict[str, Any] | Text | None = None
    vendor_data: dict[str, Any] | Text | None = None
    instance_id: Line | None = None
    hostname: Hostname | None = None
    users: list[dict[str, Any] | Text] | None = None
    ssh_authorized_keys: list[KeyLine] | None = None
    network: list[Nic] | None = None
    drive: Literal["disk", "cdrom"] | None = None

    def __post_init__(self) -> None:
        shorts = {"user_data": {"users": "users", "ssh_authorized_keys": "ssh_authorized_keys"}}
        shorts["meta_data"] = {"hostname": "local-hostname", "instance_id": "instance-id"}
        shorts["network_config"] = {"network": "ethernets"}
        for document, fields in shorts.items():
            self._check(document, fields)
        named = self.user_data.get("hostname") if isinstance(self.user_data, dict) else None
        if self.hostname is not None and named not in (None, self.hostname):
            raise ValueError("'hostname' and that of user_data differ; declare it once")
        if any(isinstance(user, dict) and not user.get("name") for user in self.users or []):
            raise ValueError("each of 'users' needs its 'name'")
        all_different("name", (card.name for card in self.network or []))
        all_different("mac", (card.mac for card in self.network or []))

    def _check(self, document: str, fields: dict[str, str]) -> None:
        """Raise where a short form says what its document says too, or can't be put into it."""
        whole = getattr(self, document)
        for field, key in fields.items():
            if getattr(self, field) is None or whole is None:
                continue
            if isinstance(whole, str):
                raise ValueError(f"{field!r} can't be put into a {document} that is a text")
            if key in whole or field == "network":
                raise ValueError(f"{field!r} and {document} say the same; declare it once")


class Ignition(Spec, frozen=True, kw_only=True):
    """A configuration of Ignition, and the way that the guest gets it."""

    config: dict[str, Any] | Text
    delivery: Literal["fw_cfg", "drive"] | None = None


def is_file(text: str) -> bool:
    """Tell the name of a file from a document."""
    return text.startswith(SERVERS) and "\n" not in text


def check(
    cloud_init: CloudInit | bool | None,
    ignition: Ignition | bool | None,
    combustion: str | bool | None,
    interfaces: list[Interface] | None,
) -> None:
    """Raise where what a domain declares of its first boot does not go together."""
    for field, value in {"ignition": ignition, "combustion": combustion}.items():
        if value is True:
            raise ValueError(f"{field!r} is what the guest is told, or false")
        if value and cloud_init:
            raise ValueError(f"'cloud_init' and {field!r} exclude each other; a guest has one")
    cards = cloud_init.network if isinstance(cloud_init, CloudInit) else None
    for number, card in enumerate(cards or []):
        macs = [each.mac for each in (interfaces or [])[number : number + 1]]
        if card.name is None and card.mac is None and macs in ([], [None]):
            raise ValueError(
                f"cloud_init:network[{number}] is of no known card; give it a 'name' or a 'mac', "
                f"or declare the 'mac' of interfaces[{number}]"
            )


def with_macs(want: CloudInit, interfaces: list[Interface] | None) -> CloudInit:
    """Return it with the MAC addresses of the domain's own cards, by their place in the list."""
    if want.network is None:
        return want
    cards = [
        structs.replace(card, mac=(interfaces or [])[number].mac)
        if card.name is None and card.mac is None
        else card
        for number, card in enumerate(want.network)
    ]
    return structs.replace(want, network=cards)
