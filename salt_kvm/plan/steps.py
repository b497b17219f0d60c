"""The steps that a plan is made of: frozen values, rendered by a dry run, executed by a real one.

A step says what it needs; how it is carried out and undone is in :mod:`salt_kvm.backend.perform`,
what it would leave behind in :mod:`salt_kvm.backend.promise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec
from msgspec import structs

from salt_kvm.seen import Hidden
from salt_kvm.spec.image import shown_address
from salt_kvm.spec.types import Mode, Size
from salt_kvm.spec.vmx import Esxi

Changes = Mapping[str, Mapping[str, object]]


class Need(msgspec.Struct, frozen=True):
    """Something that must be there before a step can succeed.

    ``what`` is one of ``file``, ``directory``, ``block device``, ``network``, ``active network``,
    ``active pool``, ``pool type``, ``program``, ``secret`` (its ``usage/id`` or UUID), ``volume``,
    ``kvm``, ``nested``, ``selinux``, ``capacity`` (of the host, for a domain's start); of an image
    ``unused`` (by a domain other than ``user``), ``idle`` (no running guest uses it), ``unwritten``
    (no guest writes to it), ``bare`` (no other image stands on it), ``source`` (in the store, or
    where it is said to be); ``idle pool``; ``unused volume`` (by any domain), ``idle volume``,
    ``sole volume`` (used by ``user`` only); ``installer`` (a tree or an ISO with a kernel and an
    initrd: ``parts``, or any known), ``bootable`` (an ISO), ``answer`` (a file that can be
    rendered). ``cure`` ends the sentence that a user reads when it is not so.
    """

    what: str
    name: str
    cure: str
    format: str | None = None
    user: str = ""
    parts: tuple[str, ...] = ()


def change(old: object, new: object) -> dict[str, object]:
    """Return one entry of a state's ``changes``, in plain types that Salt can serialise."""
    return {"old": _plain(old), "new": _plain(new)}


def mark(changes: Changes) -> str:
    """Return what changes come to, in one line."""
    return "; ".join(f"{path}: {entry['new']}" for path, entry in changes.items())


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return str(value) if isinstance(value, str) else value


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The base: ``changes`` is this step's share of the state's ``changes``.

    ``cure`` is what can be done where the step was carried out and has had no effect yet. Once a
    step that ``settles`` has begun, no step before it is taken back. What a step that ``goes_on``
    has begun goes on by itself, so that a later look may find more to do.
    """

    changes: Changes = {}
    needs: tuple[Need, ...] = ()

    did: ClassVar[str] = ""
    would: ClassVar[str] = ""
    cure: ClassVar[str] = ""
    settles: ClassVar[bool] = False
    goes_on: ClassVar[bool] = False

    def sentence(self, *, done: bool) -> str:
        """Return what the step did, or would do, in a few words."""
        return (self.did if done else self.would).format_map(structs.asdict(self))


class ObjectStep(Step, frozen=True, kw_only=True):
    """A step on a domain, network or pool."""

    kind: str
    name: str


class Define(ObjectStep, frozen=True, kw_only=True):
    """Write a persistent definition; an object that is there keeps its UUID and its state."""

    xml: str
    did = "defined {kind} {name}"
    would = "define {kind} {name}"


class Undefine(ObjectStep, frozen=True):
    did = "removed the definition of {kind} {name}"
    would = "remove the definition of {kind} {name}"


class SetAutostart(ObjectStep, frozen=True, kw_only=True):
    autostart: bool
    did = "set autostart of {kind} {name}"
    would = "set autostart of {kind} {name}"


class Start(ObjectStep, frozen=True):
    did = "started {kind} {name}"
    would = "start {kind} {name}"


class Stop(ObjectStep, frozen=True):
    """Take a network or pool down; a domain is shut down instead."""

    did = "stopped {kind} {name}"
    would = "stop {kind} {name}"


AWAKE = "kvm_domain.resume lets it go on, force: true ends it"


class Shutdown(ObjectStep, frozen=True, kw_only=True):
    """Ask a guest to power off and wait; pull its plug afterwards only where ``force`` says so."""

    timeout: int
    force: bool
    did = "shut down {kind} {name}"
    would = "shut down {kind} {name}"


class LiveStep(ObjectStep, frozen=True, kw_only=True):
    """A step on a running domain that libvirt may refuse; then its start has to make the change.

    ``needed`` is one that the next step depends on: with a refusal the run ends. So it does with
    one that is ``fatal``: the start would be refused the same.
    """

    needed: bool = False
    fatal: bool = False

    @property
    def mark(self) -> str:
        """What a refusal is remembered by."""
        return mark(self.changes)


class DeviceStep(LiveStep, frozen=True, kw_only=True):
    """A step on one device of a running domain, live only."""

    xml: str
    device: str


class AttachDevice(DeviceStep, frozen=True):
    did = "attached {device} to the running {kind} {name}"
    would = "attach {device} to the running {kind} {name}"


class DetachDevice(DeviceStep, frozen=True, kw_only=True):
    """Ask a guest to release a device and wait a little; it may refuse."""

    did = "detached {device} from the running {kind} {name}"
    would = "detach {device} from the running {kind} {name}"
    cure = (
        "The guest has not released it, as one does not that is starting up: the next run asks it "
        "again, and after its next start it is gone"
    )


class UpdateDevice(DeviceStep, frozen=True):
    did = "changed {device} of the running {kind} {name}"
    would = "change {device} of the running {kind} {name}"


class SetProperty(LiveStep, frozen=True, kw_only=True):
    """Change a property of a running domain, live only; a row of ``xml.properties``.

    ``target`` is the disk that it is about, if any; the values are as libvirt's XML has them.
    """

    key: str
    target: str
    values: Mapping[str, str]
    did = "set {key} of the running {kind} {name}"
    would = "set {key} of the running {kind} {name}"


class UpdateNetwork(ObjectStep, frozen=True, kw_only=True):
    """Change one element of an active network, live only; a row of ``xml.network_live``.

    ``old`` is what a modified element was, ``index`` the place of its ``<ip>`` or -1.
    """

    section: str
    command: str
    index: int
    xml: str
    old: str | None
    part: str
    did = "changed {part} of the active {kind} {name}"
    would = "change {part} of the active {kind} {name}"


class RestartNetwork(ObjectStep, frozen=True):
    """Stop and start a network, and plug the running guests in again."""

    did = "restarted {kind} {name}"
    would = "restart {kind} {name}"


class BuildPool(ObjectStep, frozen=True, kw_only=True):
    """Make the file system, partition table or volume group that a pool is to be over.

    ``overwrite`` gives what is there up; else libvirt too refuses a device that holds something.
    """

    devices: tuple[str, ...]
    format: str | None
    overwrite: bool
    did = "built {kind} {name}"
    would = "build {kind} {name}"

    def sentence(self, *, done: bool) -> str:
        return f"{super().sentence(done=done)} on {', '.join(self.devices)}"


class RefreshPool(ObjectStep, frozen=True):
    """Have libvirt look anew at what a pool holds."""

    did = "refreshed {kind} {name}"
    would = "refresh {kind} {name}"


class DeletePool(ObjectStep, frozen=True):
    """Remove a pool's empty directory, volume group, ...; a partition table and a disk stay."""

    did = "deleted the storage of {kind} {name}"
    would = "delete the storage of {kind} {name}"


class AdoptVolume(ObjectStep, frozen=True, kw_only=True):
    """Have libvirt find a file that came into a pool's directory without it."""

    xml: str
    did = "made {kind} {name} known to libvirt"
    would = "make {kind} {name} known to libvirt"


class CreateVolume(ObjectStep, frozen=True, kw_only=True):
    """Make a volume, named ``pool/volume``, and write its source into it.

    ``path`` is where it will be, if that is sure; without a size it takes that of its source or
    backing file.
    """

    xml: str
    path: str | None
    format: str = "raw"
    size: Size | None = None
    source: Source | None = None
    did = "created {kind} {name}"
    would = "create {kind} {name}"

    def sentence(self, *, done: bool) -> str:
        source = f" from {self.source.shown}" if self.source is not None else ""
        return f"{super().sentence(done=done)}{source}"


class ResizeVolume(ObjectStep, frozen=True, kw_only=True):
    """Change the capacity of a volume, through the running ``domain`` that has it as ``target``.

    ``secret`` is that of an encrypted one.
    """

    size: Size
    shrink: bool = False
    secret: str | None = None
    domain: str = ""
    target: str = ""
    did = "resized {kind} {name} to {size}"
    would = "resize {kind} {name} to {size}"


class WipeVolume(ObjectStep, frozen=True):
    """Write zeros over all that a volume holds."""

    did = "wiped {kind} {name}"
    would = "wipe {kind} {name}"


class DeleteVolume(ObjectStep, frozen=True):
    """Delete a volume, whose name is ``pool/volume``; what it holds is lost."""

    did = "deleted {kind} {name}"
    would = "delete {kind} {name}"


class DefineSecret(ObjectStep, frozen=True, kw_only=True):
    """Write the definition of a secret, named ``usage/id``; it has no value in it."""

    xml: str
    did = "defined {kind} {name}"
    would = "define {kind} {name}"


class SetSecret(ObjectStep, frozen=True, kw_only=True):
    value: Hidden
    did = "set the value of {kind} {name}"
    would = "set the value of {kind} {name}"


class UndefineSecret(ObjectStep, frozen=True, kw_only=True):
    did = "removed {kind} {name}"
    would = "remove {kind} {name}"


class FileStep(Step, frozen=True, kw_only=True):
    """A step on a file or directory of the host."""

    path: str


class Source(msgspec.Struct, frozen=True):
    """Where an image comes from, by the checksum that was declared, and the way it is cloned."""

    address: str
    hash: str | None = None
    format: str | None = None
    clone: str | None = None

    @property
    def shown(self) -> str:
        """The address without a password."""
        return shown_address(self.address)


class CreateImage(FileStep, frozen=True, kw_only=True):
    """Make an image; without a size it takes that of its backing file."""

    format: str
    size: Size | None
    backing: str | None = None
    backing_format: str | None = None
    options: Mapping[str, object] = {}
    source: Source | None = None
    secret: str | None = None
    did = "created the {format} image {path}"
    would = "create the {format} image {path}"

    def sentence(self, *, done: bool) -> str:
        size = f" of {self.size}" if self.size is not None else ""
        backing = f" on {self.backing}" if self.backing is not None else ""
        source = f" from {self.source.shown}" if self.source is not None else ""
        return f"{super().sentence(done=done)}{size}{backing}{source}"


class ReplaceImage(FileStep, frozen=True, kw_only=True):
    """Write an image again with other properties; what a guest sees of it stays the same."""

    format: str
    backing: str | None
    backing_format: str | None
    options: Mapping[str, object]
    did = "rewrote {path} as a {format} image"
    would = "rewrite {path} as a {format} image"


class AmendImage(FileStep, frozen=True, kw_only=True):
    """Change options of an image in place."""

    format: str
    options: Mapping[str, object]
    did = "changed the options of {path}"
    would = "change the options of {path}"


class ResizeImage(FileStep, frozen=True, kw_only=True):
    """Change the size of an image that no running guest uses; ``shrink`` cuts off its end."""

    format: str
    size: Size
    shrink: bool
    secret: str | None = None
    did = "resized {path} to {size}"
    would = "resize {path} to {size}"

    @property
    def encrypted(self) -> bool:
        return self.secret is not None


class ResizeLive(FileStep, frozen=True, kw_only=True):
    """Grow an image through the running guest that has it as the disk ``target``."""

    domain: str
    target: str
    size: Size
    encrypted: bool = False
    did = "grew the image {path} of the running domain {domain} to {size}"
    would = "grow the image {path} of the running domain {domain} to {size}"


class RemoveImage(FileStep, frozen=True):
    did = "removed the image {path}"
    would = "remove the image {path}"


class SetOwnership(FileStep, frozen=True, kw_only=True):
    owner: str | None
    group: str | None
    mode: Mode | None
    did = "set owner, group and mode of {path}"
    would = "set owner, group and mode of {path}"


class SetLabel(FileStep, frozen=True, kw_only=True):
    """Set an SELinux label."""

    label: str
    did = "labelled {path}"
    would = "label {path}"


class WriteSeed(FileStep, frozen=True, kw_only=True):
    """Write what a guest reads at its first boot, for root alone.

    ``label`` is the volume's name; without one the only file is written as it is. ``domain`` is
    the guest that has read the old one, where one runs.
    """

    label: str
    files: Mapping[str, Hidden]
    domain: str = ""
    did = "wrote the seed {path}"
    would = "write the seed {path}"


class RemoveSeed(FileStep, frozen=True):
    did = "removed the seed {path}"
    would = "remove the seed {path}"


class MakeDirectory(FileStep, frozen=True):
    did = "made the directory {path}"
    would = "make the directory {path}"


class VmxStep(Step, frozen=True, kw_only=True):
    """A step on a machine's file on a VMware host; ``where`` names both."""

    host: Esxi | None
    path: str
    where: str


class WriteVmx(VmxStep, frozen=True, kw_only=True):
    """Write the text of a ``.vmx`` file that is ``old`` still; ``keys`` are what differs.

    ``session`` is the power cycle that the machine is in; ``hidden`` are keys that are secret.
    """

    old: bytes
    text: bytes
    backup: bool
    session: str | None
    keys: tuple[str, ...]
    hidden: frozenset[str]
    did = "wrote {where}"
    would = "write {where}"


class ReloadVm(VmxStep, frozen=True, kw_only=True):
    """Have an ESXi host read the file of a registered machine again."""

    number: int
    did = "reloaded machine {number}"
    would = "reload machine {number}"
