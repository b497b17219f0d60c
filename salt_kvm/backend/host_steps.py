"""How the host's own steps are carried out, undone and promised, and what is seen before them."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from salt_kvm.backend import history
from salt_kvm.backend.hosts import checks, daemons, kernel, sasl
from salt_kvm.backend.perform import Undo, perform
from salt_kvm.backend.promise import promise
from salt_kvm.backend.system import command, files
from salt_kvm.backend.view import View
from salt_kvm.backend.world import World
from salt_kvm.errors import KvmError
from salt_kvm.plan import host_steps as steps
from salt_kvm.plan import kernel as plan
from salt_kvm.plan.config import ConfigSeen
from salt_kvm.plan.nested import NestedSeen
from salt_kvm.plan.sasl import SaslSeen
from salt_kvm.plan.steps import Step
from salt_kvm.seen import FileSeen, Hidden, Promises
from salt_kvm.spec import host as spec

CONFIG = "/etc/libvirt"
SYSCTL = "etc/sysctl.d/60-salt-kvm.conf"
# Whether these have come up again, libvirt's library can ask.
HYPERVISORS = ("libvirtd", "virtqemud")


def nested(view: View, name: str, want: spec.Nested) -> NestedSeen:
    """Return what nested virtualisation is like on this host."""
    tree = view.world.kernel
    module = tree.module()
    path = tree.path(kernel.OPTIONS)
    parameter = tree.parameter(module or "", kernel.NESTED)
    value = None if module is None else view.text(parameter)
    return NestedSeen(
        module=module,
        cure=checks.cpu_cure() if module is None else "",
        path=path,
        text=view.text(path),
        parameter=parameter,
        value=None if value is None else value.strip(),
        loadable=module is not None and tree.loadable(module),
        users=[] if module is None else tree.users(module),
    )


def config(view: View, name: str, want: spec.Config) -> ConfigSeen:
    """Return the declared configuration files; daemons are asked for when that matters."""
    others = want.paths or {}
    paths = {str(file): str(others.get(file, f"{CONFIG}/{file}")) for file in want.files}
    texts = {file: view.text(path) for file, path in paths.items()}
    return ConfigSeen(paths, texts, daemons.due(), daemons.active, daemons.minded)


def told(view: View, name: str, want: spec.Kernel) -> plan.KernelSeen:
    """Return what the kernel is told now, and is to be told at each boot."""
    tree = view.world.kernel
    values = {path: view.text(tree.path(path)) for path in plan.parameters(want)}
    boot, sysctl = tree.path("etc/tmpfiles.d/salt-kvm.conf"), tree.path(SYSCTL)
    return plan.KernelSeen(
        tree.path(""), values, (boot, view.text(boot)), (sysctl, view.text(sysctl))
    )


def arguments(view: View, name: str, want: spec.BootArguments) -> plan.ArgumentsSeen:
    """Return what the kernel was booted with, and what the next boot is to have."""
    tree = view.world.kernel
    running = view.text(tree.path("proc/cmdline")) or ""
    due = plan.LOADER in daemons.due()
    return plan.ArgumentsSeen(running, tree.vendor(), view.text(want.file), due)


def sasl_user(view: View, name: str, want: spec.SaslUser) -> SaslSeen:
    """Return whether SASL lets a user in."""
    return sasl.look(name, None if want.password is None else Hidden(want.password.encode()))


@perform.register
def _set_sasl_user(step: steps.SetSaslUser, seen: None, world: World) -> Undo | None:
    sasl.set_password(step.name, step.password)
    return partial(sasl.remove, step.name) if step.new else None


@perform.register
def _remove_sasl_user(step: steps.RemoveSaslUser, seen: None, world: World) -> None:
    sasl.remove(step.name)


@perform.register
def _write(step: steps.WriteFile, seen: FileSeen | None, world: World) -> Undo:
    old = files.text(step.path)
    if old is not None:
        history.keep("file", step.path, old)
    due = daemons.due()
    daemons.owe(reader for reader in step.readers if reader != plan.LOADER)
    if plan.LOADER in step.readers:
        daemons.owe_always(plan.LOADER)
    _put(step, step.text)
    return partial(_put_back, step, old, frozenset(step.readers) - due)


def _put(step: steps.WriteFile, text: str | None) -> None:
    if text is None:
        files.remove(step.path)
    else:
        files.rewrite(step.path, text, step.mode, secret=step.secret)


def _put_back(step: steps.WriteFile, old: str | None, owed: frozenset[str]) -> None:
    _put(step, old)
    daemons.settle(owed)


@perform.register
def _restart(step: steps.RestartDaemon, seen: None, world: World) -> Undo:
    """What is taken back is the file; the daemon has to read that too, when all of it is."""
    again = partial(_restarted, step, world)
    try:
        again()
    except KvmError:
        world.afterwards.append(partial(_quietly, again))
        raise
    daemons.settle([step.name])
    return partial(world.afterwards.append, partial(_quietly, again))


def _restarted(step: steps.RestartDaemon, world: World) -> None:
    daemons.renew(step.name, step.how)
    if step.name in HYPERVISORS and world.local:
        world.answers()


def _quietly(again: Callable[[], object]) -> None:
    with suppress(KvmError):
        again()


@perform.register
def _loader(step: steps.UpdateBootLoader, seen: None, world: World) -> Undo:
    """As with a daemon: what is taken back is the file."""
    command.run(step.command)
    daemons.settle([plan.LOADER])
    return partial(world.afterwards.append, partial(_quietly, partial(command.run, step.command)))


@promise.register(steps.RestartDaemon)
@promise.register(steps.UpdateBootLoader)
@promise.register(steps.SetSaslUser)
@promise.register(steps.RemoveSaslUser)
def _unasked(step: Step, seen: None, promises: Promises) -> None:
    """Nobody asks what a daemon has read, or whom it lets in."""


@promise.register
def _written(step: steps.WriteFile, seen: FileSeen | None, promises: Promises) -> None:
    promises.texts[step.path] = step.text
    made = FileSeen(step.path, "file", "root", "root", step.mode)
    promises.files[step.path] = None if step.text is None else seen or made


@perform.register
def _set(step: steps.SetParameter, seen: FileSeen, world: World) -> Undo:
    old = files.text(step.path) or ""
    files.put(step.path, step.value)
    return partial(files.put, step.path, old)


@perform.register
def _reload(step: steps.ReloadModule, seen: FileSeen, world: World) -> Undo:
    old = (files.text(step.path) or "").strip()
    back = partial(kernel.reload, step.module, f"{step.parameter}={old}")
    try:
        kernel.reload(step.module)
    except KvmError:
        with suppress(KvmError):
            back()
        raise
    return back


@promise.register(steps.SetParameter)
@promise.register(steps.ReloadModule)
def _told(
    step: steps.SetParameter | steps.ReloadModule, seen: FileSeen, promises: Promises
) -> None:
    promises.texts[step.path] = step.value
