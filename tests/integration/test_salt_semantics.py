"""Our states under Salt's own rules: requisites, parallel runs, wrong arguments, a wrong pillar."""

import json
import os
import tempfile
from pathlib import Path

import pytest
import salt.state

from salt_kvm.nouns import NOUNS

from .conftest import PREFIX, ROOT, changes, make_minion, own, remove_own, results


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    return tmp_path_factory.mktemp("roots")


@pytest.fixture(scope="module")
def minion(environment, roots, tmp_path_factory):
    made = make_minion(environment, tmp_path_factory.mktemp("m") / "m", [ROOT / "states", roots])
    synced = made.call("saltutil.sync_all")
    assert "states.kvm_domain" in synced.value["states"], synced.said
    return made


@pytest.fixture
def folder(place):
    """A directory of this test alone; in the end all of libvirt's objects are removed."""
    made = Path(tempfile.mkdtemp(dir=place))
    made.chmod(0o755)
    yield made
    remove_own()


@pytest.fixture
def sls(minion, roots):
    """Return what writes an SLS and returns what applies it."""

    def write(states):
        (roots / "wanted.sls").write_text(json.dumps(states))
        return lambda *arguments: minion.apply("wanted", *arguments)

    return write


def state(function, **arguments):
    return {function: [{key: value} for key, value in arguments.items()]}


def image(folder, name, **more):
    return state("kvm_image.present", name=f"{folder}/{name}.raw", size="1MiB", **more)


def network(name, **more):
    return state("kvm_network.running", name=PREFIX + name, forward="isolated", **more)


def domain(name, **more):
    return state("kvm_domain.present", name=PREFIX + name, memory="64MiB", **more)


def note(folder, file, watched=None, **more):
    """A command that notes that it ran, and whether a file was there."""
    seen = f"test -e {watched} && echo there" if watched else "echo ran"
    return {"name": f"({seen} || echo missing) >> {folder}/{file}", **more}


def notes(folder, file):
    path = folder / file
    return path.read_text().split() if path.exists() else []


def test_require_holds_back_what_needs_a_failed_state(sls, folder):
    bad = domain("bad", cdrom="/no/such.iso")
    apply = sls({"bad": bad, "needs": image(folder, "n", require=[{"kvm_domain": "bad"}])})
    for arguments in ([], ["test=True"]):
        ran = apply(*arguments).states
        assert results(ran) == {"bad": False, "needs": False}
        assert "/no/such.iso is not there" in ran["bad"]["comment"]
        assert ran["needs"]["__state_ran__"] is False
    assert os.listdir(folder) == []


def test_onchanges_and_watch_fire_when_something_changed_only(sls, folder):
    changed = [{"kvm_image": "img"}]
    apply = sls(
        {
            "img": image(folder, "i"),
            "on": state("cmd.run", **note(folder, "on", onchanges=changed)),
            "waits": state("cmd.wait", **note(folder, "waits", watch=changed)),
        }
    )
    assert set(results(apply("test=True").states).values()) == {None}
    assert os.listdir(folder) == []
    for _ in range(2):
        assert set(results(apply().states).values()) == {True}
        assert notes(folder, "on") == notes(folder, "waits") == ["ran"]


def test_a_state_that_watches_runs_after_what_it_watches(sls, folder):
    watcher = domain("w", disks=[{"path": f"{folder}/d.raw"}], watch=[{"kvm_image": "img"}])
    apply = sls({"dom": watcher, "img": image(folder, "d")})
    ran = apply().states
    assert list(ran) == ["img", "dom"]
    assert set(results(ran).values()) == {True}
    assert changes(apply().states) == {}


@pytest.fixture
def before_changes(sls, folder):
    """Two commands before the image changes, one before the domain does."""
    path = f"{folder}/p.raw"
    of_image, of_domain = [{"kvm_image": "img"}], [{"kvm_domain": "dom"}]
    return sls(
        {
            "one": state("cmd.run", **note(folder, "one", path, prereq=of_image)),
            "two": state("cmd.run", **note(folder, "two", path, prereq=of_image)),
            "img": image(folder, "p"),
            "three": state("cmd.run", **note(folder, "three", path, prereq=of_domain)),
            "dom": domain("p", disks=[{"path": path}]),
        }
    )


def test_prereq_runs_before_a_change_and_only_then(before_changes, folder):
    for _ in range(2):
        ran = before_changes().states
        assert set(results(ran).values()) == {True}, ran
        assert notes(folder, "one") == notes(folder, "two") == ["missing"]
        assert notes(folder, "three") == ["there"]
    assert changes(ran) == {}


def test_a_dry_run_with_prereq_foretells_the_real_one(before_changes, folder):
    dry = before_changes("test=True").states
    assert os.listdir(folder) == []
    assert own() == []
    real = before_changes().states
    for name in ("img", "dom"):
        assert dry[name]["result"] is None
        assert dry[name]["changes"] == real[name]["changes"]


