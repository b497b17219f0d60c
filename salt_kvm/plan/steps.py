"""The steps that a plan is made of: frozen values, rendered by a dry run, executed by a real one.

A step says what it needs; how it is carried out and undone is in :mod:`salt_kvm.backend.perform`,
what it would leave behind in :mod:`salt_kvm.backend.promise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    # The host's checks must run before msgspec is there.
    from salt_kvm.spec.types import Mode, Size

Changes = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Need:
    """Something that must be there before a step can succeed.

    ``what`` is one of ``file``, ``directory``, ``block device``, ``network``, ``active network``,
    ``active pool``, ``pool type``, ``volume``, ``kvm``, ``selinux``; of an image ``unused`` (by a
    domain other than ``user``), ``idle`` (no running guest uses it), ``unwritten`` (no guest writes
    to it), ``bare`` (no other image stands on it); ``idle pool``; ``unused volume`` (by any
    domain), ``idle volume``, ``sole volume`` (used by ``user`` only). ``cure`` is the end of the
    sentence that a user reads when it is not so.
    """

    what: str
    name: str
    cure: str
    format: str | None = None
    user: str = ""


def change(old: object, new: object) -> dict[str, object]:
    """Return one entry of a state's ``changes``, in plain types that Salt can serialise."""
    return {"old": _plain(old), "new": _plain(new)}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return str(value) if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class Step:
    """The base: ``changes`` is this step's share of the state's ``changes``.

    ``cure`` is what can be done where the step was carried out and has had no effect yet.
    """

    changes: Changes = field(default_factory=dict)
    needs: tuple[Need, ...] = ()

    did: ClassVar[str] = ""
    would: ClassVar[str] = ""
    cure: ClassVar[str] = ""

    def sentence(self, *, done: bool) -> str:
        """Return what the step did, or would do, in a few words."""
        return (self.did if done else self.would).format_map(vars(self))


@dataclass(frozen=True, kw_only=True)
class ObjectStep(Step):
    """A step on a domain, network or pool."""

    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Define(ObjectStep):
    """Write a persistent definition; an object that is there keeps its UUID and its state."""

    xml: str
    did = "defined {kind} {name}"
    would = "define {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class Undefine(ObjectStep):
    did = "removed the definition of {kind} {name}"
    would = "remove the definition of {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class SetAutostart(ObjectStep):
    autostart: bool
    did = "set autostart of {kind} {name}"
    would = "set autostart of {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class Start(ObjectStep):
    did = "started {kind} {name}"
    would = "start {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class Stop(ObjectStep):
    """Take a network or pool down; a domain is shut down instead."""

    did = "stopped {kind} {name}"
    would = "stop {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class Shutdown(ObjectStep):
    """Ask a guest to power off and wait; pull its plug afterwards only where ``force`` says so."""

    timeout: int
    force: bool
    did = "shut down {kind} {name}"
    would = "shut down {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class DeviceStep(ObjectStep):
    """A step on one device of a running domain, live only."""

    xml: str
    device: str


@dataclass(frozen=True, kw_only=True)
class AttachDevice(DeviceStep):
    did = "attached {device} to the running {kind} {name}"
    would = "attach {device} to the running {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class DetachDevice(DeviceStep):
    """Ask a guest to release a device and wait a little; it may refuse.

    ``needed`` is one whose place the next device takes: with a refusal the run ends.
    """

    needed: bool = False
    did = "detached {device} from the running {kind} {name}"
    would = "detach {device} from the running {kind} {name}"
    cure = (
        "The guest has not released it, as one does not that is starting up: the next run asks it "
        "again, and after its next start it is gone"
    )


@dataclass(frozen=True, kw_only=True)
class UpdateDevice(DeviceStep):
    did = "changed {device} of the running {kind} {name}"
    would = "change {device} of the running {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class SetProperty(ObjectStep):
    """Change a property of a running domain, live only; ``value`` is as libvirt's XML has it."""

    key: str
    value: str
    did = "set {key} of the running {kind} {name}"
    would = "set {key} of the running {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class UpdateNetwork(ObjectStep):
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


@dataclass(frozen=True, kw_only=True)
class RestartNetwork(ObjectStep):
    """Stop and start a network, and plug the running guests in again."""

    did = "restarted {kind} {name}"
    would = "restart {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class BuildPool(ObjectStep):
    """Make the file system, partition table or volume group that a pool is to be over.

    ``overwrite`` gives what is there up; else libvirt too refuses a device that holds something.
    """

    devices: str
    overwrite: bool
    did = "built {kind} {name} on {devices}"
    would = "build {kind} {name} on {devices}"


