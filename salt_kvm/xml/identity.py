"""Who is who: by what an element of a list is known again when the list was reordered.

A row names the keys of a tag in the order in which they are tried. A key returns ``None`` where
the element doesn't say; then the next key decides. Of several that a key can't tell apart those of
equal content belong together, then those of the same place. A tag without a row is known by its
place among its siblings of the same tag: there the order means something, or nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import zip_longest
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.xml import controllers
from salt_kvm.xml.intent import ABSENT, FS, RBD

Key = Callable[[ET.Element], Hashable]
Fits = Callable[[ET.Element, ET.Element], bool]


def at(path: str, attribute: str) -> Key:
    """The key that reads an attribute of the element (path ``.``) or of one below it."""

    def read(element: ET.Element) -> Hashable:
        found = element if path == "." else element.find(path)
        return None if found is None else found.get(attribute)

    return read


def both(*keys: Key) -> Key:
    """The key that joins several; it says nothing where one of them doesn't."""

    def read(element: ET.Element) -> Hashable:
        parts = tuple(key(element) for key in keys)
        return None if None in parts else parts

    return read


def together(*names: str) -> Key:
    """The key of several attributes, of which some may be missing."""

    def read(element: ET.Element) -> Hashable:
        values = tuple(element.get(name) for name in names)
        return values if any(values) else None

    return read


def mac(element: ET.Element) -> Hashable:
    """An interface by its MAC address, in whichever case it is written."""
    address = at("mac", "address")(element)
    return address.lower() if isinstance(address, str) else None


def source(element: ET.Element) -> Hashable:
    """What a device is plugged into: the attributes of its source that a user declares."""
    found = element.find("source")
    if found is None:
        return None
    named = ("file", "dev", "dir", "network", "bridge", "pool", "volume", "name")
    said = tuple((name, found.get(name)) for name in named if found.get(name, ABSENT) != ABSENT)
    # What an NBD server has may have no name.
    return said or at("host", "name")(found)


def local_path(source: ET.Element) -> str | None:
    """Return the path of the file or block device of the host that a source names."""
    return source.get("file") or source.get("dev")


def remote(element: ET.Element) -> str | None:
    """What a disk has on a server that takes writes, as a URL; ``None`` of any other disk.

    A definition has the ports that libvirt filled in; only NBD has other data at another one.
    """
    found = element.find("source[@protocol]")
    if found is None or found.get("protocol") in ("http", "https", "ftp", "ftps"):
        return None
    protocol = found.get("protocol")
    hosts = [
        f"{host.get('name') or host.get('socket')}"
        + (f":{host.get('port', NBD_PORT)}" if protocol == "nbd" else "")
        for host in found.iterfind("host")
    ]
    return f"{protocol}://{','.join(sorted(hosts))}/{found.get('name', '')}"


def seed(element: ET.Element) -> str | None:
    """What a guest reads at its first boot comes on a drive with a name of its own."""
    alias = element.find("alias")
    name = "" if alias is None else alias.get("name", "")
    return name if name.startswith(SEED) else None


def medium(element: ET.Element) -> Hashable:
    """What is in a disk; one seed on two kinds of drives is on two drives."""
    return None if seed(element) else source(element)


def stored(element: ET.Element) -> Hashable:
    """What a disk stores; a drive stores nothing of its own."""
    return None if any_drive(element) else source(element) or host_device(element)


def any_of_its_kind(element: ET.Element) -> Hashable:
    """The last resort: the first one left of the same kind, so that a change is no replacement."""
    return (element.tag, element.get("type") if element.tag == "graphics" else None)


def any_drive(element: ET.Element) -> Hashable:
    """A drive stays the same drive whatever medium is in it; a disk does not, nor does a seed."""
    device = element.get("device")
    return device if device in ("cdrom", "floppy") and not seed(element) else None


def text_of(element: ET.Element) -> Hashable:
    """An entry without a name is what it says, be that nothing."""
    return None if element.get("name") else (element.text or "").strip()


def of_sound(element: ET.Element) -> Hashable:
    """What a backend of sound records is no device and has no type."""
    return element.tag if element.get("type") is None else None


def path_of(element: ET.Element) -> Hashable:
    return element.findtext("path")


def host_device(element: ET.Element) -> Hashable:
    """A device of the host: its address, or its vendor and product."""
    for path in ("source/address", "source/vendor"):
        found = element.find(path)
        if found is not None:
            # A UUID may lack its hyphens.
            said = [v.lower().replace("-", "") for k, v in found.attrib.items() if k != "type"]
            return tuple(sorted(said))
    return None


