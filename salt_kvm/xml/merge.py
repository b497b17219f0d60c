"""Write an intent into libvirt's own document, and say what that changed.

One walk does both, so what is reported is what is written. What the intent does not name survives:
UUID, MAC and PCI addresses, aliases, elements that this project has never heard of.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.spec.types import Size
from salt_kvm.xml import identity
from salt_kvm.xml.document import parse
from salt_kvm.xml.equality import canonical, same
from salt_kvm.xml.intent import ABSENT, Intent

SECRET = {("graphics", "passwd"), ("session", "")}
HIDDEN = "(hidden)"
# Shown with a unit; the documents are in their canonical spelling by then.
KIB = {("memory", ""), ("currentMemory", "")}

# Present for their children only; libvirt drops one that has none.
CONTAINERS = {
    "dns", "dhcp", "nat", "bandwidth", "cputune", "numatune", "memtune", "blkiotune", "iotune",
    "memoryBacking", "features", "hyperv", "kvm", "numa", "firmware", "devices", "pm", "distances",
    "oemStrings", "cpu", "os", "metadata", "filterref", "active_pcr_banks", "mount_opts",
    "config_opts", "permissions", "bios", "system", "baseBoard", "chassis",
}  # fmt: skip

Place = tuple[str, str]


class Variant(NamedTuple):
    """A value of an element, or of one inside it, and what goes with the old one.

    ``drops`` are child elements, and attributes (``@*``: all) that are not declared. With ``to``
    they go with a change to one of these values only.
    """

    where: Place
    drops: tuple[Place, ...]
    to: tuple[str, ...] = ()


def _variant(where: str, *drops: str, to: tuple[str, ...] = ()) -> Variant:
    places = [(tag.rstrip("/"), name) for tag, _, name in (p.partition("@") for p in drops)]
    tag, _, attribute = where.partition("@")
    return Variant((tag.rstrip("/"), attribute), tuple(places), to)


SOURCE = _variant("@type", "source", "protocol")
# What libvirt refuses of some kinds of a device and has no way to be undeclared.
ONLY_VIRTIO = ("driver/@queues", "driver/@iothread")
# A console that has these listens at no port.
NO_PORT = (("listen[@type='none']", ""), ("listen[@type='socket']", ""), ("", "socket"))
VARIANTS: Mapping[str, tuple[Variant, ...]] = {
    "cpu": (_variant("@mode", "@*", "model", "vendor", "feature", "maxphysaddr"),),
    "disk": (
        _variant("@type", "source"),
        _variant("target/@bus", "address", "target/@dev"),
        # libvirt gives a drive the place that its name stands for.
        Variant(("target", "dev"), (("address[@type='drive']", ""),)),
        _variant("target/@bus", *ONLY_VIRTIO, to=("scsi", "sata", "ide", "usb", "fdc")),
        _variant("target/@bus", "wwn", to=("virtio", "sata", "usb", "fdc")),
    ),
    "interface": (
        _variant("@type", "source", "virtualport"),
        _variant("@type", "mtu", to=("direct", "user", "hostdev")),
        _variant("@type", "port", to=("direct", "user", "ethernet", "vhostuser", "hostdev")),
        _variant("@type", "driver", to=("hostdev",)),
    ),
    "video": (
        _variant("model/@type", "model/resolution", to=("cirrus", "ramfb", "vmvga", "none")),
        _variant("model/@type", "address", to=("ramfb", "none")),
        _variant(
            "model/@type",
            "driver",
            to=("vga", "qxl", "bochs", "cirrus", "ramfb", "vmvga", "none"),
        ),
    ),
    "graphics": (
        *(Variant(("", port), NO_PORT) for port in ("autoport", "websocket")),
        _variant("listen/@type", "@socket", to=("address", "network", "none")),
    ),
    "serial": (SOURCE, _variant("target/@type", "address", "target/model")),
    "console": (SOURCE,),
    "channel": (SOURCE,),
    "input": (_variant("@bus", "address"),),
    "sound": (_variant("@model", "address", "codec"),),
    "memory": (_variant("@model", "address"),),
    "backend": (_variant("@type", "@*", "device", "encryption", "active_pcr_banks"),),
    "memballoon": (_variant("@model", "@*", "stats", "driver"),),
    "model": (_variant("@type", "@*"),),
    "listen": (_variant("@type", "@*"),),
    "clock": (_variant("@offset", "@*"),),
    "os": (
        _variant("@firmware", "loader", "firmware"),
        _variant("@firmware", "nvram", to=("bios",)),
        # libvirt notes the loader that it chose by these.
        *(
            Variant((f"firmware/feature[@name='{name}']", "enabled"), (("loader", ""),))
            for name in ("secure-boot", "enrolled-keys")
        ),
    ),
}

# Of two ways to say the same thing libvirt takes one: what is declared drives out the other.
EXCLUDES: Mapping[str, tuple[str, str]] = {
    "os/boot": ("devices/*", "boot"),
    "devices/*/boot": ("os", "boot"),
}
# What one device only may have: who is declared to have it takes it from another one.
SOLE = (("boot", "order"), ("model", "primary"))


class Difference(msgspec.Struct, frozen=True):
    """One declared thing that is not as declared; ``None`` is absent.

    ``raw`` is the new value as libvirt takes it; ``old`` and ``new`` are for people; ``reason`` is
    why it waits, where there is more to say than that a running object can't take it.
    """

    path: str
    old: object
    new: object
    raw: str | None = None
    reason: str = ""

    def change(self) -> dict[str, object]:
        return {"old": self.old, "new": self.new}


class Merged(msgspec.Struct, frozen=True):
    """The document with the intent in it, and each difference that this made.

    ``added`` are the elements that are new in it; ``devices`` are the declared devices, each with
    the element that it became.
    """

    xml: ET.Element
    differences: tuple[Difference, ...]
    added: tuple[ET.Element, ...]
    devices: tuple[tuple[ET.Element, ET.Element], ...]


def merge(document: ET.Element, intent: Intent, within: str = "") -> Merged:
    """Write ``intent`` into ``document``, in place: a document is parsed for one merge.

    :param document: libvirt's document
    :param intent: what is declared; it is not changed
    :param within: for an element of a document: where it stands, as ``identity.LISTS`` has it
    """
    walk = _Walk(intent.lists)
    canonical(document)
    at = ROOT._replace(tags=within)
    differences = (*_drive_out(document, intent.xml), *walk.element(document, intent.xml, at))
    differences += tuple(_take_away(document, walk.devices))
    return Merged(document, differences, tuple(walk.added), tuple(walk.devices))


def fits(
    want: ET.Element, seen: ET.Element, lists: frozenset[str] = frozenset(), within: str = ""
) -> bool:
    """Tell whether an element is as declared; both are in their canonical spelling.

    :param lists: those that are declared in full, by their rows of ``identity.LISTS``
    :param within: where the parent of the element stands
    """
    return _Walk(lists).fits(ROOT._replace(tags=within), want, seen)


class _Where(NamedTuple):
    """Where an element stands, put into words only when a difference is told.

    ``tags`` is the path by which a list's parent is named: ``ip/dhcp``.
    """

    above: _Where | None
    siblings: Sequence[ET.Element]
    nth: int
    tags: str

    def below(self, siblings: Sequence[ET.Element], nth: int, tag: str) -> _Where:
        name = identity.local(tag)
        return _Where(self, siblings, nth, f"{self.tags}/{name}" if self.tags else name)

    def path(self, attribute: str = "") -> str:
        """Return the path below the document's root: ``ip[192.168.122.1]/dhcp/@family``."""
        above = self.above.path() if self.above is not None else ""
        own = _names(self.siblings)[self.nth] if self.siblings else ""
        return "/".join(filter(None, (above, own, attribute and f"@{attribute}")))


