"""Where a guest is found, and what can be waited for."""

import re
import threading
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from salt_kvm.backend.client import Client
from salt_kvm.backend.guests import conditions
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.backend.world import World
from waiting import wait_for

from . import talking
from .conftest import PREFIX, SUBNET, virsh

NAME = f"{PREFIX}talks"


@pytest.fixture
def wait(modules):
    return lambda condition, **given: modules["kvm_domain.wait_for"](NAME, condition, **given)


def start(run, talks, words=""):
    system = {**talks["os"], "cmdline": f"{talks['os']['cmdline']} {words}"}
    made = run()("kvm_domain.running", **{**talks, "os": system})
    assert made["result"] is True, made["comment"]


def test_a_guest_is_waited_for_and_found(run, modules, talks, wait):
    """Its console, agent, address and port come one after the other; then it goes."""
    start(run, talks)
    said = wait("console", pattern=r"^salt-kvm guest (up|down)$", timeout=300)
    assert said["condition"] == "console"
    assert said["line"] == "salt-kvm guest up"
    assert wait("running", timeout=1)["condition"] == "running"
    assert wait("agent", timeout=300)["condition"] == "agent"
    found = wait("address", timeout=300)
    assert found["address"].startswith(f"{SUBNET}.")
    opened = wait("port", port=2222, timeout=300)
    assert (opened["address"], opened["port"]) == (found["address"], 2222)
    assert wait("port", port=2222, address=found["address"], timeout=300)["port"] == 2222

    mac = re.search(r"52:54:00(:[0-9a-f]{2}){3}", virsh("domiflist", NAME))[0]
    addresses = modules["kvm_domain.addresses"]
    every = ["agent", "lease", "arp"]
    wait_for(lambda: addresses(NAME)[0]["sources"] == every, "what each source knows")
    first, *rest = addresses(NAME)
    assert first == {
        "address": found["address"], "prefix": 24, "mac": mac, "interface": "eth0",
        "sources": every,
    }  # fmt: skip
    assert all(each["address"].startswith("fe80:") for each in rest)
    for source, prefix in (("agent", 24), ("lease", 24), ("arp", None)):
        (one,) = [each for each in addresses(NAME, source=source) if "." in each["address"]]
        assert (one["address"], one["prefix"], one["mac"]) == (found["address"], prefix, mac)
        assert one["sources"] == [source]
    wait_for(lambda: addresses()[NAME][0] == first, "the same of all guests")

    # What is printed while it is waited for, and what was printed before.
    log = Path(talks["serial"][0]["log"]).read_text
    later = threading.Timer(3, talking.say, (NAME, "echo n'e'ws", log))
    later.start()
    assert wait("console", pattern="^news", timeout=300)["line"] == "news"
    later.join()
    with pytest.raises(CommandExecutionError, match="'guest up' on its console in vain"):
        wait("console", pattern="guest up", lines=0, timeout=1)
    assert wait("console", pattern="guest up", lines=500, timeout=5)["line"] == "salt-kvm guest up"

    threading.Timer(2, virsh, ("shutdown", NAME)).start()
    off = wait("poweroff", timeout=300)
    assert (set(off), off["condition"]) == ({"condition", "seconds"}, "poweroff")
    with pytest.raises(CommandExecutionError, match=f"domain {NAME} is off; start it"):
        wait("agent", timeout=60)
    with pytest.raises(CommandExecutionError, match=r"waited 1 s for its start in vain; look what"):
        wait("running", timeout=1)
    with pytest.raises(CommandExecutionError, match=f"domain {NAME} is off; start it"):
        addresses(NAME)
    assert NAME not in addresses()


def test_what_does_not_come_is_told_with_the_screen(run, modules, guest, wait, libvirtd):
    # Without a card: firmware that finds no system asks for an address too.
    run()("kvm_domain.running", **{**guest, "name": NAME, "interfaces": []})
    for condition, words, given in (
        ("agent", "its agent", {}),
        ("address", "an address", {}),
        ("port", "port 9", {"port": 9}),
        ("poweroff", "its power-off", {}),
    ):
        with pytest.raises(CommandExecutionError) as vain:
            wait(condition, timeout=1, **given)
        told = str(vain.value)
        assert told.startswith(
            f"domain {NAME}: waited 1 s for {words} in vain; its screen is kept as "
        )
        screen = Path(told.partition("kept as ")[2].partition(";")[0])
        assert screen.read_bytes().startswith(b"\x89PNG")
        assert screen.stat().st_mode & 0o077 == 0
        screen.unlink()
    for source in ("lease", "arp"):
        assert modules["kvm_domain.addresses"](NAME, source=source) == []
    with pytest.raises(CommandExecutionError, match="no guest agent runs"):
        modules["kvm_domain.addresses"](NAME, source="agent")
    told = []
    world = World(libvirtd)
    world.begin(None, lambda: Client(report=lambda *report: told.append(report)))
    assert conditions.wait(world, NAME, conditions.Goal("poweroff", 4)) is None
    assert {what for what, *_ in told} == {f"wait for domain {NAME}: its power-off, 4 s at most"}
    assert all(0 < percent <= 100 for _, percent, _ in told)
    threading.Timer(2, virsh, ("destroy", NAME)).start()
    with pytest.raises(CommandExecutionError, match=f"domain {NAME} is off; start it"):
        wait("agent", timeout=60)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"condition": "bored"}, "'bored' is nothing to wait for; known are poweroff, running"),
        ({"condition": "port"}, "condition port needs 'port'"),
        ({"condition": "port", "port": 70000}, "port: 70000 is no number from 1 to 65535"),
        ({"condition": "console"}, "condition console needs 'pattern'"),
        ({"condition": "console", "pattern": "("}, "pattern: missing ), unterminated"),
        ({"condition": "console", "pattern": "a"}, "is written to no file; declare"),
        ({"condition": "agent", "port": 5}, "'port' goes with condition port, not with agent"),
        ({"condition": "agent", "timeout": "long"}, "timeout: 'long' is no number from 1 to"),
    ],
)
def test_a_wait_for_nothing_is_refused(run, guest, modules, arguments, told):
    run()("kvm_domain.present", **{**guest, "name": NAME})
    with pytest.raises(CommandExecutionError) as refused:
        modules["kvm_domain.wait_for"](NAME, **arguments)
    assert told in str(refused.value)


def test_a_source_that_is_none_is_refused(modules):
    with pytest.raises(CommandExecutionError, match="'dns' is no source; known are auto, agent"):
        modules["kvm_domain.addresses"](NAME, source="dns")


def test_many_guests_without_an_agent_cost_no_wait(run, guest, modules, monkeypatch):
    """They are not asked at all, so that it is the calls that are counted, not the seconds."""
    names = [f"{PREFIX}many{number}" for number in range(4)]
    for number, name in enumerate(names):
        fields = {**guest, "name": name, "disks": [], "interfaces": [], "agent": bool(number % 2)}
        assert run()("kvm_domain.running", **fields)["result"] is True
    asked, ask = [], Hypervisor.ask_agent

    def counted(hypervisor, name, *order):
        # The guests of other tests, which run beside this one, may have one.
        asked.append(name)
        return ask(hypervisor, name, *order)

    monkeypatch.setattr(Hypervisor, "ask_agent", counted)
    found = modules["kvm_domain.addresses"]()
    assert {name: found[name] for name in names} == {name: [] for name in names}
    pings = modules["kvm_domain.agent_ping"]()
    assert all(isinstance(pings[name], str) for name in names)
    assert not set(names) & set(asked)
