"""Any valid pillar makes a document, any hostile one an error; merging loses nothing."""

import copy
import types
import typing
from typing import Annotated, Literal
from xml.etree import ElementTree as ET

import msgspec
import pytest
from golden_cases import cases
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from salt_kvm.errors import SpecError
from salt_kvm.seen import Facts
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.types import Mac, Medium, Mode, Name, Path, Size, Spec
from salt_kvm.xml import domain
from salt_kvm.xml.merge import merge

FACTS = Facts(arch="x86_64", kvm=False)
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
HOSTILE = ["<a b='c'>&amp;\"]]>", "../../etc/passwd", "/srv/../etc", "nul\0", "x" * 10_000_000,
           "\ud800", "\x01", "\r\n", False, True, None, 0, -1, 1e300, [], {}, [[]], {"a": 1},
           "no", "", " ", "{{ 1 }}", "%s", "\ufffe"]  # fmt: skip
PLAIN = {
    Path: st.sampled_from(["/srv/a", "/dev/b<&>'\"", "/c d"]),
    Medium: st.sampled_from(["", "/srv/a.iso"]),
    Name: st.sampled_from(["default", "a & b", "<x>"]),
    Size: st.sampled_from(["64MiB", "1GiB", 3 * 1024**2 + 1]),
    Mac: st.sampled_from(["52:54:00:00:00:01", "52:54:00:AA:BB:02"]),
    Mode: st.just("0640"),
    bool: st.booleans(),
    float: st.just(2.0),
    int: st.integers(0, 9),
}


def values(kind):
    """Return a strategy for what a pillar may say where a spec has this type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return annotated(arguments[0], arguments[1:])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(values(arg) for arg in arguments if arg is not type(None)))
    if origin is list:
        return st.lists(values(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(*map(values, arguments), max_size=2)
    if isinstance(kind, type) and issubclass(kind, Spec):
        return specs(kind)
    return PLAIN[kind] if kind in PLAIN else st.text(max_size=8)


def annotated(kind, metas):
    """Return a strategy that keeps to limits and patterns."""
    limits = {k: getattr(m, k) for m in metas for k in ("ge", "le", "pattern", "min_length")}
    limits = {k: v for k, v in limits.items() if v is not None}
    if typing.get_origin(kind) is list:
        return st.lists(values(typing.get_args(kind)[0]), min_size=1, max_size=2)
    if kind is int:
        return st.integers(limits.get("ge"), limits.get("le"))
    return st.from_regex(limits["pattern"]).filter(lambda text: 0 < len(text) <= 20)


def specs(kind):
    """Return a strategy for mappings that may be a spec; only a few of its keys at a time."""
    hints = {
        name: hint
        for name, hint in typing.get_type_hints(kind, include_extras=True).items()
        if name not in ("xml", "metadata", "state")
    }
    needed = [f.name for f in msgspec.structs.fields(kind) if f.required]
    optional = [name for name in hints if name not in needed]
    return st.lists(st.sampled_from(optional or needed), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {name: values(hints[name]) for name in {*needed, *chosen}}
        )
    )


def converted(fields):
    """Return the spec, or the error that says why there is none."""
    try:
        return convert(Domain, fields, "kvm:domains:web1")
    except SpecError as error:
        return error


def valid(fields):
    want = converted(fields)
    assume(not isinstance(want, SpecError))
    return want


def intent_of(fields):
    return domain.intent("web1", valid(fields), FACTS)


DOMAINS = specs(Domain)
SEEN = [path.with_suffix(".xml").read_text() for path, _fields in cases("domain")]


@SLOW
@given(DOMAINS)
def test_a_valid_spec_is_well_formed(fields):
    text = ET.tostring(intent_of(fields).xml, encoding="unicode")
    assert ET.canonicalize(text) == ET.canonicalize(ET.tostring(ET.fromstring(text)))


@SLOW
@given(st.sampled_from(SEEN), DOMAINS)
def test_merging_twice_is_no_difference(seen, fields):
    intent = intent_of(fields)
    first = merge(ET.fromstring(seen), intent)
    text = ET.tostring(domain.complete(first.xml, first.added), encoding="unicode")
    assert merge(ET.fromstring(text), intent).differences == ()


@SLOW
@given(st.sampled_from(SEEN), st.sampled_from(cases("domain")))
def test_merging_keeps_what_is_not_declared(seen, case):
    """Marks that no spec knows are put everywhere; each is there unless its element was dropped."""
    root = ET.fromstring(seen)
    for number, element in enumerate(list(root.iter())):
        element.set("untouched", str(number))
    before = {e.get("untouched"): e.tag for e in root.iter()}
    merged = merge(copy.deepcopy(root), intent_of(case[1]))
    after = {e.get("untouched"): e.tag for e in merged.xml.iter() if e.get("untouched")}
    told = {step.partition("[")[0] for d in merged.differences for step in d.path.split("/")}
    for number in before.keys() - after.keys():
        element = next(e for e in root.iter() if e.get("untouched") == number)
        above = [e.tag for e in root.iter() if element in list(e.iter())]
        assert told & set(above), (before[number], above)


@SLOW
@given(st.sampled_from(SEEN))
def test_an_empty_spec_changes_nothing(seen):
    before = ET.canonicalize(ET.tostring(merge(ET.fromstring(seen), intent_of({})).xml))
    again = merge(ET.fromstring(before), intent_of({}))
    assert again.differences == ()
    assert ET.canonicalize(ET.tostring(again.xml)) == before


EXAMPLES = [fields for _path, fields in cases("domain")]


def paths(value, at=()):
    """Yield the place of each key and item of plain data."""
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield (*at, key)
            yield from paths(item, (*at, key))


def with_value(fields, path, value):
    changed = copy.deepcopy(fields)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


# One for each field, wherever it stands.
PLACES = {
    tuple(step for step in path if not isinstance(step, int)): (index, path)
    for index, fields in enumerate(EXAMPLES)
    for path in paths(fields)
    if path[0] not in ("xml", "metadata")
}
FILES = {"file", "dev", "dir", "path", "evdev", "socket", "template"}


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda value: repr(value)[:20])
def test_a_hostile_value_is_refused_or_escaped(hostile):
    """Every field of the golden cases gets the value once; one in eight gets what takes long."""
    step = 8 if isinstance(hostile, str) and len(hostile) > 1000 else 1
    for index, path in list(PLACES.values())[::step]:
        fields = with_value(EXAMPLES[index], path, hostile)
        want = converted(fields)
        if isinstance(want, SpecError):
            assert len(str(want)) < 5000
            continue
        intent = domain.intent("web1", want, FACTS)
        text = ET.tostring(intent.xml, encoding="unicode")
        tags = [element.tag for element in intent.xml.iter()]
        assert [element.tag for element in ET.fromstring(text).iter()] == tags, path
        for element in intent.xml.iter():
            named = {value for name, value in element.attrib.items() if name in FILES}
            assert not any(".." in value.split("/") for value in named), path