ROOT = _Where(None, (), 0, "")


class _Walk:
    """The state of one merge: which lists are owned, and which elements were new."""

    def __init__(self, lists: frozenset[str]) -> None:
        self.lists: dict[str, list[identity.Listed]] = {}
        for name in lists:
            row = identity.LISTS[name]
            self.lists.setdefault(row.parent, []).append(row)
        self.added: list[ET.Element] = []
        self.devices: list[tuple[ET.Element, ET.Element]] = []

    def element(self, seen: ET.Element, want: ET.Element, at: _Where) -> Iterator[Difference]:
        """Merge one element, which stands ``at`` its place in the document.

        Each change is made after it was told, so that who stops at the first changes nothing.
        """
        rows = VARIANTS.get(seen.tag)
        stale = [row for row in rows if _varies(seen, want, row)] if rows else None
        for name, value in want.attrib.items():
            if seen.get(name) != value:
                yield from _attribute(seen, name, value, at)
        text = (want.text or "").strip()
        if text and not same(seen.tag, "", old := (seen.text or "").strip(), text):
            shown = _shown(seen.tag, "", old) or None, _shown(seen.tag, "", text)
            yield Difference(at.path(), *shown, raw=text)
            seen.text = want.text
        # What stands below is compared with the new variant; what is beside it is not.
        if stale:
            _drop(seen, want, [row for row in stale if not row.where[0]])
        yield from self._children(seen, want, at)
        if stale:
            _drop(seen, want, [row for row in stale if row.where[0]], but=want)

    def fits(self, above: _Where, want: ET.Element, seen: ET.Element) -> bool:
        """Tell whether an element is as declared."""
        return next(self.element(seen, want, above.below((want,), 0, want.tag)), None) is None

    def _children(self, seen: ET.Element, want: ET.Element, at: _Where) -> Iterator[Difference]:
        wanted: dict[str, list[ET.Element]] = {}
        for child in want:
            wanted.setdefault(child.tag, []).append(child)
        rows = self.lists.get(at.tags, [])
        owned = [row for row in rows if not row.each or row.tag in wanted]
        for row in owned:
            wanted.setdefault(row.tag, [])
        if not wanted:
            return
        extras: list[ET.Element] = []
        fits = partial(self.fits, at)
        for tag, children in wanted.items():
            pairs, left = identity.pair(children, seen.findall(tag), fits)
            extras += left
            for index, (child, match) in enumerate(pairs):
                if match is not None and _alike(child, match):
                    self._note(seen, child, match)
                    continue
                yield from self._child(seen, child, match, at.below(children, index, tag))
        if not owned:
            return
        # What others may sit on is looked at when they are gone.
        extras.sort(key=identity.carries)
        for index, extra in enumerate(extras):
            if any(row.owns(extra, seen) for row in owned):
                yield Difference(at.below(extras, index, extra.tag).path(), summary(extra), None)
                seen.remove(extra)

    def _child(
        self, parent: ET.Element, want: ET.Element, match: ET.Element | None, at: _Where
    ) -> Iterator[Difference]:
        if ABSENT in want.attrib:
            if match is not None:
                yield Difference(at.path(), summary(match), None)
                parent.remove(match)
        elif match is not None:
            self._note(parent, want, match)
            empty = _nothing(match)
            yield from self.element(match, want, at)
            # libvirt refuses some of those that it never writes itself.
            if not empty and _nothing(match):
                parent.remove(match)
        elif not _only_absent(want) and not _nothing(want) and not _left_out(want):
            new = _without_markers(want)
            leaf = not len(new) and not new.attrib
            yield Difference(at.path(), None, summary(new), raw=(new.text or "") if leaf else None)
            _insert(parent, new)
            self.added.append(new)
            self._note(parent, want, new)

    def _note(self, parent: ET.Element, want: ET.Element, became: ET.Element) -> None:
        if parent.tag == "devices":
            self.devices.append((want, became))


