"""How a typed field becomes XML: one row for each field, and the ways a value is said.

A row is a field, the path of its element or attribute (``driver@cache``) and, where the value is
not simply written there, the function that says it: text, several attributes, child elements,
another spec, or ``None`` for what must not be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from salt_kvm.spec.types import Size, Spec
from salt_kvm.xml.identity import LISTS
from salt_kvm.xml.intent import ABSENT, GONE, element

Said = str | Mapping[str, object] | list[ET.Element] | Spec | None
Say = Callable[[Any], Said]


class Row(NamedTuple):
    """One field; an element's path without an attribute is written as its text."""

    field: str
    outer: tuple[str, ...]
    tag: str
    attribute: str
    say: Say


Table = tuple[Row, ...]
Tables = Mapping[type[Spec], Table]


def rows(*lines: tuple[str, str] | tuple[str, str, Say]) -> Table:
    """Return a table from lines of field, path and, optionally, how the value is said."""
    made = []
    for field, path, *say in lines:
        tags, _, attribute = path.partition("@")
        *outer, tag = tags.split("/")
        made.append(Row(field, tuple(outer), tag, attribute, say[0] if say else plain))
    return tuple(made)


def plain(value: Any) -> Said:
    """A value as it is; libvirt's ``yes`` and ``no`` for a boolean."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, Spec) else str(value)


def switch(value: bool) -> Said:
    return "on" if value else "off"


def flag(value: bool) -> Said:
    """An element that is there or not."""
    return {} if value else None


def state(value: bool) -> Said:
    return {"state": "on" if value else "off"}


def enabled(value: bool) -> Said:
    return {"enabled": "yes" if value else "no"}


def kib(value: Size) -> Said:
    """Rounded up, as libvirt does."""
    return str(-(-value // 1024))


def sized(attribute: str) -> Say:
    """A size in an attribute, with its unit in another."""
    return lambda value: {attribute: kib(value), "unit": "KiB"}


def hexadecimal(digits: int) -> Say:
    return lambda value: f"0x{int(str(value), 0):0{digits}x}"


def or_default(default: Spec, none: Spec | None = None) -> Say:
    """A device that is also declared by ``true`` and ``false``."""
    return lambda value: default if value is True else none if value is False else value


def entries(tag: str) -> Say:
    """A mapping of names to texts."""
    return lambda value: [element(tag, {"name": k}, text=v) for k, v in value.items()]


def texts(tag: str) -> Say:
    return lambda value: [element(tag, text=text) for text in value]


def fill(node: ET.Element, spec: Spec, tables: Tables, path: str, owned: set[str]) -> ET.Element:
    """Write what a spec declares into its element; return the element.

    :param path: where the element stands, to name the lists that are declared in full
    :param owned: gets the path of each list
    """
    for row in tables[type(spec)]:
        value = getattr(spec, row.field)
        if value is not None:
            _put(node, row, value, tables, path, owned)
    return node


def _put(
    node: ET.Element, row: Row, value: Any, tables: Tables, path: str, owned: set[str]
) -> None:
    if row.tag:
        path = "/".join((path, *row.outer, row.tag)) if path else "/".join((*row.outer, row.tag))
        for tag in row.outer:
            node = child(node, tag)
    if isinstance(value, list) and row.say is plain:
        owned.add(path)
        for item in value:
            _write(ET.SubElement(node, row.tag), row, item, tables, path, owned)
        _empty(node, path, value)
    else:
        _write(child(node, row.tag) if row.tag else node, row, value, tables, path, owned)


def _write(
    node: ET.Element, row: Row, value: Any, tables: Tables, path: str, owned: set[str]
) -> None:
    said = row.say(value)
    if isinstance(said, Spec):
        fill(node, said, tables, path, owned)
    elif isinstance(said, str):
        if row.attribute:
            node.set(row.attribute, said)
        else:
            node.text = said
    elif isinstance(said, list):
        owned.add(path)
        node.extend(said)
        _empty(node, path, said)
    elif said is None:
        node.set(row.attribute or ABSENT, ABSENT if row.attribute else "yes")
    else:
        node.attrib.update({name: str(text) for name, text in said.items()})


def _empty(node: ET.Element, path: str, entries: list[Any]) -> None:
    """Of a list that each parent has of its own, an empty one has to say that it is meant."""
    listed = LISTS.get(path)
    if listed is not None and listed.each and not entries:
        ET.SubElement(node, listed.tag, GONE)


def child(parent: ET.Element, tag: str) -> ET.Element:
    """Return the first child with this tag; it is made where there is none."""
    found = parent.find(tag)
    return ET.SubElement(parent, tag) if found is None else found
