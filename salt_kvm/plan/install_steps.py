"""The steps of an installation."""

from __future__ import annotations

from salt_kvm.plan.steps import ObjectStep
from salt_kvm.seen import Mark
from salt_kvm.spec.install import Install, Wait


class WriteBoot(ObjectStep, frozen=True, kw_only=True):
    """Put an installer's kernel, its initrd and its answers where QEMU can read them."""

    install: Install
    did = "prepared the installer of {kind} {name}"
    would = "prepare the installer of {kind} {name}"


class RemoveBoot(ObjectStep, frozen=True, kw_only=True):
    did = "removed the boot files of {kind} {name}"
    would = "remove the boot files of {kind} {name}"


class MarkInstall(ObjectStep, frozen=True, kw_only=True):
    """Note in the definition how far the installation is; with ``stamp`` also that it is now."""

    mark: Mark
    stamp: bool = False
    did = "noted that {kind} {name} is {mark.phase}"
    would = "note that {kind} {name} is {mark.phase}"


class BeginInstall(ObjectStep, frozen=True, kw_only=True):
    """Start the installer: of ``install``, or the CD at ``cdrom``."""

    install: Install
    cdrom: str | None
    did = "started the installer of {kind} {name}"
    would = "start the installer of {kind} {name}"
    goes_on = True


class AwaitInstall(ObjectStep, frozen=True, kw_only=True):
    """Wait until the installer has powered off or rebooted its guest."""

    wait: Wait
    did = "waited for the installer of {kind} {name}"
    would = "wait for the installer of {kind} {name}"
    settles = True


class AwaitGuest(ObjectStep, frozen=True, kw_only=True):
    """Wait until a guest answers in the way that was asked for."""

    wait: Wait
    did = "waited for {wait.until} of {kind} {name}"
    would = "wait for {wait.until} of {kind} {name}"
    settles = True
