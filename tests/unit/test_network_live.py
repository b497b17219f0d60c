"""What of a network's difference is done at once, in which order, and what is no difference."""

from xml.etree import ElementTree as ET

import pytest

from salt_kvm.errors import SpecError
from salt_kvm.plan.network import plan
from salt_kvm.plan.steps import Define, RestartNetwork, Step, UpdateNetwork
from salt_kvm.seen import Observed
from salt_kvm.spec.convert import convert
from salt_kvm.spec.network import Network
from salt_kvm.xml.merge import Difference

# As libvirt 9.0 writes an active network; `connections` is in the live document only.
SEEN = """
<network connections='1'>
  <name>lab</name>
  <uuid>ce53d0d9-6571-4e66-a0d3-5421148df51b</uuid>
  <forward dev='eth0' mode='nat'>
    <nat><port start='1024' end='65535'/></nat>
    <interface dev='eth0'/>
  </forward>
  <bridge name='virbr7' stp='on' delay='0'/>
  <mac address='52:54:00:da:e1:90'/>
  <domain name='lab.example'/>
  <dns>
    <forwarder addr='192.0.2.1'/>
    <forwarder domain='b.example' addr='192.0.2.2'/>
    <txt name='a' value='1'/>
    <srv service='ldap' protocol='tcp' domain='x.y' target='t' port='389'/>
    <srv service='ldap' protocol='tcp' domain='x.y' target='u' port='389'/>
    <host ip='10.9.0.9'><hostname>nine</hostname></host>
  </dns>
  <portgroup name='a' default='yes'><bandwidth><inbound average='9'/></bandwidth></portgroup>
  <portgroup name='b'/>
  <ip family='ipv6' address='fd00:9::1' prefix='64'/>
  <ip address='10.9.0.1' netmask='255.255.255.0' localPtr='yes'>
    <dhcp>
      <range start='10.9.0.2' end='10.9.0.99'><lease expiry='2' unit='hours'/></range>
      <host mac='52:54:00:00:00:01' name='one' ip='10.9.0.11'/>
      <host mac='52:54:00:00:00:02' name='two' ip='10.9.0.12'/>
    </dhcp>
  </ip>
  <route address='10.20.0.0' prefix='16' gateway='10.9.0.2'/>
  <route family='ipv6' address='fd00:20::' prefix='64' gateway='fd00:9::2'/>
</network>
"""
ONE = {"mac": "52:54:00:00:00:01", "name": "one", "ip": "10.9.0.11"}
TWO = {"mac": "52:54:00:00:00:02", "name": "two", "ip": "10.9.0.12"}
LDAP = {"service": "ldap", "protocol": "tcp", "domain": "x.y", "port": 389}
NINE = {"inbound": {"average": 9}}
FOUR = "10.9.0.1/24"


def planned(fields, seen=SEEN):
    want = convert(Network, fields, "kvm:networks:lab")
    return list(plan("lab", want, Observed("network", "lab", seen, live=seen)))


def steps(fields, seen=SEEN):
    return [each for each in planned(fields, seen) if isinstance(each, Step)]


def calls(fields, seen=SEEN):
    return [
        (step.command, step.index, ET.fromstring(step.xml).get("name") or step.part.split("[")[-1])
        for step in steps(fields, seen)
        if isinstance(step, UpdateNetwork)
    ]


SAME = [
    {},
    {"forward": "nat", "nat": {"ports": "1024-65535"}, "devices": ["eth0"], "bridge": "virbr7"},
    {"nat": {"ipv6": False}, "stp": True, "delay": 0, "mac_table_manager": "kernel"},
    {"domain": {"name": "lab.example", "local_only": False}},
    {"ip": FOUR, "dhcp": {"ranges": ["10.9.0.2-10.9.0.99"], "lease": "120m", "hosts": [TWO, ONE]}},
    {"ips": [{"address": FOUR, "local_ptr": True}, {"address": "FD00:9:0::1/64", "dhcp": {}}]},
    {"dns": [{"ip": "10.9.0.9", "names": ["nine"]}]},
    {"dns": {"enable": True, "forward_plain_names": True, "txt": [{"name": "a", "value": "1"}]}},
    {"dns": {"srv": [{**LDAP, "target": "u", "priority": 0}, {**LDAP, "target": "t"}]}},
    {
        "dns": {
            "forwarders": [
                {"domain": "b.example", "address": "192.0.2.2"},
                {"address": "192.0.2.1"},
            ]
        }
    },
    {"portgroups": [{"name": "b"}, {"name": "a", "default": True, "bandwidth": NINE}]},
    {
        "routes": [
            {"to": "fd00:20::/64", "gateway": "fd00:9:0::2"},
            {"to": "10.20.0.0/16", "gateway": "10.9.0.2"},
        ]
    },
    {"port_isolation": False},
]


