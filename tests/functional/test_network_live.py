"""What is changed on an active network: at once, and the guest that is plugged in stays so."""

import gzip
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import ApplyError
from waiting import wait_for

from .conftest import BRIDGE, PREFIX, ROOT, SUBNET, nat, virsh

NET = f"{PREFIX}net"
GATEWAY = f"{SUBNET}.1"
A, TXT, SRV = 1, 16, 33
# Loaded in this order; the first letter keeps it in the guest's /modules.
DRIVERS = ("failover", "net_failover", "virtio_ring", "virtio", "virtio_pci_modern_dev",
           "virtio_pci_legacy_dev", "virtio_pci", "virtio_net")  # fmt: skip
LEASED = """#!/bin/sh
[ "$1" = bound ] && ip addr add $ip/24 dev $interface && echo "leased $ip"
exit 0
"""


def live():
    return ET.fromstring(virsh("net-dumpxml", NET))


def ports():
    return os.listdir(f"/sys/class/net/{BRIDGE}/brif")


def dnsmasq():
    return Path(f"/run/libvirt/network/{NET}.pid").read_text().strip()


def identity():
    """What nobody may notice a change by: the network's own, and that the guest is plugged in."""
    root = live()
    taps = re.findall(r"^ *(vnet\d+)", virsh("domiflist", f"{PREFIX}web1"), re.MULTILINE)
    assert taps
    assert set(taps) <= set(ports()), "the guest's card is not in the bridge"
    domain = virsh("domid", f"{PREFIX}web1")
    return root.findtext("uuid"), root.find("mac").get("address"), taps, domain


