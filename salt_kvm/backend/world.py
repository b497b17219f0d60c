"""One hypervisor and its host: what all calls of a process share.

A host that is yet to become a hypervisor loads this too, so nothing is needed here that it lacks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from salt_kvm.backend import host
from salt_kvm.backend.client import Client
from salt_kvm.backend.hypervisor import Hypervisor
from salt_kvm.seen import Facts, Promises


class World:
    """One hypervisor and its host, for one process; it connects when it is first asked."""

    def __init__(self, uri: str, forked_from: World | None = None) -> None:
        """Connect to nothing yet.

        :param uri: libvirt's address of the hypervisor: ``qemu:///system``
        :param forked_from: the world of the process that forked this one, whose promises hold
        """
        self.uri = uri
        # True where the hypervisor's files are this host's files.
        self.local = not urlsplit(uri).netloc
        self.promised: Promises = forked_from.promised if forked_from else Promises()
        self._client: Callable[[], Client] = Client
        # What is worth saying of a run beside its steps; whoever runs it takes them out.
        self.notes: list[str] = []
        # What is to be done when a run is over, whether it succeeded or was taken back.
        self.afterwards: list[Callable[[], None]] = []
        self._run: object = forked_from._run if forked_from else None
        self._hypervisor: Hypervisor | None = None
        self._process = os.getpid()

    def begin(self, run: object, client: Callable[[], Client]) -> None:
        """Start a call: drop a connection that broke, and what another dry run promised.

        :param run: what the calls of one run have in common
        :param client: makes the client of this call, which few of them need
        """
        self._client = client
        if run != self._run:
            self._run, self.promised = run, Promises()
        if self._hypervisor is not None and not self._hypervisor.alive():
            self._hypervisor = None

    @property
    def client(self) -> Client:
        """How to fetch, where to keep and whom to tell, in this call."""
        return self._client()

    @property
    def hypervisor(self) -> Hypervisor:
        """The connection, which never crosses a fork."""
        if self._hypervisor is None or self._process != os.getpid():
            self._hypervisor, self._process = Hypervisor(self.uri), os.getpid()
        return self._hypervisor

    @cached_property
    def facts(self) -> Facts:
        """What the hypervisor can do; it does not change while a process lives."""
        if self.local:
            return Facts(self.hypervisor.arch(), host.kvm_usable())
        document = ET.fromstring(self.hypervisor.capabilities())
        types = {domain.get("type") for domain in document.iterfind("guest/arch/domain")}
        return Facts(self.hypervisor.arch(), "kvm" in types)

    @cached_property
    def pool_types(self) -> frozenset[str] | None:
        """The types of storage pools that libvirt has drivers for; ``None`` is unknown."""
        document = self.hypervisor.pool_capabilities()
        if document is None:
            return None
        pools = ET.fromstring(document).iterfind("pool[@supported='yes']")
        return frozenset(str(pool.get("type")) for pool in pools)
