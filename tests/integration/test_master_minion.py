"""A real master and a real minion that has nothing of salt-kvm but what the master gives it."""

import json
import socket
import tempfile
import time
from pathlib import Path

import pytest

from waiting import SECONDS, wait_for

from .conftest import PREFIX, ROOT, SUBNET, by_id, changes, own, remove_own, results, section, virsh

NAME = f"{PREFIX}one"
FACES = [
    "kvm_domain",
    "kvm_host",
    "kvm_image",
    "kvm_network",
    "kvm_pool",
    "kvm_secret",
    "kvm_volume",
    "vmx",
]


@pytest.fixture(scope="session")
def salt_factories_config(environment):
    """Salt's commands of that environment; what salt-factories writes itself imports this one."""
    return {"scripts_dir": environment.bin}


@pytest.fixture(scope="session")
def salt_factories_default_root_dir():
    """A short path: the daemons' sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """What the master serves beside the states."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def master(salt_factories, place, served, tmp_path_factory):
    pillar = tmp_path_factory.mktemp("pillar")
    (pillar / "top.sls").write_text("base: {'*': [kvm]}\n")
    (pillar / "kvm.sls").write_text(json.dumps({"kvm": section(place)}))
    roots = {
        "file_roots": {"base": [str(ROOT / "states"), str(served)]},
        "pillar_roots": {"base": [str(pillar)]},
    }
    daemon = salt_factories.salt_master_daemon(
        f"{PREFIX}master", overrides=roots, start_timeout=SECONDS
    )
    with daemon.started():
        yield daemon


@pytest.fixture(scope="module")
def minion(master):
    daemon = master.salt_minion_daemon(f"{PREFIX}minion", start_timeout=SECONDS)
    with daemon.started():
        yield daemon


@pytest.fixture(scope="module")
def synced(master, minion):
    command = master.salt_cli(timeout=SECONDS)
    return command.run("saltutil.sync_all", minion_tgt=minion.id).data


@pytest.fixture(scope="module")
def ask(master, minion, synced):
    """Run a command on the master: ``salt <minion> ...``."""

    def run(*arguments):
        ran = master.salt_cli(timeout=SECONDS).run(*arguments, minion_tgt=minion.id)
        assert "Traceback" not in ran.stdout + ran.stderr
        return ran.data

    return run


@pytest.fixture(scope="module")
def apply(ask):
    return lambda *arguments: by_id(ask("state.apply", "kvm", *arguments))


@pytest.fixture(scope="module")
def dry(apply):
    return apply("test=True")


@pytest.fixture(scope="module")
def left_by_dry_run(dry, place):
    return [own(), own("net-"), own("pool-"), list(place.iterdir())]


@pytest.fixture(scope="module")
def first(left_by_dry_run, apply):
    return apply()


@pytest.fixture(scope="module")
def second(first, apply):
    return apply()


def test_the_library_travels_with_the_faces(synced, ask):
    assert {f"modules.{name}" for name in FACES} <= set(synced["modules"])
    assert {f"states.{name}" for name in FACES} <= set(synced["states"])
    assert "grains.kvm" in synced["grains"]
    assert "utils.salt_kvm.backend.virt.hypervisor" in synced["utils"]
    extmods = Path(ask("config.get", "extension_modules"))
    found = ask("kvm_host.version")
    assert found["library"] == {"path": str(extmods / "utils/salt_kvm"), "form": "file roots"}
    assert found["faces"] == {"path": str(extmods / "modules/kvm_host.py"), "form": "file roots"}
    assert found["one_form"] is True


def test_the_dry_run_leaves_nothing(left_by_dry_run):
    assert left_by_dry_run == [[], [], [], []]


