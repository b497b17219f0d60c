"""What ``kvm_host`` does: facts and checks of the host, of this pack and of the pillar."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import salt_kvm
from salt_kvm import loader
from salt_kvm.arguments import plain
from salt_kvm.backend.hosts import checks, host, python
from salt_kvm.backend.virt import host_calls
from salt_kvm.backend.world import World
from salt_kvm.errors import KvmError, SpecError

PACKAGE = Path(salt_kvm.__file__).parent


def info(world: World) -> dict[str, Any]:
    """Return the host's CPU, memory, virtualisation and the versions of what runs guests."""
    return {
        "architecture": platform.machine(),
        "cpu": {**host.cpu(), "virtualisation": host.cpu_virtualisation()},
        "memory": host.memory(),
        "kvm": {"usable": host.kvm_usable(), "nested": host.nested()},
        "hypervisor_above": host.hypervisor(),
        "cgroup": host.cgroup(),
        "iommu": host.iommu(),
        "libvirt": _libvirt(world),
    }


def check(world: World) -> list[dict[str, Any]]:
    """Return every check of the host: ``name``, ``result``, ``seen``, ``cure``."""
    return list(checks.run())


def capacity(world: World) -> dict[str, Any]:
    """Return what the host has, what its guests are promised, and what a policy leaves of it."""
    from salt_kvm.backend import capacity

    return capacity.describe(world)


def version(world: World, loaded_from: str) -> dict[str, Any]:
    """Return this pack's version and where its two halves were loaded from.

    :param loaded_from: the path of the loader file that asks
    """
    faces = Path(loaded_from)
    packaged = faces.parent.resolve() in {Path(path).resolve() for path in _face_dirs()}
    synced = PACKAGE.parent.parent == faces.parent.parent and not packaged
    return {
        "version": salt_kvm.__version__,
        "library": {"path": str(PACKAGE), "form": _form(not synced)},
        "faces": {"path": str(faces), "form": _form(packaged)},
        "one_form": packaged is not synced,
    }


def python_(world: World, packages: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what the Python that runs Salt is, and which of ``packages`` it lacks."""
    return python.describe(python.LIBRARIES if packages is None else packages)


def schema(world: World) -> dict[str, Any]:
    """Return the JSON Schema of the pillar's ``kvm`` section."""
    from salt_kvm.spec import pillar as spec

    return spec.schema()


def validate(world: World, pillar: Any) -> list[str]:
    """Return one sentence for each fault of a ``kvm`` section; an empty list is a valid one.

    :param pillar: the section, plain or masked by Salt; None counts as an empty one
    """
    from salt_kvm.spec import pillar as spec

    faults, section = list(_no_names(pillar)), plain(pillar) or {}
    try:
        world.known = spec.Known(section, spec.parse(section))
    except SpecError as error:
        faults += error.problems
    return faults


def plan(
    world: World,
    pillar: Any,
    reveal: Callable[[Any], Any],
    system: Callable[[], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return what applying a whole ``kvm`` section would do: :func:`salt_kvm.forecast.forecast`.

    :param pillar: the section, plain or masked by Salt; None counts as an empty one
    :param reveal: returns a secret's value for where it is declared to be
    :param system: returns what a host of this distribution gets
    :raises SpecError: with every fault of the section
    """
    from salt_kvm.forecast import forecast

    if faults := list(_no_names(pillar)):
        raise SpecError(faults)
    return forecast(world, plain(pillar) or {}, reveal, system)


def virtualisation(world: World, required: bool | None, pillar: Any) -> list[str]:
    """Return the cure as the only fault where guests of type ``kvm`` are needed and can't run.

    :param required: None lets the pillar decide: a domain with ``virt_type: kvm`` requires it
    """
    if required is None:
        required = any(_wants_kvm(domain) for domain in _domains(plain(pillar)))
    faults = (row for row in checks.run() if row["name"] in ("cpu", "dev_kvm"))
    faulty = [row for row in faults if row["result"] == "fail"]
    if not (required and faulty):
        return []
    return [f"this host can't run KVM guests ({_seen(faulty[0])}). {faulty[0]['cure']}"]


def _no_names(section: Any) -> Iterator[str]:
    """JSON would make texts of them, and other ones than Jinja does."""
    for kind, named in section.items() if isinstance(section, Mapping) else ():
        for key in named if isinstance(named, Mapping) else ():
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                yield (
                    f"kvm:{kind} (a key): {key!r} is no name; YAML reads on, yes, no, off, null "
                    "and 1.10 as something else, so write it in quotes"
                )


def _seen(row: Mapping[str, Any]) -> str:
    return f"check {row['name']}: {row['seen']}"


def _libvirt(world: World) -> dict[str, Any]:
    try:
        return {"reachable": True, "uri": world.uri, **host_calls.versions(world.hypervisor)}
    except KvmError as error:
        installed = {"libvirt": host.libvirt_version(), "hypervisor": host.qemu_version()}
        return {"reachable": False, "uri": world.uri, "why": str(error), **installed}


def _face_dirs() -> list[str]:
    found = loader.dirs()
    return [*found["modules"], *found["states"]]


def _form(packaged: bool) -> str:
    return "package" if packaged else "file roots"


def _domains(section: Any) -> list[Any]:
    domains = section.get("domains") if isinstance(section, Mapping) else None
    return list(domains.values()) if isinstance(domains, Mapping) else []


def _wants_kvm(domain: Any) -> bool:
    return isinstance(domain, Mapping) and domain.get("virt_type") == "kvm"
