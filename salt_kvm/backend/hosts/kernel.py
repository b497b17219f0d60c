"""The kernel under the guests: its modules, their parameters, and who uses /dev/kvm."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from salt_kvm.backend.hosts import host
from salt_kvm.backend.system import command

MODULES = {"vmx": "kvm_intel", "svm": "kvm_amd"}
OPTIONS = "etc/modprobe.d/salt-kvm.conf"
NESTED = "nested"


@dataclass(frozen=True)
class Kernel:
    """Where the kernel shows itself; ``root`` is / but for a tree that stands in for it."""

    root: str = "/"

    def path(self, *names: str) -> str:
        """Return the path of one of its files."""
        return os.path.join(self.root, *names)

    def flag(self) -> str:
        """Return the CPU's virtualisation flag: ``vmx``, ``svm`` or ``none``."""
        return host.cpu_virtualisation(Path(self.path("proc/cpuinfo")))

    def vendor(self) -> str:
        """Return who made the CPU, in its own word: ``GenuineIntel``, ``AuthenticAMD``, ..."""
        lines = _text(Path(self.path("proc/cpuinfo"))).splitlines()
        fields = (line.partition(":") for line in lines)
        return next((value.strip() for key, _, value in fields if key.strip() == "vendor_id"), "")

    def module(self) -> str | None:
        """Return the KVM module of the CPU that is there."""
        return MODULES.get(self.flag())

    def parameter(self, module: str, name: str) -> str:
        """Return the path of a module's parameter."""
        return self.path("sys/module", module, "parameters", name)

    def loadable(self, module: str) -> bool:
        """Tell whether a module can be loaded anew: one that is built in has no counter."""
        return os.path.exists(self.path("sys/module", module, "refcnt"))

    def users(self, module: str) -> list[str]:
        """Return who keeps a KVM module from being loaded anew; an empty list: nobody.

        Each open /dev/kvm and each guest counts as one
        (``kvm_chardev_ops.owner`` in the kernel's ``virt/kvm/kvm_main.c``).
        """
        try:
            count = Path(self.path("sys/module", module, "refcnt")).read_text().strip()
        except OSError:
            return []
        named = sorted(set(self._openers()))
        return named or ([] if count == "0" else [f"{count} unnamed"])

    def _openers(self) -> Iterator[str]:
        """Yield name and number of each process that has /dev/kvm or a guest's machine open."""
        for process in Path(self.path("proc")).glob("[0-9]*"):
            if any(_is_kvm(handle) for handle in _listed(process / "fd")):
                yield f"{_text(process / 'comm') or 'process'} ({process.name})"


def reload(module: str, *options: str) -> None:
    """Load a module anew, as its option files say, or with other options."""
    command.run(["modprobe", "-r", module])
    command.run(["modprobe", module, *options])


def _is_kvm(handle: Path) -> bool:
    try:
        target = os.readlink(handle)
    except OSError:
        return False
    return target == "/dev/kvm" or target.startswith("anon_inode:kvm-")


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
