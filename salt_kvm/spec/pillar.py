"""The whole ``kvm`` section of a pillar: its schema, and every fault in one pass."""

from __future__ import annotations

from typing import Any

import msgspec

from salt_kvm.errors import SpecError
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
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
from salt_kvm.spec.volume import StorageVolume


class Host(Spec, frozen=True, kw_only=True):
    """``kvm:host``: what replaces the defaults of the distribution; see docs/host.md."""

    packages: list[str] | None = None
    extra_packages: list[str] | None = None
    services: list[str] | None = None
    python_packages: list[str] | None = None


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


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the ``kvm`` section."""
    return msgspec.json.schema(Pillar, schema_hook=type_schema)


def parse(section: Any) -> Pillar:
    """Return a ``kvm`` section as its specs.

    :raises SpecError: with one sentence for each fault
    """
    return convert(Pillar, section, "kvm")


def problems(section: Any) -> list[str]:
    """Return one sentence for each fault of a ``kvm`` section; an empty list is a valid one."""
    try:
        parse(section)
    except SpecError as error:
        return error.problems
    return []
