"""What qemu-img can lay an image out as: the options of each format, and what goes together."""

from collections.abc import Mapping
from typing import Literal, cast

from salt_kvm.spec.types import Size, Spec

_ALLOCATED = ("off", "falloc", "full")
# The options of each format, and their values where only some are the format's. A fixed vpc image
# begins as its data do, with its header behind them: it can't be told from a raw one.
OPTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "raw": {"preallocation": _ALLOCATED},
    "qcow2": {
        "preallocation": (*_ALLOCATED, "metadata"),
        "cluster_size": (),
        "compat": (),
        "lazy_refcounts": (),
        "extended_l2": (),
    },
    "qed": {"cluster_size": ()},
    "vmdk": {"subformat": ("monolithicSparse", "streamOptimized")},
    "vdi": {},
    "vhdx": {"subformat": ("dynamic", "fixed")},
    "vpc": {"subformat": ("dynamic",)},
}
# The smallest cluster of a format; of QED images QEMU miscounts the largest size above the other.
_CLUSTERS = {"qcow2": 512, "qed": 4096}
_LARGEST_CLUSTER, _USUAL_CLUSTER, _EXTENDED_CLUSTER = 2 * 1024**2, 64 * 1024, 16 * 1024
# The largest images of the formats whose limit is one number.
_LARGEST = {"vdi": 0x1FFFFF8000000, "vhdx": 64 * 1024**4, "vpc": 2040 * 1024**3}
# A version like 1.1 is a number for YAML.
_COMPAT = {"0.1": "0.10", "0.10": "0.10", "1.1": "1.1"}


class Options(Spec, frozen=True, kw_only=True):
    """How an image is laid out, by qemu-img's names; a format has some of them.

    An ``off`` without quotes is false for YAML.
    """

    preallocation: Literal["off", "metadata", "falloc", "full"] | bool | None = None
    cluster_size: Size | None = None
    compat: str | float | None = None
    lazy_refcounts: bool | None = None
    extended_l2: bool | None = None
    subformat: Literal["monolithicSparse", "streamOptimized", "dynamic", "fixed"] | None = None

    def __post_init__(self) -> None:
        if self.compat is not None and str(self.compat) not in _COMPAT:
            raise ValueError(f"compat {self.compat} is neither '0.10' nor '1.1'")
        if self.preallocation is True:
            raise ValueError("preallocation is off, metadata, falloc or full, not true")

    def given(self) -> dict[str, str | int | bool]:
        """Return what is declared, as an image says it."""
        named = {name: getattr(self, name) for name in self.__struct_fields__}
        declared = {name: value for name, value in named.items() if value is not None}
        if self.compat is not None:
            declared["compat"] = _COMPAT[str(self.compat)]
        if self.preallocation is False:
            declared["preallocation"] = "off"
        return declared


def check(
    format: str, options: Mapping[str, object], size: int | None = None, *, backed: bool = False
) -> None:
    """Refuse a layout that qemu-img can't make.

    :param options: as an image says them
    :param size: what a guest is to see, in bytes
    :param backed: the image stands on another one
    :raises ValueError: naming the option, or the size
    """
    for name, value in options.items():
        known = OPTIONS[format].get(name)
        if known is None:
            raise ValueError(f"a {format} image has no option {name!r}")
        if known and value not in known:
            raise ValueError(f"{name!r} of a {format} image is {' or '.join(known)}")
    cluster = cast("int", options.get("cluster_size", _USUAL_CLUSTER))
    least = _CLUSTERS.get(format, 1)
    if not least <= cluster <= _LARGEST_CLUSTER or cluster & (cluster - 1):
        raise ValueError(
            f"'cluster_size' of a {format} image is a power of two from {Size(least)} to "
            f"{Size(_LARGEST_CLUSTER)}"
        )
    if format == "qcow2":
        _check_qcow2(options, cluster, backed=backed)
    largest = _largest(format, cluster, extended=bool(options.get("extended_l2")))
    if size is not None and largest is not None and size > largest:
        wider = ", of one with larger clusters more" if format in _CLUSTERS else ""
        raise ValueError(f"'size' of a {format} image is at most {Size(largest)}{wider}")


def _check_qcow2(options: Mapping[str, object], cluster: int, *, backed: bool) -> None:
    for name in ("lazy_refcounts", "extended_l2"):
        if options.get(name) and options.get("compat") == "0.10":
            raise ValueError(f"{name!r} goes with compat '1.1'")
    if options.get("extended_l2") and cluster < _EXTENDED_CLUSTER:
        least = Size(_EXTENDED_CLUSTER)
        raise ValueError(f"'extended_l2' goes with a 'cluster_size' of {least} or more")
    allocated = options.get("preallocation") not in (None, "off")
    if backed and allocated and not options.get("extended_l2"):
        raise ValueError("'preallocation' of an image on another one goes with 'extended_l2'")


def _largest(format: str, cluster: int, *, extended: bool) -> int | None:
    """Return how many bytes the tables of a format can point at; ``None`` where that is no limit.

    Of qcow2 the first table has 32 MiB, of QED four clusters; an entry has 8 bytes, or 16.
    """
    if format == "qcow2":
        entry = 16 if extended else 8
        return (32 * 1024**2 // 8) * (cluster // entry) * cluster
    if format == "qed":
        return (4 * cluster // 8) ** 2 * cluster
    return _LARGEST.get(format)
