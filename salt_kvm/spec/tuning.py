"""Processors and memory of a domain, and what of the host's it may take."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.types import Path, Size, Spec
from salt_kvm.spec.values import (
    Count,
    Index,
    Natural,
    Positive,
    Set,
    Word,
    all_different,
    members,
)

Period = Annotated[int, Meta(ge=1000, le=1000000)]
# Microseconds from 1000 on; 0 and -1 are no limit.
Quota = Annotated[int, Meta(ge=-1, le=17592186044415)]
Weight = Annotated[int, Meta(ge=100, le=1000)]
Policy = Literal["force", "require", "optional", "disable", "forbid"]


class Topology(Spec, frozen=True, kw_only=True):
    """How the virtual CPUs are laid out; their product is the maximum of CPUs."""

    sockets: Positive
    dies: Positive | None = None
    cores: Positive
    threads: Positive


class Sibling(Spec, frozen=True, kw_only=True):
    """How far another cell is away; 10 is the cell itself."""

    id: Index
    value: Annotated[int, Meta(ge=10, le=255)]


class Cell(Spec, frozen=True, kw_only=True):
    """A NUMA cell of the guest."""

    id: Index
    cpus: Set | None = None
    memory: Size
    mem_access: Literal["shared", "private"] | None = None
    discard: bool | None = None
    distances: list[Sibling] | None = None


class CpuCache(Spec, frozen=True, kw_only=True):
    """The cache that the guest is told of."""

    mode: Literal["emulate", "passthrough", "disable"]
    level: Annotated[int, Meta(ge=1, le=3)] | None = None


class Cpu(Spec, frozen=True, kw_only=True):
    """The kind of CPU; features are names of libvirt's, each with a policy."""

    mode: Literal["custom", "host-model", "host-passthrough", "maximum"] | None = None
    model: Word | None = None
    fallback: Literal["allow", "forbid"] | None = None
    vendor: Word | None = None
    match: Literal["minimum", "exact", "strict"] | None = None
    check: Literal["none", "partial", "full"] | None = None
    migratable: bool | None = None
    topology: Topology | None = None
    cache: CpuCache | None = None
    features: dict[Word, Policy | bool] | None = None
    numa: list[Cell] | None = None

    def __post_init__(self) -> None:
        if self.mode not in (None, "custom") and self.model is not None:
            raise ValueError("'model' goes with mode custom")
        if self.mode == "custom" and self.model is None:
            raise ValueError("mode custom needs 'model'")
        if self.vendor is not None and self.model is None:
            raise ValueError("'vendor' needs 'model'")
        if self.match is not None and self.model is None:
            raise ValueError("'match' needs 'model'")
        if self.fallback is not None and self.model is None and self.mode != "host-model":
            raise ValueError("'fallback' goes with 'model', or with mode host-model")
        if self.migratable is not None and self.mode not in ("host-passthrough", "maximum"):
            raise ValueError("'migratable' goes with mode host-passthrough or maximum")
        if sorted(cell.id for cell in self.numa or ()) != [*range(len(self.numa or ()))]:
            raise ValueError("NUMA cells are numbered from 0 on, each number once")
        named = _cpus(cell.cpus for cell in self.numa or ())
        all_different("vcpu of a NUMA cell", (cpu for cpus in named for cpu in cpus))
        # libvirt 9.0 may abort on a distance to a cell that is not there.
        cells = {cell.id for cell in self.numa or ()}
        far = {each.id for cell in self.numa or () for each in cell.distances or ()} - cells
        if far:
            raise ValueError(f"'distances' names NUMA cell {min(far)}, which 'numa' doesn't have")


def check_cells(cells: Mapping[int, Set | None], count: int) -> None:
    """Raise where NUMA cells can't have these CPUs: libvirt puts what none names into cell 0.

    :param cells: the CPUs of each cell, by its number
    :param count: the maximum of CPUs
    """
    named, all_of = set().union(*_cpus(cells.values())), set(range(count))
    lost, left = named - all_of, all_of - named
    if lost:
        raise ValueError(
            f"there is no vcpu {min(lost)} for a NUMA cell; the last one is {count - 1}"
        )
    if left and cells.get(0) is not None:
        raise ValueError(
            f"the NUMA cells lack vcpu {min(left)}, which libvirt puts into cell 0; name it in one"
        )


def _cpus(cells: Iterable[Set | None]) -> list[set[int]]:
    return [members(str(cpus)) for cpus in cells if cpus is not None]


