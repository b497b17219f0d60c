"""The steps of nested virtualisation: guests of this host may be hypervisors, or may not."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from salt_kvm.errors import UnmetError
from salt_kvm.plan.host_steps import ReloadModule, WriteFile
from salt_kvm.plan.steps import Step, change
from salt_kvm.spec.host import Nested
from salt_kvm.xml.merge import Difference

HEAD = "# Written by Salt from kvm:host:nested of the pillar.\n"
# kvm_intel has a truth value, kvm_amd a number.
ON, OFF = ("Y", "y", "1"), ("N", "n", "0")


class NestedSeen(msgspec.Struct, frozen=True):
    """The KVM module of the CPU, its option file and what it runs with.

    ``module`` is ``None`` where the CPU can't virtualise; ``cure`` says then what helps. ``value``
    is ``None`` where the module is not loaded. ``users`` keep it from being loaded anew.
    """

    module: str | None
    cure: str
    path: str
    text: str | None
    parameter: str
    value: str | None
    loadable: bool
    users: list[str]


def plan(name: str, want: Nested, seen: NestedSeen) -> Iterator[Step | Difference]:
    """Yield what makes nested virtualisation as declared; what is in use waits."""
    if seen.module is None:
        if want.enabled:
            raise UnmetError(f"this host's CPU can't virtualise, so no guest can. {seen.cure}")
        return
    text = f"{HEAD}options {seen.module} nested={int(want.enabled)}\n"
    if seen.text != text:
        line = text.splitlines()[1]
        old = None if seen.text is None else _option(seen.text)
        yield WriteFile(path=seen.path, text=text, changes={seen.path: change(old, line)})
    if seen.value is None or _on(seen.value) is want.enabled:
        return
    reason = _waits(seen, enabled=want.enabled)
    wanted = ("Y" if want.enabled else "N") if seen.value in "YyNn" else str(int(want.enabled))
    if reason:
        yield Difference(seen.parameter, seen.value, wanted, reason=reason)
        return
    yield ReloadModule(
        path=seen.parameter,
        module=seen.module,
        parameter="nested",
        value=wanted,
        changes={seen.parameter: change(seen.value, wanted)},
    )


def _on(value: str) -> bool:
    return value in ON


def _waits(seen: NestedSeen, *, enabled: bool) -> str:
    if not seen.loadable:
        argument = f"{seen.module}.nested={int(enabled)}"
        return f"the module is built into the kernel; boot with the argument {argument}"
    return f"in use by {', '.join(seen.users)}" if seen.users else ""


def _option(text: str) -> str:
    return "; ".join(line for line in text.splitlines() if line and not line.startswith("#"))
