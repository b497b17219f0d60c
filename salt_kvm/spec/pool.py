"""A storage pool."""

from typing import Annotated, Literal

from msgspec import Meta

from salt_kvm.spec.types import Mode, Path, Spec, matching
from salt_kvm.spec.values import Account, Line, Port, Remote, Uuid, Word, exactly_one, goes_with

PoolType = Literal[
    "dir", "fs", "netfs", "logical", "disk", "iscsi", "iscsi-direct", "scsi", "mpath", "gluster",
    "rbd", "zfs", "vstorage",
]  # fmt: skip
SourceFormat = Literal[
    "auto", "ext2", "ext3", "ext4", "xfs", "vfat", "iso9660", "udf", "ufs", "gfs", "gfs2", "hfs+",
    "ocfs2", "vmfs", "btrfs", "nfs", "glusterfs", "cifs", "gpt", "dos", "dvh", "mac", "bsd", "pc98",
    "sun", "lvm2", "unknown",
]  # fmt: skip
Wwn = Annotated[str, matching(r"(0x)?[0-9a-fA-F]{16}")]
Iqn = Annotated[
    str,
    matching(
        r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-zA-Z0-9.-]+(:[^\x00-\x20\ud800-\udfff\ufffe\uffff]+)?"
    ),
]

# Of each type: the fields of ``source`` that a new pool needs, and those that it may have.
SOURCES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dir": ((), ()),
    "fs": (("device",), ("format",)),
    "netfs": (("hosts", "dir"), ("format", "protocol_version")),
    "logical": ((), ("name", "device", "devices", "format")),
    "disk": (("device",), ("format", "part_separator")),
    "iscsi": (("hosts", "device"), ("initiator", "auth")),
    "iscsi-direct": (("hosts", "device", "initiator"), ("auth",)),
    "scsi": (("adapter",), ()),
    "mpath": ((), ()),
    "gluster": (("hosts", "name"), ("dir",)),
    "rbd": (("hosts", "name"), ("auth",)),
    "zfs": (("name",), ("device",)),
    "vstorage": (("name",), ()),
}
FILESYSTEMS = (
    "auto", "ext2", "ext3", "ext4", "xfs", "vfat", "iso9660", "udf", "ufs", "gfs", "gfs2", "hfs+",
    "ocfs2", "vmfs", "btrfs",
)  # fmt: skip
FORMATS: dict[str, tuple[str, ...]] = {
    "fs": FILESYSTEMS,
    "netfs": ("auto", "nfs", "glusterfs", "cifs"),
    "disk": ("unknown", "gpt", "dos", "dvh", "mac", "bsd", "pc98", "sun", "lvm2"),
    "logical": ("lvm2", "unknown"),
}
# Over a directory, which has an owner and a mode; the others are over devices and servers.
DIRECTORIES = ("dir", "fs", "netfs", "vstorage")
# Over servers without a place of the host, or with one that libvirt alone chooses.
PATHLESS = ("iscsi-direct", "gluster", "rbd", "logical", "zfs")
MOUNTED = ("fs", "netfs")


class PoolHost(Spec, frozen=True, kw_only=True):
    """A server that holds the pool's data."""

    name: Word
    port: Port | None = None


class Adapter(Spec, frozen=True, kw_only=True):
    """The host bus adapter of a ``scsi`` pool."""

    type: Literal["scsi_host", "fc_host"]
    name: Word | None = None
    parent: Word | None = None
    managed: bool | None = None
    wwnn: Wwn | None = None
    wwpn: Wwn | None = None

    def __post_init__(self) -> None:
        fibre = dict.fromkeys(("parent", "managed", "wwnn", "wwpn"), ("fc_host",))
        goes_with(self, self.type, {"name": ("scsi_host",), **fibre})
        if self.type == "scsi_host" and self.name is None:
            raise ValueError("an adapter of type scsi_host is known by its 'name'")
        if self.type == "fc_host" and None in (self.wwnn, self.wwpn):
            raise ValueError("an adapter of type fc_host is known by 'wwnn' and 'wwpn'")


