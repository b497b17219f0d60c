"""What applying a whole pillar would do, in one bulk read of the hypervisor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from msgspec import structs

from salt_kvm import converge, prune, settings
from salt_kvm.backend.view import View
from salt_kvm.backend.virt import volume_calls
from salt_kvm.backend.virt.kinds import KINDS
from salt_kvm.backend.world import World
from salt_kvm.converge import Target
from salt_kvm.errors import KvmError, UnmetError
from salt_kvm.nouns import NOUNS
from salt_kvm.seen import Promises
from salt_kvm.spec.pillar import Pillar, parse
from salt_kvm.spec.types import Spec

Row = dict[str, Any]
Reveal = Callable[[Any], Any]
# As the states run: what a guest needs is there before it.
ORDER = ("secret", "network", "pool", "volume", "image", "domain", "vmx")


def forecast(
    world: World, section: dict[str, Any], reveal: Reveal, system: Callable[[], dict[str, Any]]
) -> list[Row]:
    """Return one row for each object of a pillar, and each setting, that is not as declared.

    :param world: the hypervisor and its host
    :param section: the ``kvm`` section, as plain data
    :param reveal: returns a secret's value for where it is declared to be
    :param system: returns what a host of this distribution gets, as ``map.jinja`` has it
    :raises SpecError: with every fault of the section
    :returns: mappings with ``kind``, ``name``, ``changes`` as the state would return them,
        ``comment``, and ``fault``: why it would fail, or ``None``
    """
    pillar = parse(section)
    if pillar.host is not None and pillar.host.overcommit is not None:
        world.overcommit = structs.asdict(pillar.host.overcommit)
    # Who applies a whole pillar installs libvirt, where that is not there, and what comes with it.
    world.coming = lambda error: world.foretold or not isinstance(error, UnmetError)
    with volume_calls.in_bulk(world.hypervisor):
        view = View(world, _bulk(world, pillar))
        rows = [
            _row(view, kind, name, partial(_looked_up, kind, name, fields, reveal))
            for kind, name, fields in settings.of(section.get("host") or {}, system)
        ]
        for kind in ORDER:
            for key, name, want in _declared(pillar, kind):
                aim = partial(Target, NOUNS[kind], name, want)
                if NOUNS[kind].kept:
                    fields = section[NOUNS[kind].section][key]
                    aim = partial(_looked_up, kind, key, fields, reveal)
                rows.append(_row(view, kind, name, aim))
        return [row for row in (*rows, *_undeclared(view, pillar)) if row is not None]


def _undeclared(view: View, pillar: Pillar) -> Iterator[Row | None]:
    want = prune.wanted(pillar)
    if want is None:
        return
    try:
        names = prune.undeclared(view, want)
    except KvmError as error:
        yield {**_blank("domain", prune.PATH), "fault": str(error)}
        return
    for name in names:
        aim = partial(converge.aim, "domain", name, prune.other(want))
        yield _row(view, "domain", name, aim, converge.Mode(planner="prune"))


def _declared(pillar: Pillar, kind: str) -> Iterator[tuple[str, str, Spec]]:
    """Yield of each object of a kind its key, its name for the hypervisor, and its spec."""
    noun = NOUNS[kind]
    for key, want in (getattr(pillar, noun.section) or {}).items():
        yield key, noun.parse_name(key), want


def _looked_up(kind: str, name: str, fields: dict[str, Any], reveal: Reveal) -> Target:
    """Aim at what may be declared by where it is kept."""
    return converge.aim(kind, name, converge.looked_up(kind, fields, reveal))


def _bulk(world: World, pillar: Pillar) -> Promises:
    """Everything that is there, as if it had been promised, so that nothing is looked up singly."""
    promises = Promises()
    for kind in KINDS:
        for _key, name, _want in _declared(pillar, kind):
            promises.objects[kind, name] = None
        for name, seen in world.hypervisor.read_all(kind).items():
            promises.objects[kind, name] = seen
    return promises


def _blank(kind: str, name: str) -> Row:
    return {"kind": kind, "name": name, "changes": {}, "comment": "", "fault": None}


def _row(
    view: View,
    kind: str,
    name: str,
    aim: Callable[[], Target],
    mode: converge.Mode = converge.REAL,
) -> Row | None:
    row = _blank(kind, name)
    try:
        outcome = converge.foresee(aim(), view, mode)
    except KvmError as error:
        return {**row, "fault": str(error)}
    if not outcome.changes and "Waits for" not in outcome.comment:
        return None
    return {**row, "changes": outcome.changes, "comment": outcome.comment}