def test_the_first_run_makes_everything(first, place):
    assert set(results(first).values()) == {True}, first
    made = {name.rsplit("-", 1)[0] for name in changes(first)}
    assert {name.split("-")[1] for name in made} == {"network", "pool", "image", "domain"}
    assert [own(), own("net-"), own("pool-")] == [[NAME]] * 3
    assert (place / "one.raw").stat().st_size == 16 * 1024**2
    assert virsh("domstate", NAME).strip() == "running"


def test_the_dry_run_foretold_exactly_the_first_run(dry, first):
    assert changes(dry) == changes(first)
    foretold = {name: None if ret["changes"] else True for name, ret in first.items()}
    assert results(dry) == foretold


def test_the_packages_of_the_host_are_looked_at(first):
    assert first["kvm-host-packages"]["result"] is True
    assert "already installed" in first["kvm-host-packages"]["comment"]


def test_the_second_run_changes_nothing(second):
    assert set(results(second).values()) == {True}, second
    assert changes(second) == {}


def test_the_console_that_is_named_answers(second, ask):
    console = ask("kvm_domain.vnc", NAME)
    assert console["listen"] == "127.0.0.1"
    assert console["address"] in second[f"kvm-domain-{NAME}"]["comment"]
    with socket.create_connection(("127.0.0.1", console["port"]), timeout=30) as connection:
        assert connection.recv(4) == b"RFB "


def test_the_guest_gets_an_address(second, ask):
    """iPXE, which the guest boots, asks the network's DHCP for one."""
    leases = wait_for(lambda: ask("kvm_network.leases", NAME), "a lease")
    assert leases[0]["ipaddr"].startswith(f"{SUBNET}.")
    assert leases[0]["mac"] in virsh("dumpxml", NAME)


def test_the_grain_reaches_the_master(ask):
    grain = ask("grains.item", "kvm")["kvm"]
    assert grain["cpu_virtualisation"] in ("vmx", "svm", "none")
    assert grain["versions"]["libvirt"] == virsh("version").split("library: libvirt ")[1].split()[0]


def test_what_is_taken_away_comes_back(second, apply):
    remove_own()
    again = apply()
    assert set(results(again).values()) == {True}, again
    assert {f"kvm-{noun}-{NAME}" for noun in ("network", "pool", "domain")} == set(changes(again))
    assert virsh("domstate", NAME).strip() == "running"


@pytest.fixture
def told_of(master, minion, event_listener):
    """Work on ever more of nothing, which takes no space, until it is told of; return the events.

    Progress is told once a second, so the work has to take some.
    """

    def events(what, sizes, source, work):
        pattern = (master.id, f"salt/kvm/{minion.id}/progress/{what}")
        for size, seconds in zip(sizes, (10, SECONDS), strict=True):
            with source.open("wb") as file:
                file.truncate(size)
            before = time.time()
            assert work(size) is True
            found = event_listener.wait_for_events([pattern], after_time=before, timeout=seconds)
            if found.matches:
                break
        assert found.matches, found
        found = event_listener.get_events([pattern], after_time=before)
        return [event.data["data"] for event in found]

    return events


def test_progress_comes_as_events(ask, told_of, place):
    source = place / "large.raw"

    def work(size):
        return ask("kvm_image.create", f"{place}/clone{size}.raw", f"source={source}")

    told = told_of("copy", (2 * 1024**3, 16 * 1024**3), source, work)
    assert {each["what"] for each in told} == {f"copy of {source}"}
    assert all(0 <= each["percent"] <= 100 for each in told)
    assert (place / "store").is_dir()


def test_a_fetch_from_the_master_tells_how_far_it_is(ask, told_of, served):
    """Salt brings some MiB in a second."""

    def work(size):
        return ask("kvm_image.create", f"{served}/{size}.raw", "source=salt://large.raw")

    told = told_of("fetch", (24 * 1024**2, 240 * 1024**2), served / "large.raw", work)
    assert {each["what"] for each in told} == {"fetch of salt://large.raw"}
    assert all(0 <= each["percent"] <= 100 for each in told)
