"""The one shape of every run: observe, plan, rehearse, apply, observe again.

A dry run ends after the rehearsal; what it reports is the very plan that a real run executes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import structs

from salt_kvm.backend import needs
from salt_kvm.backend.guests import refusals
from salt_kvm.backend.perform import Undo, perform
from salt_kvm.backend.system import lock, temporary
from salt_kvm.backend.view import View
from salt_kvm.backend.world import World
from salt_kvm.errors import (
    ApplyError,
    ConnectError,
    KvmError,
    LostError,
    RefusedError,
    SpecError,
    UnmetError,
)
from salt_kvm.nouns import NOUNS, Noun
from salt_kvm.plan.steps import LiveStep, Step
from salt_kvm.seen import Observed, Promises
from salt_kvm.spec.convert import convert, key_text
from salt_kvm.spec.types import Spec, Value
from salt_kvm.xml.merge import Difference

if TYPE_CHECKING:
    from salt_kvm.spec.pillar import Known

AS_DECLARED = "as declared"
FATAL = "the guest could not start with it either, so correct it or take it out"
NOTICEABLE_SECONDS = 1.0
# How a value is declared by where it is kept: an SDB, or the pillar's own secrets.
PLACES = ("sdb://", "pillar://")


class Outcome(msgspec.Struct, frozen=True):
    """What a run did, or a dry run would do; ``failure`` is the sentence of what went wrong."""

    changes: dict[str, Any] = {}
    comment: str = ""
    failure: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """The steps to what is declared, and what of it waits for the object's next start."""

    steps: list[Step]
    waiting: list[Difference]


class Target(msgspec.Struct, frozen=True):
    """One declared object: its noun, its name, and what is wanted of it."""

    noun: Noun
    name: str
    want: Spec

    def observe(self, view: View) -> Any:
        return self.noun.observe(view, self.name, self.want)

    def remark(self, seen: Any) -> str:
        """Return what is worth saying of an object whenever a run has looked at it."""
        return "" if self.noun.remark is None else self.noun.remark(seen)

    def rest(self, seen: Any) -> str:
        """Return what an object is for which a run has nothing to do."""
        return AS_DECLARED if self.noun.rest is None else self.noun.rest(seen) or AS_DECLARED

    def plan(self, seen: Any, mode: Mode | None = None) -> Plan:
        planners = {"restart": self.noun.restart, "prune": self.noun.prune}
        planner = planners.get("" if mode is None else mode.planner, self.noun.plan)
        planned = list(planner(self.name, self.want, seen))
        steps = [each for each in planned if isinstance(each, Step)]
        if not planned and planner is not self.noun.plan:
            # Where there is nothing to restart or to prune, it is told what waits all the same.
            planned = list(self.noun.plan(self.name, self.want, seen))
        return Plan(steps, [each for each in planned if isinstance(each, Difference)])


class Mode(msgspec.Struct, frozen=True):
    """How to run.

    :param test: report the plan and change nothing
    :param keep: count what a dry run would do as done for the states after it
    :param planner: ``plan`` compares the object; ``restart`` restarts it, and ``prune`` compares it
        only if it is this pack's own, where the noun knows how
    """

    test: bool = False
    keep: bool = True
    planner: Literal["plan", "restart", "prune"] = "plan"


REAL = Mode()
FORETOLD = "libvirt is yet to come: foretold as for one that has nothing."


def run(world: World, noun: str, name: str, fields: dict[str, Any], mode: Mode = REAL) -> Outcome:
    """Make one object as declared, or say what that would take.

    :param world: the hypervisor and its host
    :param noun: a key of :data:`salt_kvm.nouns.NOUNS`
    :param name: the object's name; the path of an image
    :param fields: the fields of the noun's spec, as plain data
    :param mode: a real run, if nothing else is said
    :raises KvmError: for anything that the user or the world can cause before the first change
    """
    target = aim(noun, name, fields, world.known)
    if mode.test:
        promised = world.promised if mode.keep else world.promised.copy()
        return foresee(target, View(world, promised), mode)
    with lock.held(noun, target.noun.lock(target.name, target.want)) as waited:
        outcome = _run(world, target, mode)
    if waited < NOTICEABLE_SECONDS:
        return outcome
    note = f"Waited {waited:.0f} s for another run on {target.name}."
    return structs.replace(outcome, comment=f"{outcome.comment} {note}")


