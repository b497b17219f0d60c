"""An installation as a plan asks for it, and how its steps are carried out and promised."""

import os
from dataclasses import replace
from functools import partial
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.backend.guests import blank, boot_files, conditions, guest_log
from salt_kvm.backend.guests.conditions import Goal
from salt_kvm.backend.perform import Undo, perform
from salt_kvm.backend.promise import promise
from salt_kvm.backend.view import View
from salt_kvm.backend.virt import domain_calls
from salt_kvm.backend.world import World
from salt_kvm.errors import ApplyError
from salt_kvm.plan import install_steps as steps
from salt_kvm.plan.steps import ObjectStep
from salt_kvm.seen import Observed, Promises
from salt_kvm.xml import install
from salt_kvm.xml.document import parse
from salt_kvm.xml.install import Media


class Installation(msgspec.Struct, frozen=True):
    """That of one domain, looked at when it is asked for."""

    view: View
    name: str
    wanted: bool

    def files(self) -> bool:
        return self.view.world.local and os.path.isdir(boot_files.folder(self.name))

    def blank(self, disk: ET.Element, /) -> bool:
        return blank.blank(self.view, disk)

    def end(self, since: str, /) -> str:
        return end(self.view.world, self.name, since)


def wrote_nothing(world: World, document: str) -> bool:
    """Tell whether the disks of a domain are as blank as before its installer."""
    view = View(world, Promises())
    disks = install.written(parse(document))
    return bool(disks) and all(blank.blank(view, disk) for disk in disks)


def end(world: World, name: str, since: str) -> str:
    """Return how the installer of a guest that is off has ended, in libvirt's word.

    Its log of the guest tells; libvirtd knows the last end only, which may be that of a start by
    hand, or one in vain, of a guest that was installed by then.

    :param since: when the installer was started
    :returns: also ``start``, where the guest was started again since, ``lost``: with its host, and
        ``perhaps ...`` where only libvirtd tells of an end by which none is done
    """
    if domain_calls.saved(world.hypervisor, name):
        return "saved"
    events = guest_log.events(name, since) if world.local else []
    known = events[:1] == [guest_log.START]
    if known and guest_log.START in events[1:]:
        return guest_log.START
    if known and len(events) > 1:
        return events[1]
    how = domain_calls.end(world.hypervisor, name) or "unknown"
    if known:
        return "lost" if how == "unknown" else how
    return how if how in install.DONE else f"perhaps {how}"


@perform.register
def _write_boot(step: steps.WriteBoot, seen: Observed | None, world: World) -> Undo:
    boot_files.write(step.name, step.install, world.client)
    return partial(boot_files.remove, step.name)


@perform.register
def _remove_boot(step: steps.RemoveBoot, seen: Observed | None, world: World) -> None:
    boot_files.remove(step.name)


@perform.register
def _mark_install(step: steps.MarkInstall, seen: Observed, world: World) -> Undo:
    mark = replace(step.mark, since=guest_log.now()) if step.stamp else step.mark
    world.hypervisor.define(step.kind, install.marked(seen.xml, mark))
    return partial(world.hypervisor.define, step.kind, seen.xml)


@perform.register
def _begin_install(step: steps.BeginInstall, seen: Observed, world: World) -> Undo:
    noted = install.mark(seen.xml)
    media = boot_files.media(step.name, step.install, step.cdrom)
    document = install.installer(seen.xml, media, noted.since if noted is not None else "")
    domain_calls.create(world.hypervisor, step.name, document)
    return partial(world.hypervisor.destroy, step.kind, step.name)


@perform.register
def _await_install(step: steps.AwaitInstall, seen: Observed, world: World) -> None:
    _wait(world, step.name, Goal("poweroff", step.wait.timeout))
    noted = install.mark(seen.xml)
    how = end(world, step.name, noted.since if noted is not None else "")
    if how not in install.DONE:
        raise ApplyError(
            f"the installer of domain {step.name} did not end by itself ({how}); run this again, "
            "which goes on from there"
        )
    if wrote_nothing(world, seen.xml):
        raise ApplyError(
            f"the installer of domain {step.name} has ended and written nothing to its disks; look "
            "what it lacks, then run this again, which starts it anew"
        )


@perform.register
def _await_guest(step: steps.AwaitGuest, seen: Observed, world: World) -> None:
    wait = step.wait
    _wait(world, step.name, Goal(wait.until, wait.timeout, wait.port or 0, wait.address))


def _wait(world: World, name: str, goal: Goal) -> None:
    """Wait, and keep what is last seen where that is in vain."""
    if conditions.wait(world, name, goal) is None:
        told = conditions.vain(world, name, goal)
        raise ApplyError(f"{told}look what it does, or raise its 'wait:timeout'")


@promise.register
def _marked(step: steps.MarkInstall, seen: Observed, promises: Promises) -> None:
    document = install.marked(seen.xml, step.mark)
    promises.objects[step.kind, step.name] = replace(seen, xml=document)


@promise.register
def _begun(step: steps.BeginInstall, seen: Observed, promises: Promises) -> None:
    document = install.installer(seen.xml, Media(), "")
    promises.objects[step.kind, step.name] = replace(seen, live=document)


@promise.register
def _installed(step: steps.AwaitInstall, seen: Observed, promises: Promises) -> None:
    promises.objects[step.kind, step.name] = replace(seen, live=None)


@promise.register(steps.WriteBoot)
@promise.register(steps.RemoveBoot)
@promise.register(steps.AwaitGuest)
def _nothing(step: ObjectStep, seen: Observed | None, promises: Promises) -> None:
    """No other state asks for it."""
