"""The steps of a ``.vmx`` file: the whole text is written at once, and an ESXi host told of it."""

from __future__ import annotations

from collections.abc import Iterator

from salt_kvm import vmx
from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan.steps import ReloadVm, Step, WriteVmx, change
from salt_kvm.seen import VmxSeen
from salt_kvm.spec.vmx import NESTED, NESTED_HARDWARE, VmxFile, file_path
from salt_kvm.xml.merge import Difference

SUSPENDED = "checkpoint.vmState"
LEFT = "; a lock that is left of a crash goes when the machine is started and stopped, or by hand"


def path_of(name: str, want: VmxFile) -> str:
    """Return the path of an entry: its own, or its name."""
    try:
        return file_path(name if want.path is None else want.path)
    except ValueError as error:
        raise SpecError([f"kvm:vmx:{name}: 'path' is needed, or the path as the name"]) from error


def plan(name: str, want: VmxFile, seen: VmxSeen) -> Iterator[Step | Difference]:
    """Yield what gives the keys their values, and what waits for the next power cycle."""
    if seen.text is None:
        raise UnmetError(f"{seen.where} is not there; correct the path: vmx.find lists what is")
    try:
        yield from _steps(want, seen, seen.text)
    except UnmetError as error:
        said = str(error)
        raise UnmetError(said if seen.where in said else f"{seen.where}: {said}") from error


def _steps(want: VmxFile, seen: VmxSeen, old: bytes) -> Iterator[Step | Difference]:
    wanted = want.wanted()
    if want.nested is False and vmx.get(old, NESTED) is None:
        # Off is VMware's own default.
        del wanted[NESTED]
    new = vmx.edit(old, wanted)
    if new != old:
        yield from _write(want, seen, old, new, wanted)
    elif seen.unloaded:
        told = {"reload": change(None, ", ".join(map(str, seen.machines())))}
        yield from _reload(want, seen, told)
    else:
        yield from _waiting(want, seen)


def _write(
    want: VmxFile, seen: VmxSeen, old: bytes, new: bytes, wanted: dict[str, str | None]
) -> Iterator[Step]:
    if vmx.same(wanted.get(NESTED), "TRUE"):
        _can_nest(old)
    session = seen.session()
    if want.powered_on == "refuse":
        _is_off(session, old)
    hidden = want.hidden()
    found = vmx.changes(old, new, wanted, hidden)
    told = {key: change(was, becomes) for key, (was, becomes) in found.items()}
    told["diff"] = change(None, vmx.diff(old, new, seen.path, hidden))
    yield WriteVmx(
        host=want.on(),
        path=seen.path,
        where=seen.where,
        old=old,
        text=new,
        backup=want.backup,
        session=session,
        keys=tuple(found),
        hidden=hidden,
        changes=told,
    )
    if session is None:
        yield from _reload(want, seen, {})


def _can_nest(text: bytes) -> None:
    """A file that names no virtual hardware is left to VMware."""
    version = vmx.get(text, "virtualHW.version") or ""
    if version.isdigit() and int(version) < NESTED_HARDWARE:
        raise UnmetError(
            f"its virtual hardware is of version {version}, and {NESTED} needs "
            f"{NESTED_HARDWARE}; upgrade it in VMware"
        )


def _is_off(session: str | None, text: bytes) -> None:
    """What VMware holds in memory it writes over the file."""
    if session is not None:
        left = LEFT if session.endswith(".lck") else ""
        raise UnmetError(
            f"the machine is powered on ({session}), and VMware reads and writes this file; shut "
            "the machine down, or set powered_on: write, which waits for its next power cycle"
            f"{left}"
        )
    if vmx.get(text, SUSPENDED):
        raise UnmetError(
            "the machine is suspended; resume it and shut it down, or set powered_on: write"
        )


def _reload(want: VmxFile, seen: VmxSeen, told: dict[str, dict[str, object]]) -> Iterator[Step]:
    for number in seen.machines():
        yield ReloadVm(
            host=want.on(), path=seen.path, where=seen.where, number=number, changes=told
        )


def _waiting(want: VmxFile, seen: VmxSeen) -> Iterator[Difference]:
    wanted = {key.lower(): value for key, value in want.wanted().items()}
    due = {key: old for key, old in seen.waiting.items() if key.lower() in wanted}
    if due and seen.session() == seen.waits_for:
        for key, old in due.items():
            new = vmx.HIDDEN if vmx.secret(key, want.hidden()) else wanted[key.lower()]
            yield Difference(key, old, new)
