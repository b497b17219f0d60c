"""What several sources say of a guest's addresses, put together."""

from salt_kvm.backend.guests import addresses
from salt_kvm.seen import Observed

LIVE = """<domain id='1'><name>a</name><devices>
<interface type='network'><mac address='52:54:00:AA:00:01'/><target dev='vnet1'/></interface>
</devices></domain>"""
HEARD = """10.1.1.5 dev virbr0 lladdr 52:54:00:aa:00:01 REACHABLE
10.1.1.6 dev virbr0 lladdr 52:54:00:aa:00:01 FAILED
10.1.1.7 dev virbr0 FAILED
10.1.1.8 dev virbr0 lladdr 52:54:00:bb:00:01 STALE
fe80::5054:ff:feaa:1 dev virbr0 lladdr 52:54:00:aa:00:01 router STALE
odd dev virbr0 lladdr 52:54:00:aa:00:01 STALE
lladdr

"""


def found(address, source, prefix=0, interface=""):
    return addresses._made(address, prefix, "52:54:00:AA:00:01", interface, source)


def test_what_the_host_has_heard_is_that_of_the_guests_cards():
    seen = Observed("domain", "a", LIVE, LIVE)
    told = addresses.joined(addresses.find(None, seen, ["arp"], lambda: HEARD))
    assert [(each["address"], each["interface"]) for each in told] == [
        ("10.1.1.5", "vnet1"),
        ("fe80::5054:ff:feaa:1", "vnet1"),
    ]


def test_each_address_is_told_once():
    told = addresses.joined(
        [
            found("fe80::1", "agent", 64, "eth0"),
            found("fd00::5", "lease", 128, "vnet1"),
            found("10.1.1.5", "arp", 0, "vnet1"),
            found("10.1.1.5", "lease", 24, "vnet1"),
            found("10.1.1.5", "agent", 16, "eth0"),
        ]
    )
    mac = "52:54:00:aa:00:01"
    assert told == [
        {"address": "10.1.1.5", "prefix": 16, "mac": mac, "interface": "eth0",
         "sources": ["agent", "lease", "arp"]},
        {"address": "fd00::5", "prefix": 128, "mac": mac, "interface": "vnet1",
         "sources": ["lease"]},
        {"address": "fe80::1", "prefix": 64, "mac": mac, "interface": "eth0",
         "sources": ["agent"]},
    ]  # fmt: skip


def test_what_is_no_address_of_its_own_is_left_out():
    for text in ("127.0.0.1", "::1", "10.1.1", "", "a" * 10_000, "10.1.1.5\n"):
        assert found(text, "agent") is None
