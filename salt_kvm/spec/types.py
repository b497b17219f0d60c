"""The value types of a spec: how a size, a mode or a MAC address may be spelled in a pillar."""

import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import msgspec

from salt_kvm.errors import shown

# libvirt's units: the short and the binary names are powers of 1024, the others of 1000
# (https://libvirt.org/formatdomain.html#memory-allocation).
_PREFIXES = "KMGTPE"
UNITS = {
    "": 1,
    "B": 1,
    "BYTES": 1,
    **{p: 1024**n for n, p in enumerate(_PREFIXES, 1)},
    **{f"{p}IB": 1024**n for n, p in enumerate(_PREFIXES, 1)},
    **{f"{p}B": 1000**n for n, p in enumerate(_PREFIXES, 1)},
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
# What XML can't write: control characters, halves of a surrogate pair, two that are no characters.
_UNWRITABLE = r"\x00-\x1f\ud800-\udfff\ufffe\uffff"
_NAME = re.compile(rf"[^/{_UNWRITABLE}]{{1,255}}")
_SECRET_NAME = re.compile(rf"[^{_UNWRITABLE}]{{1,4096}}")
_PATH = re.compile(rf"/[^{_UNWRITABLE}]{{0,4095}}")
_ADDRESS = re.compile(rf"[a-z][a-z0-9+]*://[^ {_UNWRITABLE}]{{1,4000}}")
_LARGEST = 2**63 - 1
# In Python and in a JSON Schema alike.
END = r"$(?!\n)"


class Size(int):
    """A number of bytes, written with a unit: ``10GiB``, ``512M``; a bare number is bytes."""

    def __str__(self) -> str:
        for power in range(len(_PREFIXES), 0, -1):
            if self and self % 1024**power == 0:
                return f"{int(self) // 1024**power}{_PREFIXES[power - 1]}iB"
        return f"{int(self)}B"


class Allocation(Size):
    """A size that may be 0: the room that is taken from the start."""


class Mode(int):
    """Permission bits, written in octal digits: ``'0640'`` or, unquoted, ``0640``."""

    def __str__(self) -> str:
        return f"{int(self):04o}"


class Mac(str):
    """A MAC address in lower case with colons."""


class Path(str):
    """An absolute path without ``..``."""


class Location(str):
    """An absolute path, or the address of what Salt's file client fetches."""


class Log(str):
    """The path of a log; ``auto`` (true): beside the guest's other logs; ``none`` (false): none."""


class Medium(str):
    """An absolute path, or empty: a drive without a medium."""


class Value(str):
    """A secret, which shows itself to nobody; :meth:`encode` gives it."""

    def __repr__(self) -> str:
        return "(hidden)"

    __str__ = __repr__


class Moment(str):
    """A time in UTC as libvirt writes it, ``2027-01-31T12:00:00``, or ``never``."""


class SecretName(str):
    """What libvirt knows a secret by, next to its UUID."""


class VolumeName(str):
    """``pool/volume``: the names of a pool and of a volume in it."""


class Name(str):
    """A name of a libvirt object: not empty, no slash, no control character."""


def matching(
    pattern: str, *, min_length: int | None = None, max_length: int | None = None
) -> msgspec.Meta:
    """Return the limits of a text: the whole of it matches, to its last character.

    A ``$`` alone would also let a newline behind the match pass.
    """
    return msgspec.Meta(pattern=rf"^{pattern}{END}", min_length=min_length, max_length=max_length)


def parse_size(value: Any) -> Size:
    """Return the size that ``value`` (a number of bytes, or a string with a unit) spells."""
    match = _SIZE.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    factor = UNITS.get(match[2].upper()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{shown(value)} is no size; write a number and a unit, like 10GiB")
    size = float(match[1]) * factor if "." in match[1] else int(match[1]) * factor
    if size != int(size) or not 0 < size <= _LARGEST:
        raise ValueError(
            f"{shown(value)} is no possible size; write a whole number of bytes above 0"
        )
    return Size(size)


def parse_allocation(value: Any) -> Allocation:
    """Return a size, or 0."""
    none = not isinstance(value, bool) and str(value).strip() in ("0", "0B")
    return Allocation(0 if none else parse_size(value))


def parse_mode(value: Any) -> Mode:
    """Return the mode of octal digits; Salt's YAML reads an unquoted ``0640`` as the number 640."""
    digits = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-7]{1,5}", digits):
        raise ValueError(f"{shown(value)} is no mode; write octal digits in quotes, like '0640'")
    return Mode(digits, 8)


def parse_mac(value: Any) -> Mac:
    """Return a MAC address; YAML 1.1 reads an unquoted all-digit one as a number of base 60."""
    text = _from_base_60(value) if type(value) is int else str(value)
    if not _MAC.fullmatch(text):
        raise ValueError(f"{shown(value)} is no MAC address; write it like '52:54:00:12:34:56'")
    return Mac(text.lower())


def _from_base_60(value: int) -> str:
    groups = []
    for _ in range(6):
        value, group = divmod(value, 60)
        groups.append(f"{group:02d}")
    return ":".join(reversed(groups))


def parse_path(value: Any) -> Path:
    """Return an absolute path, without its trailing slashes."""
    text = value if isinstance(value, str) else ""
    if not _PATH.fullmatch(text) or ".." in text.split("/"):
        raise ValueError(f"{shown(value)} is no absolute path; write it from / on, without '..'")
    return Path(re.sub(r"/+", "/", text).rstrip("/") or "/")


def parse_location(value: Any) -> Location:
    """Return a path, or an address, without its trailing slashes."""
    if isinstance(value, str) and _ADDRESS.fullmatch(value):
        return Location(value.rstrip("/"))
    return Location(parse_path(value))


def parse_medium(value: Any) -> Medium:
    """Return the path of a medium; ``''`` and ``false`` are an empty drive."""
    return Medium("" if value is False or value == "" else parse_path(value))


def parse_log(value: Any) -> Log:
    """Return the path of a log, or what true and false say of it."""
    if isinstance(value, bool):
        return Log("auto" if value else "none")
    return Log(parse_path(value))


def parse_name(value: Any) -> Name:
    """Return a name that libvirt takes; a number is taken as its digits."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not _NAME.fullmatch(text) or text in {".", ".."} or text != text.strip():
        raise ValueError(
            f"{shown(value)} is no name; use no slash, no control character, no outer space"
        )
    return Name(text)


def parse_volume_name(value: Any) -> VolumeName:
    """Return the full name of a volume; in some pools the name within the pool has slashes too."""
    pool, _, volume = value.partition("/") if isinstance(value, str) else ("", "", "")
    try:
        parse_name(pool)
        parse_path(f"/{volume}" if volume else "")
    except ValueError as error:
        raise ValueError(f"{shown(value)} is no volume; write pool/volume") from error
    return VolumeName(value)


def parse_value(value: Any) -> Value:
    """Return a secret; no fault tells anything of it."""
    if isinstance(value, Value):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("a secret's value is text; write it in quotes")
    return Value(value)


def parse_moment(value: Any) -> Moment:
    """Return a time; one that names no other zone is in UTC."""
    if value == "never":
        return Moment(value)
    try:
        told = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        zoned = told if told.tzinfo else told.replace(tzinfo=timezone.utc)
        moment = zoned.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        moment = datetime.min.replace(tzinfo=timezone.utc)
    # libvirt keeps it as seconds since then.
    if moment.year < 1970:
        raise ValueError(
            f"{shown(value)} is no time; write it in UTC like '2027-01-31T12:00:00', or never"
        )
    return Moment(moment.strftime("%Y-%m-%dT%H:%M:%S"))


def parse_secret_name(value: Any) -> SecretName:
    """Return the name of a target or client, or the path of a volume."""
    if not isinstance(value, str) or not _SECRET_NAME.fullmatch(value):
        raise ValueError(f"{shown(value)} is no name of a secret; use no control character")
    return SecretName(value)


PARSERS: dict[type, Callable[[Any], Any]] = {
    Size: parse_size,
    Allocation: parse_allocation,
    Mode: parse_mode,
    Mac: parse_mac,
    Path: parse_path,
    Location: parse_location,
    Medium: parse_medium,
    Log: parse_log,
    Name: parse_name,
    Value: parse_value,
    Moment: parse_moment,
    SecretName: parse_secret_name,
    VolumeName: parse_volume_name,
}
_SCHEMAS: dict[type, dict[str, Any]] = {
    Size: {"type": ["string", "integer"], "examples": ["10GiB", "512MiB"]},
    Allocation: {"type": ["string", "integer"], "examples": ["0", "10GiB"]},
    Mode: {"type": ["string", "integer"], "examples": ["0640"]},
    Mac: {"type": ["string", "integer"], "examples": ["52:54:00:12:34:56"]},
    Path: {"type": "string", "pattern": "^/"},
    Location: {"type": "string", "pattern": "^(/|[a-z][a-z0-9+]*://)"},
    Medium: {"type": ["string", "boolean"], "pattern": "^(/|$)"},
    Log: {"type": ["string", "boolean"], "pattern": "^/"},
    Name: {"type": "string", "pattern": "^[^/]+$"},
    Value: {"type": "string", "minLength": 1},
    Moment: {"type": "string", "examples": ["2027-01-31T12:00:00", "never"]},
    SecretName: {"type": "string", "minLength": 1},
    VolumeName: {"type": "string", "pattern": "^[^/]+/."},
}


def decode(kind: type, value: Any) -> Any:
    """Parse one value of a type of this file; msgspec calls it."""
    if kind not in PARSERS:
        raise NotImplementedError(kind)
    if kind is Value:
        return parse_value(value)
    number = isinstance(value, (int, float))
    if not number and not isinstance(value, str):
        raise ValueError(f"a text or a number is expected, not {shown(value)}")
    if number and abs(value) > _LARGEST:
        raise ValueError(f"{shown(value)} is too large a number")
    return PARSERS[kind](value)


def schema(kind: type) -> dict[str, Any]:
    """Return the JSON Schema of a type of this file; msgspec calls it."""
    return _SCHEMAS[kind]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The base of every declared thing: ``None`` means "not declared", and is left alone."""