class MemoryHotplug(Spec, frozen=True, kw_only=True):
    """Up to where memory modules can be plugged in, and into how many slots."""

    size: Size
    slots: Annotated[int, Meta(ge=1, le=256)]


class Page(Spec, frozen=True, kw_only=True):
    """Huge pages of one size, for some NUMA cells or for all."""

    size: Size
    nodeset: Set | None = None


class MemoryBacking(Spec, frozen=True, kw_only=True):
    """What the guest's memory is made of on the host."""

    hugepages: list[Page] | bool | None = None
    source: Literal["anonymous", "file", "memfd"] | None = None
    access: Literal["shared", "private"] | None = None
    allocation: Literal["immediate", "ondemand"] | None = None
    threads: Positive | None = None
    locked: bool | None = None
    nosharepages: bool | None = None
    discard: bool | None = None

    def __post_init__(self) -> None:
        if self.hugepages and (self.source == "anonymous" or self.allocation == "ondemand"):
            raise ValueError("'hugepages' go with no anonymous source and no allocation ondemand")


class VcpuPin(Spec, frozen=True, kw_only=True):
    """The host's CPUs on which a virtual one may run."""

    vcpu: Index
    cpuset: Set


class IothreadPin(Spec, frozen=True, kw_only=True):
    """The host's CPUs on which an I/O thread may run."""

    iothread: Count
    cpuset: Set


class Cputune(Spec, frozen=True, kw_only=True):
    """Shares of the host's CPUs; periods and quotas are microseconds, -1 is no quota."""

    shares: Annotated[int, Meta(ge=2, le=262144)] | None = None
    period: Period | None = None
    quota: Quota | None = None
    global_period: Period | None = None
    global_quota: Quota | None = None
    emulator_period: Period | None = None
    emulator_quota: Quota | None = None
    iothread_period: Period | None = None
    iothread_quota: Quota | None = None
    vcpupin: list[VcpuPin] | None = None
    emulatorpin: Set | None = None
    iothreadpin: list[IothreadPin] | None = None

    def __post_init__(self) -> None:
        all_different("vcpu", (pin.vcpu for pin in self.vcpupin or []))
        all_different("iothread", (pin.iothread for pin in self.iothreadpin or []))
        for name in ("quota", "global_quota", "emulator_quota", "iothread_quota"):
            if 0 < (getattr(self, name) or 0) < 1000:
                raise ValueError(f"{name!r} is -1 (no limit) or 1000 microseconds at least")


class Memnode(Spec, frozen=True, kw_only=True):
    """Where the memory of one of the guest's NUMA cells comes from."""

    cellid: Index
    mode: Literal["strict", "preferred", "interleave", "restrictive"]
    nodeset: Set


class Numatune(Spec, frozen=True, kw_only=True):
    """Which of the host's NUMA nodes the guest's memory comes from."""

    mode: Literal["strict", "preferred", "interleave", "restrictive"] | None = None
    nodeset: Set | None = None
    placement: Literal["static", "auto"] | None = None
    memnode: list[Memnode] | None = None

    def __post_init__(self) -> None:
        if self.nodeset is not None and self.placement == "auto":
            raise ValueError("'nodeset' and placement auto exclude each other")
        all_different("cellid", (node.cellid for node in self.memnode or []))


class Memtune(Spec, frozen=True, kw_only=True):
    """Limits on what the whole QEMU process takes of the host's memory."""

    hard_limit: Size | None = None
    soft_limit: Size | None = None
    swap_hard_limit: Size | None = None
    min_guarantee: Size | None = None


class BlkioDevice(Spec, frozen=True, kw_only=True):
    """Limits for one block device of the host, per second."""

    path: Path
    weight: Weight | None = None
    read_bytes_sec: Natural | None = None
    write_bytes_sec: Natural | None = None
    read_iops_sec: Natural | None = None
    write_iops_sec: Natural | None = None

    def __post_init__(self) -> None:
        limits = (getattr(self, name) for name in self.__struct_fields__ if name != "path")
        if not any(limits):
            raise ValueError("a device without any limit; leave it out")


class Blkiotune(Spec, frozen=True, kw_only=True):
    """The guest's share of the host's block devices."""

    weight: Weight | None = None
    devices: list[BlkioDevice] | None = None

    def __post_init__(self) -> None:
        all_different("path", (device.path for device in self.devices or []))
