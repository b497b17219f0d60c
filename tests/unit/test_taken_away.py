"""What leaves a list of the pillar leaves the object too: each entry of each golden case."""

import copy

import pytest
from golden_cases import FACTS, cases, document

from salt_kvm.errors import SpecError
from salt_kvm.nouns import NOUNS
from salt_kvm.spec.convert import convert
from salt_kvm.xml import domain, network, pool
from salt_kvm.xml.merge import merge

INTENTS = {
    "domain": lambda want: domain.intent("web1", want, FACTS),
    "network": lambda want: network.intent("web1", want),
    "pool": lambda want: pool.intent("web1", want),
}
# What stays all the same, and why.
STAYS = {
    ("domain", "cpu", "cpu.numa.0.distances.0"): "a cell is 10 away from itself",
    ("domain", "disks", "controllers.0"): "a device sits on it",
    ("domain", "disks", "controllers.1"): "a disk sits on it",
    ("domain", "firmware", "disks.1"): "CD drives belong to the list where it has one",
    ("domain", "remote-disks", "disks.4"): "CD drives belong to the list where it has one",
    ("domain", "model", "boot.0"): "without any libvirt takes the disk",
}


def entries(fields, path=()):
    """Yield the path of each entry of a list; what a seed holds is compared as data."""
    if isinstance(fields, dict):
        for key in fields.keys() - {"cloud_init"}:
            yield from entries(fields[key], (*path, key))
    elif isinstance(fields, list):
        for index, value in enumerate(fields):
            yield (*path, index)
            yield from entries(value, (*path, index))


def without(fields, path):
    left = copy.deepcopy(fields)
    inner = left
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return left


def every():
    for noun in INTENTS:
        for file, fields in cases(noun):
            for path in sorted(entries(fields), key=str):
                name = ".".join(map(str, path))
                try:
                    want = convert(NOUNS[noun].spec, without(fields, path), name)
                except SpecError:
                    continue  # What needs the entry is refused without it.
                yield pytest.param(noun, file.stem, name, fields, want, id=f"{file.stem}:{name}")


@pytest.mark.parametrize(("noun", "case", "path", "before", "want"), list(every()))
def test_what_leaves_a_list_leaves_the_object(noun, case, path, before, want):
    there = document(noun, "web1", before)
    first = merge(there, INTENTS[noun](want))
    assert bool(first.differences) is ((noun, case, path) not in STAYS), first.differences
    assert merge(first.xml, INTENTS[noun](want)).differences == ()
