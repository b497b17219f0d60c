"""How each step is carried out, and how it is undone."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial, singledispatch

from salt_kvm.backend import history
from salt_kvm.backend.guests import seed
from salt_kvm.backend.storage import begun, images, pool, qemu_img, secret, volume
from salt_kvm.backend.storage.store import Store
from salt_kvm.backend.system import files, temporary
from salt_kvm.backend.virt import domain_calls, live, network
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.backend.vmware import vmx
from salt_kvm.backend.world import World
from salt_kvm.errors import ApplyError, KvmError, ObserveError
from salt_kvm.plan import steps
from salt_kvm.seen import FileSeen, Observed, VmxSeen
from salt_kvm.xml import adopt
from salt_kvm.xml.live import device_in
from salt_kvm.xml.volume import capacity

Undo = Callable[[], object]
POLL_SECONDS = 0.25
# A guest whose system is not up yet does not see the power button.
ASK_SECONDS = 10.0


@singledispatch
def perform(
    step: steps.Step, seen: Observed | FileSeen | VmxSeen | None, world: World
) -> Undo | None:
    """Carry out ``step``, given what is there before it.

    :returns: what takes it back; ``None`` where nothing can
    """
    raise TypeError(step)


@perform.register
def _define(step: steps.Define, seen: Observed | None, world: World) -> Undo:
    running = seen.live if seen is not None and step.kind == "domain" else None
    xml = step.xml if running is None else adopt.addresses(step.xml, running)
    if seen is not None:
        history.keep(step.kind, step.name, seen.xml)
    world.hypervisor.define(step.kind, xml)
    if seen is not None and seen.persistent:
        return partial(world.hypervisor.define, step.kind, seen.xml)
    return partial(world.hypervisor.undefine, step.kind, step.name)


@perform.register
def _undefine(step: steps.Undefine, seen: Observed, world: World) -> Undo:
    history.keep(step.kind, step.name, seen.xml)
    world.hypervisor.undefine(step.kind, step.name)
    _whole(step, world)
    return partial(world.hypervisor.define, step.kind, seen.xml)


def _whole(step: steps.ObjectStep, world: World) -> None:
    """A run that was killed may have ended the build of a pool, and not the record of it."""
    if step.kind == "pool":
        begun.end(world.uri, step.name)


@perform.register
def _autostart(step: steps.SetAutostart, seen: Observed, world: World) -> Undo:
    set_autostart = partial(world.hypervisor.set_autostart, step.kind, step.name)
    set_autostart(step.autostart)
    return partial(set_autostart, not step.autostart)


@perform.register
def _start(step: steps.Start, seen: Observed, world: World) -> Undo:
    world.hypervisor.start(step.kind, step.name)
    _whole(step, world)
    return partial(world.hypervisor.destroy, step.kind, step.name)


@perform.register
def _stop(step: steps.Stop, seen: Observed, world: World) -> Undo | None:
    world.hypervisor.destroy(step.kind, step.name)
    return partial(world.hypervisor.start, step.kind, step.name) if seen.persistent else None


@perform.register
def _shutdown(step: steps.Shutdown, seen: Observed, world: World) -> Undo | None:
    hypervisor = world.hypervisor
    timeout = step.timeout
    if why := domain_calls.asleep(hypervisor, step.name):
        if not step.force:
            raise ApplyError(f"{why}; {steps.AWAKE}")
        timeout = 0
    else:
        domain_calls.shutdown(hypervisor, step.name)
    end = time.monotonic() + timeout
    again = time.monotonic() + ASK_SECONDS
    while not _off(hypervisor, step.name):
        if time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            if time.monotonic() >= again:
                again += ASK_SECONDS
                # It may have gone off just now.
                with suppress(KvmError):
                    domain_calls.shutdown(hypervisor, step.name)
        elif step.force:
            hypervisor.destroy("domain", step.name)
            break
        else:
            raise ApplyError(
                f"domain {step.name} is still running {step.timeout} s after it was asked to "
                "power off; shut it down from inside, raise timeout, or set force: true"
            )
    return partial(hypervisor.start, "domain", step.name) if seen.persistent else None


def _off(hypervisor: Hypervisor, name: str) -> bool:
    """A look that fails decides nothing: the guest was asked already, so the wait goes on."""
    with suppress(ObserveError):
        return not hypervisor.active("domain", name)
    return False


@perform.register
def _attach(step: steps.AttachDevice, seen: Observed, world: World) -> Undo:
    live.attach(world.hypervisor, step.name, step.xml)
    return partial(live.take_out, world.hypervisor, step.name, step.xml)


@perform.register
def _detach(step: steps.DetachDevice, seen: Observed, world: World) -> Undo:
    if not live.detach(world.hypervisor, step.name, step.xml) and step.needed:
        raise ApplyError(
            f"the guest of domain {step.name} does not release {step.device}, whose place is "
            "wanted; run this again when its system is up, or restart it"
        )
    return partial(live.attach_again, world.hypervisor, step.name, step.xml)


@perform.register
def _update(step: steps.UpdateDevice, seen: Observed, world: World) -> Undo | None:
    old = device_in(seen.live or "<domain/>", step.xml)
    live.update(world.hypervisor, step.name, step.xml)
    return None if old is None else partial(live.update, world.hypervisor, step.name, old)


@perform.register
def _property(step: steps.SetProperty, seen: Observed, world: World) -> Undo:
    return live.set_property(world.hypervisor, step, seen.live or "<domain/>")


@perform.register
def _update_network(step: steps.UpdateNetwork, seen: Observed, world: World) -> Undo:
    return network.update(world.hypervisor, step)


@perform.register
def _restart_network(step: steps.RestartNetwork, seen: Observed, world: World) -> Undo:
    return network.restart(world.hypervisor, step.name, seen.xml, seen.live or seen.xml)


@perform.register
def _build_pool(step: steps.BuildPool, seen: Observed, world: World) -> None:
    pool.build(world.hypervisor, step)


@perform.register
def _refresh_pool(step: steps.RefreshPool, seen: Observed, world: World) -> Undo:
    refresh = partial(pool.refresh, world.hypervisor, step.name)
    refresh()
    return refresh


@perform.register
def _delete_pool(step: steps.DeletePool, seen: Observed, world: World) -> None:
    pool.delete(world.hypervisor, step.name)


@perform.register
def _define_secret(step: steps.DefineSecret, seen: Observed | None, world: World) -> Undo:
    secret.define(world.hypervisor, step.xml)
    if seen is None:
        return partial(secret.undefine, world.hypervisor, step.name)
    return partial(secret.define, world.hypervisor, seen.xml)


@perform.register
def _set_secret(step: steps.SetSecret, seen: Observed, world: World) -> Undo | None:
    old = secret.value(world.hypervisor, step.name)
    secret.set_value(world.hypervisor, step.name, step.value)
    return None if old is None else partial(secret.set_value, world.hypervisor, step.name, old)


@perform.register
def _undefine_secret(step: steps.UndefineSecret, seen: Observed, world: World) -> Undo | None:
    old = secret.value(world.hypervisor, step.name)
    secret.undefine(world.hypervisor, step.name)
    return None if old is None else partial(secret.restore, world.hypervisor, seen, old)


@perform.register
def _adopt_volume(step: steps.AdoptVolume, seen: Observed | None, world: World) -> Undo:
    refresh = partial(pool.refresh, world.hypervisor, step.name.partition("/")[0])
    refresh()
    return refresh


@perform.register
def _create_volume(step: steps.CreateVolume, seen: Observed | None, world: World) -> Undo:
    if step.source is None:
        volume.create(world.hypervisor, step.name, step.xml)
    else:
        volume.create_from(world.hypervisor, step, step.source, Store(world.client))
    return partial(volume.delete, world.hypervisor, step.name)


@perform.register
def _resize_volume(step: steps.ResizeVolume, seen: Observed, world: World) -> Undo | None:
    """What a running guest got may have been written to; what was cut off is gone."""
    if step.domain:
        live.resize(world.hypervisor, step.domain, step.target, step.size)
        return None
    key = secret.passphrase(world.hypervisor, step.secret)
    resize = partial(volume.resize, world.hypervisor, step.name, key=key)
    resize(step.size, shrink=step.shrink)
    return None if step.shrink else partial(resize, capacity(seen.xml), shrink=True)


@perform.register
def _wipe_volume(step: steps.WipeVolume, seen: Observed, world: World) -> None:
    volume.wipe(world.hypervisor, step.name)


@perform.register
def _delete_volume(step: steps.DeleteVolume, seen: Observed, world: World) -> None:
    volume.delete(world.hypervisor, step.name)


@perform.register
def _create(step: steps.CreateImage, seen: FileSeen | None, world: World) -> Undo:
    key = secret.passphrase(world.hypervisor, step.secret)
    note = images.create(step, Store(world.client), key)
    if note is not None:
        world.notes.append(note)
    return partial(files.remove, step.path)


@perform.register
def _resize_live(step: steps.ResizeLive, seen: FileSeen, world: World) -> None:
    """Not taken back: the guest may have written to the new end already."""
    live.resize(world.hypervisor, step.domain, step.target, step.size)


@perform.register
def _replace(step: steps.ReplaceImage, seen: FileSeen, world: World) -> Undo:
    place = os.path.realpath(step.path)
    return _instead(place, partial(images.replaced, step, seen, world.client.report), world)


@perform.register
def _amend(step: steps.AmendImage, seen: FileSeen, world: World) -> Undo:
    old = seen.header.options if seen.header is not None else {}
    qemu_img.amend(step.path, step.format, step.options)
    before = {name: old[name] for name in step.options if name in old}
    return partial(qemu_img.amend, step.path, step.format, before)


@perform.register
def _resize(step: steps.ResizeImage, seen: FileSeen, world: World) -> Undo | None:
    key = secret.passphrase(world.hypervisor, step.secret)
    header = seen.header if seen.header is None or key is None else seen.header.opened()
    old = None if header is None else header.size
    resize = partial(qemu_img.resize, step.path, step.format, key=key)
    resize(step.size, shrink=step.shrink)
    return None if step.shrink or old is None else partial(resize, old, shrink=True)


@perform.register
def _remove(step: steps.RemoveImage, seen: FileSeen, world: World) -> Undo | None:
    """Where the file system gives it no second name, as a full one, it goes for good."""
    remove = partial(files.remove, step.path)
    try:
        return _instead(step.path, remove, world)
    except ApplyError as error:
        if getattr(error.__cause__, "errno", None) not in files.NO_SECOND_NAME:
            raise
    remove()
    return None


@perform.register
def _write_seed(step: steps.WriteSeed, seen: FileSeen | None, world: World) -> Undo:
    if seen is None:
        seed.write(step, over=False)
        return partial(files.remove, step.path)
    if step.domain:
        seed.remember(world.hypervisor, step.domain, step.path)
    return _instead(step.path, partial(seed.write, step, over=True), world)


@perform.register
def _remove_seed(step: steps.RemoveSeed, seen: FileSeen, world: World) -> Undo:
    return _instead(step.path, partial(files.remove, step.path), world)


def _instead(path: str, change: Callable[[], object], world: World) -> Undo:
    """Replace or remove a file, which is kept until the run is over; return what brings it back."""
    old = files.put_aside(path)
    world.afterwards.append(partial(temporary.end, old))
    back = partial(files.put_back, old, path)
    try:
        change()
    except BaseException:
        with suppress(KvmError):
            back()
        raise
    return back


@perform.register
def _own(step: steps.SetOwnership, seen: FileSeen, world: World) -> Undo:
    undo = partial(files.set_ownership, step.path, seen.owner, seen.group, seen.mode)
    try:
        files.set_ownership(step.path, step.owner, step.group, step.mode)
    except KvmError:
        with suppress(KvmError):
            undo()
        raise
    return undo


@perform.register
def _label(step: steps.SetLabel, seen: FileSeen, world: World) -> Undo | None:
    old = files.label(step.path)
    files.set_label(step.path, step.label)
    return None if old is None else partial(files.set_label, step.path, old)


@perform.register
def _directory(step: steps.MakeDirectory, seen: FileSeen | None, world: World) -> Undo:
    files.make_directory(step.path)
    return partial(files.remove_directory, step.path)


@perform.register
def _write_vmx(step: steps.WriteVmx, seen: VmxSeen, world: World) -> Undo:
    note, undo = vmx.write(step, seen)
    if note is not None:
        world.notes.append(note)
    return undo


@perform.register
def _reload_vm(step: steps.ReloadVm, seen: VmxSeen, world: World) -> Undo:
    """Taken back by what puts the old text back: that reloads it."""
    vmx.reload(step)
    return lambda: None
