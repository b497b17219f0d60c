"""A virtual machine's file on a VMware host: Workstation, Fusion or ESXi."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from salt_kvm.errors import shown
from salt_kvm.spec.types import Path, Spec, matching, parse_path
from salt_kvm.spec.types import Value as Hidden

# What open-vm-tools takes for a name: no blank, no "=", no "#"; VMware's own are ASCII.
Option = Annotated[str, matching(r'[!"$-<>-~]+', max_length=250)]
Text = Annotated[str, matching(r"[^\x00]*", max_length=8192)]
Value = bool | int | Text
HostName = Annotated[str, matching(r"[A-Za-z0-9_:%.][A-Za-z0-9_:%.-]*", max_length=255)]
User = Annotated[str, matching(r"[A-Za-z0-9_.][A-Za-z0-9_.@\\-]*", max_length=255)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=600)]

NESTED = "vhv.enable"
# The first virtual hardware with it that VMware supports, that of ESXi 5.1 and Workstation 9.
NESTED_HARDWARE = 9
_NEEDED = {
    "managed": "declare 'options', 'absent' or 'nested'",
    "option_present": "declare 'key' and 'value', or 'options'",
    "option_absent": "declare 'key' or 'absent'",
}
_TARGET = re.compile(r"(?:(?P<user>.+)@)?(?:\[(?P<six>[^]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d+))?")
_IN_DATASTORE = re.compile(r"\[(?P<store>[^]/]+)\] *(?P<rest>[^/ ].*)")


class Esxi(Spec, frozen=True, kw_only=True):
    """How an ESXi host is reached by SSH; ``timeout`` is for the connection to come up."""

    host: HostName
    user: User = "root"
    port: Port | None = None
    identity_file: Path | None = None
    known_hosts: Path | None = None
    timeout: Seconds = 10

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


class VmxFile(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:vmx``; its key is a name of its own, or the path."""

    state: Literal["managed", "option_present", "option_absent", "nested_enabled"] = "managed"
    path: Text | None = None
    host: Esxi | Text | None = None
    key: Option | None = None
    value: Value | None = None
    options: dict[Option, Value] | None = None
    absent: list[Option] | None = None
    nested: bool | None = None
    powered_on: Literal["refuse", "write"] = "refuse"
    backup: bool = False

    def __post_init__(self) -> None:
        if self.path is not None:
            file_path(self.path)
        if isinstance(self.host, str):
            target(self.host)
        keys = [key.lower() for key, _value in self._named()]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key!r} is declared twice; VMware does not know letters' case")
        valueless = self.key is not None and self.value is None and self.state != "option_absent"
        if valueless or not keys:
            raise ValueError(_NEEDED[self.state])

    def _named(self) -> Iterator[tuple[str, str | None]]:
        for key, value in (self.options or {}).items():
            yield key, text(value)
        for key in self.absent or ():
            yield key, None
        if self.key is not None:
            yield self.key, None if self.state == "option_absent" else text(self.value)
        if self.nested is not None or self.state == "nested_enabled":
            yield NESTED, text(self.nested is not False)

    def wanted(self) -> dict[str, str | None]:
        """Return the value that each key is to have; ``None``: it is not to be there."""
        return dict(self._named())

    def hidden(self) -> frozenset[str]:
        """Return the keys, in small letters, whose values were looked up."""
        looked_up = (k for k, value in self._named() if isinstance(value, Hidden))
        return frozenset(key.lower() for key in looked_up)

    def on(self) -> Esxi | None:
        """Return the ESXi host of the file; ``None``: it is on this host."""
        return target(self.host) if isinstance(self.host, str) else self.host


def text(value: Value | None) -> str | None:
    """Return a value as VMware writes it; a secret stays one."""
    if value is None or isinstance(value, str):
        return value
    return str(value).upper() if isinstance(value, bool) else str(value)


def file_path(name: str) -> str:
    """Return the path of a ``.vmx`` file, of one in a datastore too: ``[store] web1/web1.vmx``.

    :raises ValueError: where it is none
    """
    match = _IN_DATASTORE.fullmatch(name)
    path = str(parse_path(f"/vmfs/volumes/{match['store']}/{match['rest']}" if match else name))
    if not path.lower().endswith(".vmx"):
        raise ValueError(f"{shown(name)} does not end in .vmx; write the path of a machine's file")
    return path


def where(host: Esxi | None, path: str) -> str:
    """Return what names a file for people, and tells it from another host's."""
    return path if host is None else f"{path} on {host}"


def target(text: str) -> Esxi:
    """Return the host that ``[user@]host[:port]`` names.

    :raises ValueError: where it names none
    """
    match = _TARGET.fullmatch(text)
    fields = {} if match is None else {k: v for k, v in match.groupdict().items() if v is not None}
    host = fields.pop("six", None) or fields.pop("host", "")
    port = {"port": int(fields.pop("port"))} if "port" in fields else {}
    try:
        return msgspec.convert({"host": host, **fields, **port}, Esxi)
    except msgspec.ValidationError as error:
        raise ValueError(f"{shown(text)} is no host; write it like root@esxi1:22") from error


def parse_vmx_name(value: object) -> str:
    """Return the name of an entry: any text of one line."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{shown(value)} is no name; write a line of text, or the file's path")
    return value
