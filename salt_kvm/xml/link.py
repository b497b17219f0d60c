"""What a guest's card and the ports of a network have in common, as partial libvirt XML."""

from __future__ import annotations

from collections.abc import Mapping

from salt_kvm.spec import link
from salt_kvm.xml.intent import element
from salt_kvm.xml.rows import Said, Tables, rows


def vlan(value: int | list[int] | link.Vlan) -> link.Vlan:
    """A number or a list of numbers is all that most say of a VLAN."""
    if isinstance(value, link.Vlan):
        return value
    return link.Vlan(tags=value if isinstance(value, list) else [value])


def yes(value: bool) -> Said:
    """libvirt writes no ``no`` here."""
    return "yes" if value else None


def _tags(modes: Mapping[int, str | None]) -> Said:
    return [element("tag", {"id": tag, "nativeMode": mode}) for tag, mode in modes.items()]


TABLES: Tables = {
    link.Vlan: rows(("trunk", "@trunk", yes), ("modes", "", _tags)),
    **dict.fromkeys(
        (link.Bandwidth, link.CardBandwidth), rows(("inbound", "inbound"), ("outbound", "outbound"))
    ),
    **{
        rate: rows(*((name, f"@{name}") for name in rate.__struct_fields__))
        for rate in (link.Rate, link.CardRate)
    },
}