def foresee(target: Target, view: View, mode: Mode = REAL) -> Outcome:
    """Return what a run would do, and count it as done in ``view``."""
    seen = target.observe(view)
    plan = target.plan(seen, mode)
    steps = plan.steps
    if not steps:
        return Outcome(comment=_comment(target.rest(seen), target, seen, plan))
    missing = _rehearse(view, steps)
    sentence = _sentence("would " + ", ".join(step.sentence(done=False) for step in steps))
    remark = "" if target.noun.remark is None else target.remark(target.observe(view))
    awaited = f"As yet, {'; '.join(missing)}." if missing else ""
    told = [sentence, remark, FORETOLD if view.world.foretold else "", awaited]
    return Outcome(changes=changes(steps), comment=" ".join(filter(None, told)))


def _run(world: World, target: Target, mode: Mode) -> Outcome:
    if not world.swept:
        temporary.sweep()
        world.swept = True
    seen = target.observe(View(world, Promises()))
    plan = target.plan(seen, mode)
    steps = plan.steps
    if not steps:
        return Outcome(comment=_comment(target.rest(seen), target, seen, plan))
    _rehearse(View(world, Promises()), steps)
    return _apply(world, target, steps, mode)


def aim(noun: str, name: str, fields: dict[str, Any], known: Known | None = None) -> Target:
    """Return the target that ``fields`` describe.

    :param known: what was read before
    :raises SpecError: naming every fault with its path in the pillar
    """
    row = NOUNS[noun]
    path = f"kvm:{row.section}:{key_text(name)}"
    try:
        parsed = row.parse_name(name)
    except ValueError as error:
        raise SpecError([f"{path}: {error}"]) from error
    want = None if known is None else known.spec(row.section, name, fields)
    return Target(row, parsed, convert(row.spec, fields, path) if want is None else want)


def looked_up(noun: str, fields: dict[str, Any], reveal: Callable[[Any], Any]) -> dict[str, Any]:
    """Return fields with the values of those that may be declared by where they are kept.

    :param reveal: returns the value for such a place, and any other text as it is
    """
    kept = {key: _revealed(fields[key], reveal) for key in NOUNS[noun].kept if key in fields}
    return {**fields, **kept}


def _revealed(value: Any, reveal: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _revealed(each, reveal) for key, each in value.items()}
    if not isinstance(value, str) or not value.startswith(PLACES):
        return value
    found = reveal(value)
    return Value(found) if isinstance(found, str) else found


def _rehearse(view: View, steps: Sequence[Step]) -> list[str]:
    """Find what is missing before the first change, counting what earlier steps will make.

    :raises UnmetError: with what is missing, unless that may come
    :returns: what is missing and may come
    """
    missing: list[str] = []
    for step in steps:
        faults = [fault for need in step.needs if (fault := needs.unmet(view, need)) is not None]
        if faults:
            error = UnmetError("; ".join(dict.fromkeys(faults)))
            if not view.world.coming(error):
                raise error
            missing += faults
        view.promise(step)
    return list(dict.fromkeys(missing))


def _apply(world: World, target: Target, steps: Sequence[Step], mode: Mode) -> Outcome:
    world.notes.clear()
    try:
        return _applied(world, target, steps, mode)
    finally:
        while world.afterwards:
            world.afterwards.pop()()


def _applied(world: World, target: Target, steps: Sequence[Step], mode: Mode) -> Outcome:
    undo: list[tuple[Step, Undo | None]] = []
    refused: list[Step] = []
    try:
        seen = _carry_out(world, target, steps, mode, undo, refused)
        left = target.plan(seen)
    except ConnectError as error:
        # Nothing can be taken back; half of it taken back is worse than what the next run mends.
        return _cut_off(error, [step for step, _undo in undo])
    except BaseException as error:
        kept = _take_back(undo)
        if not isinstance(error, KvmError):
            raise
        stays = changes([step for step, take_back in undo if take_back is settled])
        comment = " ".join([f"{str(error).rstrip('.')}.", *kept])
        return Outcome(changes=stays, failure=str(error), comment=comment)
    steps = [step for step in steps if step not in refused]
    sentence = ", ".join(step.sentence(done=True) for step in steps) or target.rest(seen)
    if left.steps and not any(step.goes_on for step in steps):
        failure = f"{sentence}, but that is not as declared: {_told(left.steps)}"
        return Outcome(changes=changes(steps), comment=failure, failure=failure)
    comment = " ".join([_comment(sentence, target, seen, left), *world.notes])
    return Outcome(changes=changes(steps), comment=comment)


