"""What the benchmark makes on the host and takes away again: domains, their disks, a network."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import libvirt

URI = "qemu:///system"
PREFIX = "bench-kvm-"
NETWORK = f"{PREFIX}net"
DAEMONS = ("virtlogd", "libvirtd")


class Host:
    """The libvirt of this machine, with as many of the benchmark's domains as a run needs."""

    def __init__(self, folder: Path) -> None:
        """Connect; ``folder`` takes the disks' files."""
        self.folder = folder
        self.connection = libvirt.open(URI)
        self.definitions: list[str] = []

    def domains(self) -> list[Any]:
        every = self.connection.listAllDomains(0)
        return sorted((d for d in every if d.name().startswith(PREFIX)), key=lambda d: d.name())

    def prepare(self) -> None:
        """Make the network that the domains name."""
        self.clear()
        self.connection.networkDefineXML(f"<network><name>{NETWORK}</name></network>")

    def disk(self, name: str) -> str:
        return str(self.folder / f"{name}.qcow2")

    def remember(self) -> None:
        """Keep the definitions that are there, so that :meth:`resize` can bring them back."""
        flag = libvirt.VIR_DOMAIN_XML_INACTIVE
        self.definitions = [domain.XMLDesc(flag) for domain in self.domains()]

    def resize(self, count: int) -> None:
        """Let the first ``count`` of the remembered domains be defined, and no other."""
        there = self.domains()
        for domain in there[count:]:
            domain.undefine()
        for definition in self.definitions[len(there) : count]:
            self.connection.defineXML(definition)

    def start(self) -> None:
        """Start every domain that is there, paused: running guests that cost no CPU."""
        self.connection.networkLookupByName(NETWORK).create()
        for domain in self.domains():
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)

    def stop(self) -> None:
        """Take every domain down that runs, and their network."""
        for domain in self.domains():
            if domain.isActive():
                domain.destroy()
        with suppress(libvirt.libvirtError):
            self.connection.networkLookupByName(NETWORK).destroy()

    def multiply(self, count: int) -> None:
        """Define ``count`` domains after the first one that is remembered."""
        first = names(1)[0]
        alike = re.sub(r"<uuid>.*?</uuid>|<mac .*?/>", "", self.definitions[0])
        for name in names(count)[len(self.domains()) :]:
            self.connection.defineXML(alike.replace(first, name))

    def clear(self) -> None:
        """Remove all that a run, or an earlier one that was killed, made in libvirt."""
        self.stop()
        for domain in self.domains():
            domain.undefine()
        with suppress(libvirt.libvirtError):
            self.connection.networkLookupByName(NETWORK).undefine()


def names(count: int) -> list[str]:
    return [f"{PREFIX}{number:03d}" for number in range(count)]


@contextmanager
def host() -> Iterator[Host]:
    """Yield the host, and leave it as it was found, whatever happens in between."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    signal.signal(signal.SIGTERM, _interrupt)
    with _folder() as folder, _libvirtd():
        made = Host(folder)
        try:
            yield made
        finally:
            made.clear()
            made.connection.close()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/var/tmp"))
    # QEMU is another user.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _libvirtd() -> Iterator[None]:
    """Start libvirt's daemons where nothing answers, and then stop them afterwards."""
    started = [] if _answers() else [daemon for daemon in DAEMONS if _start(daemon)]
    try:
        if started:
            _wait()
        yield
    finally:
        for daemon in reversed(started):
            os.kill(int(_pid_file(daemon).read_text()), signal.SIGTERM)


def _answers() -> bool:
    try:
        libvirt.open(URI).close()
    except libvirt.libvirtError:
        return False
    return True


def _start(daemon: str) -> bool:
    """Start a daemon; false where it runs already."""
    with suppress(OSError, ValueError):
        os.kill(int(_pid_file(daemon).read_text()), 0)
        return False
    subprocess.run([daemon, "-d"], check=True)
    return True


def _pid_file(daemon: str) -> Path:
    return Path("/run") / f"{daemon}.pid"


def _wait(seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not _answers():
        if time.monotonic() > end:
            raise SystemExit(f"{URI} does not answer {seconds:.0f} s after libvirtd was started")
        time.sleep(0.2)
