"""States that take what they declare from an entry of the pillar, as the SLS files have it."""

import datetime

import pytest
import salt.loader

from .conftest import PREFIX, Run, virsh

NAME = f"{PREFIX}told"
TOLD = {"memory": "32MiB", "disks": [], "state": "stopped", "title": datetime.date(2026, 1, 1)}


@pytest.fixture
def told(opts, modules):
    """Return what runs ``kvm_domain.present``, or another function, under a pillar."""

    def go(section, test=False, function="kvm_domain.present", **arguments):
        options = {**opts, "test": test, "pillar": {"kvm": section}}
        states = salt.loader.states(options, modules, {}, None, context={})
        states.pack["__running__"] = {}
        states.pack["__pillar__"] = options["pillar"]
        return Run(states=states)(function, **arguments)

    return go


def test_an_entry_is_what_a_state_is_told(told):
    """Of YAML Salt makes no date; a pillar in Python may have one, and its text is taken."""
    section = {"domains": {NAME: TOLD, "other": {"memory": "1GiB"}}}
    dry = told(section, test=True, name=NAME, pillar="kvm:domains")
    real = told(section, name=NAME, pillar="kvm:domains")
    assert (dry["result"], real["result"]) == (None, True), (dry, real)
    assert dry["changes"] == real["changes"]
    assert "<title>2026-01-01</title>" in virsh("dumpxml", NAME)
    again = told(section, name=NAME, **{**TOLD, "state": None, "title": "2026-01-01"})
    assert (again["result"], again["changes"]) == (True, {})
    more = told(section, name=NAME, pillar="kvm:domains", description="too")
    assert set(more["changes"]) == {"description"}


def test_a_value_that_is_null_is_not_declared(told):
    """As for the plan of the whole pillar."""
    secrets = {"a": {"usage": "tls", "value": None}, "b": {"usage": "tls", "value": "c"}}
    section = {"secrets": {f"{NAME}-{name}": spec for name, spec in secrets.items()}}
    for name, changed in (("a", {"definition"}), ("b", {"definition", "value"})):
        of_pillar = {"name": f"{NAME}-{name}", "pillar": "kvm:secrets"}
        made = told(section, function="kvm_secret.present", **of_pillar)
        assert (made["result"], set(made["changes"])) == (True, changed), made


def test_a_key_that_is_a_number_is_a_name(told):
    dry = told({"domains": {5: TOLD}}, test=True, name="5", pillar="kvm:domains")
    assert dry["result"] is None, dry
    assert dry["changes"]["definition"]["new"]["title"] == "2026-01-01"


def test_what_a_state_watches_restarts_it_as_the_entry_says(told):
    entry = {"memory": "32MiB", "disks": [], "virt_type": "auto", "timeout": 0, "force": True}
    of_pillar = {"name": NAME, "pillar": "kvm:domains"}
    section = {"domains": {NAME: entry}}
    assert told(section, function="kvm_domain.running", **of_pillar)["result"] is True
    first = virsh("domid", NAME)
    again = told(section, function="kvm_domain.mod_watch", sfun="running", **of_pillar)
    assert (again["result"], again["changes"]["state"]["new"]) == (True, "restarted"), again
    assert virsh("domid", NAME) != first


@pytest.mark.parametrize("path", ["kvm:domains", "kvm", "", ":", "kvm:none:more", 5, ["kvm"]])
@pytest.mark.parametrize(
    "section", [{"domains": {"other": TOLD, NAME: "x"}}, {"domains": "x"}, "x"]
)
def test_where_there_is_no_entry_it_is_said(told, path, section):
    ran = told(section, name=NAME, pillar=path)
    assert ran["result"] is False
    assert f"{path}:{NAME} is no mapping of the pillar; declare it there" in ran["comment"]
    assert NAME not in virsh("list", "--all", "--name")


def test_a_fault_is_told_with_its_place(told):
    ran = told({"domains": {NAME: {"memory": "1GiB", "order": 1}}}, name=NAME, pillar="kvm:domains")
    assert ran["result"] is False
    assert f"kvm:domains:{NAME}: unknown key 'order'" in ran["comment"]
