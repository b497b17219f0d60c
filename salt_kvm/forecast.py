"""What applying a whole pillar would do, in one bulk read of the hypervisor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import structs

from salt_kvm import converge, prune
from salt_kvm.backend.hypervisor import KINDS
from salt_kvm.backend.view import View
from salt_kvm.backend.world import World
from salt_kvm.converge import Target
from salt_kvm.errors import KvmError
from salt_kvm.nouns import NOUNS
from salt_kvm.seen import Promises
from salt_kvm.spec.pillar import Pillar
from salt_kvm.spec.secret import StoredSecret
from salt_kvm.spec.types import Spec

Row = dict[str, Any]
Reveal = Callable[[Any], Any]
# As the states run: what a guest needs is there before it.
ORDER = ("secret", "network", "pool", "volume", "image", "domain")


def forecast(world: World, pillar: Pillar, reveal: Reveal) -> list[Row]:
    """Return one row for each object of a pillar that is not as declared.

    :param world: the hypervisor and its host
    :param pillar: its ``kvm`` section
    :param reveal: returns a secret's value for where it is declared to be
    :returns: mappings with ``kind``, ``name``, ``changes`` as the state would return them,
        ``comment``, and ``fault``: why it would fail, or ``None``
    """
    view = View(world, _bulk(world, pillar))
    rows = [
        _row(view, kind, Target(NOUNS[kind], name, want), reveal=reveal)
        for kind in ORDER
        for name, want in _declared(pillar, kind)
    ]
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
        target = converge.aim("domain", name, prune.other(want))
        yield _row(view, "domain", target, converge.Mode(planner="prune"))


def _declared(pillar: Pillar, kind: str) -> Iterator[tuple[str, Spec]]:
    """Yield the objects of a kind by the name that they have for the hypervisor."""
    noun = NOUNS[kind]
    for name, want in (getattr(pillar, noun.section) or {}).items():
        yield noun.parse_name(name), want


def _bulk(world: World, pillar: Pillar) -> Promises:
    """Everything that is there, as if it had been promised, so that nothing is looked up singly."""
    promises = Promises()
    for kind in KINDS:
        for name, _want in _declared(pillar, kind):
            promises.objects[kind, name] = None
        for name, seen in world.hypervisor.read_all(kind).items():
            promises.objects[kind, name] = seen
    return promises


def _blank(kind: str, name: str) -> Row:
    return {"kind": kind, "name": name, "changes": {}, "comment": "", "fault": None}


def _row(
    view: View,
    kind: str,
    target: Target,
    mode: converge.Mode = converge.REAL,
    reveal: Reveal = lambda value: value,
) -> Row | None:
    row = _blank(kind, target.name)
    try:
        outcome = converge.foresee(_revealed(target, reveal), view, mode)
    except KvmError as error:
        return {**row, "fault": str(error)}
    if not outcome.changes and "Waits for" not in outcome.comment:
        return None
    return {**row, "changes": outcome.changes, "comment": outcome.comment}


def _revealed(target: Target, reveal: Reveal) -> Target:
    """A secret's value may be declared by where it is kept."""
    if not isinstance(target.want, StoredSecret) or target.want.value is None:
        return target
    fields = {key: each for key, each in structs.asdict(target.want).items() if each is not None}
    plain = target.want.value.encode().decode()
    return converge.aim("secret", target.name, {**fields, "value": reveal(plain)})
