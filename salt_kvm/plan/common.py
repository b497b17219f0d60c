"""What domains, networks and pools have in common: a definition, autostart, being on or off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from xml.etree import ElementTree as ET

from salt_kvm.plan.steps import (
    Changes,
    Define,
    Need,
    SetAutostart,
    SetLabel,
    Start,
    Step,
    Stop,
    Undefine,
    change,
)
from salt_kvm.seen import Observed
from salt_kvm.xml.document import parse
from salt_kvm.xml.intent import Intent
from salt_kvm.xml.merge import Difference, Merged, merge, summary


def text(value: object) -> str | None:
    """Return what may be declared as a number, as a user or group, as its text."""
    return None if value is None else str(value)


def compose(seen: Observed | None, intent: Intent, blank: Callable[[], ET.Element]) -> Merged:
    """Write the intent into the definition that is there, or into that of a new object."""
    return merge(blank() if seen is None else parse(seen.xml), intent)


def definition(
    kind: str,
    name: str,
    seen: Observed | None,
    intent: Intent,
    merged: Merged,
    needs: Iterable[Need] = (),
) -> Iterator[Step]:
    """Yield the step that writes the definition, where it is not as declared.

    :param needs: looked for only where there is such a step
    """
    changes = told(merged.differences)
    if seen is None:
        changes = {"definition": change(None, summary(intent.xml))}
    elif not seen.persistent:
        changes["persistent"] = change(False, True)
    if changes:
        xml = ET.tostring(merged.xml, encoding="unicode")
        yield Define(kind=kind, name=name, xml=xml, changes=changes, needs=tuple(needs))


def told(differences: Iterable[Difference]) -> dict[str, dict[str, object]]:
    """Return differences as ``changes``; one that leaves and one that comes are one entry."""
    changes: dict[str, dict[str, object]] = {}
    for difference in differences:
        entry = changes.setdefault(difference.path, change(None, None))
        entry.update({k: v for k, v in difference.change().items() if v is not None})
    return changes


def autostart(kind: str, name: str, seen: Observed | None, want: bool | None) -> Iterator[Step]:
    """Yield the step that sets autostart, where it is declared and differs."""
    old = seen is not None and seen.autostart
    if want is not None and want != old:
        changes = {"autostart": change(old, want)}
        yield SetAutostart(kind=kind, name=name, autostart=want, changes=changes)


def start(
    kind: str, name: str, seen: Observed | None, needs: Iterable[Need] = ()
) -> Iterator[Step]:
    """Yield the step that starts an object that is off."""
    if seen is None or not seen.active:
        changes = {"state": change("off" if seen else None, "running")}
        yield Start(kind=kind, name=name, changes=changes, needs=tuple(needs))


def stop(kind: str, name: str, seen: Observed | None) -> Iterator[Step]:
    """Yield the step that takes down a network or pool that is on."""
    if seen is not None and seen.active:
        yield Stop(kind=kind, name=name, changes={"state": change("running", "off")})


def undefine(kind: str, name: str, seen: Observed | None) -> Iterator[Step]:
    """Yield the step that removes the definition; a transient object has none."""
    if seen is not None and seen.persistent:
        yield Undefine(kind=kind, name=name, changes={"definition": change("present", None)})


def label(path: str, label: str | None, changes: Changes) -> Step:
    """Return the step that sets the SELinux label of a file."""
    need = Need("selinux", path, "leave the label out")
    return SetLabel(path=path, label=str(label), changes=changes, needs=(need,))


def waiting(seen: Observed | None, intent: Intent) -> tuple[Difference, ...]:
    """Return what the definition has as declared and the running object has not yet."""
    if seen is None or seen.live is None:
        return ()
    return merge(parse(seen.live), intent).differences
