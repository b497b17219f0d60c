"""Documents as other versions of libvirt write them: what they add is no drift, and is kept.

A case is what is declared (``name.yaml``), a definition (``name.xml``) and, where the object runs,
its live document (``name.live.xml``); the first line of a document says where it is from. Each of
its edits makes just the changes that it tells.
"""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from guests import Guest
from strategies import Files

from salt_kvm.nouns import NOUNS
from salt_kvm.plan.domain import DomainSeen
from salt_kvm.plan.steps import Define, Step
from salt_kvm.seen import Facts, Observed
from salt_kvm.spec.convert import convert
from salt_kvm.xml.equality import canonical
from salt_kvm.xml.live import due
from salt_kvm.xml.merge import summary

OBSERVED = Path(__file__).parent / "observed"
FACTS = Facts(arch="x86_64", kvm=True)
NAMES = {"domain": "web1", "network": "default"}
CASES = sorted(path for path in OBSERVED.rglob("*.yaml"))
EDITS = [
    (path, index)
    for path in CASES
    for index, _edit in enumerate(yaml.safe_load(path.read_text())["edits"])
]


def named(value):
    return f"{value.parent.name}/{value.stem}" if isinstance(value, Path) else str(value)


def planned(path, fields):
    """Return the changes of the steps, what waits, and the definition that would be written."""
    noun = path.parent.name
    live = path.with_suffix(".live.xml")
    there = Observed(
        noun,
        NAMES[noun],
        path.with_suffix(".xml").read_text(),
        live.read_text() if live.exists() else None,
    )
    of_domain = DomainSeen(there, Files(there=True), FACTS, Guest(balloon=False))
    seen = of_domain if noun == "domain" else there
    row = NOUNS[noun]
    state = "running" if live.exists() else "present"
    want = convert(row.spec, {**fields, "state": state}, noun)
    made = list(row.plan(NAMES[noun], want, seen))
    steps = [each for each in made if isinstance(each, Step)]
    waits = [each.path for each in made if not isinstance(each, Step)]
    changes = [key for step in steps for key in step.changes]
    written = next((step.xml for step in steps if isinstance(step, Define)), there.xml)
    return changes, waits, written


@pytest.mark.parametrize("path", CASES, ids=named)
def test_what_is_there_is_as_declared(path):
    changes, waits, _xml = planned(path, yaml.safe_load(path.read_text())["declared"])
    assert (changes, waits) == ([], [])


@pytest.mark.parametrize(("path", "index"), EDITS, ids=named)
def test_an_edit_changes_what_it_says_and_keeps_the_rest(path, index):
    case = yaml.safe_load(path.read_text())
    edit = case["edits"][index]
    changes, waits, xml = planned(path, {**case["declared"], **edit["edit"]})
    assert sorted(changes) == sorted(edit["told"])
    assert sorted(waits) == sorted(edit.get("waits", []))
    before, after = (
        summary(canonical(ET.fromstring(text)))
        for text in (path.with_suffix(".xml").read_text(), xml)
    )
    told = [key.replace("[cdrom]", "").rstrip("/") for key in edit["told"]]
    tags = {key.partition("[")[0].split("/@")[0].rpartition("/")[2] for key in told}
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            assert tags & {step.partition("[")[0].partition("@")[0] for step in key.split("/")}, key


@pytest.mark.parametrize("path", sorted(OBSERVED.rglob("*.xml")), ids=named)
def test_a_document_says_where_it_is_from(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith(("<!-- Written after the format of libvirt", "<!-- Recorded from"))
    assert path.name.partition("-")[0] in first


@pytest.mark.parametrize("live", sorted(OBSERVED.rglob("domain/*.live.xml")), ids=named)
def test_what_libvirt_adds_at_a_start_is_not_told_as_pending(live):
    inactive = live.with_name(live.name.replace(".live", ""))
    assert due(live.read_text(), inactive.read_text()) == ()
