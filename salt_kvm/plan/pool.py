"""The steps of a storage pool."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from salt_kvm.errors import SpecError
from salt_kvm.plan import common
from salt_kvm.plan.steps import MakeDirectory, Need, Step, change
from salt_kvm.seen import FileSeen, Observed
from salt_kvm.spec.pool import Pool
from salt_kvm.xml import pool as xml
from salt_kvm.xml.merge import Difference


@dataclass(frozen=True)
class PoolSeen:
    """A pool and the directory it is to be over."""

    pool: Observed | None
    directory: FileSeen | None


def plan(name: str, want: Pool, seen: PoolSeen) -> Iterator[Step]:
    """Yield what makes the pool as declared; its directory and data are never removed."""
    if want.state == "absent":
        yield from common.stop("pool", name, seen.pool)
        yield from common.undefine("pool", name, seen.pool)
        return
    if seen.pool is None and want.path is None:
        raise SpecError([f"kvm:pools:{name}:path: needed to make the pool, which is not there"])
    if want.path is not None and seen.directory is None:
        yield _make_directory(want.path)
    intent = xml.intent(name, want)
    merged = common.compose(seen.pool, intent, partial(xml.blank, name))
    yield from common.definition("pool", name, seen.pool, intent, merged)
    yield from common.autostart("pool", name, seen.pool, want.autostart)
    if want.state == "running":
        yield from common.start("pool", name, seen.pool)
    if want.state == "stopped":
        yield from common.stop("pool", name, seen.pool)


def _make_directory(path: str) -> Step:
    parent = posixpath.dirname(path)
    need = Need("directory", parent, "make it, or correct the pool's path")
    changes = {"directory": change(None, path)}
    return MakeDirectory(path=path, changes=changes, needs=(need,))


def waiting(name: str, want: Pool, seen: PoolSeen) -> tuple[Difference, ...]:
    """Return what waits for the pool's next start."""
    return common.waiting(seen.pool, xml.intent(name, want))
