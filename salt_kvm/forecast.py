"""What applying a whole pillar would do, in one bulk read of the hypervisor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from salt_kvm import converge, prune
from salt_kvm.backend.hypervisor import KINDS
from salt_kvm.backend.view import View
from salt_kvm.backend.world import World
from salt_kvm.errors import KvmError
from salt_kvm.nouns import NOUNS
from salt_kvm.seen import Promises

Row = dict[str, Any]
Reveal = Callable[[Any], Any]
# As the states run: what a guest needs is there before it.
ORDER = ("secret", "network", "pool", "volume", "image", "domain")


def forecast(world: World, section: dict[str, Any], reveal: Reveal) -> list[Row]:
    """Return one row for each object of a ``kvm`` section that is not as declared.

    :param world: the hypervisor and its host
    :param section: plain data, as in a pillar
    :param reveal: returns a secret's value for where it is declared to be
    :returns: mappings with ``kind``, ``name``, ``changes`` as the state would return them,
        ``comment``, and ``fault``: why it would fail, or ``None``
    """
    view = View(world, _bulk(world, section))
    rows = [
        _row(view, kind, name, fields, reveal=reveal)
        for kind in ORDER
        for name, fields in _declared(section, kind)
    ]
    return [row for row in (*rows, *_undeclared(view, section)) if row is not None]


def _undeclared(view: View, section: dict[str, Any]) -> Iterator[Row | None]:
    want = prune.wanted(section)
    if want is None:
        return
    try:
        names = prune.undeclared(view, want)
    except KvmError as error:
        yield {**_blank("domain", prune.PATH), "fault": str(error)}
        return
    for name in names:
        yield _row(view, "domain", name, prune.other(want), converge.Mode(planner="prune"))


def _declared(section: dict[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, fields in (section.get(NOUNS[kind].section) or {}).items():
        yield str(name), dict(fields or {})


def _bulk(world: World, section: dict[str, Any]) -> Promises:
    """Everything that is there, as if it had been promised, so that nothing is looked up singly."""
    promises = Promises()
    for kind in KINDS:
        for name, _fields in _declared(section, kind):
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
    fields: dict[str, Any],
    mode: converge.Mode = converge.REAL,
    reveal: Reveal = lambda value: value,
) -> Row | None:
    row = _blank(kind, name)
    try:
        if kind == "secret" and fields.get("value") is not None:
            fields = {**fields, "value": reveal(fields["value"])}
        outcome = converge.foresee(converge.aim(kind, name, fields), view, mode)
    except KvmError as error:
        return {**row, "fault": str(error)}
    if not outcome.changes and "Waits for" not in outcome.comment:
        return None
    return {**row, "changes": outcome.changes, "comment": outcome.comment}
