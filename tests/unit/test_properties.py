"""Any valid pillar makes a document, any hostile one an error; merging loses nothing."""

import copy
from xml.etree import ElementTree as ET

import pytest
from golden_cases import cases, document
from guests import Guest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strategies import DOMAINS, NETWORKS, Files, Walk

from salt_kvm.errors import SpecError
from salt_kvm.nouns import NOUNS
from salt_kvm.plan import steps
from salt_kvm.plan.domain import DomainSeen
from salt_kvm.seen import Facts, Observed
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.network import Network
from salt_kvm.xml import domain
from salt_kvm.xml.merge import merge

FACTS = Facts(arch="x86_64", kvm=False)
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
HOSTILE = ["<a b='c'>&amp;\"]]>", "../../etc/passwd", "/srv/../etc", "nul\0", "x" * 10_000_000,
           "\ud800", "\x01", "\r\n", False, True, None, 0, -1, 1e300, [], {}, [[]], {"a": 1},
           "no", "", " ", "{{ 1 }}", "%s", "\ufffe"]  # fmt: skip


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


# Any text, number and combination that the types allow.
WORDS = Walk().specs(Domain)
SEEN = [path.with_suffix(".xml").read_text() for path, _fields in cases("domain")]


@SLOW
@given(WORDS)
def test_a_valid_spec_is_well_formed(fields):
    text = ET.tostring(intent_of(fields).xml, encoding="unicode")
    assert ET.canonicalize(text) == ET.canonicalize(ET.tostring(ET.fromstring(text)))


@SLOW
@given(st.sampled_from(SEEN), WORDS)
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


# What takes something away, and what of a pillar allows it.
TAKES = {
    steps.Undefine: lambda want: want.state == "absent",
    steps.RemoveImage: lambda want: want.state == "absent" and want.disks == "delete",
    steps.Shutdown: lambda want: want.state in ("absent", "stopped") or want.restart,
    steps.Stop: lambda want: want.state in ("absent", "stopped"),
    steps.RestartNetwork: lambda want: want.restart,
}
GENTLE = {
    steps.Define, steps.SetAutostart, steps.Start, steps.AttachDevice, steps.DetachDevice,
    steps.UpdateDevice, steps.SetProperty, steps.UpdateNetwork, steps.CreateImage, steps.ResizeLive,
}  # fmt: skip
ENDS = st.fixed_dictionaries({
    "state": st.sampled_from(["present", "running", "stopped", "absent"]),
    "restart": st.sampled_from([None, True, False]),
})  # fmt: skip


def planned(noun, before, after, *, active, persistent):
    """Return what is wanted, and the steps from one pillar's object to another's."""
    spec = Domain if noun == "domain" else Network
    try:
        text = ET.tostring(document(noun, "web1", {**SMALL[noun], **before}), encoding="unicode")
        want = convert(spec, after, "x")
        there = Observed(noun, "web1", text, text if active else None, persistent=persistent)
        seen = DomainSeen(there, Files(there=True), FACTS, Guest()) if noun == "domain" else there
        made = NOUNS[noun].plan("web1", want, seen)
        return want, [each for each in made if isinstance(each, steps.Step)]
    except SpecError:
        assume(False)


SMALL = {"domain": {"memory": "64MiB"}, "network": {}}


@SLOW
@given(
    st.sampled_from([("domain", DOMAINS), ("network", NETWORKS)]).flatmap(
        lambda noun: st.tuples(st.just(noun[0]), noun[1], noun[1])
    ),
    ENDS,
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_nothing_is_taken_away_that_the_pillar_does_not_allow(
    pair, ends, delete, active, persistent
):
    noun, before, after = pair
    assume(active or persistent)
    if noun == "domain" and ends["state"] == "absent" and delete:
        after = {**after, "disks": "delete"}
    want, made = planned(noun, before, {**after, **ends}, active=active, persistent=persistent)
    for step in made:
        kind = type(step)
        assert kind in GENTLE or TAKES[kind](want), step
    if want.state != "absent":
        # A device is pulled out only where its list is declared.
        tags = {step.device.partition("[")[0] for step in made if type(step) is steps.DetachDevice}
        named = [*LISTS.items(), *SINGLE.items()]
        assert tags <= {tag for tag, name in named if name in after}


LISTS = {
    "disk": "disks", "interface": "interfaces", "rng": "rng", "channel": "channels",
    "console": "consoles", "serial": "serial", "input": "inputs", "hostdev": "hostdevs",
    "redirdev": "redirdevs", "memory": "memory_devices", "filesystem": "filesystems",
    "watchdog": "watchdog",
}  # fmt: skip
SINGLE = {"channel": "agent", "vsock": "vsock"}

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
