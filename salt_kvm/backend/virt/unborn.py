"""A libvirt that is yet to come: what a dry run takes for one on a host that has none.

It has nothing but what comes with it, as far as the disk tells: an object whose definition is there
can't be observed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from salt_kvm.backend.virt.hypervisor import Hypervisor, is_local
from salt_kvm.errors import KvmError
from salt_kvm.seen import Observed

# Where libvirt keeps the definitions of qemu:///system by kind, and the documents of what is on
# (https://libvirt.org/drvqemu.html#location-of-configuration-files).
FOLDERS = {
    "domain": ("/etc/libvirt/qemu", "/run/libvirt/qemu"),
    "network": ("/etc/libvirt/qemu/networks", "/run/libvirt/network"),
    "pool": ("/etc/libvirt/storage", "/run/libvirt/storage"),
    "secret": ("/etc/libvirt/secrets", "/run/libvirt/secrets"),
}
SYSTEM = "qemu:///system"
# What libvirt's packages define; Debian's leave it off (src/network/default.xml.in of libvirt).
SHIPPED = {
    ("network", "default"): Observed(
        "network",
        "default",
        "<network><name>default</name><forward mode='nat'/>"
        "<bridge name='virbr0' stp='on' delay='0'/>"
        "<ip address='192.168.122.1' netmask='255.255.255.0'>"
        "<dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>",
    )
}


class Unborn(Hypervisor):
    """What answers as a new libvirt would; whatever else is asked of it raises ``why``."""

    born = False

    def __init__(self, uri: str, why: KvmError) -> None:
        """Connect to nothing.

        :param uri: where libvirt will be; of any but ``qemu:///system`` nothing can be told
        :param why: what came of connecting
        """
        self.uri = uri
        self.local = is_local(uri)
        self.volumes = None
        self._why = why

    def alive(self) -> bool:
        """The next call tries again to connect."""
        return False

    def __getattr__(self, name: str) -> Any:
        """There is no connection, nor anything that comes with one."""
        raise self._why

    def read(self, kind: str, name: str, *, autostart: bool = True) -> Observed | None:
        """Return what comes with libvirt, else ``None``."""
        if f"{name}.xml" in self._defined(kind):
            raise self._why
        return SHIPPED.get((kind, name))

    def names(self, kind: str, *, active: bool = False) -> list[str]:
        """Return the names of what comes with libvirt, and is off."""
        if self._defined(kind):
            raise self._why
        return [] if active else [name for of, name in SHIPPED if of == kind]

    def read_all(self, kind: str) -> dict[str, Observed]:
        """Return what comes with libvirt."""
        return {name: SHIPPED[kind, name] for name in self.names(kind)}

    def find(self, kind: str, name: str) -> Any:
        """Return ``None``; the files of secrets have other names."""
        if kind == "secret":
            self.names(kind)
        else:
            self.read(kind, name)

    @contextmanager
    def saying(self, error: type[KvmError], what: str) -> Iterator[None]:
        """Refuse nothing."""
        yield

    def _defined(self, kind: str) -> set[str]:
        """Return the names of the files that define objects of a kind."""
        if self.uri != SYSTEM:
            raise self._why
        found: set[str] = set()
        for folder in FOLDERS[kind]:
            try:
                found.update(os.listdir(folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise self._why from error
        return {name for name in found if name.endswith(".xml")}