@pytest.mark.parametrize("fields", SAME, ids=str)
def test_libvirts_spelling_and_another_order_are_no_difference(fields):
    assert steps(fields) == []


def test_an_empty_list_of_what_is_not_there_is_no_difference():
    bare = "<network><name>lab</name><ip address='10.9.0.1' prefix='24'/></network>"
    empty = {"ranges": [], "hosts": []}
    lists = {"hosts": [], "txt": [], "srv": [], "forwarders": []}
    fields = {"ip": FOUR, "dhcp": empty, "dns": lists, "portgroups": [], "routes": []}
    assert steps(fields, bare) == []


def dhcp(*hosts, ranges=("10.9.0.2-10.9.0.99",)):
    return {"ip": FOUR, "dhcp": {"ranges": list(ranges), "hosts": list(hosts)}}


# The order in which libvirt is called, and the place of the address among the network's.
ORDER = {
    "swap": (
        dhcp({**ONE, "ip": "10.9.0.12"}, {**TWO, "ip": "10.9.0.11"}),
        [(how, 1, name) for how in ("DELETE", "ADD_LAST") for name in ("one", "two")],
    ),
    "range": (
        dhcp(ONE, TWO, ranges=["10.9.0.2-10.9.0.50"]),
        [("DELETE", 1, "10.9.0.2-10.9.0.99]"), ("ADD_LAST", 1, "10.9.0.2-10.9.0.50]")],
    ),
    "default group": (
        {"portgroups": [{"name": "b", "default": True}, {"name": "a"}]},
        [("MODIFY", -1, "a"), ("MODIFY", -1, "b")],
    ),
    "new default group": (
        {"portgroups": [{"name": "c", "default": True}, {"name": "b"}]},
        [("DELETE", -1, "a"), ("ADD_LAST", -1, "c")],
    ),
    "first DHCP": (
        {"ips": [{"address": "fd00:9::1/64", "dhcp": {"ranges": ["fd00:9::2-fd00:9::9"]}},
                 {"address": FOUR}]},
        [("ADD_LAST", 0, "fd00:9::2-fd00:9::9]")],
    ),
    "srv": (
        {"dns": {"srv": [{**LDAP, "target": "t"}]}},
        [("DELETE", -1, "ldap-tcp]")],
    ),
    "last leases": (
        dhcp(ranges=()),
        [("DELETE", 1, "10.9.0.2-10.9.0.99]"), ("DELETE", 1, "one"), ("DELETE", 1, "two")],
    ),
    "last names": (
        {"dns": {"hosts": [], "txt": [], "srv": [], "forwarders": []}},
        [("DELETE", -1, each) for each in ("10.9.0.9]", "a", "ldap-tcp]", "2]")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ORDER)
def test_libvirt_is_called_in_an_order_that_it_takes(case):
    fields, expected = ORDER[case]
    assert calls(fields) == expected


def test_the_old_default_group_gives_way_first_wherever_it_stands():
    moved = SEEN.replace(" default='yes'", "").replace("name='b'/>", "name='b' default='yes'/>")
    groups = [{"name": "a", "default": True}, {"name": "b"}]
    assert calls({"portgroups": groups}, moved) == [("MODIFY", -1, "b"), ("MODIFY", -1, "a")]


def test_nothing_of_a_new_address_or_mode_is_done_before_the_restart():
    moved = {"ip": "10.9.1.1/24", "dhcp": {"ranges": ["10.9.1.2-10.9.1.9"], "hosts": []}}
    assert calls(moved) == []
    assert calls({"forward": "private", "devices": ["eth1"]}) == []


def test_a_restart_brings_all_in_one_step():
    fields = {**dhcp(ONE), "mtu": 1400, "restart": True}
    (define, restart) = steps(fields)
    assert isinstance(define, Define)
    assert isinstance(restart, RestartNetwork)
    assert set(restart.changes) == {"live/mtu", "live/ip/dhcp/host[two]"}


def test_a_restart_is_for_what_waits_only():
    made = steps({**dhcp(ONE), "restart": True})
    assert [type(step) for step in made] == [Define, UpdateNetwork]


def test_the_last_lease_and_name_go_without_a_restart():
    made = planned({**dhcp(ranges=()), "dns": {"hosts": [], "txt": [], "srv": []}})
    assert [each for each in made if isinstance(each, Difference)] == []


def test_what_waits_is_what_no_update_brings():
    made = planned({**dhcp(ONE), "mtu": 1400})
    assert [each.path for each in made if isinstance(each, Difference)] == ["mtu"]


@pytest.mark.parametrize("mode", ["bridge", "private", "hostdev"])
def test_what_a_mode_cannot_have_goes_with_it(mode):
    (define,) = steps({"forward": mode, **({"bridge": "br0"} if mode == "bridge" else {})})
    left = {child.tag for child in ET.fromstring(define.xml)}
    assert left == {
        "name",
        "uuid",
        "forward",
        "portgroup",
        *(["bridge"] if mode == "bridge" else []),
    }
    assert ET.fromstring(define.xml).find("forward/nat") is None
    if mode == "bridge":
        assert ET.fromstring(define.xml).find("bridge").attrib == {"name": "br0"}


DEVICES = "<interface dev='eth0'/><interface dev='eth1'/>"
MACVTAP = f"<forward dev='eth0' mode='{{}}'>{DEVICES}</forward>"


OVS = """<forward mode='bridge'/><bridge name='ovs0'/><virtualport type='openvswitch'/>
<port isolated='yes'/><portgroup name='a'><vlan><tag id='5'/></vlan>
<bandwidth><inbound average='9'/></bandwidth></portgroup>"""


@pytest.mark.parametrize(
    ("seen", "fields", "gone"),
    [
        (MACVTAP.format("private"), {"forward": "open", "ip": FOUR}, "forward/interface"),
        (MACVTAP.format("vepa"), {"forward": "nat", "ip": FOUR}, "forward/interface"),
        (MACVTAP.format("bridge"), {"forward": "bridge", "bridge": "br0"}, "forward/interface"),
        ("<bandwidth/>", {"forward": "private", "devices": ["eth0"]}, "bandwidth"),
        ("<bandwidth/>", {"forward": "bridge", "devices": ["eth0"]}, "bandwidth"),
        ("<vlan><tag id='5'/></vlan>", {"forward": "nat", "ip": FOUR}, "vlan"),
        (
            "<forward dev='eth0' mode='private'><interface dev='eth0'/></forward>",
            {"forward": "nat", "ip": FOUR},
            "forward/interface",
        ),
        (OVS, {"forward": "nat", "ip": FOUR}, "virtualport"),
        (OVS, {"forward": "nat", "ip": FOUR}, "portgroup/vlan"),
        (OVS, {"forward": "private", "devices": ["eth0"]}, "virtualport"),
        (OVS, {"forward": "bridge", "devices": ["eth0"]}, "portgroup/bandwidth"),
        (OVS, {"forward": "hostdev", "pf": "eth0"}, "port"),
    ],
)
def test_what_libvirt_refuses_in_a_mode_goes_with_it(seen, fields, gone):
    [define] = steps(fields, f"<network><name>lab</name>{seen}</network>")
    left = ET.fromstring(define.xml)
    assert left.find(gone) is None
    assert left.find("forward[@dev]") is None
    assert "portgroup" not in gone or f"{gone.replace('p/', 'p[a]/')}" in define.changes


@pytest.mark.parametrize(
    ("seen", "fields"),
    [
        ("<forward dev='eth0' mode='nat'><interface dev='eth0'/></forward>", {"forward": "route"}),
        (OVS, {"bridge": "ovs1"}),
        ("<forward mode='nat'/><bridge name='b'/><virtualport type='midonet'/>", {"stp": False}),
    ],
)
def test_what_a_mode_can_have_stays(seen, fields):
    """And so does, in a mode that stays, what libvirt takes without any use of it."""
    [define] = steps(fields, f"<network><name>lab</name>{seen}</network>")
    tags = [
        [each.tag for each in ET.fromstring(text).iter()] for text in (f"<a>{seen}</a>", define.xml)
    ]
    assert set(tags[0]) - {"a"} <= set(tags[1])


@pytest.mark.parametrize(
    ("seen", "fields", "told"),
    [
        ("", {"forward": "bridge", "devices": ["eth0"], "bandwidth": NINE}, ":bandwidth: it goes"),
        ("", {"forward": "bridge", "bridge": "br0", "vlan": 4}, ":vlan: a VLAN goes with"),
        ("<forward mode='nat'/>", {"portgroups": [{"name": "a", "vlan": 4}]}, r"\[a\]/vlan: a V"),
        ("", {"forward": "nat", "ip": FOUR, "portgroups": [{"name": "a", "vlan": 4}]},
         "'vlan' has no meaning with forward: nat"),
        ("", {"forward": "private", "virtualport": "openvswitch"}, ":virtualport: openvswitch and"),
        ("", {"xml": "<forward mode='vepa'/><port isolated='yes'/>"}, ":port: port_isolation goes"),
    ],
)  # fmt: skip
def test_what_a_mode_cannot_have_is_refused(seen, fields, told):
    with pytest.raises(SpecError, match=told):
        steps(fields, f"<network><name>lab</name>{seen}</network>")


def test_a_bridge_of_the_host_keeps_its_bandwidth():
    seen = "<network><name>lab</name><bandwidth><inbound average='1'/></bandwidth></network>"
    [define] = steps({"forward": "bridge", "bridge": "br0"}, seen)
    assert ET.fromstring(define.xml).find("bandwidth/inbound") is not None