KEYS: dict[str, Sequence[Key]] = {
    "disk": (seed, at("target", "dev"), medium, host_device, any_drive),
    # A forward mode's interface is a device of the host, and has nothing but its name.
    "interface": (at(".", "dev"), mac, source, host_device, at(".", "type"), any_of_its_kind),
    "graphics": (any_of_its_kind,),
    "controller": (both(at(".", "type"), at(".", "index")), at(".", "type")),
    # SPICE has channels of its own.
    "channel": (at("target", "name"), at(".", "name")),
    # The console that libvirt mirrors from the first serial port is another one.
    "console": (at("target", "type"),),
    "hostdev": (host_device,),
    # libvirt adds a PS/2 keyboard and mouse of its own.
    "input": (both(at(".", "type"), at(".", "bus")), at(".", "type"), of_sound),
    "watchdog": (at(".", "model"),),
    "panic": (at(".", "model"),),
    "seclabel": (at(".", "model"), any_of_its_kind),
    "sysinfo": (at(".", "type"),),
    "cell": (at(".", "id"),),
    "sibling": (at(".", "id"),),
    "vcpupin": (at(".", "vcpu"),),
    "iothreadpin": (at(".", "iothread"),),
    "memnode": (at(".", "cellid"),),
    "entry": (at(".", "name"), text_of),
    "parameter": (at(".", "name"),),
    "filesystem": (at("target", "dir"),),
    "feature": (at(".", "name"),),
    "timer": (at(".", "name"),),
    "host": (at(".", "mac"), at(".", "id"), at(".", "ip"), at(".", "name")),
    "range": (both(at(".", "start"), at(".", "end")),),
    "ip": (both(at(".", "family"), at(".", "address")), at(".", "family"), any_of_its_kind),
    "portgroup": (at(".", "name"),),
    "txt": (at(".", "name"),),
    "srv": (
        together("service", "protocol", "domain", "target"),
        together("service", "protocol", "domain"),
    ),
    "forwarder": (together("domain", "addr"),),
    "route": (together("address", "prefix"),),
    "tag": (at(".", "id"),),
    "serial": (at("target", "port"), any_of_its_kind),
    "memory": (at(".", "model"), any_of_its_kind),
    # A throttled device of the host, or the only one behind a TPM; a pool's.
    "device": (path_of, at(".", "path"), any_of_its_kind),
    **dict.fromkeys(
        ("rng", "video", "sound", "codec", "redirdev", "page", "hostname"), (any_of_its_kind,)
    ),
    f"{FS}option": (at(".", "name"),),
    f"{RBD}option": (at(".", "name"),),
}


SEED = "ua-salt-kvm-"
# Where an NBD server listens if nothing else is said (https://libvirt.org/formatdomain.html).
NBD_PORT = "10809"
AGENT = "org.qemu.guest_agent.0"


def _without(path: str, attribute: str, *values: str | None) -> Callable[[ET.Element], bool]:
    """Tell the elements of a list from those that libvirt or another field has a say in."""
    read = at(path, attribute)
    return lambda element: read(element) not in values


def _is_disk(element: ET.Element) -> bool:
    return element.get("device") != "cdrom" and not seed(element)


def carries(element: ET.Element) -> bool:
    """Tell whether other devices may sit on a device."""
    return element.tag == "controller"


class Listed(msgspec.Struct, frozen=True):
    """A list that a spec declares in full: its parent's path, its tag, and which elements of it.

    ``spare`` is also given the parent: some elements stay as long as others need them. ``each``
    parent of several has a list of its own, and one that names no entry of it leaves it alone.
    """

    parent: str
    tag: str
    only: Callable[[ET.Element], bool] | None = None
    spare: Callable[[ET.Element, ET.Element], bool] | None = None
    each: bool = False

    def owns(self, element: ET.Element, parent: ET.Element) -> bool:
        if element.tag != self.tag or (self.only is not None and not self.only(element)):
            return False
        return self.spare is None or self.spare(element, parent)


WHOLE = (
    "os/boot",
    "cputune/vcpupin",
    "cputune/iothreadpin",
    "numatune/memnode",
    "blkiotune/device",
    "clock/timer",
    "cpu/numa/cell",
    "devices/interface",
    "devices/graphics",
    "devices/video",
    "devices/serial",
    "devices/rng",
    "devices/panic",
    "devices/sound",
    "devices/filesystem",
    "devices/hostdev",
    "devices/redirdev",
    "devices/memory",
    "source/host",
    "source/device",
)
LISTS: dict[str, Listed] = {
    **{path: Listed(path.rpartition("/")[0], path.rpartition("/")[2]) for path in WHOLE},
    "devices/sound/codec": Listed("devices/sound", "codec", each=True),
    "devices/disk/source/host": Listed("devices/disk/source", "host", each=True),
    "cpu": Listed("cpu", "feature"),
    "seclabel": Listed("", "seclabel"),
    "sysinfo/oemStrings": Listed("sysinfo/oemStrings", "entry"),
    "memoryBacking/hugepages": Listed("memoryBacking/hugepages", "page"),
    "devices/interface/filterref": Listed("devices/interface/filterref", "parameter", each=True),
    "devices/interface/vlan": Listed("devices/interface/vlan", "tag"),
    "devices/controller": Listed("devices", "controller", spare=controllers.spare),
    "devices/disk": Listed("devices", "disk", _is_disk),
    "devices/cdrom": Listed("devices", "disk", lambda disk: not seed(disk)),
    "devices/input": Listed("devices", "input", _without(".", "bus", "ps2")),
    "devices/console": Listed("devices", "console", _without("target", "type", "serial", None)),
    "devices/channel": Listed("devices", "channel", _without("target", "name", AGENT)),
    # Newer q35 machines have one of their own.
    "devices/watchdog": Listed("devices", "watchdog", _without(".", "model", "itco")),
    "dhcp.ranges": Listed("ip/dhcp", "range", each=True),
    "dhcp.hosts": Listed("ip/dhcp", "host", each=True),
    "dns": Listed("dns", "host"),
    "dns.names": Listed("dns/host", "hostname"),
    "dns.txt": Listed("dns", "txt"),
    "dns.srv": Listed("dns", "srv"),
    "dns.forwarders": Listed("dns", "forwarder"),
    "network.ips": Listed("", "ip"),
    "network.routes": Listed("", "route"),
    "network.portgroups": Listed("", "portgroup"),
    "network.vlan": Listed("vlan", "tag"),
    "portgroup.vlan": Listed("portgroup/vlan", "tag"),
    "forward.devices": Listed("forward", "interface"),
    "forward.addresses": Listed("forward", "address"),
    "mount_opts": Listed("mount_opts", f"{FS}option"),
    "config_opts": Listed("config_opts", f"{RBD}option"),
}


