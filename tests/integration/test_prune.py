"""``kvm:prune`` in the pillar: when undeclared guests go, and when nothing does."""

import json
import shutil

import pytest

from .conftest import PREFIX, ROOT, changes, make_minion, results

OLD, WEB = f"{PREFIX}old", f"{PREFIX}web"
GUEST = {"memory": "32MiB", "state": "present"}
BOTH = {OLD: GUEST, WEB: GUEST}


@pytest.fixture(scope="module")
def minion(environment, tmp_path_factory):
    made = make_minion(environment, tmp_path_factory.mktemp("m") / "m", [ROOT / "states"])
    synced = made.call("saltutil.sync_all")
    assert "states.kvm_domain" in synced.value["states"], synced.said
    return made


@pytest.fixture
def apply(minion, own_libvirtd, forget):
    """Return what applies ``kvm.domain`` with this pillar."""

    def go(section, *arguments):
        pillar = {"kvm": {"connection": own_libvirtd.uri, **section}}
        return minion.apply("kvm.domain", f"pillar={json.dumps(pillar)}", *arguments)

    yield go
    forget(PREFIX)


def test_undeclared_guests_go_only_where_the_pillar_says_so(apply, own_libvirtd):
    assert apply({"domains": BOTH}).code == 0
    for prune in ({}, {"prune": {}}, {"prune": {"domains": False}}):
        assert "kvm-prune-domain" not in apply({"domains": {WEB: GUEST}, **prune}).states
    assert set(own_libvirtd.names()) == {OLD, WEB}
    section = {"domains": {f"{PREFIX}new": GUEST, WEB: GUEST}, "prune": {"domains": True}}
    gone = {OLD: {"definition": {"old": "present", "new": None}}}
    for arguments in (["test=True"], []):
        ran = apply(section, *arguments).states
        assert list(ran)[-1] == "kvm-prune-domain"
        assert changes(ran)["kvm-prune-domain"] == gone
    assert set(own_libvirtd.names()) == {f"{PREFIX}new", WEB}
    ran = apply(section)
    assert (ran.code, changes(ran.states)) == (0, {})


@pytest.fixture
def odd():
    """Names that say nothing of this run, so that what is kept of them is removed here."""
    names = ("only", "domain")
    yield names
    for name in names:
        shutil.rmtree(f"/var/lib/salt-kvm/history/domain/{name}", ignore_errors=True)


def test_a_guest_may_be_called_as_pruning_is(apply, own_libvirtd, odd):
    for domains in ({WEB: GUEST, **dict.fromkeys(odd, GUEST)}, {WEB: GUEST}):
        assert apply({"domains": domains, "prune": {"domains": True}}).code == 0
        assert set(own_libvirtd.names()) == set(domains)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"domains": {WEB: {**GUEST, "cdrom": "/no/such.iso"}}}, "/no/such.iso is not there"),
        ({"domains": {WEB: {"memroy": "32MiB"}}}, "unknown key 'memroy'"),
        ({"domains": {WEB: GUEST}, "netwroks": {}}, "unknown key 'netwroks'"),
        ({"domains": [WEB]}, "kvm:domains: "),
        ({"domains": {}}, "no domain is declared"),
        ({}, "no domain is declared"),
    ],
    ids=lambda value: str(value).replace(PREFIX, ""),
)
def test_nothing_goes_where_anything_is_wrong(apply, own_libvirtd, section, told):
    assert apply({"domains": BOTH}).code == 0
    for arguments in (["test=True"], []):
        ran = apply({**section, "prune": {"domains": True}}, *arguments)
        assert told in ran.said
        assert "Traceback" not in ran.said
        assert "kvm-prune-domain" not in changes(ran.states)
        assert results(ran.states).get("kvm-prune-domain", False) is False
    assert set(own_libvirtd.names()) == {OLD, WEB}
    if told.startswith("no domain"):
        ran = apply({**section, "prune": {"domains": {"allow_empty": True}}})
        assert set(changes(ran.states)["kvm-prune-domain"]) == {OLD, WEB}
        assert own_libvirtd.names() == {}
