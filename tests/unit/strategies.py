"""Pillars that may be: hypothesis strategies from the specs' own types, and from likely values.

``specs`` walks a spec, so that a new field is generated as soon as it is there. What means
something to libvirt, and so can't be any text or number, has a row in ``LIKELY``.
"""

import types
import typing
from functools import partial
from typing import Annotated, Literal

import msgspec
from hypothesis import strategies as st

from salt_kvm.errors import SpecError
from salt_kvm.seen import FileSeen
from salt_kvm.spec import (
    console,
    devices,
    disk,
    image,
    interface,
    link,
    network,
    pool,
    system,
    tuning,
    volume,
)
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.network import Network
from salt_kvm.spec.network_values import MANAGED
from salt_kvm.spec.types import (
    Log,
    Mac,
    Medium,
    Mode,
    Moment,
    Name,
    Path,
    Size,
    Spec,
    Value,
    parse_size,
)
from salt_kvm.spec.values import Hex, Passphrase, PciAddress, Set, Uuid, Word

PLAIN = {
    Path: st.sampled_from(["/srv/a", "/dev/b<&>'\"", "/c d"]),
    Medium: st.sampled_from(["", "/srv/a.iso"]),
    Log: st.sampled_from(["/srv/a.log", True, False]),
    Name: st.sampled_from(["default", "a & b", "<x>"]),
    Size: st.sampled_from(["64MiB", "1GiB", 3 * 1024**2 + 1]),
    Mac: st.sampled_from(["52:54:00:00:00:01", "52:54:00:AA:BB:02"]),
    Mode: st.just("0640"),
    Moment: st.sampled_from(["2027-01-31T12:00:00", "2099-12-31 23:59+02:00", "never"]),
    Value: st.sampled_from(["secret", "a<&>'\""]),
    bool: st.booleans(),
    float: st.just(2.0),
    int: st.integers(0, 9),
}


def word(*some):
    return st.sampled_from(some)