def _carry_out(
    world: World,
    target: Target,
    steps: Sequence[Step],
    mode: Mode,
    undo: list[tuple[Step, Undo | None]],
    refused: list[Step],
) -> Any:
    """Perform steps and look again; ``undo`` gets how each is taken back.

    What libvirt refuses to a running guest waits for its next start, and is no failure.

    When the connection breaks, the step that it cut off may have been done: what is left of the
    plan is found by a look through a new connection.
    """
    try:
        return _perform(world, target, steps, undo, refused)
    except LostError:
        seen = target.observe(View(world, Promises()))
        again = target.plan(seen, mode).steps if mode.planner != "restart" or not undo else []
        return _perform(world, target, again or target.plan(seen).steps, undo, refused)


def _perform(
    world: World,
    target: Target,
    steps: Sequence[Step],
    undo: list[tuple[Step, Undo | None]],
    refused: list[Step],
) -> Any:
    view = View(world, Promises())
    for step in steps:
        seen = view.before(step)
        if step.settles:
            undo[:] = [(before, settled) for before, _take_back in undo]
        try:
            undo.append((step, perform(step, seen, world)))
        except RefusedError as error:
            if not isinstance(step, LiveStep) or not isinstance(seen, Observed):
                raise
            if step.fatal:
                raise ApplyError(f"{error}; {FATAL}") from error
            refusals.remember(seen, step.mark, str(error))
            refused.append(step)
            if step.needed:
                raise
    return target.observe(view)


def settled() -> None:
    """Stand for what takes a step back that stays."""


def _cut_off(error: ConnectError, done: Sequence[Step]) -> Outcome:
    stays = ", ".join(step.sentence(done=True) for step in done)
    told = f"This stays: {stays}." if stays else "The step that was cut off may have been done."
    comment = f"{str(error).rstrip('.')}. {told}"
    return Outcome(changes=changes(done), comment=comment, failure=str(error))


def _told(left: Sequence[Step]) -> str:
    """Return what is not as declared after a run, and what can be done about it."""
    told = "; ".join(
        f"{p}: {e['new']!r} is wanted, {e['old']!r} is there" for p, e in changes(left).items()
    )
    return ". ".join([told, *dict.fromkeys(step.cure for step in left if step.cure)])


def _take_back(undo: list[tuple[Step, Undo | None]]) -> list[str]:
    """Undo in reverse order; what stays is said, and does not stop the rest."""
    stays = []
    done = [step.sentence(done=True) for step, take_back in undo if take_back is settled]
    for step, take_back in reversed(undo):
        if take_back is settled:
            continue
        if take_back is None:
            stays.append(f"This stays: {step.sentence(done=True)}.")
            continue
        try:
            take_back()
        except KvmError as error:
            stays.append(f"This stays: {step.sentence(done=True)}; undoing it failed: {error}.")
    if done:
        stays.append(f"This stays, and the next run goes on from there: {', '.join(done)}.")
    return stays or ["Nothing was left changed."]


def changes(steps: Sequence[Step]) -> dict[str, Any]:
    """Return the ``changes`` of a state that these steps make."""
    return {path: dict(entry) for step in steps for path, entry in step.changes.items()}


def _comment(sentence: str, target: Target, seen: Any, plan: Plan) -> str:
    waits = "; ".join(_waits(difference) for difference in plan.waiting)
    remark = target.remark(seen)
    due = waits and f"{target.noun.due}: {waits}."
    return " ".join(filter(None, [_sentence(sentence), remark, due]))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _waits(difference: Difference) -> str:
    reason = f" ({difference.reason})" if difference.reason else ""
    return f"{difference.path} {difference.old!r} -> {difference.new!r}{reason}"
