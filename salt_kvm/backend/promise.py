"""What a plan would leave behind, so that the next step, and the next state of a dry run, see it.

A rehearsal walks the steps over a :class:`Promises` instead of the world: the same walk finds out
before the first change whether every step has what it needs.
"""

from dataclasses import replace
from functools import singledispatch

from salt_kvm.plan import steps
from salt_kvm.seen import FileSeen, Header, Observed, Promises, VmxSeen
from salt_kvm.xml import volume

GONE = None


@singledispatch
def promise(
    step: steps.Step, seen: Observed | FileSeen | VmxSeen | None, promises: Promises
) -> None:
    """Note what ``step`` would leave behind, given what is there before it."""
    raise TypeError(step)


@promise.register
def _define(step: steps.Define, seen: Observed | None, promises: Promises) -> None:
    there = seen or Observed(step.kind, step.name, step.xml)
    promises.objects[step.kind, step.name] = replace(there, xml=step.xml, persistent=True)


@promise.register
def _define_secret(step: steps.DefineSecret, seen: Observed | None, promises: Promises) -> None:
    promises.objects[step.kind, step.name] = Observed(step.kind, step.name, step.xml)


@promise.register(steps.UndefineSecret)
@promise.register(steps.Undefine)
@promise.register(steps.DeleteVolume)
def _gone(step: steps.ObjectStep, seen: Observed | None, promises: Promises) -> None:
    promises.objects[step.kind, step.name] = GONE


@promise.register
def _autostart(step: steps.SetAutostart, seen: Observed, promises: Promises) -> None:
    promises.objects[step.kind, step.name] = replace(seen, autostart=step.autostart)


@promise.register
def _start(step: steps.Start, seen: Observed, promises: Promises) -> None:
    promises.objects[step.kind, step.name] = replace(seen, live=seen.xml)


@promise.register
def _restart(step: steps.RestartNetwork, seen: Observed, promises: Promises) -> None:
    promises.objects[step.kind, step.name] = replace(seen, live=seen.xml)


@promise.register(steps.Stop)
@promise.register(steps.Shutdown)
def _stop(step: steps.ObjectStep, seen: Observed, promises: Promises) -> None:
    off = replace(seen, live=None) if seen.persistent else GONE
    promises.objects[step.kind, step.name] = off


@promise.register
def _create_volume(step: steps.CreateVolume, seen: Observed | None, promises: Promises) -> None:
    document = volume.placed(step.xml, step.path)
    promises.objects[step.kind, step.name] = Observed(step.kind, step.name, document)
    if step.path is not None:
        promises.files[step.path] = FileSeen(
            step.path,
            "file",
            "root",
            "root",
            0o600,
            volume.format(document),
            volume.capacity(document),
        )


@promise.register
def _adopt_volume(step: steps.AdoptVolume, seen: Observed | None, promises: Promises) -> None:
    promises.objects[step.kind, step.name] = Observed(step.kind, step.name, step.xml)


@promise.register
def _resize_volume(step: steps.ResizeVolume, seen: Observed, promises: Promises) -> None:
    document = volume.resized(seen.xml, step.size)
    promises.objects[step.kind, step.name] = replace(seen, xml=document)


@promise.register(steps.SetSecret)
@promise.register(steps.WipeVolume)
@promise.register(steps.BuildPool)
@promise.register(steps.RefreshPool)
@promise.register(steps.DeletePool)
@promise.register(steps.LiveStep)
@promise.register(steps.UpdateNetwork)
def _live(step: steps.ObjectStep, seen: Observed, promises: Promises) -> None:
    """Near enough: a later state of a dry run asks only whether the object is on."""
    promises.objects[step.kind, step.name] = seen


@promise.register
def _create(step: steps.CreateImage, seen: FileSeen | None, promises: Promises) -> None:
    size = None if step.size is None else int(step.size)
    header = Header(
        step.format,
        size,
        step.backing,
        step.backing_format,
        encrypted=step.secret is not None,
        options=step.options,
    )
    promises.files[step.path] = FileSeen(
        step.path, "file", "root", "root", 0o644, step.format, size, header=header
    )


@promise.register
def _rewrite(step: steps.ReplaceImage, seen: FileSeen, promises: Promises) -> None:
    header = Header(step.format, seen.size, step.backing, step.backing_format, options=step.options)
    promises.files[step.path] = replace(seen, format=step.format, header=header)


@promise.register
def _amend(step: steps.AmendImage, seen: FileSeen, promises: Promises) -> None:
    promises.files[step.path] = seen


@promise.register(steps.ResizeImage)
@promise.register(steps.ResizeLive)
def _resize(step: steps.ResizeImage | steps.ResizeLive, seen: FileSeen, promises: Promises) -> None:
    size, header = int(step.size), seen.header
    if header is not None and step.encrypted:
        header = replace(header.opened(), size=size)
    promises.files[step.path] = replace(seen, size=size, header=header)


@promise.register
def _write_seed(step: steps.WriteSeed, seen: FileSeen | None, promises: Promises) -> None:
    promises.files[step.path] = FileSeen(
        step.path, "file", "root", "root", 0o600, "raw", seed=step.files
    )


@promise.register(steps.RemoveSeed)
@promise.register
def _remove(step: steps.RemoveImage | steps.RemoveSeed, seen: FileSeen, promises: Promises) -> None:
    promises.files[step.path] = GONE


@promise.register
def _own(step: steps.SetOwnership, seen: FileSeen, promises: Promises) -> None:
    promises.files[step.path] = replace(
        seen,
        owner=step.owner or seen.owner,
        group=step.group or seen.group,
        mode=seen.mode if step.mode is None else step.mode,
    )


@promise.register
def _label(step: steps.SetLabel, seen: FileSeen, promises: Promises) -> None:
    """Nobody asks for the label of a file."""


@promise.register
def _directory(step: steps.MakeDirectory, seen: FileSeen | None, promises: Promises) -> None:
    promises.files[step.path] = FileSeen(step.path, "directory", "root", "root", 0o711)


@promise.register
def _write_vmx(step: steps.WriteVmx, seen: VmxSeen, promises: Promises) -> None:
    promises.vmx[step.where] = replace(seen, text=step.text, unloaded=False)


@promise.register
def _reload_vm(step: steps.ReloadVm, seen: VmxSeen, promises: Promises) -> None:
    promises.vmx[step.where] = replace(seen, unloaded=False)