@pytest.fixture
def side_by_side(sls, folder):
    """States that run in processes of their own, after one and before one that do not."""
    first, last = [{"kvm_network": "net"}], [{"kvm_domain": f"dom{i}"} for i in range(4)]
    card = [{"network": f"{PREFIX}net"}]
    beside = {
        f"dom{i}": domain(f"dom{i}", interfaces=card, parallel=True, require=first)
        for i in range(4)
    }
    beside["img"] = image(folder, "p", parallel=True, require=first)
    disk = [{"path": f"{folder}/p.raw"}]
    after = domain("last", disks=disk, require=[*last, {"kvm_image": "img"}])
    return sls({"net": network("net"), **beside, "last": after})


def test_parallel_states_share_no_connection(side_by_side):
    for _ in range(2):
        ran = side_by_side()
        assert set(results(ran.states).values()) == {True}, ran.said
        assert {name for name, ret in ran.states.items() if ret.get("__parallel__")} == {
            "dom0", "dom1", "dom2", "dom3", "img"
        }  # fmt: skip
    assert changes(ran.states) == {}
    assert own() == [f"{PREFIX}{name}" for name in ("dom0", "dom1", "dom2", "dom3", "last")]


def test_a_dry_run_of_parallel_states_is_not_red(side_by_side):
    ran = side_by_side("test=True").states
    assert set(results(ran).values()) == {None}, ran


@pytest.mark.parametrize("arguments", [[], ["test=True"]], ids=["real", "test"])
def test_an_unknown_argument_fails_its_state_only(sls, folder, arguments):
    states = {"typo": image(folder, "t", sise="1MiB"), "other": image(folder, "o")}
    ran = sls(states)(*arguments)
    assert "Traceback" not in ran.said
    assert ran.states["typo"]["result"] is False
    assert ran.states["typo"]["changes"] == {}
    assert "unknown key 'sise'; did you mean 'size'?" in ran.states["typo"]["comment"]
    assert ran.states["other"]["result"] in (True, None)
    assert not (folder / "t.raw").exists()


@pytest.fixture
def apply_typos(minion, folder):
    """Return what applies a pillar with an unknown key in a domain, and another beside it."""
    section = {
        "domains": {f"{PREFIX}typo": {"memroy": "64MiB"}},
        "netwroks": {},
        "images": {f"{folder}/typo.raw": {"size": "1MiB"}},
    }
    pillar = f"pillar={json.dumps({'kvm': section})}"
    return lambda *arguments: minion.apply("kvm", pillar, *arguments)


def check_typos_are_told(ran):
    valid = ran.states["kvm-valid"]
    assert valid["result"] is False
    told = f"kvm:domains:{PREFIX}typo: unknown key 'memroy'; did you mean 'memory'?"
    assert told in valid["comment"]
    assert "kvm: unknown key 'netwroks'; did you mean 'networks'?" in valid["comment"]
    assert "Traceback" not in ran.said
    assert ran.code != 0


def test_an_unknown_key_in_the_pillar_stops_everything(apply_typos, folder):
    ran = apply_typos()
    check_typos_are_told(ran)
    assert results(ran.states) == {"kvm-valid-library": True, "kvm-valid": False}
    assert os.listdir(folder) == own() == []


def test_an_unknown_key_in_the_pillar_is_told_by_a_dry_run(apply_typos, folder):
    ran = apply_typos("test=True")
    check_typos_are_told(ran)
    behind = [
        each for name, each in ran.states.items() if name.startswith(("kvm-domain", "kvm-image"))
    ]
    assert len(behind) == 2
    for each in behind:
        assert (each["result"], each["changes"]) == (False, {})
        assert each["comment"].startswith("not looked at: a check above has found faults")
    assert os.listdir(folder) == own() == []


def test_a_check_that_does_not_end_the_run_stops_no_dry_run(sls, folder):
    """As the real run goes on behind it."""
    check = {"valid": {"kvm_host.valid": []}, "img": image(folder, "i")}
    pillar = f"pillar={json.dumps({'kvm': {'netwroks': {}}})}"
    assert results(sls(check)("test=True", pillar).states) == {"valid": False, "img": None}


@pytest.mark.parametrize("noun", NOUNS)
def test_no_field_has_a_name_that_salt_keeps_to_itself(noun):
    """Salt hands such a keyword to no state function."""
    fields = set(NOUNS[noun].spec.__struct_fields__) - {"state"}
    assert not fields & salt.state.STATE_INTERNAL_KEYWORDS


def test_a_parameter_that_salt_is_not_shown_is_told_by_its_documentation(minion):
    told = minion.call("sys.state_doc", "kvm_domain.present").value["kvm_domain.present"]
    assert all(f" {field}:" in told for field in ("memory", "disks", "blkiotune", "connection"))
