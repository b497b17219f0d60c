"""Networks on a real libvirtd."""

import socket
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from .conftest import BRIDGE, PREFIX, SUBNET, nat, virsh

NAME = f"{PREFIX}net"


def test_life_of_a_network(converge, modules):
    made = converge("kvm_network.running", name=NAME, autostart=True, **nat())
    assert set(made["changes"]) == {"definition", "autostart", "state"}
    assert "yes" in virsh("net-info", NAME).split("Autostart:")[1].splitlines()[0]
    assert modules["kvm_network.list"]()[NAME] == "running"
    assert modules["kvm_network.info"](NAME)["bridge"] == BRIDGE
    assert modules["kvm_network.leases"](NAME) == []
    stopped = converge("kvm_network.stopped", name=NAME)
    assert stopped["changes"] == {"state": {"old": "running", "new": "off"}}
    assert modules["kvm_network.start"](NAME) is True
    assert modules["kvm_network.start"](NAME) is False
    assert modules["kvm_network.destroy"](NAME) is True
    converge("kvm_network.absent", name=NAME)
    assert NAME not in virsh("net-list", "--all", "--name").split()


def test_present_leaves_activity_alone(converge):
    converge("kvm_network.present", name=NAME, **nat())
    assert NAME not in virsh("net-list", "--name").split()
    virsh("net-start", NAME)
    converge("kvm_network.present", name=NAME, **nat())
    assert NAME in virsh("net-list", "--name").split()


def test_dnsmasq_answers(converge):
    """Checked, not believed: a DNS query for a declared name, to the network's own address."""
    dns = [{"ip": f"{SUBNET}.77", "names": ["sktf-host"]}]
    converge("kvm_network.running", name=NAME, dns=dns, **nat())
    question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\x09sktf-host\0" + b"\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(question, (f"{SUBNET}.1", 53))
        answer = client.recv(512)
    assert answer.endswith(socket.inet_aton(f"{SUBNET}.77"))


def test_a_change_keeps_uuid_and_mac_and_cuts_nobody_off(converge, network):
    before = ET.fromstring(virsh("net-dumpxml", "--inactive", network))
    changed = converge("kvm_network.running", name=network, **nat(domain="lab.example"))
    assert changed["changes"] == {"domain": {"old": None, "new": {"@name": "lab.example"}}}
    after = ET.fromstring(virsh("net-dumpxml", "--inactive", network))
    assert after.findtext("uuid") == before.findtext("uuid")
    assert after.find("mac").get("address") == before.find("mac").get("address")
    assert "Waits for the next start: domain" in changed["comment"]


def test_what_waits_is_told_until_it_is_gone(run, network):
    fields = nat(domain="lab.example")
    for _ in range(2):
        told = run()("kvm_network.running", name=network, **fields)
    assert told["changes"] == {}
    assert "Waits for the next start" in told["comment"]
    virsh("net-destroy", network)
    virsh("net-start", network)
    assert "Waits" not in run()("kvm_network.running", name=network, **fields)["comment"]


def test_drift_in_a_declared_field_is_mended_and_another_is_left_alone(converge, network, tmp_path):
    text = virsh("net-dumpxml", "--inactive", network)
    drifted = tmp_path / "net.xml"
    text = text.replace(f"{SUBNET}.254", f"{SUBNET}.99").replace("delay='0'", "delay='3'")
    drifted.write_text(text)
    virsh("net-define", str(drifted))
    changes = converge("kvm_network.running", name=network, **nat())["changes"]
    assert len(changes) == 2
    assert "delay='3'" in virsh("net-dumpxml", "--inactive", network)
    assert f"{SUBNET}.254" in virsh("net-dumpxml", "--inactive", network)


def test_a_transient_network_becomes_persistent(converge, tmp_path):
    made = tmp_path / "net.xml"
    made.write_text(f"<network><name>{NAME}</name><bridge name='{BRIDGE}'/></network>")
    virsh("net-create", str(made))
    changes = converge("kvm_network.running", name=NAME)["changes"]
    assert changes == {"persistent": {"old": False, "new": True}}


@pytest.mark.parametrize("fields", [{"forward": "isolated"}, {"forward": "route"}])
def test_other_modes(converge, fields):
    address = {"bridge": BRIDGE, "ip": f"{SUBNET}.1/24"}
    converge("kvm_network.running", name=NAME, **fields, **address)
    converge("kvm_network.running", name=NAME, **{**fields, "forward": "nat"}, **address)


@pytest.mark.parametrize("fields", [{"bridge": "br-of-the-host"}, {"devices": ["eth0"]}])
def test_a_nat_network_becomes_one_of_the_hosts_bridge_or_devices(converge, fields):
    """libvirt refuses the MAC address, the addresses and the names that it had."""
    more = {
        "dns": [{"ip": f"{SUBNET}.7", "names": ["seven"]}],
        "domain": "lab.example",
        "mtu": 1400,
    }
    converge("kvm_network.present", name=NAME, stp=False, delay=2, **nat(**more))
    converge("kvm_network.present", name=NAME, forward="bridge", **fields)
    root = ET.fromstring(virsh("net-dumpxml", NAME))
    assert {child.tag for child in root} <= {"name", "uuid", "metadata", "forward", "bridge"}
    converge("kvm_network.present", name=NAME, **nat(**more))


def test_plan_says_what_the_state_would_do(modules, run):
    plan = modules["kvm_network.plan"](NAME, **nat())
    dry = run(test=True)("kvm_network.running", name=NAME, **nat())
    assert plan["changes"] == dry["changes"]
    assert plan["steps"] == [f"define network {NAME}", f"start network {NAME}"]


def test_a_watch_restarts_a_network_only_where_that_is_allowed(run, network):
    def process():
        return Path(f"/run/libvirt/network/{network}.pid").read_text()

    before = process()
    told = run()("kvm_network.mod_watch", name=network, sfun="running", **nat())
    assert (told["result"], told["changes"], process()) == (True, {}, before)
    for test in (True, False):
        told = run(test=test)(
            "kvm_network.mod_watch", name=network, sfun="running", **nat(restart=True)
        )
        assert told["changes"] == {"state": {"old": "running", "new": "restarted"}}
        assert told["result"] is (None if test else True)
    assert process() != before
