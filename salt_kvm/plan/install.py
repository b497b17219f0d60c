"""The steps of a domain that is to be installed, by how far it is.

Its definition is as declared from the start. ``begin`` runs the installer beside it; ``finish``
starts the guest as it is defined. A mark in the definition says which of them is next, and a disk
that holds something counts where there is no mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal
from xml.etree import ElementTree as ET

from msgspec import structs

from salt_kvm.errors import UnmetError
from salt_kvm.plan import domain
from salt_kvm.plan.domain import DomainSeen
from salt_kvm.plan.install_steps import (
    AwaitGuest,
    AwaitInstall,
    BeginInstall,
    MarkInstall,
    RemoveBoot,
    WriteBoot,
)
from salt_kvm.plan.steps import Changes, Need, SetAutostart, Start, Step, change
from salt_kvm.seen import Mark
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.install import Install
from salt_kvm.spec.types import Medium
from salt_kvm.xml.install import DONE, installing, mark, written
from salt_kvm.xml.merge import Difference

Phase = Literal["begin", "go on", "wait", "finish", "reach", "done"]
Steps = Iterator[Step | Difference]
# How one ends that is not, so that it is started anew; ``lost``: with its host.
BROKEN = ("destroyed", "crashed", "failed", "lost")
ANEW = "set 'reinstall' of its 'install' to a new value"


def plan(name: str, want: Domain, seen: DomainSeen) -> Steps:
    """Yield what makes a domain as declared; one that is to be installed, by its phase."""
    if want.state != "installed":
        return domain.plan(name, want, seen)
    # A medium that is there for the installation only is gone after it.
    medium = want.cdrom if _install(want).location is not None else Medium("")
    final = structs.replace(want, state="running", cdrom=medium)
    return _PHASES[_phase(name, want, seen)](name, want, final, seen)


def _install(want: Domain) -> Install:
    return want.install or Install()


def _mark(seen: DomainSeen) -> Mark:
    return (mark(seen.domain.xml) if seen.domain is not None else None) or Mark("")


def _phase(name: str, want: Domain, seen: DomainSeen) -> Phase:
    there, known, token = seen.domain, _mark(seen), _install(want).token
    if token is not None and token != known.reinstall:
        return "begin"
    if not known.phase:
        unknown = there is not None and there.active
        return "done" if unknown or not _blank(name, want, seen) else "begin"
    if known.phase != "installing":
        return "reach" if known.phase == "booting" else "done"
    if installing(there):
        return "wait"
    if there is not None and there.active:
        return "finish"
    return _ended(name, want, seen, known)


def _ended(name: str, want: Domain, seen: DomainSeen, known: Mark) -> Phase:
    how = seen.installation.end(known.since) if seen.installation is not None else "unknown"
    if how == "saved":
        return "go on"
    disks = _disks(name, want, seen)
    nothing = bool(disks) and all(_holds_nothing(seen, want, disk) for disk in disks)
    if how in BROKEN or nothing:
        return "begin"
    if how in DONE:
        return "finish"
    raise UnmetError(
        f"how the installer of domain {name} has ended is not known ({how}), and its disk holds "
        f"data; start the guest if it is installed, or {ANEW}, by which what it holds is lost"
    )


def _blank(name: str, want: Domain, seen: DomainSeen) -> bool:
    """Tell whether there is nothing on the disk that is booted from; an installer may take any."""
    disks = _disks(name, want, seen)
    blank = [_holds_nothing(seen, want, disk) for disk in disks]
    if all(blank) or not blank[0]:
        return all(blank)
    source = disks[blank.index(False)].find("source")
    place = "/".join(source.attrib.values()) if source is not None else "a disk"
    raise UnmetError(
        f"{place} of domain {name} holds data that an installer may overwrite; add that disk after "
        f"the installation, or {ANEW}"
    )


def _disks(name: str, want: Domain, seen: DomainSeen) -> list[ET.Element]:
    """The disks that an installer can write to, the one that is booted from first."""
    return written(domain.compose(name, want, seen)[1].xml)


def _holds_nothing(seen: DomainSeen, want: Domain, disk: ET.Element) -> bool:
    source = disk.find("source")
    path = None if source is None else source.get("file")
    filled = [each.path for each in want.disk_list if each.source or each.backing]
    if path in filled and seen.images.get(str(path), "raw") is None:
        return False
    return seen.installation is not None and seen.installation.blank(disk)


def _noted(seen: DomainSeen, phase: str) -> Changes:
    return {"install": change(_mark(seen).phase or None, phase)}


def _begin(name: str, want: Domain, final: Domain, seen: DomainSeen) -> Steps:
    there, install, old = seen.domain, _install(want), _mark(seen)
    automatic = old.autostart or (there is not None and there.autostart and "yes") or ""
    off = seen
    if there is not None and there.active:
        # It runs before and after.
        for stop in domain.shutdown(name, want, there):
            yield structs.replace(stop, changes={})
        off = structs.replace(seen, domain=replace(there, live=None))
    noted = Mark("installing", reinstall=install.token or old.reinstall, autostart=automatic)
    # A host that starts again must not start a guest that is half installed.
    still = structs.replace(final, autostart=False)
    for step in domain.plan(name, still, off):
        if not isinstance(step, Start):
            yield step
            continue
        if install.location is not None or install.answer is not None:
            yield WriteBoot(kind="domain", name=name, install=install, needs=_boot_needs(install))
        else:
            yield from _stale(name, seen)
        changes = _noted(seen, "installing")
        yield MarkInstall(kind="domain", name=name, mark=noted, stamp=True, changes=changes)
        cdrom = want.cdrom if install.location is None else None
        needs = (*step.needs, *_medium_needs(cdrom))
        changes = {} if there is not None and there.active else step.changes
        yield BeginInstall(
            kind="domain", name=name, install=install, cdrom=cdrom, changes=changes, needs=needs
        )
    if install.until is not None:
        yield from _awaited(name, want, seen, noted)


def _boot_needs(install: Install) -> tuple[Need, ...]:
    return tuple(_each_boot_need(install))


def _each_boot_need(install: Install) -> Iterator[Need]:
    if install.location is not None:
        cure = "correct the 'location' of its 'install'"
        if install.location.startswith("/"):
            yield Need("tree", install.location, cure)
        parts = (install.kernel, install.initrd) if install.kernel and install.initrd else ()
        if not install.fetched:
            yield Need("installer", install.location, cure, parts=parts)
    if install.answer is not None:
        text = getattr(install, install.answer).encode().decode()
        if "\n" not in text:
            yield Need("answer", text, f"correct {install.answer!r} of its 'install'")


def _medium_needs(cdrom: str | None) -> Iterator[Need]:
    if cdrom:
        cure = "take the image of an installation medium, or correct 'cdrom'"
        yield Need("file", cdrom, cure)
        yield Need("bootable", cdrom, cure)


def _stale(name: str, seen: DomainSeen) -> Iterator[Step]:
    yield from domain.boot_files(name, seen)


def _awaited(name: str, want: Domain, seen: DomainSeen, noted: Mark) -> Steps:
    """Stay until the installer is done, then start the guest as it is defined by then."""
    install = _install(want)
    wait = install.until
    if wait is None:
        return
    yield AwaitInstall(kind="domain", name=name, wait=wait)
    yield _next_mark(name, want, seen, noted)
    on = want.autostart if want.autostart is not None else bool(noted.autostart)
    if on:
        changes = {"autostart": change(False, True)}
        yield SetAutostart(kind="domain", name=name, autostart=True, changes=changes)
    yield Start(kind="domain", name=name)
    if install.location is not None or install.answer is not None:
        yield RemoveBoot(kind="domain", name=name)
    yield from _reached(name, want, seen)


def _next_mark(name: str, want: Domain, seen: DomainSeen, noted: Mark) -> Step:
    wait = _install(want).until
    phase = "installed" if wait is None or wait.until == "poweroff" else "booting"
    new = Mark(phase, reinstall=noted.reinstall)
    return MarkInstall(kind="domain", name=name, mark=new, changes=_noted(seen, phase))


def _reached(name: str, want: Domain, seen: DomainSeen) -> Iterator[Step]:
    """Stay until the installed guest answers, where that is waited for."""
    install, old = _install(want), _mark(seen)
    wait = install.until
    if wait is None or wait.until == "poweroff":
        return
    yield AwaitGuest(kind="domain", name=name, wait=wait)
    new = Mark("installed", reinstall=install.token or old.reinstall)
    yield MarkInstall(kind="domain", name=name, mark=new, changes=_noted(seen, "installed"))


def _go_on(name: str, want: Domain, final: Domain, seen: DomainSeen) -> Steps:
    """Its memory was saved, as a host does with its guests when it goes down."""
    noted = replace(_mark(seen), since="")
    yield MarkInstall(kind="domain", name=name, mark=noted, stamp=True)
    yield Start(kind="domain", name=name, changes={"state": change("off", "running")})
    yield from _awaited(name, want, seen, noted)


def _wait(name: str, want: Domain, final: Domain, seen: DomainSeen) -> Steps:
    """The installer runs, and nothing of it is compared but the definition."""
    there = seen.domain
    off = seen if there is None else structs.replace(seen, domain=replace(there, live=None))
    still = structs.replace(final, state="present", autostart=False)
    yield from domain.plan(name, still, off)
    yield from _awaited(name, want, seen, _mark(seen))


def _finish(name: str, want: Domain, final: Domain, seen: DomainSeen) -> Steps:
    noted = _mark(seen)
    marking = _next_mark(name, want, seen, noted)
    if final.autostart is None and noted.autostart:
        final = structs.replace(final, autostart=True)
    marked = False
    for step in domain.plan(name, final, seen):
        if isinstance(step, Start) and not marked:
            marked = True
            yield marking
        yield step
    if not marked:
        yield marking
    if seen.installation is not None and seen.installation.files():
        yield RemoveBoot(kind="domain", name=name)
    yield from _reached(name, want, seen)


def _reach(name: str, want: Domain, final: Domain, seen: DomainSeen) -> Steps:
    """Installed, and not yet seen to answer."""
    yield from domain.plan(name, final, seen)
    yield from _stale(name, seen)
    wait = _install(want).until
    if wait is None or wait.until == "poweroff":
        yield _next_mark(name, want, seen, _mark(seen))
    yield from _reached(name, want, seen)


def _done(name: str, want: Domain, final: Domain, seen: DomainSeen) -> Steps:
    yield from domain.plan(name, final, seen)
    yield from _stale(name, seen)
    known = _mark(seen)
    if known.reinstall == "true" and _install(want).token is None:
        # So that it can be asked for again.
        new = replace(known, reinstall="")
        changes = {"reinstall": change(True, None)}
        yield MarkInstall(kind="domain", name=name, mark=new, changes=changes)


_PHASES: dict[Phase, Callable[[str, Domain, Domain, DomainSeen], Steps]] = {
    "begin": _begin,
    "go on": _go_on,
    "wait": _wait,
    "finish": _finish,
    "reach": _reach,
    "done": _done,
}
