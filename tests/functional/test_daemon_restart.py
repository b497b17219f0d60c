"""libvirtd that ends in the middle of a run, by a signal: reconnected, or a clear failure.

A run's later states find the new daemon; a state that was cut off looks what it had done and does
the rest. Where no daemon comes back, nothing is half taken back, and the next run ends it.
"""

import os
import re
import signal
from xml.etree import ElementTree as ET

import libvirt
import pytest

from salt_kvm.backend.virt import hypervisor

from .conftest import PREFIX, SUBNET
from .daemon import Daemon

NAME = f"{PREFIX}cut"
NETWORK = f"{PREFIX}cutnet"
SIGNALS = [signal.SIGKILL, signal.SIGTERM]
CHANGING = re.compile("Define|Undefine|Create|Destroy|SetAutostart|Attach|Detach|Update|SetM|SetV")
LOOKING = re.compile("LookupByName|ListAllDomains|GetXMLDesc|GetAutostart|IsActive|GetID")


@pytest.fixture(scope="module")
def running(tmp_path_factory, libvirtd):
    root = tmp_path_factory.mktemp("libvirtd")
    os.chmod(root, 0o755)
    daemon = Daemon(root)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def daemon(running):
    """The daemon, which is up and has nothing, before and after each test."""
    yield running
    if running.process.poll() is not None:
        running.start()
    clean(running)


def clean(daemon):
    for stop, what in (("destroy", "undefine"), ("net-destroy", "net-undefine")):
        names = daemon.virsh("net-list" if "net" in stop else "list", "--all", "--name").split()
        for name in names:
            daemon.virsh(stop, name)
            daemon.virsh(what, name)


class Cut:
    """Ends the daemon at one of the calls of a run, by its number, and starts it again.

    :param after: the call is carried out and only its answer is lost
    """

    def __init__(self, daemon, number, *, after, back, number_of_signal=signal.SIGKILL):
        self.daemon, self.number, self.after, self.back = daemon, number, after, back
        self.signal = number_of_signal
        self.seen, self.at = 0, None

    def wrap(self, name, call):
        def called(*arguments):
            self.seen += 1
            if self.seen == self.number:
                self.at = name
                if self.after:
                    call(*arguments)
                self.daemon.kill(self.signal)
                if self.back:
                    self.daemon.start()
            return call(*arguments)

        return called


@pytest.fixture
def cut(monkeypatch, daemon):
    """Arm a cut; it is disarmed by leaving its context."""

    def arm(number, which=CHANGING, **how):
        made = Cut(daemon, number, **how)
        context = monkeypatch.context()
        patch = context.__enter__()
        for name in dir(libvirt.libvirtmod):
            if name.startswith("vir") and which.search(name):
                patch.setattr(
                    libvirt.libvirtmod, name, made.wrap(name, getattr(libvirt.libvirtmod, name))
                )
        return made, lambda: context.__exit__(None, None, None)

    return arm


def new_guest(folder):
    disks = [{"path": f"{folder}/new.raw", "size": "1MiB"}]
    fields = {"memory": "32MiB", "disks": disks, "autostart": True, "cdrom": ""}
    return "kvm_domain.running", {"name": NAME, **fields}


def changed_guest(folder):
    """Now a medium and a second disk, at the next boot more memory."""
    function, fields = new_guest(folder)
    disks = [*fields["disks"], {"path": f"{folder}/more.raw", "size": "2MiB"}]
    more = {"disks": disks, "cdrom": "/usr/lib/ipxe/ipxe.iso", "memory": "48MiB", "title": "T"}
    return function, {**fields, **more, "autostart": False}


def stopped_guest(folder):
    return "kvm_domain.stopped", {"name": NAME, "timeout": 0, "force": True}


def removed_guest(folder):
    return "kvm_domain.absent", {"name": NAME, "timeout": 0, "force": True, "disks": "delete"}


def new_network(folder):
    dhcp = {"ranges": [f"{SUBNET}.10-{SUBNET}.20"]}
    fields = {"forward": "isolated", "bridge": "virbrcut", "ip": f"{SUBNET}.1/24", "dhcp": dhcp}
    return "kvm_network.running", {"name": NETWORK, "autostart": True, **fields}


def changed_network(folder):
    function, fields = new_network(folder)
    dhcp = {"ranges": [f"{SUBNET}.10-{SUBNET}.30"]}
    return function, {**fields, "dhcp": dhcp, "domain": "cut.example", "restart": True}


SCENARIOS = [
    (None, new_guest),
    (new_guest, changed_guest),
    (new_guest, stopped_guest),
    (new_guest, removed_guest),
    (None, new_network),
    (new_network, changed_network),
]


