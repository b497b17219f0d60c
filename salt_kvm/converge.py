"""The one shape of every run: observe, plan, rehearse, apply, observe again.

A dry run ends after the rehearsal; what it reports is the very plan that a real run executes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from salt_kvm.backend.perform import Undo, perform
from salt_kvm.backend.promise import Promises
from salt_kvm.backend.world import View, World
from salt_kvm.errors import KvmError, SpecError, UnmetError
from salt_kvm.nouns import NOUNS, Noun
from salt_kvm.plan.steps import Step
from salt_kvm.spec.convert import convert
from salt_kvm.spec.types import Spec


@dataclass(frozen=True)
class Outcome:
    """What a run did, or a dry run would do; ``failure`` is the sentence of what went wrong."""

    changes: dict[str, Any] = field(default_factory=dict)
    comment: str = ""
    failure: str | None = None


@dataclass(frozen=True)
class Target:
    """One declared object: its noun, its name, and what is wanted of it."""

    noun: Noun
    name: str
    want: Spec

    def observe(self, view: View) -> Any:
        return self.noun.observe(view, self.name, self.want)

    def plan(self, seen: Any) -> list[Step]:
        return list(self.noun.plan(self.name, self.want, seen))


def run(world: World, noun: str, name: str, fields: dict[str, Any], *, test: bool) -> Outcome:
    """Make one object as declared, or say what that would take.

    :param world: the hypervisor and its host
    :param noun: a key of :data:`salt_kvm.nouns.NOUNS`
    :param name: the object's name; the path of an image
    :param fields: the fields of the noun's spec, as plain data
    :param test: report the plan and change nothing
    :raises KvmError: for anything that the user or the world can cause before the first change
    """
    target = aim(noun, name, fields)
    view = View(world, world.promised if test else Promises())
    seen = target.observe(view)
    steps = target.plan(seen)
    if not steps:
        return Outcome(comment=_comment("as declared", target, seen))
    _rehearse(view, steps)
    declared = changes(steps)
    if test:
        sentence = "would " + ", ".join(step.sentence(done=False) for step in steps)
        return Outcome(changes=declared, comment=_comment(sentence, target, None))
    return _apply(world, target, steps, declared)


def aim(noun: str, name: str, fields: dict[str, Any]) -> Target:
    """Return the target that ``fields`` describe.

    :raises SpecError: naming every fault with its path in the pillar
    """
    row = NOUNS[noun]
    path = f"kvm:{row.section}:{name}"
    try:
        parsed = row.parse_name(name)
    except ValueError as error:
        raise SpecError([f"{path}: {error}"]) from error
    return Target(row, parsed, convert(row.spec, fields, path))


def _rehearse(view: View, steps: Sequence[Step]) -> None:
    """Find what is missing before the first change, counting what earlier steps will make."""
    for step in steps:
        faults = [fault for need in step.needs if (fault := view.unmet(need)) is not None]
        if faults:
            raise UnmetError("; ".join(dict.fromkeys(faults)))
        view.promise(step)


def _apply(
    world: World, target: Target, steps: Sequence[Step], declared: dict[str, Any]
) -> Outcome:
    fresh = View(world, Promises())
    undo: list[Undo] = []
    try:
        for step in steps:
            undo.append(perform(step, fresh.before(step), world))
    except BaseException as error:
        left = _take_back(undo)
        if not isinstance(error, KvmError):
            raise
        return Outcome(failure=str(error), comment=" ".join([f"{str(error).rstrip('.')}.", *left]))
    sentence = ", ".join(step.sentence(done=True) for step in steps)
    try:
        seen = target.observe(fresh)
        again = "; ".join(
            f"{path}: {entry['new']!r} is wanted, {entry['old']!r} is there"
            for path, entry in changes(target.plan(seen)).items()
        )
    except KvmError as error:
        again = str(error)
    if again:
        failure = f"{sentence}, but that is not as declared: {again}"
        return Outcome(changes=declared, comment=failure, failure=failure)
    return Outcome(changes=declared, comment=_comment(sentence, target, seen))


def _take_back(undo: list[Undo]) -> list[str]:
    """Undo in reverse order; what can't be undone is said, and does not stop the rest."""
    left = []
    for step in reversed(undo):
        try:
            step()
        except KvmError as error:
            left.append(f"Undoing failed too: {error}.")
    return left or ["Nothing was left changed."]


def changes(steps: Sequence[Step]) -> dict[str, Any]:
    """Return the ``changes`` of a state that these steps make."""
    return {path: dict(entry) for step in steps for path, entry in step.changes.items()}


def _comment(sentence: str, target: Target, seen: Any) -> str:
    text = f"{sentence[0].upper()}{sentence[1:]}."
    if seen is None:
        return text
    due = target.noun.waiting(target.name, target.want, seen)
    waits = "; ".join(f"{d.path} {d.old!r} -> {d.new!r}" for d in due)
    remark = target.noun.remark(seen)
    return " ".join(
        filter(None, [text, remark.strip(), waits and f"Waits for the next start: {waits}."])
    )
