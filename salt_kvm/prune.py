"""Remove the domains that nobody declares, of those that this pack has made and marked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import structs

from salt_kvm import converge
from salt_kvm.backend.view import View
from salt_kvm.backend.world import World
from salt_kvm.converge import REAL, Mode, Outcome
from salt_kvm.errors import KvmError, SpecError
from salt_kvm.seen import Promises
from salt_kvm.spec.convert import convert
from salt_kvm.spec.pillar import Pillar
from salt_kvm.spec.prune import Only
from salt_kvm.xml.mark import marked

PATH = "kvm:prune:domains"


def run(world: World, noun: str, name: str, fields: dict[str, Any], mode: Mode = REAL) -> Outcome:
    """Prune, or say what that would do; each domain by a run of its own.

    One that fails, like a guest that does not power off, is taken back alone and named; the others
    go.

    :param world: the hypervisor and its host
    :param noun: ``domain``
    :param name: the state's own; it names no domain
    :param fields: the fields of :class:`Only`
    :param mode: a real run, if nothing else is said
    :raises KvmError: where nothing may or can be pruned
    """
    want = convert(Only, fields, PATH)
    outcomes = {
        other: _one(world, noun, other, want, structs.replace(mode, planner="prune"))
        for other in undeclared(View(world, world.promised if mode.test else Promises()), want)
    }
    told = [outcome for outcome in outcomes.values() if outcome.changes or outcome.failure]
    failures = [outcome.failure for outcome in told if outcome.failure is not None]
    return Outcome(
        changes={name: outcome.changes for name, outcome in outcomes.items() if outcome.changes},
        comment=" ".join(outcome.comment for outcome in told) or "Nothing is left to prune.",
        failure="; ".join(failures) or None,
    )


def _one(world: World, noun: str, name: str, want: Only, mode: Mode) -> Outcome:
    try:
        return converge.run(world, noun, name, other(want), mode)
    except KvmError as error:
        return Outcome(comment=f"{error}.", failure=str(error))


def wanted(pillar: Pillar) -> Only | None:
    """Return what a pillar says of the undeclared; ``None`` where nothing."""
    how = None if pillar.prune is None else pillar.prune.domains
    if how is None or how is False:
        return None
    options = {} if how is True else structs.asdict(how)
    return Only(**options, domains=list(pillar.domains or {}))


def other(want: Only) -> dict[str, Any]:
    """Return what an undeclared domain is declared to be."""
    fields = {key: getattr(want, key) for key in ("disks", "timeout", "force")}
    off = {"autostart": False} if want.others == "stopped" else {}
    return {
        "state": want.others,
        **off,
        **{key: value for key, value in fields.items() if value is not None},
    }


def undeclared(view: View, want: Only) -> list[str]:
    """Return the domains that are marked and not declared.

    :raises SpecError: where none is declared at all, which a lost pillar looks like
    """
    found = list(_undeclared(view, frozenset(want.domains)))
    if found and not want.domains and not want.allow_empty:
        raise SpecError(
            [
                f"{PATH}: no domain is declared, so {', '.join(found)} would become {want.others}; "
                "declare what stays, or set allow_empty: true"
            ]
        )
    return found


def _undeclared(view: View, declared: frozenset[str]) -> Iterator[str]:
    for name in view.names("domain"):
        seen = None if name in declared else view.read("domain", name, autostart=False)
        if seen is not None and marked(seen):
            yield name