@dataclass(frozen=True, kw_only=True)
class RefreshPool(ObjectStep):
    """Have libvirt look anew at what a pool holds."""

    did = "refreshed {kind} {name}"
    would = "refresh {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class DeletePool(ObjectStep):
    """Remove a pool's empty directory, volume group, ...; a partition table and a disk stay."""

    did = "deleted the storage of {kind} {name}"
    would = "delete the storage of {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class AdoptVolume(ObjectStep):
    """Have libvirt find a file that came into a pool's directory without it."""

    xml: str
    did = "made {kind} {name} known to libvirt"
    would = "make {kind} {name} known to libvirt"


@dataclass(frozen=True, kw_only=True)
class CreateVolume(ObjectStep):
    """Make a volume, named ``pool/volume``; ``path`` is where it will be, if that is sure."""

    xml: str
    path: str | None
    did = "created {kind} {name}"
    would = "create {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class UploadVolume(ObjectStep):
    """Write a file of this host into a new volume."""

    source: str
    did = "uploaded {source} into {kind} {name}"
    would = "upload {source} into {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class ResizeVolume(ObjectStep):
    """Change the capacity of a volume, through the running ``domain`` that has it as ``target``."""

    size: Size
    shrink: bool = False
    domain: str = ""
    target: str = ""
    did = "resized {kind} {name} to {size}"
    would = "resize {kind} {name} to {size}"


@dataclass(frozen=True, kw_only=True)
class WipeVolume(ObjectStep):
    """Write zeros over all that a volume holds."""

    did = "wiped {kind} {name}"
    would = "wipe {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class DeleteVolume(ObjectStep):
    """Delete a volume, whose name is ``pool/volume``; what it holds is lost."""

    did = "deleted {kind} {name}"
    would = "delete {kind} {name}"


@dataclass(frozen=True, kw_only=True)
class FileStep(Step):
    """A step on a file or directory of the host."""

    path: str


@dataclass(frozen=True, kw_only=True)
class CreateImage(FileStep):
    """Make an image; without a size it takes that of its backing file."""

    format: str
    size: Size | None
    backing: str | None = None
    backing_format: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    did = "created the {format} image {path}"
    would = "create the {format} image {path}"

    def sentence(self, *, done: bool) -> str:
        size = f" of {self.size}" if self.size is not None else ""
        backing = f" on {self.backing}" if self.backing is not None else ""
        return f"{super().sentence(done=done)}{size}{backing}"


@dataclass(frozen=True, kw_only=True)
class ReplaceImage(FileStep):
    """Write an image again with other properties; what a guest sees of it stays the same."""

    format: str
    backing: str | None
    backing_format: str | None
    options: Mapping[str, object]
    did = "rewrote {path} as a {format} image"
    would = "rewrite {path} as a {format} image"


@dataclass(frozen=True, kw_only=True)
class AmendImage(FileStep):
    """Change options of an image in place."""

    format: str
    options: Mapping[str, object]
    did = "changed the options of {path}"
    would = "change the options of {path}"


@dataclass(frozen=True, kw_only=True)
class ResizeImage(FileStep):
    """Change the size of an image that no running guest uses; ``shrink`` cuts off its end."""

    format: str
    size: Size
    shrink: bool
    did = "resized {path} to {size}"
    would = "resize {path} to {size}"


@dataclass(frozen=True, kw_only=True)
class ResizeLive(FileStep):
    """Grow an image through the running guest that has it as the disk ``target``."""

    domain: str
    target: str
    size: Size
    did = "grew the image {path} of the running domain {domain} to {size}"
    would = "grow the image {path} of the running domain {domain} to {size}"


@dataclass(frozen=True, kw_only=True)
class RemoveImage(FileStep):
    did = "removed the image {path}"
    would = "remove the image {path}"


@dataclass(frozen=True, kw_only=True)
class SetOwnership(FileStep):
    owner: str | None
    group: str | None
    mode: Mode | None
    did = "set owner, group and mode of {path}"
    would = "set owner, group and mode of {path}"


@dataclass(frozen=True, kw_only=True)
class SetLabel(FileStep):
    """Set an SELinux label."""

    label: str
    did = "labelled {path}"
    would = "label {path}"


@dataclass(frozen=True, kw_only=True)
class MakeDirectory(FileStep):
    did = "made the directory {path}"
    would = "make the directory {path}"
