"""The whole ``kvm`` section of a pillar: its schema, and every fault in one pass."""

from typing import Any, NamedTuple

import msgspec

from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.host import Host
from salt_kvm.spec.image import Image
from salt_kvm.spec.network import Network
from salt_kvm.spec.pool import Pool
from salt_kvm.spec.prune import Prune
from salt_kvm.spec.secret import StoredSecret
from salt_kvm.spec.types import (
    Name,
    Path,
    SecretName,
    Spec,
    VolumeName,
    parse_name,
    parse_path,
    parse_secret_name,
    parse_volume_name,
)
from salt_kvm.spec.types import schema as type_schema
from salt_kvm.spec.vmx import VmxFile, file_path, parse_vmx_name
from salt_kvm.spec.volume import StorageVolume


class Pillar(Spec, frozen=True, kw_only=True):
    """``kvm``: everything that a host is to have."""

    connection: str | None = None
    store: Path | None = None
    host: Host | None = None
    networks: dict[Name, Network] | None = None
    secrets: dict[SecretName, StoredSecret] | None = None
    pools: dict[Name, Pool] | None = None
    volumes: dict[VolumeName, StorageVolume] | None = None
    images: dict[Path, Image] | None = None
    domains: dict[Name, Domain] | None = None
    prune: Prune | None = None
    vmx: dict[str, VmxFile] | None = None

    def __post_init__(self) -> None:
        """msgspec takes the keys of a dictionary as they are."""
        for section in (self.networks, self.pools, self.domains):
            for name in section or {}:
                parse_name(name)
        for path in self.images or {}:
            parse_path(path)
        for volume in self.volumes or {}:
            parse_volume_name(volume)
        for secret in self.secrets or {}:
            parse_secret_name(secret)
        for key, file in (self.vmx or {}).items():
            file_path(parse_vmx_name(key) if file.path is None else file.path)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the ``kvm`` section."""
    return msgspec.json.schema(Pillar, schema_hook=type_schema)


def parse(section: Any) -> Pillar:
    """Return a ``kvm`` section as its specs.

    :raises SpecError: with one sentence for each fault
    """
    return convert(Pillar, section, "kvm")


class Known(NamedTuple):
    """A valid section and its specs, so that an object's fields need not be read once more."""

    section: dict[str, Any]
    pillar: Pillar

    def spec(self, kind: str, name: str, fields: dict[str, Any]) -> Any:
        """Return the spec of an entry that says just what ``fields`` say; else ``None``.

        :param kind: the key of the entry's section
        :param name: the entry's key
        :param fields: the fields of the noun's spec
        """
        entry = (self.section.get(kind) or {}).get(name)
        if entry is None:
            return None
        found: Any = getattr(self.pillar, kind)[name]
        return found if {"state": found.state, **entry} == fields else None