PATHS = word("/srv/a.raw", "/srv/b.raw", "/srv/c.raw", "/srv/d & 'e'.qcow2")
MIB = 1024**2
# What libvirt takes where a type says less, by type, or by spec and field; ``None``: not at all.
LIKELY = {
    Path: PATHS,
    Medium: word("", "/srv/a.iso"),
    Log: word("/srv/a.log", True, False),
    Name: word("default", "net-b", "a & b"),
    Size: word("64MiB", "1GiB", 3 * MIB + 1),
    Mac: word(*(f"52:54:00:00:0{n}:AA" for n in range(8))),
    Word: word("a.example", "b-1", "c_2"),
    Uuid: word("8b1c1a3e-7c53-4a6b-9d3e-0d4bb0a5f6d1", "C2177883F1BB47F0914D32A22E3A8804"),
    Passphrase: word("c2177883-f1bb-47f0-914d-32A22E3A8804", "/srv/a & b.qcow2"),
    Set: word("0", 1, "0-1", "0,1,2,3", "0-3,^2"),
    PciAddress: word("0000:06:02.0", "0000:06:02.1", "0000:07:00.0"),
    Hex: word("0x1234", 0x5678),
    (Domain, "virt_type"): word("auto", "qemu"),
    (Domain, "memory"): word("64MiB", "128MiB", 96 * MIB + 5),
    (Domain, "max_memory"): word("128MiB", "1GiB"),
    (Domain, "vcpus"): word(1, 2),
    (Domain, "max_vcpus"): word(2, 4),
    (Domain, "machine"): word("q35", "pc-q35-7.1"),
    (Domain, "emulator"): word("/usr/bin/qemu-system-x86_64"),
    (Domain, "launch_security"): None,
    (Domain, "panic"): st.lists(st.sampled_from(["isa", "hyperv"]), max_size=2, unique=True).map(
        lambda models: [{"model": model} for model in models]
    ),
    (Domain, "watchdog"): word([], [{}], [{"model": "ib700", "action": "pause"}]),
    (Domain, "seclabels"): word(
        [], [{"type": "none"}], [{"type": "static", "model": "dac", "label": "0:0"}]
    ),
    (Domain, "boot"): st.permutations(["hd", "cdrom", "network"]).map(lambda boot: boot[:2]),
    (Domain, "redirdevs"): word([], [{}], [{"boot_order": 77}, {}]),
    # They are files beside the document; test_seed has them.
    (Domain, "cloud_init"): None,
    (Domain, "ignition"): None,
    (Domain, "combustion"): None,
    (disk.Disk, "format"): word("raw", "qcow2"),
    (console.Serial, "target"): word("isa-serial", "pci-serial"),
    (console.Serial, "port"): None,
    (console.Console, "target"): word("virtio"),
    (console.Stream, "type"): word("pty", "file", "tcp", "unix", "null", "dev", "pipe"),
    (tuning.Cpu, "mode"): word("custom", "host-model", "maximum"),
    (tuning.Cpu, "model"): word("qemu64", "Nehalem", "EPYC"),
    (tuning.Cpu, "vendor"): word("Intel", "AMD"),
    (tuning.Cpu, "numa"): None,
    (tuning.Cpu, "topology"): None,
    (tuning.Cpu, "features"): st.dictionaries(
        word("aes", "vmx", "avx"), st.sampled_from([True, False, "optional", "force", "forbid"])
    ),
    (system.Features, "gic"): None,
    (Domain, "iothreads"): word(1, 2),
    (disk.Disk, "iothread"): None,
    (devices.Controller, "iothread"): None,
    (tuning.Cputune, "vcpupin"): word([], [{"vcpu": 0, "cpuset": "0,1"}]),
    (console.Video, "heads"): word(1),
    (devices.Hostdev, "model"): word("vfio-pci"),
    (tuning.Cputune, "emulatorpin"): word("0", 1, "0-3,^2"),
    (devices.Sound, "model"): word("ich9", "ich6", "ac97", "es1370", "sb16", "usb"),
    (system.Sysinfo, "bios"): word({}, {"vendor": "a <b>", "date": "02/28/2026"}),
    (system.Sysinfo, "system"): word({}, {"manufacturer": "a & b", "sku": "c", "family": "d"}),
    (tuning.MemoryBacking, "hugepages"): word(True, False, [{"size": "2MiB"}]),
    (tuning.BlkioDevice, "read_iops_sec"): st.integers(1, 2**32 - 1),
    (tuning.BlkioDevice, "write_iops_sec"): st.integers(1, 2**32 - 1),
    (disk.Disk, "wwn"): None,
    (console.Video, "vgamem"): word("64MiB"),
    (disk.RemoteDisk, "name"): word("a & b/c", "iqn.2026-11.example:<d>/1"),
    (devices.Controller, "type"): word("usb", "virtio-serial"),
    (devices.Controller, "ports"): st.integers(1, 15),
    (devices.Controller, "index"): st.integers(0, 1),
    (tuning.Memtune, "min_guarantee"): None,
    (tuning.Cputune, "iothreadpin"): None,
    (Domain, "numatune"): word(
        {"mode": "strict", "nodeset": 0},
        {"mode": "preferred", "nodeset": "0-1"},
        {"mode": "interleave", "placement": "auto"},
    ),
    (Domain, "iommu"): word(
        {"model": "intel"},
        {"model": "intel", "caching_mode": True, "aw_bits": 48},
        {"model": "intel", "iotlb": False},
    ),
    (Domain, "os"): word(
        {"firmware": "efi"},
        {"firmware": "efi", "enrolled_keys": False, "secure_boot": False},
        {"loader": "/srv/a.raw", "loader_type": "rom"},
        {
            "loader": "/srv/a.raw",
            "loader_type": "pflash",
            "loader_readonly": True,
            "nvram": "/srv/b.raw",
            "nvram_template": "/srv/c.raw",
        },
        {"kernel": "/srv/a.raw", "initrd": "/srv/b.raw", "cmdline": "quiet 'a' <b>"},
        {"bootmenu": True, "bootmenu_timeout": 500},
        {"bios_serial": True, "reboot_timeout": -1},
        {"smbios": "emulate"},
    ),
    (devices.Tpm, "model"): word("tpm-crb", "tpm-tis"),
    (devices.Filesystem, "readonly"): None,
    (devices.Controller, "model"): None,
    (system.Timer, "name"): word("rtc", "pit", "hpet", "tsc", "kvmclock", "hypervclock"),
    (system.Timer, "track"): None,
    (system.Timer, "mode"): None,
    (system.Timer, "tickpolicy"): None,
    (system.Timer, "frequency"): None,
    (interface.Interface, "virtualport"): None,
    (interface.Interface, "rx_queue_size"): word(256, 1024),
    (interface.Interface, "tx_queue_size"): word(256, 512),
    (link.CardRate, "floor"): None,
    (Domain, "memory_devices"): None,
    (Domain, "memory_hotplug"): None,
    (Network, "ip"): word("10.1.1.1/24", "10.1.1.1/16", "fd00:1::1/64"),
    (network.Address, "address"): word("10.1.1.1/24", "10.1.2.1/24", "fd00:1::1/64"),
    (network.Dhcp, "ranges"): st.lists(
        word("10.1.1.10-10.1.1.20", "10.1.1.30-10.1.1.30", "fd00:1::10-fd00:1::20"),
        max_size=2,
        unique=True,
    ),
    (network.DhcpHost, "ip"): word("10.1.1.5", "10.1.1.6", "fd00:1::5"),
    (network.DhcpHost, "id"): word("00:03:00:01:52:54", "00:04"),
    (network.DhcpHost, "name"): word("a.example", "b"),
    (network.Bootp, "server"): word("10.1.1.2"),
    (network.DnsHost, "ip"): word("10.1.1.5", "10.1.1.6", "fd00:1::5"),
    (network.DnsHost, "names"): st.lists(word("a", "b.example", "c"), min_size=1, unique=True),
    (network.Forwarder, "address"): word("192.0.2.1", "2001:db8::1"),
    (network.Route, "to"): word("10.9.0.0/16", "10.8.1.0/24", "fd00:9::/64"),
    (network.Route, "gateway"): word("10.1.1.9", "fd00:1::9"),
    (network.Nat, "addresses"): word("192.0.2.10-192.0.2.12", "192.0.2.1-192.0.2.1"),
    (network.Nat, "ports"): word("1024-65535", "2000-3000"),
    (Network, "bridge"): word("virbr-any", "virbr-b"),
    (pool.Pool, "data"): None,
    (pool.Permissions, "owner"): st.integers(0, 70000),
    (pool.Permissions, "group"): st.integers(0, 70000),
    (pool.Permissions, "label"): None,
    (pool.PoolSource, "device"): word("/dev/sda1", "/dev/mapper/b", "iqn.2024-01.com.example:a"),
    (pool.PoolSource, "devices"): st.lists(word("/dev/sda", "/dev/sdb"), min_size=1, unique=True),
    (pool.PoolSource, "hosts"): st.lists(
        word("a.example", "192.0.2.1").map(lambda name: {"name": name, "port": 3260}),
        min_size=1,
        max_size=1,
    ),
    (pool.PoolSource, "dir"): word("/export/a", "/export/b & c"),
    (pool.PoolSource, "name"): word("vg0", "tank", "a <b>"),
    (pool.PoolSource, "initiator"): word("iqn.2024-01.com.example:node1"),
    (pool.PoolSource, "protocol_version"): word("3", "4.1"),
    (pool.Adapter, "name"): word("scsi_host1", "scsi_host2"),
    (pool.Adapter, "parent"): word("scsi_host5"),
    (pool.Pool, "mount_options"): st.lists(word("noatime", "sync", "ro"), unique=True),
    (Network, "mtu"): word(1400, 9000),
}