Pairs = list[tuple[ET.Element, ET.Element | None]]


def pair(
    wanted: Sequence[ET.Element],
    there: Sequence[ET.Element],
    fits: Fits,
    keys: Sequence[Key] | None = None,
) -> tuple[Pairs, list[ET.Element]]:
    """Match the elements of one tag; return the pairs in wanted order, and who is left over.

    :param fits: tells whether an element that is there is as declared
    :param keys: instead of those of the tag
    """
    if not wanted:
        return [], list(there)
    keys = KEYS.get(wanted[0].tag) if keys is None else keys
    if keys is None or (len(wanted) == 1 and not there):
        count = len(wanted)
        return list(zip_longest(wanted, there[:count])), list(there[count:])
    if len(wanted) == len(there) == 1 and any(
        (value := key(wanted[0])) is not None and value == key(there[0]) for key in keys
    ):
        return [(wanted[0], there[0])], []
    free = list(there)
    found: dict[int, ET.Element] = {}
    for key in keys:
        if not free or len(found) == len(wanted):
            break
        known = [(key(other), other) for other in free]
        groups: dict[Hashable, list[int]] = {}
        for index, element in enumerate(wanted):
            value = None if index in found else key(element)
            if value is not None:
                groups.setdefault(value, []).append(index)
        for value, group in groups.items():
            alike = [other for theirs, other in known if theirs == value]
            for index, match in _settled(group, wanted, alike, fits):
                found[index] = match
                free.remove(match)
    return [(element, found.get(index)) for index, element in enumerate(wanted)], free


def _settled(
    group: list[int], wanted: Sequence[ET.Element], alike: list[ET.Element], fits: Fits
) -> list[tuple[int, ET.Element]]:
    """Pair what a key can't tell apart: by content, the choosiest first, the rest by place."""
    places = list(zip(group, alike, strict=False))
    if len(group) == len(alike) and all(
        len(group) == 1 or fits(wanted[index], other) for index, other in places
    ):
        return places
    choices = {index: [other for other in alike if fits(wanted[index], other)] for index in group}
    free, settled = list(alike), dict[int, ET.Element]()
    for index in sorted(choices, key=lambda index: len(choices[index])):
        match = next((other for other in choices[index] if other in free), None)
        if match is not None:
            settled[index] = match
            free.remove(match)
    rest = [index for index in group if index not in settled]
    return [*settled.items(), *zip(rest, free, strict=False)]


def label(element: ET.Element) -> str:
    """A short name of an element in a change's path: ``disk[/opt/a.raw]``."""
    for key in LABELS:
        value = key(element)
        if value is not None:
            return f"{local(element.tag)}[{_text(value)}]"
    return local(element.tag)


def local(tag: str) -> str:
    """Return a tag without its namespace."""
    return tag.rpartition("}")[2]


def forwarded(element: ET.Element) -> Hashable:
    """A device of the host that a network's traffic leaves by."""
    return element.get("dev") if element.tag == "interface" else None


LABELS: Sequence[Key] = (
    any_drive,
    source,
    at("mac", "address"),
    at("target", "dev"),
    at(".", "name"),
    both(at(".", "start"), at(".", "end")),
    at(".", "mac"),
    at(".", "ip"),
    both(at(".", "type"), at(".", "index")),
    forwarded,
    both(at(".", "service"), at(".", "protocol")),
    both(at(".", "address"), at(".", "gateway")),
    at(".", "addr"),
)


def _text(value: Hashable) -> str:
    """The values of a key, without the names of the attributes that :func:`source` adds."""
    parts = value if isinstance(value, tuple) else (value,)
    return "-".join(str(part[1]) if isinstance(part, tuple) else str(part) for part in parts)
