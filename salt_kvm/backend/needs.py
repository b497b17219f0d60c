"""What the steps of a plan need, looked up in a view of the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from salt_kvm.backend import capacity, storage_needs
from salt_kvm.backend.guests import boot_files, iso
from salt_kvm.backend.hosts.kernel import NESTED
from salt_kvm.backend.storage import usage
from salt_kvm.backend.storage.store import Store
from salt_kvm.backend.system import files
from salt_kvm.backend.view import View
from salt_kvm.backend.virt import domain_calls
from salt_kvm.errors import KvmError, UnmetError
from salt_kvm.plan.nested import ON
from salt_kvm.plan.steps import Need


def unmet(view: View, need: Need) -> str | None:
    """Return the sentence that says what is missing; ``None`` where the need is met."""
    fault = _CHECKS[need.what](view, need)
    return None if fault is None else f"{fault}; {need.cure}"


def _file(view: View, need: Need) -> str | None:
    if not view.world.local:
        return None
    seen = view.file(need.name)
    if seen is None:
        return f"the file {need.name} is not there"
    if seen.kind not in ("file", "block device"):
        return f"{need.name} is a {seen.kind}, not a file"
    if need.format is not None and seen.format not in (None, need.format):
        return f"{need.name} is a {seen.format} image, but is declared as {need.format}"
    return None


def _tree(view: View, need: Need) -> str | None:
    """An installer is in an image, or in a directory."""
    seen = view.file(need.name) if view.world.local else None
    return None if seen is not None and seen.kind == "directory" else _file(view, need)


def _unused(view: View, need: Need) -> str | None:
    others = usage.users(view.guests(), need.name, but=need.user) if view.world.local else []
    return f"{need.name} is in use by {', '.join(others)}" if others else None


def _idle(view: View, need: Need) -> str | None:
    guests = usage.running(view.guests(), need.name) if view.world.local else []
    return f"{need.name} is in use by the running {', '.join(guests)}" if guests else None


def _unsaved(view: View, need: Need) -> str | None:
    """The memory of a guest that was saved goes on with its disks as they were."""
    guests = usage.resting(view.guests(), need.name) if view.world.local else []
    saved = [name for name in guests if domain_calls.saved(view.world.hypervisor, name)]
    return f"{need.name} belongs to the saved memory of {', '.join(saved)}" if saved else None


def _awake(view: View, need: Need) -> str | None:
    """One that only this dry run has started is not paused."""
    hypervisor = view.world.hypervisor
    there = hypervisor.active("domain", need.name)
    return domain_calls.asleep(hypervisor, need.name) if there else None


def _unwritten(view: View, need: Need) -> str | None:
    guests = usage.writers(view.guests(), need.name) if view.world.local else []
    return f"{need.name} is written by {', '.join(guests)}" if guests else None


def _source(view: View, need: Need) -> str | None:
    """``format`` is its checksum; what the store has need not be where it came from.

    A device shows nothing by which a change of it would be noticed.
    """
    if (need.format or "").startswith("/"):
        sums = view.file(str(need.format))
        if sums is None or sums.kind != "file":
            return f"the file {need.format} with its checksum is not there"
    if not need.name.startswith("/") or Store(view.world.client).has(need.format):
        return None
    seen = view.file(need.name)
    if seen is None:
        return f"the file {need.name} is not there"
    return None if seen.kind == "file" else f"{need.name} is a {seen.kind}, not a file"


def _bare(view: View, need: Need) -> str | None:
    if view.world.local and Store(view.world.client).holds(need.name):
        return f"{need.name} is in the store, where images that are not seen here may stand on it"
    tops = usage.standing(view.guests(), need.name) if view.world.local else []
    return f"{', '.join(tops)} stands on {need.name}" if tops else None


def _installer(view: View, need: Need) -> str | None:
    if need.name.startswith("/") and not _can_be_read(view, need.name):
        return None
    try:
        boot_files.find(need.name, need.parts, view.world.client)
    except UnmetError as error:
        return str(error)
    return None


def _bootable(view: View, need: Need) -> str | None:
    return iso.fault(need.name) if _can_be_read(view, need.name) else None


def _can_be_read(view: View, path: str) -> bool:
    """What is missing is told for itself; what an earlier state would bring holds nothing yet."""
    if not view.world.local or path in view.promises.files:
        return False
    seen = view.file(path)
    return seen is not None and seen.kind != "special file"


def _answer(view: View, need: Need) -> str | None:
    try:
        view.world.client.render(need.name)
    except KvmError as error:
        return str(error)
    return None


def _directory(view: View, need: Need) -> str | None:
    seen = view.file(need.name)
    if seen is None:
        return f"the directory {need.name} is not there"
    if seen.kind != "directory":
        return f"{need.name} is a {seen.kind}, not a directory"
    return _writable(view, need)


def _writable(view: View, need: Need) -> str | None:
    """What an earlier step makes can be written to."""
    there = view.world.local and need.name not in view.promises.files
    return files.unwritable(need.name) if there and view.file(need.name) is not None else None


def _no_link(view: View, need: Need) -> str | None:
    """What is looked at through a link to nowhere is not there, and yet can't be made."""
    leads = view.world.local and view.file(need.name) is None and files.is_link(need.name)
    return f"{need.name} is a link to nowhere" if leads else None


def _network(view: View, need: Need) -> str | None:
    seen = view.read("network", need.name)
    return f"there is no network {need.name!r}" if seen is None else None


def _active_network(view: View, need: Need) -> str | None:
    seen = view.read("network", need.name)
    return None if seen is not None and seen.active else f"the network {need.name!r} is not active"


def _kvm(view: View, need: Need) -> str | None:
    return None if view.world.facts.kvm else "this host can't virtualise in hardware"


def _nested(view: View, need: Need) -> str | None:
    """What the module of a host elsewhere has can't be seen from here; QEMU will tell."""
    if not view.world.local:
        return None
    kernel = view.world.kernel
    value = view.text(kernel.parameter(kernel.module() or "", NESTED))
    on = value is None or value.strip() in ON
    return None if on else "this host's guests can't be hypervisors (KVM's parameter nested is off)"


_CHECKS: Mapping[str, Callable[[View, Need], str | None]] = {
    "file": _file,
    "tree": _tree,
    "unused": _unused,
    "idle": _idle,
    "unsaved": _unsaved,
    "awake": _awake,
    "unwritten": _unwritten,
    "bare": _bare,
    "source": _source,
    "directory": _directory,
    "writable": _writable,
    "no link": _no_link,
    "installer": _installer,
    "bootable": _bootable,
    "answer": _answer,
    "network": _network,
    "active network": _active_network,
    "kvm": _kvm,
    "capacity": capacity.unmet,
    "nested": _nested,
    **storage_needs.CHECKS,
}