# Of these one must be declared, and only one.
CHOICES = {
    disk.Disk: ("path", "block", "volume", "network", "nvme"),
    interface.Interface: interface.KINDS,
    devices.Hostdev: ("pci", "usb", "mdev"),
}


class Walk:
    """A walk over the types of a spec; ``likely`` are the fields that are not just of a type."""

    def __init__(self, likely=None, *, most=3):
        self.likely, self.most = likely or {}, most

    def values(self, kind):
        """Return a strategy for what a pillar may say where a spec has this type."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind in self.likely:
            return self.likely[kind]
        if origin is Annotated:
            return self._annotated(arguments[0], arguments[1:])
        if origin is Literal:
            return st.sampled_from(arguments)
        if origin in (typing.Union, types.UnionType):
            return st.one_of(*(self.values(arg) for arg in arguments if arg is not type(None)))
        if origin is list:
            return st.lists(self.values(arguments[0]), max_size=2)
        if origin is dict:
            return st.dictionaries(*map(self.values, arguments), max_size=2)
        if isinstance(kind, type) and issubclass(kind, Spec):
            return self.specs(kind)
        return PLAIN[kind] if kind in PLAIN else st.text(max_size=8)

    def _annotated(self, kind, metas):
        """Return a strategy that keeps to limits and patterns."""
        limits = {k: getattr(m, k) for m in metas for k in ("ge", "le", "pattern", "min_length")}
        limits = {k: v for k, v in limits.items() if v is not None}
        if typing.get_origin(kind) is list:
            return st.lists(self.values(typing.get_args(kind)[0]), min_size=1, max_size=2)
        if kind is int:
            return st.integers(limits.get("ge"), limits.get("le"))
        if "pattern" not in limits:
            return st.text(min_size=limits.get("min_length", 0), max_size=20)
        return st.from_regex(limits["pattern"]).filter(lambda text: 0 < len(text) <= 20)

    def specs(self, kind):
        """Return a strategy for mappings that are a spec, with a few of its optional keys."""
        fields = {name: self._field(kind, name, hint) for name, hint in hints(kind).items()}
        needed = [f.name for f in msgspec.structs.fields(kind) if f.required and f.name in fields]
        choice = CHOICES.get(kind, ())
        optional = [n for n in fields if fields[n] is not None and n not in (*needed, *choice)]
        chosen = st.lists(st.sampled_from(optional), max_size=self.most, unique=True)
        return (
            st.tuples(st.sampled_from(choice or [None]), chosen if optional else st.just([]))
            .flatmap(
                lambda drawn: st.fixed_dictionaries(
                    {n: fields[n] for n in (*needed, *drawn[:1], *drawn[1]) if n is not None}
                )
            )
            .map(lambda drawn: possible(kind, drawn, {*needed, *choice}))
        )

    def _field(self, kind, name, hint):
        if name in CHOICES.get(kind, ()) and hint == bool | None:
            return st.just(True)
        row = next((self.likely[k, name] for k in kind.__mro__ if (k, name) in self.likely), ...)
        return self.values(hint) if row is ... else row


def possible(kind, fields, needed):
    """Return what of the fields goes together, one after the other; what needs a second with it."""
    made = {name: value for name, value in fields.items() if name in needed}
    rest = {name: value for name, value in fields.items() if name not in needed}
    for name, value in rest.items():
        made.update({name: value} if is_valid(kind, {**made, name: value}) else {})
    return {**made, **rest} if is_valid(kind, {**made, **rest}) else made


def is_valid(kind, fields):
    try:
        convert(kind, fields, "")
    except SpecError:
        return False
    return True


def hints(kind):
    """Return the type of each field of a spec that is generated."""
    every = typing.get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in every.items() if name not in ("xml", "metadata", "state")}


def finished(fields):
    """Give a domain the console that lends USB devices, and the memory that a directory needs."""
    if fields.get("redirdevs"):
        fields = {**fields, "graphics": [{"type": "spice"}]}
    if any(each.get("driver") == "virtiofs" for each in fields.get("filesystems", [])):
        fields = {**fields, "memory_backing": {"source": "memfd", "access": "shared"}}
    return fields


# CPUs and memory that go together, as the product and the sums that libvirt wants.
TOPOLOGIES = word(
    {"sockets": 1, "cores": 2, "threads": 1},
    {"sockets": 2, "dies": 1, "cores": 1, "threads": 1},
    {"sockets": 1, "dies": 2, "cores": 1, "threads": 1},
)
CELLS = word(
    [{"id": 0, "memory": "128MiB"}],
    [{"id": 0, "cpus": "0-1", "memory": "128MiB", "mem_access": "shared", "discard": True}],
    [{"id": 1, "cpus": 1, "memory": "64MiB"}, {"id": 0, "cpus": "0", "memory": "64MiB"}],
    [
        {"id": 0, "cpus": "0", "memory": "64MiB", "distances": [{"id": 1, "value": 21}]},
        {"id": 1, "cpus": "1", "memory": 64 * MIB, "mem_access": "private"},
    ],
)
MODULES = word(
    [],
    [{"size": "128MiB", "node": 0}],
    [{"size": "128MiB", "node": 0, "access": "private", "page_size": "2MiB", "nodemask": "0"}],
    [{"model": "virtio-mem", "size": "256MiB", "node": 0, "block": "2MiB", "requested": "64MiB"}],
    [{"model": "nvdimm", "size": "128MiB", "node": 0, "path": "/srv/n", "label": "256KiB"}],
    [{"size": "128MiB", "node": 0}, {"size": "256MiB", "node": 0}],
)


def shaped(fields, topology, cells, modules):
    """Give a domain CPUs and memory of a shape; one that does not go with the rest is left out."""
    cpu = {"topology": topology, "numa": cells}
    made = {**fields, "vcpus": 2, "max_vcpus": 2}
    named = fields.get("cpu") if isinstance(fields.get("cpu"), dict) else {}
    made["cpu"] = {**named, **{key: value for key, value in cpu.items() if value is not None}}
    if cells is not None:
        made.pop("max_memory", None)
        sizes = [*(c["memory"] for c in cells), *(m["size"] for m in modules or [])]
        made["memory"] = sum(map(parse_size, sizes))
        if modules is not None:
            more = {"memory_hotplug": {"size": "2GiB", "slots": 4}, "memory_devices": modules}
            made.update(more)
    return made if is_valid(Domain, made) else fields


SHAPES = st.tuples(st.none() | TOPOLOGIES, st.none() | CELLS, st.none() | MODULES)
DOMAINS = Walk(LIKELY, most=8).specs(Domain).map(finished)
DOMAINS |= st.tuples(DOMAINS, SHAPES).map(lambda drawn: shaped(drawn[0], *drawn[1]))


def routed(fields):
    """Give a network the address that its forward mode needs, or none."""
    fields = {"forward": "isolated", **fields}
    if fields["forward"] in MANAGED and not {"ip", "ips"} & fields.keys():
        return {**fields, "ip": "10.1.1.1/24"}
    return fields


NETWORKS = Walk(LIKELY, most=8).specs(Network).map(routed).filter(partial(is_valid, Network))


# What Debian's libvirt has drivers for, with what a new pool of the type needs.
TYPES = {
    "dir": {},
    "fs": {"device": "/dev/sdc1"},
    "netfs": {"hosts": [{"name": "nfs.example"}], "dir": "/export"},
    "logical": {"name": "vg1"},
    "disk": {"device": "/dev/sdd"},
    "iscsi": {"hosts": [{"name": "san.example"}], "device": "iqn.2024-01.com.example:b"},
    "scsi": {"adapter": {"type": "scsi_host", "name": "scsi_host3"}},
    "mpath": {},
}


def sourced(kind, fields):
    """Give a pool the source that its type needs, and of another type's what it can have."""
    made = {"type": kind, "path": "/srv/any", "source": TYPES[kind]}
    for key, value in fields.items():
        if key == "source":
            value = possible(pool.PoolSource, {**TYPES[kind], **value}, ())
            value = {k: v for k, v in value.items() if k in sum(pool.SOURCES[kind], ())}
        if is_valid(pool.Pool, {**made, key: value}):
            made[key] = value
    return made