@pytest.fixture(params=SCENARIOS, ids=lambda pair: pair[1].__name__)
def scenario(request, daemon, run, folder):
    """Return what brings the state's object to where it starts, and what the state is."""
    before, after = request.param

    def prepare():
        clean(daemon)
        for path in folder.iterdir():
            path.unlink()
        if before is not None:
            done(run(), before(folder), daemon)

    return prepare, after(folder)


def state(run, what, daemon):
    function, arguments = what
    return run(function, **arguments, connection=daemon.uri)


def done(run, what, daemon):
    told = state(run, what, daemon)
    assert told["result"] is True, told
    return told


def check_at_rest(run, what, daemon):
    told = done(run(), what, daemon)
    assert told["changes"] == {}, told


@pytest.mark.parametrize("number", SIGNALS, ids=lambda each: each.name)
def test_a_later_state_of_the_run_finds_the_new_daemon(daemon, run, folder, number):
    this = run()
    done(this, new_network(folder), daemon)
    daemon.restart(number)
    done(this, new_guest(folder), daemon)
    daemon.restart(number)
    assert done(this, new_network(folder), daemon)["changes"] == {}
    pid = daemon.guest(NAME)
    daemon.restart(number)
    # A guest lives on, and so does its state of things.
    check_at_rest(run, new_guest(folder), daemon)
    assert daemon.guest(NAME) == pid


@pytest.mark.parametrize("number", SIGNALS, ids=lambda each: each.name)
def test_a_daemon_that_is_down_is_told_with_its_cure(daemon, run, folder, number, monkeypatch):
    monkeypatch.setattr(hypervisor, "PATIENCE_SECONDS", 0.5)
    this = run()
    done(this, new_network(folder), daemon)
    daemon.kill(number)
    for _state in range(3):
        told = state(this, new_guest(folder), daemon)
        assert (told["result"], told["changes"]) == (False, {})
        assert "can't be reached" in told["comment"]
        assert "start libvirtd" in told["comment"]
        assert not list(folder.iterdir())
    daemon.start()
    done(this, new_guest(folder), daemon)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_state_that_is_cut_off_does_the_rest(daemon, run, cut, scenario, after):
    prepare, what = scenario
    hit = cut_at_calls(daemon, run, cut, prepare, what, after=after)
    assert hit


def test_a_look_that_is_cut_off_is_taken_again(daemon, run, cut, folder):
    def prepare():
        clean(daemon)
        (folder / "new.raw").unlink(missing_ok=True)

    hit = cut_at_calls(daemon, run, cut, prepare, new_guest(folder), which=LOOKING, each=2)
    assert len(hit) > 5


def cut_at_calls(daemon, run, cut, prepare, what, *, which=CHANGING, after=False, each=1):
    prepare()
    expected = None
    hit = []
    while True:
        made, disarm = cut(len(hit) * each + 1, which, after=after, back=True)
        try:
            told = state(run(), what, daemon)
        finally:
            disarm()
        where = f"{len(hit) + 1}, {made.at}: {told}"
        assert told["result"] is True, where
        if made.at is None:
            break
        expected = told["changes"] if expected is None else expected
        assert told["changes"] == expected, where
        check_at_rest(run, what, daemon)
        hit.append(made.at)
        prepare()
    assert expected is None or told["changes"] == expected
    return hit


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_without_a_daemon_the_next_run_ends_it(daemon, run, cut, scenario, after, monkeypatch):
    monkeypatch.setattr(hypervisor, "PATIENCE_SECONDS", 0.3)
    prepare, what = scenario
    number = 0
    while True:
        number += 1
        prepare()
        made, disarm = cut(number, after=after, back=False)
        try:
            told = state(run(), what, daemon)
        finally:
            disarm()
        if made.at is None:
            break
        where = f"{number}, {made.at}: {told}"
        assert told["result"] is False, where
        assert "can't be reached" in told["comment"], where
        assert "start libvirtd" in told["comment"], where
        assert "undoing" not in told["comment"], where
        daemon.start()
        assert whole(daemon), where
        done(run(), what, daemon)
        check_at_rest(run, what, daemon)
    assert told["result"] is True
    assert number > 1


def whole(daemon):
    """A guest that is defined has its images."""
    root = ET.fromstring(daemon.virsh("dumpxml", NAME) or "<domain/>")
    sources = [source.get("file") for source in root.iterfind("devices/disk/source")]
    return all(os.path.exists(path) for path in sources if path is not None)
