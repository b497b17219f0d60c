"""The nouns of this project: for each, its spec, how it is observed and how it is planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from salt_kvm.backend import files, storage_needs
from salt_kvm.backend import secret as secrets
from salt_kvm.backend import volume as volumes
from salt_kvm.backend.guest import Guest
from salt_kvm.backend.view import Images, View
from salt_kvm.plan import domain, image, network, pool, secret, volume
from salt_kvm.plan.steps import Step
from salt_kvm.seen import Observed
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.image import Image
from salt_kvm.spec.network import Network
from salt_kvm.spec.pool import DIRECTORIES, Permissions, Pool
from salt_kvm.spec.secret import StoredSecret
from salt_kvm.spec.types import Spec, parse_name, parse_path, parse_secret_name, parse_volume_name
from salt_kvm.spec.volume import StorageVolume
from salt_kvm.xml import pool as pool_xml
from salt_kvm.xml import volume as volume_xml
from salt_kvm.xml.graphics import listening
from salt_kvm.xml.merge import Difference

# Of a name, what is wanted and what is seen: the steps, and what waits for the next start.
Planner = Callable[[str, Any, Any], Iterable[Step | Difference]]


class Noun(msgspec.Struct, frozen=True):
    """One noun; ``section`` is its key in the pillar."""

    section: str
    spec: type[Spec]
    parse_name: Callable[[Any], str]
    observe: Callable[[View, str, Any], Any]
    plan: Planner
    remark: Callable[[Any], str] = lambda seen: ""
    restart: Planner = lambda name, want, seen: ()
    prune: Planner = lambda name, want, seen: ()


def _image(view: View, name: str, want: Image) -> Any:
    # What is to be converted is asked for its size, whatever its format.
    there = view.image(name, None if want.replace else want.format)
    return image.ImageSeen(there, Images(view))


def _network(view: View, name: str, want: Network) -> Any:
    return view.read("network", name, autostart=want.autostart is not None)


def _pool(view: View, name: str, want: Pool) -> Any:
    there = view.read("pool", name, autostart=want.autostart is not None)
    path = want.path or (None if there is None else pool_xml.path(there.xml))
    return pool.PoolSeen(
        there,
        view.file(path) if path and view.world.local else None,
        view,
        _numbers(view, want.permissions),
        _volumes(view, want, there),
    )


def _numbers(view: View, want: Permissions | None) -> dict[str, int]:
    """Owner and group as numbers; a name of another host's user can't be looked up."""
    if want is None:
        return {}
    local = view.world.local
    numbers = {
        "owner": files.user_number(want.owner, local=local),
        "group": files.group_number(want.group, local=local),
    }
    return {key: number for key, number in numbers.items() if number is not None}


def _volumes(view: View, want: Pool, there: Observed | None) -> list[str] | None:
    """Only where they are to go: a pool may hold thousands."""
    if want.data in (None, "keep") or there is None or not there.active:
        return None
    return list(view.world.hypervisor.volumes(there.name))


def _secret(view: View, name: str, want: StoredSecret) -> Any:
    full = f"{want.usage}/{name}"
    there = None if want.usage is None else view.read("secret", full)
    value = secrets.declared(want) if want.state == "present" else None
    same = None
    if there is not None and value is not None and not view.promised("secret", full):
        same = secrets.has(view.world.hypervisor, there, value)
    return secret.SecretSeen(full, there, value, same)


def _storage_volume(view: View, name: str, want: StorageVolume) -> Any:
    there = view.read("volume", name)
    path = None if there is None else volume_xml.path(there.xml)
    half = there is not None and view.half_volume(there)
    blank = want.state == "wiped" and view.world.local
    made = there is not None and not half
    of_pool = None if made else view.read("pool", name.partition("/")[0], autostart=False)
    return volume.VolumeSeen(
        there,
        pool=of_pool,
        half=half,
        stale=there is None and view.known_volume(name),
        file=_unknown_file(view, name, of_pool) if there is None else None,
        source=None if made else _source(view, want),
        blank=volumes.blank(path) if blank else None,
        numbers=_numbers(view, want.permissions),
        runners=lambda: storage_needs.runners(view, name),
    )


def _unknown_file(view: View, name: str, of_pool: Observed | None) -> Any:
    """A file that came into the pool's directory without libvirt."""
    if of_pool is None or not of_pool.active or not view.world.local:
        return None
    folder = pool_xml.path(of_pool.xml)
    if pool_xml.kind(of_pool.xml) not in DIRECTORIES or folder is None:
        return None
    return view.image(f"{folder}/{name.partition('/')[2]}", None)


def _source(view: View, want: StorageVolume) -> Any:
    address = (want.source or "").removeprefix("file://")
    direct = view.world.local and volumes.direct(address, want.source_hash)
    return view.image(address, want.format or "raw") if direct else None


def _domain(view: View, name: str, want: Domain) -> Any:
    there = view.read("domain", name, autostart=want.autostart is not None)
    guest = None if there is None else Guest(view.world.hypervisor, there)
    return domain.DomainSeen(there, Images(view), view.world.facts, guest)


def _console(seen: domain.DomainSeen) -> str:
    if seen.domain is None or seen.domain.live is None:
        return ""
    return "".join(f"{c['type'].upper()} at {c['address']}. " for c in listening(seen.domain.live))


NOUNS = {
    "image": Noun("images", Image, parse_path, _image, image.plan),
    "network": Noun(
        "networks",
        Network,
        parse_name,
        _network,
        network.plan,
        restart=network.restart,
    ),
    "pool": Noun("pools", Pool, parse_name, _pool, pool.plan),
    "secret": Noun("secrets", StoredSecret, parse_secret_name, _secret, secret.plan),
    "volume": Noun("volumes", StorageVolume, parse_volume_name, _storage_volume, volume.plan),
    "domain": Noun(
        "domains",
        Domain,
        parse_name,
        _domain,
        domain.plan,
        _console,
        domain.restart,
        domain.prune,
    ),
}
