"""One hypervisor and its host: what all calls of a process share.

A host that is yet to become a hypervisor loads this too, so nothing is needed here that it lacks.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from salt_kvm.backend.client import Client
from salt_kvm.backend.hosts import host
from salt_kvm.backend.hosts.kernel import Kernel
from salt_kvm.backend.virt import host_calls
from salt_kvm.backend.virt.hypervisor import PATIENCE_SECONDS, Hypervisor, is_local
from salt_kvm.backend.virt.unborn import Unborn
from salt_kvm.errors import ConnectError, DependencyError, KvmError
from salt_kvm.seen import Facts, Promises
from salt_kvm.xml.document import parse

if TYPE_CHECKING:
    from salt_kvm.spec.pillar import Known

# By libvirt's names of who makes the CPU.
FLAGS = {"Intel": "vmx", "AMD": "svm", "Hygon": "svm"}


def never(error: KvmError) -> bool:
    """Say of what is missing that nothing brings it."""
    return False


class World:
    """One hypervisor and its host, for one process; it connects when it is first asked."""

    def __init__(
        self, uri: str, forked_from: World | None = None, kernel: Kernel | None = None
    ) -> None:
        """Connect to nothing yet.

        :param uri: libvirt's address of the hypervisor: ``qemu:///system``
        :param forked_from: the world of the process that forked this one, whose promises hold
        :param kernel: where the kernel shows itself, if not in /proc and /sys
        """
        self.uri = uri
        self.kernel = kernel or Kernel()
        # True where the hypervisor's files are this host's files.
        self.local = is_local(uri)
        self.promised: Promises = forked_from.promised if forked_from else Promises()
        self._client: Callable[[], Client] = Client
        # `kvm:host:overcommit`, as the pillar has it: what guests may be promised of the host.
        self.overcommit: Any = None
        # Tells of what is missing whether earlier states of this dry run may bring it.
        self.coming: Callable[[KvmError], bool] = never
        # What the check of the pillar has read, so that a state need not.
        self.known: Known | None = None
        # True where a check has found what ends a run.
        self.ended = False
        # True where what killed runs have left is gone.
        self.swept = False
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
        self._client, self.coming = client, never
        if run != self._run:
            self._run, self.promised = run, Promises()
            self.known, self.ended, self.swept = None, False, False
        if self._hypervisor is not None and not self._hypervisor.alive():
            self._hypervisor = None

    @property
    def section(self) -> dict[str, Any]:
        """The ``kvm`` section of the pillar as it was read; empty where it was not."""
        return {} if self.known is None else self.known.section

    @property
    def client(self) -> Client:
        """How to fetch, where to keep and whom to tell, in this call."""
        return self._client()

    @property
    def hypervisor(self) -> Hypervisor:
        """The connection, which never crosses a fork."""
        if self._hypervisor is None or self._process != os.getpid():
            self._hypervisor, self._process = self._connected(), os.getpid()
        return self._hypervisor

    def _connected(self) -> Hypervisor:
        try:
            return Hypervisor(self.uri)
        except (ConnectError, DependencyError) as error:
            if self.coming(error):
                return Unborn(self.uri, error)
            raise

    @property
    def foretold(self) -> bool:
        """True where this call took libvirt, which is yet to come, for one that has nothing."""
        return self._hypervisor is not None and not self._hypervisor.born

    def answers(self) -> None:
        """Wait until the hypervisor answers on a new connection; its daemon was started anew."""
        self._hypervisor = Hypervisor(self.uri, patience=PATIENCE_SECONDS)
        self._process = os.getpid()
        self._hypervisor.names("domain", active=True)

    @property
    def facts(self) -> Facts:
        """What the hypervisor can do."""
        if not self.hypervisor.born:
            return Facts(platform.machine(), host.kvm_usable(), self.kernel.flag())
        return self._facts

    @cached_property
    def _facts(self) -> Facts:
        """They do not change while a process lives."""
        if self.local:
            return Facts(host_calls.arch(self.hypervisor), host.kvm_usable(), self.kernel.flag())
        document = parse(host_calls.capabilities(self.hypervisor))
        types = {domain.get("type") for domain in document.iterfind("guest/arch/domain")}
        flag = FLAGS.get(document.findtext("host/cpu/vendor", ""), "none")
        return Facts(host_calls.arch(self.hypervisor), "kvm" in types, flag)

    @property
    def pool_types(self) -> frozenset[str] | None:
        """The types of storage pools that libvirt has drivers for; ``None`` is unknown."""
        return self._pool_types if self.hypervisor.born else None

    @cached_property
    def _pool_types(self) -> frozenset[str] | None:
        document = host_calls.pool_capabilities(self.hypervisor)
        if document is None:
            return None
        pools = parse(document).iterfind("pool[@supported='yes']")
        return frozenset(str(pool.get("type")) for pool in pools)