POOLS = st.tuples(st.sampled_from([*TYPES]), Walk(LIKELY, most=8).specs(pool.Pool)).map(
    lambda drawn: sourced(*drawn)
)


# $folder has a raw image of 1 MiB, base.raw.
BASE = word("$folder/base.raw")
STORED = {
    Size: word("1MiB", "2MiB", 3 * MIB + 512),
    (image.Image, "size"): word("1MiB", "2MiB", 3 * MIB + 512),
    (image.Image, "format"): word("raw", "qcow2", "qcow2", "qed", "vmdk", "vdi"),
    (image.Image, "backing"): BASE,
    (image.Image, "backing_format"): word("raw"),
    (image.Image, "source"): BASE,
    (image.Image, "source_hash"): None,
    (image.Image, "source_format"): word("raw"),
    (image.Image, "encryption"): None,
    (image.Image, "owner"): word("root", "nobody"),
    (image.Image, "group"): word("root", "nogroup"),
    (image.Image, "mode"): word("0600", "0640"),
    (image.Options, "cluster_size"): word("4KiB", "64KiB", "1MiB"),
    (image.Options, "compat"): word("0.10", 1.1),
    (volume.StorageVolume, "format"): word("raw", "qcow2", "qcow2", "vmdk", "qed"),
    (volume.StorageVolume, "allocation"): word(0, "1MiB"),
    (volume.Backing, "path"): BASE,
    (volume.Backing, "format"): word("raw"),
    (volume.StorageVolume, "source"): BASE,
    (volume.StorageVolume, "source_hash"): None,
    (volume.StorageVolume, "encryption"): None,
    (pool.Permissions, "owner"): word(0, 65534),
    (pool.Permissions, "group"): word(0, 65534),
    (pool.Permissions, "mode"): word("0600", "0640"),
    (pool.Permissions, "label"): None,
}


def sized(field, fields):
    """Give what has neither a source nor a backing file the size that it needs."""
    made = fields if {field, "source", "backing"} & fields.keys() else {**fields, field: "1MiB"}
    return {"format": "raw", **made}


IMAGES = Walk(STORED, most=5).specs(image.Image).map(partial(sized, "size"))
VOLUMES = Walk(STORED, most=5).specs(volume.StorageVolume).map(partial(sized, "capacity"))


class Files:
    """The image files of a host on which each is there, or none; no other domain uses one."""

    def __init__(self, *, there):
        self.there = there

    def get(self, path, format, /):
        return FileSeen(path, "file", "root", "root", 0o600, format) if self.there else None

    def holders(self, path, /, *, but):
        return []

    def runners(self, path, /):
        return []
