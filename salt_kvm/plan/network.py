"""The steps of a network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from salt_kvm.plan import common
from salt_kvm.plan.steps import Step
from salt_kvm.seen import Observed
from salt_kvm.spec.network import Network
from salt_kvm.xml import network as xml
from salt_kvm.xml.merge import Difference


def plan(name: str, want: Network, seen: Observed | None) -> Iterator[Step]:
    """Yield what makes the network as declared; one in use is never restarted for a change."""
    if want.state == "absent":
        yield from common.stop("network", name, seen)
        yield from common.undefine("network", name, seen)
        return
    intent = xml.intent(name, want)
    merged = common.compose(seen, intent, partial(xml.blank, name))
    xml.complete(merged.xml)
    yield from common.definition("network", name, seen, intent, merged)
    yield from common.autostart("network", name, seen, want.autostart)
    if want.state == "running":
        yield from common.start("network", name, seen)
    if want.state == "stopped":
        yield from common.stop("network", name, seen)


def waiting(name: str, want: Network, seen: Observed | None) -> tuple[Difference, ...]:
    """Return what waits for the network's next start."""
    return common.waiting(seen, xml.intent(name, want))
