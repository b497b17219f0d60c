"""What a spec becomes as libvirt XML: each case is a YAML file and the document that it makes.

``pytest tests/unit --regenerate`` writes the documents anew; read the difference before you commit.
"""

import typing
from xml.etree import ElementTree as ET

import pytest
from golden_cases import GOLDEN, cases, document, nested

from salt_kvm.spec import network
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.pool import Pool
from salt_kvm.spec.secret import StoredSecret
from salt_kvm.spec.volume import StorageVolume

SPECS = {
    "domain": Domain,
    "network": network.Network,
    "pool": Pool,
    "secret": StoredSecret,
    "volume": StorageVolume,
}
# What a domain's installer is started with is made of the same fields.
ALSO = {"domain": ["installer"]}
NOUNS = [*SPECS, "installer"]
ALL = [(noun, path, fields) for noun in NOUNS for path, fields in cases(noun)]


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case[0]}/{case[1].stem}")
def test_new_object_is_the_golden_document(case, regenerate):
    noun, path, fields = case
    root = document(noun, path.stem, fields)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode") + "\n"
    golden = path.with_suffix(".xml")
    if regenerate:
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_document_has_its_case():
    assert {p.stem for p in GOLDEN.rglob("*.xml")} == {p.stem for p in GOLDEN.rglob("*.yaml")}


def used(value):
    """Return every key that a case uses, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(used, value.values()))
    return set().union(*map(used, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("noun", SPECS)
def test_every_field_and_every_choice_is_used_by_a_case(noun):
    every = [case for each in (noun, *ALSO.get(noun, ())) for case in cases(each)]
    texts = "\n".join(path.read_text() for path, _fields in every)
    keys = set().union(*(used(fields) for _path, fields in every))
    for spec in nested(SPECS[noun]):
        assert set(spec.__struct_fields__) - keys == set(), spec
    for state in typing.get_args(typing.get_type_hints(SPECS[noun])["state"]):
        assert state in ("absent", "running") or f"state: {state}" in texts
