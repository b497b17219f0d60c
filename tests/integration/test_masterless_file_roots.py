"""File roots without a master, on a Python that lacks what the library needs."""

import os
import re

import pytest

from .conftest import ROOT, changes, make_environment, make_minion, own, results, section

# What a file of each of these packages begins with.
FILES = {"msgspec": ("msgspec",), "pycdlib": ("pycdlib",), "libvirt-python": ("libvirt",)}
NOUNS = ("network", "pool", "image", "domain")
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def lacking(tmp_path, place):
    """Return the maker of a minion whose Python lacks some packages, with its modules synced."""

    def make(*packages):
        without = tuple(name for package in packages for name in FILES[package])
        environment = make_environment(tmp_path / "python", without)
        assert not any(environment.imports(name) for name in ("salt_kvm", *without))
        minion = make_minion(environment, tmp_path / "minion", [ROOT / "states"], section(place))
        synced = minion.call("saltutil.sync_all")
        assert "states.kvm_domain" in synced.value["states"], synced.said
        assert "Traceback" not in synced.said
        return minion

    return make


def nothing_was_made(place):
    return [own(), own("net-"), own("pool-"), list(place.iterdir())] == [[], [], [], []]


@pytest.mark.parametrize("packages", [("msgspec",), tuple(FILES)], ids=["msgspec", "all"])
def test_a_dry_run_is_not_red(lacking, place, packages):
    ran = lacking(*packages).apply("kvm", "test=True")
    assert "Traceback" not in ran.said
    assert ran.code == 0, ran.said
    assert set(results(ran.states).values()) <= {True, None}, ran.states
    assert changes(ran.states)["kvm-valid-library"] == {
        "msgspec": {"old": None, "new": "installed"}
    }
    assert set(changes(ran.states)["kvm-python-libraries"]) == set(packages)
    unseen = [name for name in ran.states if name.startswith(tuple(f"kvm-{n}-" for n in NOUNS))]
    assert len(unseen) == len(NOUNS)
    for name in ("kvm-valid", *unseen):
        ret = ran.states[name]
        assert (ret["result"], ret["changes"]) == (None, {})
        assert ret["comment"].startswith("can't be observed yet: ")
        assert "msgspec is not installed" in ret["comment"]
    assert nothing_was_made(place)


def test_the_faces_load_and_say_what_is_missing(lacking):
    minion = lacking(*FILES)
    functions = minion.call("sys.list_state_functions", "kvm_domain").value
    assert "kvm_domain.running" in functions
    found = minion.call("kvm_host.version")
    assert found.value["library"]["form"] == "file roots", found.said
    listed = minion.call("kvm_domain.list")
    assert (listed.value, listed.code) == (None, 1)
    assert "msgspec is not installed in the Python that runs Salt" in listed.said
    assert "apply kvm.host" in listed.said
    assert "Traceback" not in listed.said


def test_a_library_that_can_not_be_had_stops_the_run(lacking, place):
    ran = lacking("msgspec").apply("kvm", **OFFLINE)
    assert results(ran.states) == {"kvm-valid-library": False, "kvm-valid": False}
    told = ran.states["kvm-valid-library"]["comment"]
    assert told.startswith("pip could not install msgspec into ")
    assert "Traceback" not in ran.said
    assert nothing_was_made(place)


def test_one_run_installs_it_and_makes_everything(lacking, place):
    minion = lacking("msgspec", "pycdlib")
    first = minion.apply("kvm").states
    assert set(results(first).values()) == {True}, first
    made = set(changes(first)) - {"kvm-valid-library", "kvm-python-libraries"}
    assert {name.split("-")[1] for name in made} == set(NOUNS)
    assert minion.environment.imports("msgspec, pycdlib")
    second = minion.apply("kvm").states
    assert set(results(second).values()) == {True}, second
    assert changes(second) == {}


def test_progress_is_told_on_the_terminal(lacking, place):
    """Told once a second, which no machine reads the larger one in; nothing takes no space."""
    source, minion, shares = place / "large.raw", lacking(), []
    for size in (2, 16):
        with source.open("wb") as file:
            file.truncate(size * 1024**3)
        ran = minion.call("kvm_image.create", f"{place}/clone{size}.raw", f"source={source}")
        assert ran.value is True, ran.said
        shares = re.findall(rf"^copy of {source}: (\d+) %$", ran.said, re.MULTILINE)
        if shares:
            break
    assert shares, ran.said
    assert shares == sorted(shares, key=int)
