"""Hostile pillars: each field of each noun gets what can't be, and what only looks harmless.

It is refused with a sentence, or it stands escaped in a well-formed document; nothing else is
raised, and no path leads outside.
"""

import copy
import datetime
from xml.etree import ElementTree as ET

import pytest
import yaml
from golden_cases import FACTS, cases

from pillars import problems
from salt_kvm import converge
from salt_kvm.errors import SpecError
from salt_kvm.nouns import NOUNS
from salt_kvm.xml import domain, network, pool

NEST = []
for _depth in range(2000):
    NEST = [NEST]
LONG = "x" * 10_000_000
VALUES = [
    "<a b='c'>&amp;\"]]>", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "../../etc/passwd", "/srv/../etc",
    "/srv/..", "..", "nul\0", LONG, "\ud800", "\x01", "\x7f", "\u0085", "\r\n", "\n", "\ufffe",
    "no", "", " ", "{{ 1 }}", "%s", "{0.__class__}", "-1", "1e400", "0x", False, True, None,
    0, -1, 1e300, float("inf"), float("nan"), 2**63, 2**64, -(10**30), 10**5000,
    [], {}, [[]], {"a": 1}, {1: 2}, {None: None}, {"": ""}, {"a\nb": "c"},
    [None], NEST, b"bytes", {"a", "b"}, (1, 2),
    datetime.date(2026, 11, 24), object(),
]  # fmt: skip
# What is put behind or before a text that was valid.
ENDS = ["\n", "\0", "\u2028", "<", "&", "'\"", "/../x", "\n<evil/>", "\ud800", " "]
STARTS = ["../", "\n", "-", "\0"]
# Attributes and elements that are files of the host.
FILES = {"file", "dev", "dir", "path", "evdev", "socket", "template", "root"}
FILE_ELEMENTS = {"emulator", "loader", "nvram", "kernel", "initrd", "dtb", "path"}
MODULES = {"domain": domain, "network": network, "pool": pool}
EXAMPLES = [(noun, fields) for noun in MODULES for _path, fields in cases(noun)]
EXAMPLES.append((
    "image", {"format": "raw", "size": "1GiB", "owner": "root", "group": "kvm", "mode": "0640"},
))  # fmt: skip


def paths(value, at=()):
    """Yield the place of each key and item of plain data."""
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield (*at, key)
            yield from paths(item, (*at, key))


def with_value(fields, path, value):
    key, *rest = path
    changed = copy.copy(fields)
    changed[key] = with_value(fields[key], rest, value) if rest else value
    return changed


def at(fields, path):
    for key in path:
        fields = fields[key]
    return fields


# One for each field, wherever it stands.
PLACES = {
    (noun, *(step for step in path if not isinstance(step, int))): (noun, fields, path)
    for noun, fields in EXAMPLES
    for path in paths(fields)
    if path[0] not in ("xml", "metadata")
}


def check(noun, name, fields, where):
    """Convert and render; what is refused is refused with a sentence."""
    try:
        target = converge.aim(noun, name, fields)
        root = document(target)
    except SpecError as error:
        told = str(error)
    else:
        check_document(target, root, where)
        return
    assert 0 < len(told) < 5000, where


def check_document(target, root, where):
    if root is None:
        assert target.noun.section != "images" or ".." not in target.name.split("/"), where
        return
    tags = [element.tag for element in root.iter()]
    try:
        parsed = ET.fromstring(ET.tostring(root, encoding="unicode"))
    except (ET.ParseError, ValueError) as error:
        raise AssertionError(where) from error
    assert [element.tag for element in parsed.iter()] == tags, where
    for element in root.iter():
        named = {value for name, value in element.attrib.items() if name in FILES}
        named |= {element.text or ""} if element.tag in FILE_ELEMENTS else set()
        assert not any(".." in value.split("/") for value in named), where


def document(target):
    """Return what is declared as a document; not every noun has one."""
    kind = NOUNS_BY_SECTION[target.noun.section]
    if kind not in MODULES:
        return None
    facts = (FACTS,) if kind == "domain" else ()
    return MODULES[kind].intent(target.name, target.want, *facts).xml


NOUNS_BY_SECTION = {row.section: noun for noun, row in NOUNS.items()}
NAMES = {"image": "/srv/a.raw"}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_hostile_value_is_refused_or_escaped(value):
    """Every field gets the value once; one in eight gets what takes long."""
    step = 8 if value is LONG else 1
    for noun, fields, path in list(PLACES.values())[::step]:
        check(noun, NAMES.get(noun, "web1"), with_value(fields, path, value), (noun, path))


def test_a_text_with_something_hostile_around_it_is_refused_or_escaped():
    for noun, fields, path in PLACES.values():
        text = at(fields, path)
        if isinstance(text, str):
            for hostile in [*(text + end for end in ENDS), *(start + text for start in STARTS)]:
                where = (noun, path, hostile)
                check(noun, NAMES.get(noun, "web1"), with_value(fields, path, hostile), where)


@pytest.mark.parametrize(
    "value", [*VALUES, "a\n", "a/b", ".", "a" * 300], ids=lambda value: type(value).__name__
)
def test_a_hostile_key_is_refused_or_escaped(value):
    """As the name of an object, of a field, and in each mapping of names that a spec has."""
    if isinstance(value, (list, dict, set)):
        return
    for noun in NOUNS:
        check(noun, value, {"state": "present"}, noun)
    for noun, fields, path in PLACES.values():
        inner = at(fields, path)
        if isinstance(inner, dict):
            bad = {**inner, value: "x"}
            check(noun, NAMES.get(noun, "web1"), with_value(fields, path, bad), (noun, path))
    assert problems({value: {}})
    for section in ("networks", "pools", "images", "domains"):
        assert all(len(fault) < 1000 for fault in problems({section: {value: {}}}))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_hostile_section_is_refused(value):
    for section in ({}, {"host": value}, {"domains": value}, {"domains": {"a": value}}, value):
        for fault in problems(section):
            assert 0 < len(fault) < 1000


def test_the_words_of_yaml_are_no_names_by_accident():
    section = yaml.safe_load("{domains: {web1: {title: no, on_crash: off}}}")
    told = problems(section)
    assert [fault.split(": ")[0] for fault in told] == [
        f"kvm:domains:web1:{key}" for key in ("title", "on_crash")
    ]
