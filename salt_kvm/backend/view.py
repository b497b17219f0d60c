"""What a run can see: the world as it would be after what was promised, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from salt_kvm.backend import (
    begun,
    device,
    files,
    images,
    secret,
    storage_needs,
    usage,
    volume,
    volume_usage,
)
from salt_kvm.backend.promise import promise
from salt_kvm.backend.store import Store
from salt_kvm.backend.world import World
from salt_kvm.plan.steps import FileStep, Need, ObjectStep, Step
from salt_kvm.seen import DeviceSeen, FileSeen, Observed, Promises
from salt_kvm.xml import volume as volume_xml

# What is no libvirt object with a persistent and a live side.
SINGLE = {"volume": volume.read, "secret": secret.read}


class View(msgspec.Struct, frozen=True):
    """The world as it would be after the steps that were promised."""

    world: World
    promises: Promises

    def read(self, kind: str, name: str, *, autostart: bool = True) -> Observed | None:
        """Return a domain, network or pool; its autostart only where that is asked for."""
        if (kind, name) in self.promises.objects:
            return self.promises.objects[kind, name]
        if kind in SINGLE:
            return SINGLE[kind](self.world.hypervisor, name)
        return self.world.hypervisor.read(kind, name, autostart=autostart)

    def names(self, kind: str) -> list[str]:
        """Return the names of all objects of a kind, also of those that are promised to go."""
        promised = {name for of, name in self.promises.objects if of == kind}
        return sorted(promised.union(self.world.hypervisor.names(kind)))

    def all(self, kind: str) -> Iterator[Observed]:
        """Yield all objects of a kind, without their autostart."""
        for name in self.names(kind):
            seen = self.read(kind, name, autostart=False)
            if seen is not None:
                yield seen

    def guests(self) -> Iterator[Observed]:
        """Yield all domains; where a disk names a volume, its file stands beside that name."""
        return (volume_usage.placed(seen, self._place) for seen in self.all("domain"))

    def _place(self, name: str) -> str | None:
        """Return where a volume is."""
        there = self.read("volume", name)
        return None if there is None else volume_xml.path(there.xml)

    def image(self, path: str, format: str | None) -> FileSeen | None:
        """Return an image file that is declared to be of a format, with the size a guest sees.

        :param format: ``None``: of any
        """
        if path in self.promises.files:
            return self.promises.files[path]
        return images.see(path, format)

    def file(self, path: str) -> FileSeen | None:
        """Return a file or directory."""
        return self.promises.files[path] if path in self.promises.files else files.look(path)

    def promised(self, kind: str, name: str) -> bool:
        """Tell whether an object is, or is not, there by a promise."""
        return (kind, name) in self.promises.objects

    def half_volume(self, there: Observed) -> bool:
        """Tell whether a volume is what a run that was killed had begun to fill."""
        promised = self.promised("volume", there.name)
        return not promised and begun.is_half(self.world.uri, there.name, there.xml)

    def known_volume(self, name: str) -> bool:
        """Tell whether libvirt has a volume on its list, be its file there or not."""
        return not self.promised("volume", name) and volume.known(self.world.hypervisor, name)

    def device(self, path: str, /) -> DeviceSeen | None:
        """Return what a block device of the host holds."""
        return device.look(path) if self.world.local else None

    def before(self, step: Step) -> Observed | FileSeen | None:
        """Return what ``step`` is about to change."""
        if isinstance(step, ObjectStep):
            return self.read(step.kind, step.name)
        return self.file(step.path) if isinstance(step, FileStep) else None

    def promise(self, step: Step) -> None:
        """Count a step as done."""
        promise(step, self.before(step), self.promises)

    def unmet(self, need: Need) -> str | None:
        """Return the sentence that says what is missing; ``None`` where the need is met."""
        fault = _CHECKS[need.what](self, need)
        return None if fault is None else f"{fault}; {need.cure}"


class Images(msgspec.Struct, frozen=True):
    """The images of a view by path, each looked at when it is asked for."""

    view: View

    def get(self, path: str, format: str, /) -> FileSeen | None:
        return self.view.image(path, format) if self.view.world.local else None

    def users(self, path: str, /, *, but: str) -> list[str]:
        return usage.users(self.view.guests(), path, but=but)

    def runners(self, path: str, /) -> list[tuple[str, str]]:
        return usage.runners(self.view.guests(), path) if self.view.world.local else []


def _file(view: View, need: Need) -> str | None:
    if not view.world.local:
        return None
    seen = view.file(need.name)
    if seen is None:
        return f"the file {need.name} is not there"
    if need.format is not None and seen.format not in (None, need.format):
        return f"{need.name} is a {seen.format} image, but is declared as {need.format}"
    return None


def _unused(view: View, need: Need) -> str | None:
    others = usage.users(view.guests(), need.name, but=need.user) if view.world.local else []
    return f"{need.name} is in use by {', '.join(others)}" if others else None


def _idle(view: View, need: Need) -> str | None:
    guests = usage.running(view.guests(), need.name) if view.world.local else []
    return f"{need.name} is in use by the running {', '.join(guests)}" if guests else None


def _unwritten(view: View, need: Need) -> str | None:
    guests = usage.writers(view.guests(), need.name) if view.world.local else []
    return f"{need.name} is written by {', '.join(guests)}" if guests else None


def _source(view: View, need: Need) -> str | None:
    """``format`` is its checksum; what the store has need not be where it came from."""
    if not need.name.startswith("/") or Store(view.world.client).has(need.format):
        return None
    return None if view.file(need.name) is not None else f"the file {need.name} is not there"


def _bare(view: View, need: Need) -> str | None:
    tops = usage.standing(view.guests(), need.name) if view.world.local else []
    return f"{', '.join(tops)} stands on {need.name}" if tops else None


def _directory(view: View, need: Need) -> str | None:
    seen = view.file(need.name)
    if seen is None:
        return f"the directory {need.name} is not there"
    return None if seen.kind == "directory" else f"{need.name} is a {seen.kind}, not a directory"


def _network(view: View, need: Need) -> str | None:
    seen = view.read("network", need.name)
    return f"there is no network {need.name!r}" if seen is None else None


def _active_network(view: View, need: Need) -> str | None:
    seen = view.read("network", need.name)
    return None if seen is not None and seen.active else f"the network {need.name!r} is not active"


def _kvm(view: View, need: Need) -> str | None:
    return None if view.world.facts.kvm else "this host can't virtualise in hardware"


_CHECKS = {
    "file": _file,
    "unused": _unused,
    "idle": _idle,
    "unwritten": _unwritten,
    "bare": _bare,
    "source": _source,
    "directory": _directory,
    "network": _network,
    "active network": _active_network,
    "kvm": _kvm,
    **storage_needs.CHECKS,
}
