"""Any valid pillar makes a document, any hostile one an error; merging loses nothing."""

import copy
from xml.etree import ElementTree as ET

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


TOKENS = [
    "<domain>", "</domain>", "<devices>", "</devices>", "<disk>", "</disk>", "<memory>",
    "</memory>", "<memory unit='GiB'>", "<memory unit='ell'>", "<vcpu>", "</vcpu>", "<a b='1'/>",
    "<ip netmask='x'/>", "<lease expiry='1' unit='ell'/>", "<lease expiry='x'/>",
    "<ip address=''/>", "<name>x</name>", "<c:d/>", "<c:d xmlns:c='urn:c'/>",
    "<target dev='vda'/>", "<!-- -- -->", "<![CDATA[<]]>", "<?p?>", "<!DOCTYPE a>", "&amp;", "&x;",
    "&#0;", "\0", "\ud800", "\ufffe", "x", "12", "-1", "1.5", "<", ">", "'",
    "<s:absent xmlns:s='urn:salt-kvm:intent'/>", "<a absent='y' xmlns='urn:salt-kvm:intent'/>",
    "<blkiotune>", "</blkiotune>",
]  # fmt: skip


@settings(SLOW, max_examples=400)
@given(st.lists(st.sampled_from(TOKENS), max_size=6).map("".join))
def test_any_fragment_is_refused_or_stands_in_a_well_formed_document(text):
    try:
        intent = intent_of({"xml": text})
        merged = merge(ET.fromstring(SEEN[0]), intent)
    except SpecError:
        return
    written = ET.fromstring(ET.tostring(merged.xml, encoding="unicode"))
    assert written.findtext("name") == "web1"


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
    steps.ResizeImage,
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
