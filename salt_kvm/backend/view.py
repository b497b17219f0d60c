"""What a run can see: the world as it would be after what was promised."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from salt_kvm.backend.promise import promise
from salt_kvm.backend.storage import begun, images, secret, usage, volume, volume_usage
from salt_kvm.backend.system import device, files
from salt_kvm.backend.vmware import vmx
from salt_kvm.backend.world import World
from salt_kvm.plan.steps import FileStep, ObjectStep, Step, VmxStep
from salt_kvm.seen import DeviceSeen, FileSeen, Observed, Promises, VmxSeen
from salt_kvm.spec.vmx import Esxi, where
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

    def text(self, path: str) -> str | None:
        """Return what a text file of the host, or of its kernel, holds."""
        return self.promises.texts[path] if path in self.promises.texts else files.text(path)

    def promised(self, kind: str, name: str) -> bool:
        """Tell whether an object is, or is not, there by a promise."""
        return (kind, name) in self.promises.objects

    def half_volume(self, there: Observed) -> bool:
        """Tell whether a volume is what a run that was killed had begun to fill."""
        promised = self.promised("volume", there.name)
        return not promised and volume.is_half(self.world.uri, there, local=self.world.local)

    def known_volume(self, name: str) -> bool:
        """Tell whether libvirt has a volume on its list, be its file there or not."""
        return not self.promised("volume", name) and volume.known(self.world.hypervisor, name)

    def device(self, path: str, /) -> DeviceSeen | None:
        """Return what a block device of the host holds."""
        return device.look(path) if self.world.local else None

    def half_built(self, pool: str, format: str, seen: DeviceSeen, /) -> bool:
        """Tell whether a device holds what a run that was killed had begun to build for a pool."""
        return begun.is_half_built(self.world.uri, pool, format, seen)

    def vmx(self, host: Esxi | None, path: str) -> VmxSeen:
        """Return a machine's file, on this host or on an ESXi host."""
        return self.promises.vmx.get(where(host, path)) or vmx.look(host, path)

    def before(self, step: Step) -> Observed | FileSeen | VmxSeen | None:
        """Return what ``step`` is about to change."""
        if isinstance(step, ObjectStep):
            return self.read(step.kind, step.name)
        if isinstance(step, VmxStep):
            return self.vmx(step.host, step.path)
        return self.file(step.path) if isinstance(step, FileStep) else None

    def promise(self, step: Step) -> None:
        """Count a step as done."""
        promise(step, self.before(step), self.promises)


class Images(msgspec.Struct, frozen=True):
    """The images of a view by path, each looked at when it is asked for."""

    view: View

    def get(self, path: str, format: str, /) -> FileSeen | None:
        return self.view.image(path, format) if self.view.world.local else None

    def holders(self, path: str, /, *, but: str) -> list[str]:
        return usage.holders(self.view.guests(), path, but=but)

    def runners(self, path: str, /) -> list[tuple[str, str]]:
        return usage.runners(self.view.guests(), path) if self.view.world.local else []