class PoolAuth(Spec, frozen=True, kw_only=True):
    """Who logs in at the server: a user, and the libvirt secret that holds the password."""

    type: Literal["chap", "ceph"]
    username: Line
    uuid: Uuid | None = None
    usage: Line | None = None

    def __post_init__(self) -> None:
        exactly_one("the secret of a pool", uuid=self.uuid, usage=self.usage)


class PoolSource(Spec, frozen=True, kw_only=True):
    """Where the pool's data is; which fields there are depends on the pool's type."""

    hosts: Annotated[list[PoolHost], Meta(min_length=1)] | None = None
    dir: Remote | None = None
    device: Remote | None = None
    devices: Annotated[list[Path], Meta(min_length=1)] | None = None
    name: Line | None = None
    format: SourceFormat | None = None
    adapter: Adapter | None = None
    initiator: Iqn | None = None
    auth: PoolAuth | None = None
    protocol_version: Word | None = None
    part_separator: bool | None = None


class Permissions(Spec, frozen=True, kw_only=True):
    """Owner, group (names or numbers), mode and SELinux label of a pool's directory or a volume."""

    owner: Account | None = None
    group: Account | None = None
    mode: Mode | None = None
    label: Line | None = None


class PoolFeatures(Spec, frozen=True, kw_only=True):
    """``cow: false`` switches Btrfs' copy-on-write off for the pool's new volumes."""

    cow: bool


class Pool(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:pools``; its key is the name of the pool."""

    state: Literal["present", "running", "stopped", "absent"] = "running"
    type: PoolType | None = None
    path: Path | None = None
    source: PoolSource | None = None
    permissions: Permissions | None = None
    features: PoolFeatures | None = None
    mount_options: list[Word] | None = None
    rbd_options: dict[Word, Line] | None = None
    volume_allocation: Literal["default", "capacity"] | None = None
    autostart: bool | None = None
    overwrite: bool | None = None
    restart: bool | None = None
    data: Literal["keep", "delete_empty", "delete"] | None = None
    xml: str | None = None

    def __post_init__(self) -> None:
        if self.data not in (None, "keep") and self.state != "absent":
            raise ValueError("'data' says what becomes of a pool's data with 'state: absent' only")
        if self.type is not None:
            _check_source(self.type, self.source)
            _check_others(self.type, self)

    def lacking(self, kind: str) -> list[str]:
        """Return what a new pool of this type needs and is not declared."""
        declared = self.source or PoolSource()
        lacking = [f"source:{f}" for f in SOURCES[kind][0] if getattr(declared, f) is None]
        return ["path", *lacking] if kind in DIRECTORIES and self.path is None else lacking


def _check_source(kind: str, source: PoolSource | None) -> None:
    if source is None:
        return
    needed, possible = SOURCES[kind]
    for field in source.__struct_fields__:
        if getattr(source, field) is not None and field not in (*needed, *possible):
            raise ValueError(f"'source:{field}' has no meaning for a pool of type {kind}")
    if source.device is not None and source.devices is not None:
        raise ValueError("declare either 'source:device' or 'source:devices'")
    formats = FORMATS.get(kind, ())
    if source.format is not None and source.format not in formats:
        raise ValueError(
            f"a pool of type {kind} has no format {source.format}; it has {', '.join(formats)}"
        )


def _check_others(kind: str, pool: Pool) -> None:
    places = {
        "path": kind not in PATHLESS,
        "permissions": kind in DIRECTORIES,
        "mount_options": kind in MOUNTED,
        "rbd_options": kind == "rbd",
        "volume_allocation": kind == "rbd",
    }
    for field, possible in places.items():
        if getattr(pool, field) is not None and not possible:
            raise ValueError(f"{field!r} has no meaning for a pool of type {kind}")
