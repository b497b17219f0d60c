"""A running guest as a plan asks it: only where something differs."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property

from salt_kvm.backend.guests import refusals
from salt_kvm.backend.virt import domain_calls, live
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import KvmError
from salt_kvm.seen import Observed


class Guest:
    """What is asked of it; one that a dry run only promises is taken to answer."""

    def __init__(self, hypervisor: Hypervisor, seen: Observed) -> None:
        self.hypervisor, self.seen = hypervisor, seen

    def balloon(self) -> bool:
        with suppress(KvmError):
            return live.balloon(self.hypervisor, self.seen.name)
        return False

    def lacks(self, key: str, /) -> str | None:
        with suppress(KvmError):
            return live.lacks(self.hypervisor, self.seen.name, key)
        return None

    def paused(self) -> str | None:
        if not self.seen.active:
            return None
        with suppress(KvmError):
            return domain_calls.pause(self.hypervisor, self.seen.name)
        return None

    def refused(self, mark: str, /) -> str | None:
        return self._refused.get(mark)

    @cached_property
    def _refused(self) -> dict[str, str]:
        return refusals.refused(self.seen)
