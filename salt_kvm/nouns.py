"""The nouns of this project: for each, its spec, how it is observed and how it is planned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from salt_kvm.backend import host_steps, storage_needs
from salt_kvm.backend.guests import seed as seeds
from salt_kvm.backend.guests.guest import Guest
from salt_kvm.backend.installation import Installation
from salt_kvm.backend.storage import pool as pools
from salt_kvm.backend.storage import secret as secrets
from salt_kvm.backend.storage import volume as volumes
from salt_kvm.backend.system import files
from salt_kvm.backend.view import Images, View
from salt_kvm.backend.virt import domain_calls, volume_calls
from salt_kvm.plan import (
    config,
    domain,
    image,
    install,
    kernel,
    nested,
    network,
    pool,
    sasl,
    secret,
    vmx,
    volume,
)
from salt_kvm.plan.steps import Step
from salt_kvm.seen import Observed
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.host import BootArguments, Config, Kernel, Nested, SaslUser, parse_login
from salt_kvm.spec.image import Image
from salt_kvm.spec.network import Network
from salt_kvm.spec.pool import DIRECTORIES, Permissions, Pool
from salt_kvm.spec.secret import StoredSecret
from salt_kvm.spec.types import Spec, parse_name, parse_path, parse_secret_name, parse_volume_name
from salt_kvm.spec.vmx import VmxFile, parse_vmx_name, where
from salt_kvm.spec.volume import StorageVolume
from salt_kvm.xml import pool as pool_xml
from salt_kvm.xml import volume as volume_xml
from salt_kvm.xml.graphics import listening, unguarded
from salt_kvm.xml.install import installing, mark
from salt_kvm.xml.merge import Difference

# Of a name, what is wanted and what is seen: the steps, and what waits for the next start.
Planner = Callable[[str, Any, Any], Iterable[Step | Difference]]


class Noun(msgspec.Struct, frozen=True):
    """One noun; ``section`` is its key in the pillar.

    ``due`` is what a change may wait for, ``lock`` what a run holds the lock of. Of the fields
    ``kept`` a value may be declared by where it is kept.
    """

    section: str
    spec: type[Spec]
    parse_name: Callable[[Any], str]
    observe: Callable[[View, str, Any], Any]
    plan: Planner
    remark: Callable[[Any], str] | None = None
    rest: Callable[[Any], str] | None = None
    restart: Planner = lambda name, want, seen: ()
    prune: Planner = lambda name, want, seen: ()
    due: str = "Waits for the next start"
    lock: Callable[[str, Any], str] = lambda name, want: name
    kept: tuple[str, ...] = ()


def _image(view: View, name: str, want: Image) -> Any:
    # What is to be converted is asked for its size, whatever its format.
    there = view.image(name, None if want.replace else want.format)
    read = want.label is not None and os.path.exists(name)
    return image.ImageSeen(there, Images(view), files.label(name) if read else None)


def _network(view: View, name: str, want: Network) -> Any:
    return view.read("network", name, autostart=want.autostart is not None)


def _pool(view: View, name: str, want: Pool) -> Any:
    there = view.read("pool", name, autostart=want.autostart is not None)
    path = want.path or (None if there is None else pool_xml.path(there.xml))
    held = _volumes(view, want, there)
    return pool.PoolSeen(
        there,
        view.file(path) if path and view.world.local else None,
        view,
        _numbers(view, want.permissions),
        held,
        _unlisted(view, there, held),
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
    return list(volume_calls.paths(view.world.hypervisor, there.name))


def _unlisted(view: View, there: Observed | None, held: list[str] | None) -> list[str]:
    if there is None or held is None or not view.world.local:
        return []
    return pools.unlisted(there.live or there.xml, held)


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


def _vmx(view: View, name: str, want: VmxFile) -> Any:
    return view.vmx(want.on(), vmx.path_of(name, want))


def _vmx_file(name: str, want: VmxFile) -> str:
    """One file has one lock, whatever it is called."""
    return where(want.on(), vmx.path_of(name, want))


def _domain(view: View, name: str, want: Domain) -> Any:
    wanted = want.state == "installed"
    there = view.read("domain", name, autostart=wanted or want.autostart is not None)
    guest = None if there is None else Guest(view.world.hypervisor, there)
    found = tuple(seeds.look(view, name, want, there))
    installation = Installation(view, name, wanted)
    return domain.DomainSeen(there, Images(view), view.world.facts, guest, found, installation)


def _installing(seen: domain.DomainSeen) -> str:
    """How far an installation is that goes on by itself."""
    if seen.domain is None or not installing(seen.domain):
        return ""
    known = mark(seen.domain.live)
    return f"installing since {known.since.split('.')[0]} UTC" if known is not None else ""


def _domain_remark(seen: domain.DomainSeen) -> str:
    return " ".join(filter(None, [_console(seen), _paused(seen), _not_installed(seen)]))


def _paused(seen: domain.DomainSeen) -> str:
    """One that stands still counts as running: who paused it may be at work on it."""
    why = seen.guest.paused() if seen.guest is not None else None
    return f"The guest is paused ({why}); {domain_calls.GOES_ON}." if why else ""


def _not_installed(seen: domain.DomainSeen) -> str:
    if seen.installation is None or not seen.installation.wanted or seen.domain is None:
        return ""
    told = "No installer was started: its disk held data already, or it was running."
    return "" if mark(seen.domain.xml) is not None else told


def _console(seen: domain.DomainSeen) -> str:
    if seen.domain is None:
        return ""
    consoles = [] if seen.domain.live is None else listening(seen.domain.live)
    there = [f"{console['type'].upper()} at {console['address']}." for console in consoles]
    return " ".join([*there, *unguarded(seen.domain.live or seen.domain.xml)])


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
    "pool": Noun("pools", Pool, parse_name, _pool, pool.plan, restart=pool.restart),
    "secret": Noun(
        "secrets", StoredSecret, parse_secret_name, _secret, secret.plan, kept=("value",)
    ),
    "volume": Noun("volumes", StorageVolume, parse_volume_name, _storage_volume, volume.plan),
    "domain": Noun(
        "domains",
        Domain,
        parse_name,
        _domain,
        install.plan,
        _domain_remark,
        _installing,
        domain.restart,
        domain.prune,
    ),
    "config": Noun(
        "host:config",
        Config,
        str,
        host_steps.config,
        config.plan,
        due="Waits for a restart",
        kept=("files",),
    ),
    "kernel": Noun("host", Kernel, str, host_steps.told, kernel.plan),
    "kernel_arguments": Noun(
        "host:kernel_arguments",
        BootArguments,
        str,
        host_steps.arguments,
        kernel.plan_arguments,
        due="Waits for the host's next boot",
    ),
    "nested": Noun(
        "host:nested",
        Nested,
        str,
        host_steps.nested,
        nested.plan,
        due="Waits for the module to be loaded anew",
    ),
    "sasl_user": Noun(
        "host:sasl:users",
        SaslUser,
        parse_login,
        host_steps.sasl_user,
        sasl.plan,
        kept=("password",),
    ),
    "vmx": Noun(
        "vmx",
        VmxFile,
        parse_vmx_name,
        _vmx,
        vmx.plan,
        due="Waits for the machine's next power cycle",
        lock=_vmx_file,
        kept=("value", "options"),
    ),
}
