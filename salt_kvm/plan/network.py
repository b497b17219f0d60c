"""The steps of a network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from salt_kvm.errors import SpecError
from salt_kvm.plan import common
from salt_kvm.plan.steps import RestartNetwork, Step, UpdateNetwork, change
from salt_kvm.seen import Observed
from salt_kvm.spec.network import Network
from salt_kvm.xml import network as xml
from salt_kvm.xml.document import parse
from salt_kvm.xml.intent import Intent
from salt_kvm.xml.merge import Difference, Merged
from salt_kvm.xml.network_live import Live, compare
from salt_kvm.xml.network_modes import complete


def plan(name: str, want: Network, seen: Observed | None) -> Iterator[Step | Difference]:
    """Yield what makes the network as declared, and what waits for its next start.

    An active one is changed in place where it can.
    """
    if want.state == "absent":
        yield from common.stop("network", name, seen)
        yield from common.undefine("network", name, seen)
        return
    intent = xml.intent(name, want)
    merged = complete(common.compose(seen, intent, partial(xml.blank, name)), intent)
    _check(name, merged)
    yield from common.definition("network", name, seen, intent, merged)
    live = _compare(seen, intent) if want.state != "stopped" else None
    if live is not None:
        yield from live.waiting
        yield from _now(name, want, live)
    yield from common.autostart("network", name, seen, want.autostart)
    if want.state == "running":
        yield from common.start("network", name, seen)
    if want.state == "stopped":
        yield from common.stop("network", name, seen)


def _check(name: str, merged: Merged) -> None:
    """Refuse what libvirt would drop without a word."""
    for dhcp in merged.xml.iterfind("ip/dhcp"):
        if {child.tag for child in dhcp} == {"bootp"}:
            cure = "declare 'ranges' or 'hosts', or take it out"
            raise SpecError(
                [f"kvm:networks:{name}:dhcp: 'bootp' is for guests that get an address; {cure}"]
            )


def restart(name: str, want: Network, seen: Observed | None) -> Iterator[Step]:
    """Yield the restart of an active network, only where ``restart`` allows to cut guests off."""
    if want.restart and want.state == "running" and seen is not None and seen.active:
        changes = {"state": change("running", "restarted")}
        yield RestartNetwork(kind="network", name=name, changes=changes)


def _compare(seen: Observed | None, intent: Intent) -> Live | None:
    if seen is None or seen.live is None:
        return None
    return compare(parse(seen.live), intent)


def _now(name: str, want: Network, live: Live) -> Iterator[Step]:
    """What the active network can take; all of it by a restart where the user said so."""
    if want.restart and live.waiting:
        told = common.told(live.differences)
        changes = {f"live/{path}": entry for path, entry in told.items()}
        yield RestartNetwork(kind="network", name=name, changes=changes)
        return
    for update in live.updates:
        yield UpdateNetwork(
            kind="network",
            name=name,
            section=update.section,
            command=update.command,
            index=update.index,
            xml=update.xml,
            old=update.old,
            part=update.path,
            changes={}
            if update.change is None
            else {f"live/{update.path}": change(*update.change)},
        )