def _alike(want: ET.Element, seen: ET.Element) -> bool:
    """Tell of two elements without children, as most are, that one says word for word the other."""
    if len(want) or len(seen) or ABSENT in want.attrib:
        return False
    text = (want.text or "").strip()
    said = not text or text == (seen.text or "").strip()
    return said and want.attrib.items() <= seen.attrib.items()


def _varies(seen: ET.Element, want: ET.Element, row: Variant) -> bool:
    """Tell whether an attribute has another value than the declared one."""
    tag, attribute = row.where
    here, declared = _below(seen, tag), _below(want, tag)
    value = None if declared is None else declared.get(attribute)
    if here is None or value is None or (row.to and value not in row.to):
        return False
    if value == ABSENT:
        return attribute in here.attrib
    return not same(here.tag, attribute, here.get(attribute), value)


def _below(element: ET.Element, tag: str) -> ET.Element | None:
    return element.find(tag) if tag else element


def _drop(
    seen: ET.Element, want: ET.Element, rows: Sequence[Variant], but: ET.Element | None = None
) -> None:
    """Take what belonged to old variants out of an element; elements that ``but`` has stay."""
    for tag, attribute in [place for row in rows for place in row.drops]:
        outer, _, last = tag.rpartition("/")
        here = _below(seen, tag if attribute else outer)
        if here is None:
            continue
        if attribute:
            declared = _below(want, tag)
            kept = {} if declared is None else declared.attrib
            for name in [n for n in here.attrib if n not in kept and attribute in (n, "*")]:
                del here.attrib[name]
        elif but is None or but.find(tag) is None:
            for child in here.findall(last):
                here.remove(child)


def _drive_out(document: ET.Element, want: ET.Element) -> Iterator[Difference]:
    for declared, (parents, tag) in EXCLUDES.items():
        if want.find(declared) is None:
            continue
        for parent in document.iterfind(parents):
            for extra in parent.findall(tag):
                parent.remove(extra)
                path = parents.replace("*", identity.label(parent))
                yield Difference(f"{path}/{tag}", summary(extra), None)


