"""The narrow types that several fields share: what of any text or number libvirt can take."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Annotated

from msgspec import Meta

from salt_kvm.spec.types import matching

# XML has no way to write the other control characters, and a parser turns \r into \n.
_WRITABLE = r"[^\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]*"
_ONE_LINE = r"[^\x00-\x1f\ud800-\udfff\ufffe\uffff]*"

Text = Annotated[str, matching(_WRITABLE, min_length=1, max_length=65536)]
Line = Annotated[str, matching(_ONE_LINE, min_length=1, max_length=255)]
# Where something is on a server: a path, or a name that is no path.
Remote = Annotated[
    str, matching(rf"(?!(.*/)?\.\.(/.*)?$){_ONE_LINE}", min_length=1, max_length=4096)
]
Word = Annotated[str, matching(r"(?!.*\.\.)[A-Za-z0-9_.:+/-]{1,255}")]
Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
# What libvirt keeps a record of each: a slip must not fill its memory.
Count = Annotated[int, Meta(ge=1, le=4096)]
Index = Annotated[int, Meta(ge=0, le=4095)]
Port = Annotated[int, Meta(ge=1, le=65535)]
# A user or group of the host, by name or by number.
Account = (
    Annotated[int, Meta(ge=0, le=2**32 - 2)]
    | Annotated[str, matching(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,254}\$?")]
)
# Processors or NUMA nodes: a number, or ``0-3,^2``.
Set = (
    Annotated[int, Meta(ge=0, le=65535)]
    | Annotated[str, matching(r"\^?[0-9]{1,5}(-[0-9]{1,5})?(,\^?[0-9]{1,5}(-[0-9]{1,5})?)*")]
)
_UUID = r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}"
Uuid = Annotated[str, matching(_UUID)]
# A secret with a passphrase: its UUID, or the path of the volume that its usage names.
Passphrase = Annotated[
    str, matching(rf"({_UUID}|/[^\x00-\x1f\ud800-\udfff\ufffe\uffff]+)", max_length=4096)
]
# The domain may be left out, as in what lspci prints.
PciAddress = Annotated[str, matching(r"([0-9a-f]{4}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")]
Hex = Annotated[str, matching(r"0x[0-9a-fA-F]{1,8}")] | Annotated[int, Meta(ge=0, le=2**32 - 1)]


def goes_with(spec: object, kind: str, rules: Mapping[str, tuple[str, ...]]) -> None:
    """Raise where a field is declared that libvirt refuses or drops for this kind of a thing."""
    for field, kinds in rules.items():
        if getattr(spec, field) is not None and kind not in kinds:
            raise ValueError(f"{field!r} goes with {' or '.join(kinds)}, not with {kind!r}")


def all_different(what: str, values: Iterable[Hashable]) -> None:
    """Raise where two values are the same; ``None`` is no value."""
    seen = set()
    for value in values:
        if value is not None and value in seen:
            raise ValueError(f"two entries have the same {what}; remove one")
        seen.add(value)


def members(text: str) -> set[int]:
    """Return the numbers of a set such as ``0-3,^2``."""
    members: set[int] = set()
    for part in text.split(","):
        first, _, last = part.lstrip("^").partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return set()
        numbers = range(int(first), min(int(last or first), 65535) + 1)
        members = members.difference(numbers) if part.startswith("^") else members.union(numbers)
    return members


def pci(address: str) -> dict[str, str]:
    """Return the parts of a PCI address as libvirt writes them: ``0000:03:10.0``."""
    rest, _, function = address.partition(".")
    domain, bus, slot = (f"0000:{rest}" if rest.count(":") == 1 else rest).split(":")
    parts = {"domain": domain, "bus": bus, "slot": slot, "function": function}
    return {name: f"0x{part}" for name, part in parts.items()}


def exactly_one(what: str, **values: object) -> str:
    """Return the name of the one value that is declared; raise where it is none or several."""
    named = [name for name, value in values.items() if value not in (None, False)]
    if len(named) != 1:
        choice = ", ".join(repr(name) for name in values)
        raise ValueError(f"{what} needs one of {choice}, and only one")
    return named[0]