def ask(name, kind=A):
    """Ask the network's DNS; return the answer's records, or None where there are none."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        for _attempt in range(5):
            client.sendto(question + struct.pack(">HH", kind, 1), (GATEWAY, 53))
            try:
                answer = client.recv(512)
            except TimeoutError:
                continue
            found = struct.unpack(">HHHHHH", answer[:12])[3]
            return answer[len(question) + 4 :] if found else None
    raise AssertionError("dnsmasq does not answer")


def told(name, kind, part):
    """Wait for dnsmasq to have read its files again."""

    def so():
        answer = ask(name, kind)
        return answer is None if part is None else part in (answer or b"")

    wait_for(so, (name, part))


@pytest.fixture
def plugged(run, guest):
    """A running guest in an active network."""
    made = run()("kvm_domain.running", **guest)
    assert made["result"] is True, made["comment"]
    return identity()


def dhcp(*hosts, ranges=None, **more):
    known = [{"mac": f"52:54:00:00:00:{n:02x}", "ip": f"{SUBNET}.{ip}", **e} for n, ip, e in hosts]
    return {"ranges": ranges or [f"{SUBNET}.2-{SUBNET}.254"], "hosts": known, **more}


HOST = f"live/ip[{GATEWAY}]/dhcp/host"
RANGE = f"live/ip[{GATEWAY}]/dhcp/range"
ONE, TWO = (1, 11, {"name": "one"}), (2, 12, {"name": "two"})
# Each edit: what is declared before and after, and the live entries of the changes.
EDITS = {
    "host added": (
        {"dhcp": dhcp(ONE)},
        {"dhcp": dhcp(TWO, ONE)},
        {f"{HOST}[two]"},
    ),
    "host removed": ({"dhcp": dhcp(ONE, TWO)}, {"dhcp": dhcp(TWO)}, {f"{HOST}[one]"}),
    "all hosts removed": (
        {"dhcp": dhcp(ONE, TWO)},
        {"dhcp": dhcp()},
        {f"{HOST}[one]", f"{HOST}[two]"},
    ),
    "hosts swap addresses": (
        {"dhcp": dhcp(ONE, TWO)},
        {"dhcp": dhcp((1, 12, {"name": "one"}), (2, 11, {"name": "two"}))},
        {f"{HOST}[one]", f"{HOST}[two]"},
    ),
    "hosts swap names": (
        {"dhcp": dhcp(ONE, TWO)},
        {"dhcp": dhcp((1, 11, {"name": "two"}), (2, 12, {"name": "one"}))},
        {f"{HOST}[one]", f"{HOST}[two]"},
    ),
    "a host's lease": (
        {"dhcp": dhcp(ONE)},
        {"dhcp": dhcp((1, 11, {"name": "one", "lease": "2h"}))},
        {f"{HOST}[one]"},
    ),
    "hosts reordered": ({"dhcp": dhcp(ONE, TWO)}, {"dhcp": dhcp(TWO, ONE)}, set()),
    "range changed": (
        {"dhcp": dhcp()},
        {"dhcp": dhcp(ranges=[f"{SUBNET}.20-{SUBNET}.30", f"{SUBNET}.40-{SUBNET}.50"])},
        {
            f"{RANGE}[{SUBNET}.2-{SUBNET}.254]",
            f"{RANGE}[{SUBNET}.20-{SUBNET}.30]",
            f"{RANGE}[{SUBNET}.40-{SUBNET}.50]",
        },
    ),
    "lease of the ranges": (
        {"dhcp": dhcp()},
        {"dhcp": dhcp(lease="90m")},
        {f"{RANGE}[{SUBNET}.2-{SUBNET}.254]"},
    ),
    "no DHCP any more": (
        {"dhcp": dhcp(ONE)},
        {"dhcp": {"ranges": [], "hosts": []}},
        {f"{RANGE}[{SUBNET}.2-{SUBNET}.254]", f"{HOST}[one]"},
    ),
    "several addresses": (
        {"ip": None, "dhcp": None, "ips": [
            {"address": "fd00:5f::1/64", "dhcp": {
                "ranges": ["fd00:5f::10-fd00:5f::20"], "hosts": [],
            }},
            {"address": f"{GATEWAY}/24", "dhcp": dhcp(ONE)},
        ]},
        {"ip": None, "dhcp": None, "ips": [
            {"address": "fd00:5f::1/64", "dhcp": {
                "ranges": ["fd00:5f::10-fd00:5f::30"],
                "hosts": [{"id": "00:03:00:01:52:54:00:12:34:56", "ip": "fd00:5f::9"}],
            }},
            {"address": f"{GATEWAY}/24", "dhcp": dhcp(ONE, TWO)},
        ]},
        {
            "live/ip[fd00:5f::1]/dhcp/range[fd00:5f::10-fd00:5f::20]",
            "live/ip[fd00:5f::1]/dhcp/range[fd00:5f::10-fd00:5f::30]",
            "live/ip[fd00:5f::1]/dhcp/host[fd00:5f::9]",
            f"{HOST}[two]",
        },
    ),
    "portgroup added": (
        {},
        {"portgroups": [{"name": "a", "bandwidth": {"inbound": {"average": 100}}}]},
        {"live/portgroup[a]"},
    ),
    "default portgroup moves": (
        {"portgroups": [{"name": "a", "default": True}, {"name": "b"}]},
        {"portgroups": [{"name": "b", "default": True}, {"name": "a"}, {"name": "c"}]},
        {"live/portgroup[a]", "live/portgroup[b]", "live/portgroup[c]"},
    ),
    "portgroups removed": (
        {"portgroups": [{"name": "a", "default": True}, {"name": "b"}]},
        {"portgroups": []},
        {"live/portgroup[a]", "live/portgroup[b]"},
    ),
    "device of the forward mode": (
        {"devices": []},
        {"devices": ["eth0"]},
        {"live/forward/interface[eth0]"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_made_at_once_and_nobody_notices(converge, run, guest, edit):
    before, after, expected = EDITS[edit]
    first = run()("kvm_network.running", name=NET, restart=True, **{**nat(), **before})
    assert first["result"] is True, first["comment"]
    assert "Waits" not in first["comment"]
    assert run()("kvm_domain.running", **guest)["result"] is True
    noticed = identity()
    made = converge("kvm_network.running", name=NET, **{**nat(), **after})
    assert {path for path in made["changes"] if path.startswith("live/")} == expected
    assert "Waits" not in made["comment"]
    assert identity() == noticed
    back = run()("kvm_network.running", name=NET, **{**nat(), **before})
    assert back["result"] is True, back["comment"]
    # A field that isn't declared any more is left alone, in an element of a list too.
    if before and "lease" not in edit:
        assert {path for path in back["changes"] if path.startswith("live/")} == expected
    assert identity() == noticed


def dns(**more):
    return nat(dns=more)


def test_names_are_answered_as_soon_as_they_are_declared(converge, plugged):
    pid = dnsmasq()
    assert ask("web9") is None
    hosts = [{"ip": f"{SUBNET}.9", "names": ["web9", "www9"]}]
    converge("kvm_network.running", name=NET, **dns(hosts=hosts))
    told("www9", A, socket.inet_aton(f"{SUBNET}.9"))
    hosts = [{"ip": f"{SUBNET}.10", "names": ["web9"]}]
    changes = converge("kvm_network.running", name=NET, **dns(hosts=hosts))["changes"]
    assert {p for p in changes if p.startswith("live/")} == {
        f"live/dns/host[{SUBNET}.9]", f"live/dns/host[{SUBNET}.10]",
    }  # fmt: skip
    told("web9", A, socket.inet_aton(f"{SUBNET}.10"))
    told("www9", A, None)
    converge("kvm_network.running", name=NET, **dns(hosts=[]))
    told("web9", A, None)
    # Its files were read again; the process is the one that was there.
    assert dnsmasq() == pid
    assert identity() == plugged


def test_txt_and_srv_records_are_answered_at_once(converge, plugged):
    srv = {"service": "ldap", "protocol": "tcp", "domain": "lab.example", "target": "t.lab.example"}
    name = "_ldap._tcp.lab.example"
    records = {"txt": [{"name": "about", "value": "first text"}], "srv": [{**srv, "port": 389}]}
    converge("kvm_network.running", name=NET, **dns(**records))
    told("about", TXT, b"first text")
    told(name, SRV, struct.pack(">H", 389))
    records = {"txt": [{"name": "about", "value": "second"}], "srv": [{**srv, "port": 636}]}
    changed = converge("kvm_network.running", name=NET, **dns(**records))["changes"]
    assert changed["live/dns/txt[about]"]["new"] == {"@name": "about", "@value": "second"}
    assert changed["live/dns/srv[ldap-tcp]"]["old"]["@port"] == "389"
    told("about", TXT, b"second")
    told(name, SRV, struct.pack(">H", 636))
    converge("kvm_network.running", name=NET, **dns(txt=[], srv=[]))
    told("about", TXT, None)
    told(name, SRV, None)
    assert identity() == plugged


# What waits, as the comment tells it, and how it shows when it has come.
WAITING = {
    "mtu": ({"mtu": 1400}, {"mtu None -> {'@size': '1400'}"}),
    "mode": (
        {"forward": "route"},
        {"forward/@mode 'nat' -> 'route'", "forward/nat {'port/@start': '1024', "},
    ),
    "the rest": (
        {
            "stp": False,
            "domain": {"name": "lab.example", "local_only": True},
            "ip": None,
            "dhcp": None,
            "ips": [
                {"address": f"{GATEWAY}/24", "dhcp": dhcp(bootp={"file": "pxelinux.0"})},
                {"address": "fd00:5f::1/64"},
            ],
            "dns": {"forwarders": [{"address": "192.0.2.1"}], "forward_plain_names": False},
            "routes": [{"to": "203.0.113.0/24", "gateway": f"{SUBNET}.9"}],
            "nat": {"ports": "2048-4095"},
            "port_isolation": True,
        },
        {
            "bridge/@stp 'on' -> 'off'",
            "domain None -> {'@name': 'lab.example', '@localOnly': 'yes'}",
            "ip[1]/dhcp/bootp None -> {'@file': 'pxelinux.0'}",
            "ip[2] None -> {'@family': 'ipv6', '@address': 'fd00:5f::1', '@prefix': '64'}",
            "dns/@forwardPlainNames None -> 'no'",
            "dns/forwarder[192.0.2.1] None -> {'@addr': '192.0.2.1'}",
            f"route[203.0.113.0-{SUBNET}.9] None -> ",
            "forward/nat/port/@start '1024' -> '2048'",
            "forward/nat/port/@end '65535' -> '4095'",
            "port None -> {'@isolated': 'yes'}",
        },
    ),
}


@pytest.mark.parametrize("case", WAITING)
def test_what_libvirt_cannot_change_waits_and_comes_with_a_restart(converge, run, plugged, case):
    fields, waits = WAITING[case]
    fields = {**nat(), **fields}
    made = converge("kvm_network.running", name=NET, **fields)
    again = run()("kvm_network.running", name=NET, **fields)
    for comment in (made["comment"], again["comment"]):
        due = comment.partition("Waits for the next start: ")[2].split("; ")
        assert len(due) == len(waits)
        assert not [wait for wait in waits if not [one for one in due if one.startswith(wait)]]
    assert not [path for path in made["changes"] if path.startswith("live/")]
    assert identity() == plugged
    restarted = converge("kvm_network.running", name=NET, restart=True, **fields)
    assert f"Restarted network {NET}" in restarted["comment"]
    assert "Waits" not in restarted["comment"]
    # The guest's card is in the bridge that libvirt made anew, and counts as a port of the network.
    assert identity() == plugged
    assert live().get("connections") == "1"


def test_bandwidth_waits(converge, plugged):
    """Not started with it: the kernels of test machines lack the queue that libvirt wants (sfq)."""
    bandwidth = {"inbound": {"average": 1000}}
    made = converge("kvm_network.running", name=NET, **nat(bandwidth=bandwidth))
    assert "Waits for the next start: bandwidth None -> " in made["comment"]


def test_what_can_be_done_now_is_not_kept_waiting_by_what_cannot(converge, plugged):
    fields = {**nat(), "mtu": 1400, "dhcp": dhcp(ONE)}
    made = converge("kvm_network.running", name=NET, **fields)
    assert f"{HOST}[one]" in made["changes"]
    assert "Waits for the next start: mtu None -> {'@size': '1400'}." in made["comment"]


def test_a_restart_is_for_what_waits_only(converge, plugged):
    pid = dnsmasq()
    made = converge("kvm_network.running", name=NET, restart=True, **{**nat(), "dhcp": dhcp(ONE)})
    assert "Restarted" not in made["comment"]
    assert dnsmasq() == pid


def fail_at(monkeypatch, method):
    """Let libvirt refuse a method of an object, once."""
    call, failed = Hypervisor.call, []

    def refuse(self, kind, name, doing, called, *arguments):
        if called == method and not failed:
            failed.append(called)
            raise ApplyError(f"{doing} {kind} {name}: refused")
        return call(self, kind, name, doing, called, *arguments)

    monkeypatch.setattr(Hypervisor, "call", refuse)


def documents():
    texts = virsh("net-dumpxml", NET), virsh("net-dumpxml", "--inactive", NET)
    return [sorted(line.strip() for line in text.splitlines()) for text in texts]


def test_a_failure_takes_the_live_changes_back(converge, run, plugged, monkeypatch):
    groups = [{"name": "a", "default": True}, {"name": "b"}]
    fields = {**nat(), "dhcp": dhcp(ONE, TWO), "portgroups": groups}
    converge("kvm_network.running", name=NET, **fields)
    before = documents()
    changed = {
        **nat(),
        "dhcp": dhcp((1, 12, {"name": "one"}), ranges=[f"{SUBNET}.20-{SUBNET}.30"]),
        "dns": {"hosts": [{"ip": f"{SUBNET}.9", "names": ["web9"]}]},
        "portgroups": [{"name": "b", "default": True}, {"name": "a"}],
        "autostart": True,
    }
    fail_at(monkeypatch, "setAutostart")
    failed = run()("kvm_network.running", name=NET, **changed)
    assert failed["result"] is False
    assert "Nothing was left changed." in failed["comment"]
    assert documents() == before
    assert identity() == plugged
    converge("kvm_network.running", name=NET, **changed)


@pytest.mark.parametrize("method", ["create", "updateDeviceFlags", "setAutostart"])
def test_a_restart_that_fails_brings_the_network_back(converge, run, plugged, monkeypatch, method):
    converge("kvm_network.running", name=NET, mtu=1300, restart=True, **nat())
    before = documents()
    fail_at(monkeypatch, method)
    changed = {**nat(), "mtu": 1400, "restart": True, "autostart": True}
    failed = run()("kvm_network.running", name=NET, **changed)
    assert failed["result"] is False, failed["comment"]
    assert "Nothing was left changed." in failed["comment"]
    assert documents() == before
    assert identity() == plugged


def test_a_restart_that_fails_keeps_what_an_earlier_run_defined(run, plugged, monkeypatch):
    run()("kvm_network.running", name=NET, mtu=1400, **nat())
    before = documents()
    fail_at(monkeypatch, "setAutostart")
    changed = {**nat(), "mtu": 1400, "restart": True, "autostart": True}
    assert run()("kvm_network.running", name=NET, **changed)["result"] is False
    assert documents() == before
    assert identity() == plugged


def test_a_guest_is_not_cut_off_by_a_mode_without_a_bridge(run, plugged):
    made = run()("kvm_network.running", name=NET, forward="private", devices=["eth0"], restart=True)
    assert made["result"] is False
    assert f"the running guest {PREFIX}web1 can't follow; shut it down first" in made["comment"]
    assert live().find("forward").get("mode") == "nat"
    assert identity() == plugged


@pytest.fixture
def talking(run, guest_kernel, folder, network):
    """A guest with a driver for its card: it runs what it is sent, and logs what it prints."""
    root, log = folder / "root", folder / "serial.log"
    (root / "modules").mkdir(parents=True)
    for index, name in enumerate(DRIVERS):
        (module,) = (ROOT / ".cache/guest/modules").rglob(f"{name}.ko")
        shutil.copy(module, root / "modules" / f"n{index}-{name}.ko")
    (root / "leased").write_text(LEASED)
    (root / "leased").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    command = ["cpio", "--quiet", "-o", "-H", "newc"]
    packed = subprocess.run(
        command, cwd=root, input=names.encode(), capture_output=True, check=True
    ).stdout
    initramfs = folder / "initramfs"
    initramfs.write_bytes(Path(guest_kernel.initramfs).read_bytes() + gzip.compress(packed, 1))
    xml = (
        f"<os><kernel>{guest_kernel.kernel}</kernel><initrd>{initramfs}</initrd>"
        f"<cmdline>{guest_kernel.arguments} net.ifnames=0</cmdline></os>"
    )
    made = run()(
        "kvm_domain.running", name=f"{PREFIX}web1", memory="256MiB", disks=[], xml=xml,
        interfaces=[{"network": network, "mac": "52:54:00:00:00:01"}],
        serial=[{"type": "pty", "log": str(log)}],
    )  # fmt: skip
    assert made["result"] is True, made["comment"]
    heard(log, "tick 1")

    # Kept open: QEMU looks once a second whether somebody has its terminal open, and drops what one
    # writes who has gone by then.
    with open(virsh("ttyconsole", f"{PREFIX}web1").strip(), "w") as console:
        time.sleep(2)

        def say(command, answer):
            console.write(f"{command}\n")
            console.flush()
            return heard(log, answer)

        yield say


def reach(word):
    """The command that says a word when the gateway answers; with STP a new port takes seconds."""
    ping = f"until ping -c 1 -W 1 {GATEWAY} >/dev/null; do sleep 1; done"
    return f"{ping}; echo {word}-$((40 + 2))"


def heard(log, pattern):
    return wait_for(lambda: re.search(pattern, log.read_text(errors="replace")), log.read_text)


def test_a_guest_gets_its_lease_and_is_reached_again_after_a_restart(
    converge, run, modules, talking
):
    ask_for = "udhcpc -i eth0 -n -q -t 20 -s /leased"
    # A static lease that is declared while the guest runs is what it gets.
    converge("kvm_network.running", name=NET, **{**nat(), "dhcp": dhcp((1, 77, {}))})
    talking(f"ip link set eth0 up; {ask_for}", f"leased {re.escape(SUBNET)}.77")
    talking(reach("first"), "first-42")
    # dnsmasq answers a guest before libvirt has noted the lease.
    wait_for(lambda: leased(modules) == [f"{SUBNET}.77"], "its lease is noted")
    changed = {**nat(), "dhcp": dhcp((1, 78, {})), "domain": "lab.example", "restart": True}
    converge("kvm_network.running", name=NET, **changed)
    # Its link was not taken down, so it goes on with the address that it has.
    talking(reach("second"), "second-42")
    talking(f"ip addr flush dev eth0; {ask_for}", f"leased {re.escape(SUBNET)}.78")
    talking(reach("third"), "third-42")
    wait_for(lambda: f"{SUBNET}.78" in leased(modules), "the new lease is noted")


def leased(modules):
    return [lease["ipaddr"] for lease in modules["kvm_network.leases"](NET)]