def _take_away(
    document: ET.Element, devices: Sequence[tuple[ET.Element, ET.Element]]
) -> Iterator[Difference]:
    for tag, name in SOLE:
        key = identity.at(tag, name)
        taken = {key(want): became for want, became in devices}
        for device in document.iterfind("devices/*") if taken.keys() - {None, "no"} else ():
            value, part = key(device), device.find(tag)
            if value in (None, "no") or part is None or taken.get(value, device) is device:
                continue
            path = f"devices/{identity.label(device)}/{tag}"
            if tag == "boot":
                device.remove(part)
                yield Difference(path, summary(part), None)
            else:
                yield Difference(f"{path}/@{name}", part.attrib.pop(name), None)


def _names(children: Sequence[ET.Element]) -> list[str]:
    """Return a name for each of several elements of one tag; no two are the same."""
    if len(children) == 1 and children[0].tag not in identity.KEYS:
        return [identity.local(children[0].tag)]
    labels = [identity.label(child) for child in children]
    return [
        label if labels.count(label) == 1 else f"{label}[{labels[: index + 1].count(label)}]"
        for index, label in enumerate(labels)
    ]


def summary(element: ET.Element) -> object:
    """Return an element as plain data for a change: leaf values by their path inside it."""
    leaves = dict(_leaves(element, ""))
    return leaves[""] if set(leaves) == {""} else leaves


def _leaves(element: ET.Element, path: str) -> Iterator[tuple[str, str]]:
    for name, value in element.attrib.items():
        if name != "unit" and value != ABSENT:
            yield f"{path}@{name}", _shown(element.tag, name, value)
    text = (element.text or "").strip()
    if text or (not len(element) and not element.attrib):
        yield path.rstrip("/"), _shown(element.tag, "", text)
    tags = [child.tag for child in element]
    for index, child in enumerate(element):
        if ABSENT in child.attrib:
            continue
        nth = f"[{tags[: index + 1].count(child.tag)}]" if tags.count(child.tag) > 1 else ""
        yield from _leaves(child, f"{path}{child.tag}{nth}/")


def _attribute(seen: ET.Element, name: str, value: str, at: _Where) -> Iterator[Difference]:
    old = seen.get(name)
    if value == ABSENT:
        if old is not None:
            yield Difference(at.path(name), _shown(seen.tag, name, old), None)
            del seen.attrib[name]
    elif not same(seen.tag, name, old, value):
        shown = None if old is None else _shown(seen.tag, name, old)
        new = _shown(seen.tag, name, value)
        yield Difference(at.path(name), shown, new, raw=value)
        seen.set(name, value)


def _shown(tag: str, name: str, value: str) -> str:
    if (tag, name) in SECRET:
        return HIDDEN
    return str(Size(int(value) * 1024)) if (tag, name) in KIB and value.isdigit() else value


def without_secrets(text: str) -> str:
    """Return a document with every secret in it replaced by :data:`HIDDEN`."""
    root = parse(text)
    for tag, name in SECRET:
        for element in root.iter(tag):
            if name in element.attrib:
                element.set(name, HIDDEN)
            if not name:
                element.text = HIDDEN
    return ET.tostring(root, encoding="unicode")


def _only_absent(want: ET.Element) -> bool:
    """Tell whether an element is named only to say what it must not have."""
    return bool(want.attrib) and not len(want) and set(want.attrib.values()) == {ABSENT}


def _nothing(want: ET.Element) -> bool:
    """Tell whether an element is empty, and one that libvirt leaves out when it is."""
    return identity.local(want.tag) in CONTAINERS and not want.attrib and not len(want)


def _left_out(want: ET.Element) -> bool:
    """Tell whether an element says only what libvirt leaves out: ``<quota>0</quota>``, no child."""
    text = (want.text or "").strip()
    said = [same(want.tag, name, None, value) for name, value in want.attrib.items()]
    said += [same(want.tag, "", None, text)] if text else []
    said += [ABSENT in e.attrib or _only_absent(e) or _nothing(e) or _left_out(e) for e in want]
    return bool(said) and all(said)


def _without_markers(want: ET.Element) -> ET.Element:
    new = copy.deepcopy(want)
    # From the inside out: what has nothing but markers is nothing.
    for element in reversed(list(new.iter())):
        for child in [child for child in element if ABSENT in child.attrib or _nothing(child)]:
            element.remove(child)
        for name in [name for name, value in element.attrib.items() if value == ABSENT]:
            del element.attrib[name]
    return new


def _insert(parent: ET.Element, new: ET.Element) -> None:
    """Behind its last sibling of the same tag: the order of boot devices means something."""
    last = max((i for i, child in enumerate(parent) if child.tag == new.tag), default=None)
    parent.insert(len(parent) if last is None else last + 1, new)
