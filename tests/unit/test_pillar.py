"""The pillar as a whole: the example is complete and valid, and every fault has its path."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml
from golden_cases import nested

from pillars import problems
from salt_kvm import converge
from salt_kvm.spec import pillar

EXAMPLE = (Path(__file__).parents[2] / "pillar.example").read_text()
# A line with a single # is a setting that is switched off; ## is prose.
SWITCHED_ON = re.sub(r"^( *)#(?!#)", r"\1", EXAMPLE, flags=re.MULTILINE)


def test_example_is_valid():
    assert problems(yaml.safe_load(EXAMPLE)["kvm"]) == []


def test_example_is_valid_with_everything_switched_on():
    section = yaml.safe_load(SWITCHED_ON)["kvm"]
    assert section["connection"] == "qemu:///system"
    assert problems(section) == []


EVERY = sorted(nested(pillar.Pillar), key=lambda spec: spec.__name__)


@pytest.mark.parametrize("spec", EVERY, ids=lambda spec: spec.__name__)
def test_example_shows_every_key(spec):
    code = re.sub(r"##.*", "", SWITCHED_ON)
    for field in spec.__struct_fields__:
        assert re.search(rf"\b{field}:", code), f"{spec.__name__}.{field}"


def test_schema_names_every_section():
    properties = pillar.schema()["$defs"]["Pillar"]["properties"]
    assert set(properties) == set(pillar.Pillar.__struct_fields__)
    assert msgspec.json.encode(pillar.schema())


BAD = [
    ({"imagse": {}}, ["kvm: unknown key 'imagse'; did you mean 'images'?"]),
    ({"domains": []}, ["kvm:domains: Expected 'mapping', got 'list'"]),
    (
        {"domains": {"web1": {"memroy": "1GiB", "vcpus": "two"}}},
        [
            "kvm:domains:web1: unknown key 'memroy'; did you mean 'memory'?",
            "kvm:domains:web1:vcpus: Expected 'int', got 'str', not 'two'",
        ],
    ),
    ({"domains": {"a/b": {}}}, ["kvm:domains (a key): 'a/b' is no name"]),
    ({"domains": {"w": {"memory": 2048}}}, ["kvm:domains:w: 2048 bytes of memory is less than"]),
    ({"domains": {"w": {"memory": "2 parsecs"}}}, ["kvm:domains:w:memory: '2 parsecs' is no size"]),
    ({"domains": {"w": {"state": "runing"}}}, ["kvm:domains:w:state: Invalid enum value 'runing'"]),
    ({"domains": {"w": {"disks": [{"size": "1G"}]}}}, ["kvm:domains:w:disks[0]: "]),
    (
        {"domains": {"w": {"disks": [{"path": "/a"}, {"path": "/a"}]}}},
        ["kvm:domains:w: two disks name the same path"],
    ),
    (
        {"domains": {"w": {"interfaces": [{"network": "a", "bridge": "b"}]}}},
        ["kvm:domains:w:interfaces[0]: an interface needs one of 'network', 'bridge'"],
    ),
    (
        {"domains": {"w": {"graphics": [{"port": 80}]}}},
        ["kvm:domains:w:graphics[0]:port: Expected 'int' >= 5900, not 80"],
    ),
    (
        {"domains": {"w": {"graphics": [{"listen": "everywhere"}]}}},
        ["kvm:domains:w:graphics[0]: 'everywhere' does not appear to be"],
    ),
    (
        {"domains": {"w": {"graphics": [{"password": "ninechars"}]}}},
        ["kvm:domains:w:graphics[0]: a VNC password has 8 characters of ASCII at most"],
    ),
    ({"images": {"opt/x.raw": {}}}, ["kvm:images (a key): 'opt/x.raw' is no absolute path"]),
    ({"images": {"/x": {"size": "-1G"}}}, ["kvm:images:/x:size: '-1G' is no size"]),
    ({"images": {"/x": {"format": "qcow3"}}}, ["kvm:images:/x:format: Invalid enum value 'qcow3'"]),
    ({"networks": {"n": {"ip": "10.0.0.1"}}}, ["kvm:networks:n: '10.0.0.1' has no prefix"]),
    (
        {"networks": {"n": {"ip": "10.0.0.1/24", "dhcp": {"ranges": ["10.1.0.1-10.1.0.9"]}}}},
        ["kvm:networks:n: the DHCP range 10.1.0.1-10.1.0.9 is not inside 10.0.0.0/24"],
    ),
    (
        {"networks": {"n": {"ip": "10.0.0.1/24", "dhcp": {"ranges": ["10.0.0.9-10.0.0.1"]}}}},
        ["kvm:networks:n:dhcp: '10.0.0.9-10.0.0.1' is no range"],
    ),
    ({"networks": {"n": {"dhcp": {}}}}, ["kvm:networks:n: 'dhcp' needs 'ip'"]),
    ({"networks": {"n": {"bridge": "x" * 16}}}, ["kvm:networks:n:bridge: Expected 'str' matching"]),
    (
        {"networks": {"n": {"ip": "10.0.0.1/24", "ips": []}}},
        ["kvm:networks:n: declare either 'ip' and 'dhcp', or 'ips'"],
    ),
    (
        {"networks": {"n": {"ips": [{"address": "10.0.0.1"}, {"addres": "10.1.0.1/24"}]}}},
        [
            "kvm:networks:n:ips[0]: '10.0.0.1' has no prefix",
            "kvm:networks:n:ips[1]: unknown key 'addres'; did you mean 'address'?",
        ],
    ),
    (
        {"networks": {"n": {"forward": "bridge", "ip": "10.0.0.1/24"}}},
        ["kvm:networks:n: 'ip' has no meaning with forward: bridge; it goes with isolated, nat"],
    ),
    (
        {"networks": {"n": {"forward": "private", "bridge": "br0"}}},
        ["kvm:networks:n: 'bridge' has no meaning with forward: private"],
    ),
    (
        {"networks": {"n": {"forward": "hostdev", "pf": "eth0", "addresses": ["03:00.1"]}}},
        ["kvm:networks:n: declare either 'pf' or 'addresses'"],
    ),
    (
        {"networks": {"n": {"forward": "hostdev", "addresses": ["03:00.1", "0000:03:00.1"]}}},
        ["kvm:networks:n: two entries have the same address"],
    ),
    (
        {"networks": {"n": {"addresses": ["eth0"]}}},
        ["kvm:networks:n:addresses[0]: Expected 'str' matching"],
    ),
    (
        {"networks": {"n": {"forward": "nat", "devices": ["eth0", "eth1"]}}},
        ["kvm:networks:n: with forward: nat one device at most is possible"],
    ),
    (
        {"networks": {"n": {"nat": {"ports": "9-1"}}}},
        ["kvm:networks:n:nat: '9-1' is no range of ports"],
    ),
    (
        {"networks": {"n": {"nat": {"addresses": "fd00::1-fd00::2"}}}},
        ["kvm:networks:n:nat: NAT's 'addresses' are IPv4"],
    ),
    (
        {"networks": {"n": {"ip": "10.0.0.1/24", "dhcp": {"lease": "1m"}}}},
        ["kvm:networks:n:dhcp: a lease of 1m is too short; 2m is the shortest"],
    ),
    (
        {"networks": {"n": {"ip": "10.0.0.1/24", "dhcp": {"hosts": [{"ip": "10.0.0.2"}]}}}},
        ["kvm:networks:n:dhcp:hosts[0]: an IPv4 host is known by 'mac'"],
    ),
    (
        {"networks": {"n": {"ip": "fd::1/64", "dhcp": {"hosts": [{"ip": "fd::2"}]}}}},
        ["kvm:networks:n:dhcp:hosts[0]: an IPv6 host is known by 'id'"],
    ),
    (
        {
            "networks": {
                "n": {
                    "ip": "10.0.0.1/24",
                    "dhcp": {
                        "hosts": [
                            {"mac": "52:54:00:00:00:01", "ip": "10.0.0.2"},
                            {"mac": "52:54:00:00:00:01", "ip": "10.0.0.3"},
                        ]
                    },
                }
            }
        },
        ["kvm:networks:n:dhcp: two entries have the same host's mac"],
    ),
    (
        {"networks": {"n": {"dns": [{"ip": "10.0.0.2", "names": []}]}}},
        ["kvm:networks:n:dns[0]: 'names' is empty; give 10.0.0.2 a name"],
    ),
    (
        {
            "networks": {
                "n": {"dns": [{"ip": "::1", "names": ["a"]}, {"ip": "0::1", "names": ["b"]}]}
            }
        },
        ["kvm:networks:n: two entries have the same host's ip"],
    ),
    (
        {"networks": {"n": {"dns": {"txt": [{"name": "a b", "value": "x"}]}}}},
        ["kvm:networks:n:dns:txt[0]:name: Expected 'str' matching"],
    ),
    (
        {"networks": {"n": {"dns": {"txt": [{"name": "a", "value": "x\0"}]}}}},
        ["kvm:networks:n:dns:txt[0]:value: Expected 'str' matching"],
    ),
    (
        {"networks": {"n": {"dns": {"srv": [{"service": "sip", "protocol": "sctp"}]}}}},
        ["kvm:networks:n:dns:srv[0]:protocol: Invalid enum value 'sctp'"],
    ),
    (
        {"networks": {"n": {"dns": {"forwarders": [{}]}}}},
        ["kvm:networks:n:dns:forwarders[0]: a forwarder needs 'address', 'domain' or both"],
    ),
    (
        {"networks": {"n": {"vlan": {"tags": [1, 2], "native": 3}}}},
        ["kvm:networks:n:vlan: the native VLAN 3 is not among 'tags'"],
    ),
    (
        {"networks": {"n": {"vlan": {"tags": [1, 2], "trunk": False}}}},
        ["kvm:networks:n:vlan: several VLAN tags are a trunk"],
    ),
    (
        {"networks": {"n": {"vlan": 4095}}},
        ["kvm:networks:n:vlan: Expected 'int' <= 4094, not 4095"],
    ),
    (
        {
            "networks": {
                "n": {
                    "portgroups": [{"name": "a", "default": True}, {"name": "b", "default": True}]
                }
            }
        },
        ["kvm:networks:n: one portgroup at most is the default"],
    ),
    (
        {"networks": {"n": {"routes": [{"to": "10.0.0.0/24", "gateway": "fd00::1"}]}}},
        ["kvm:networks:n:routes[0]: 10.0.0.0/24 and fd00::1 are not both IPv4"],
    ),
    (
        {"networks": {"n": {"routes": [{"to": "10.0.0.1/24", "gateway": "10.1.0.1"}]}}},
        ["kvm:networks:n:routes[0]: 10.0.0.1/24 has host bits set"],
    ),
    (
        {"networks": {"n": {"bandwidth": {"inbound": {"average": 0}}}}},
        ["kvm:networks:n:bandwidth:inbound:average: Expected 'int' >= 1, not 0"],
    ),
    (
        {"networks": {"n": {"ips": [{"address": "fd00::1/64", "tftp": "/srv"}]}}},
        ["kvm:networks:n:ips[0]: 'tftp' goes with an IPv4 address"],
    ),
    (
        {
            "networks": {
                "n": {
                    "ip": "10.0.0.1/24",
                    "routes": [{"to": "10.1.0.0/24", "gateway": "10.2.0.1"}],
                }
            }
        },
        ["kvm:networks:n: the gateway 10.2.0.1 is in none of the network's own addresses"],
    ),
    (
        {"networks": {"n": {"dns": {"enable": False, "txt": [{"name": "a", "value": "b"}]}}}},
        ["kvm:networks:n:dns: with enable: false there is nothing to answer"],
    ),
    (
        {"networks": {"n": {"dns": {"srv": [{"service": "a", "protocol": "tcp", "port": 1}]}}}},
        ["kvm:networks:n:dns:srv[0]: 'port' goes with 'target'"],
    ),
    (
        {"networks": {"n": {"portgroups": [{"name": "a & b"}]}}},
        ["kvm:networks:n:portgroups[0]:name: Expected 'str' matching"],
    ),
    (
        {"networks": {"n": {"forward": "bridge", "bridge": "br0", "devices": ["eth0"]}}},
        ["kvm:networks:n: with forward: bridge declare either 'bridge' or 'devices'"],
    ),
    ({"pools": {"p": {"path": "images"}}}, ["kvm:pools:p:path: 'images' is no absolute path"]),
    (
        {"pools": {"p": {"type": "fs", "source": {"dir": "/a"}}}},
        ["kvm:pools:p: 'source:dir' has no meaning for a pool of type fs"],
    ),
    (
        {"pools": {"p": {"type": "fs", "source": {"device": "/dev/a", "format": "nfs"}}}},
        ["kvm:pools:p: a pool of type fs has no format nfs; it has auto, ext2"],
    ),
    (
        {"pools": {"p": {"type": "rbd", "path": "/a"}}},
        ["kvm:pools:p: 'path' has no meaning for a pool of type rbd"],
    ),
    (
        {"pools": {"p": {"source": {"auth": {"type": "chap", "username": "a"}}}}},
        ["kvm:pools:p:source:auth: the secret of a pool needs one of 'uuid', 'usage'"],
    ),
    (
        {"pools": {"p": {"source": {"adapter": {"type": "fc_host"}}}}},
        ["kvm:pools:p:source:adapter: an adapter of type fc_host is known by 'wwnn' and 'wwpn'"],
    ),
    (
        {
            "pools": {
                "p": {"source": {"adapter": {"type": "scsi_host", "name": "a", "parent": "b"}}}
            }
        },
        ["kvm:pools:p:source:adapter: 'parent' goes with fc_host, not with 'scsi_host'"],
    ),
    (
        {"pools": {"p": {"data": "delete"}}},
        ["kvm:pools:p: 'data' says what becomes of a pool's data with 'state: absent' only"],
    ),
    ({"volumes": {"a": {}}}, ["kvm:volumes (a key): 'a' is no volume; write pool/volume"]),
    ({"volumes": {"p/../a": {}}}, ["kvm:volumes (a key): 'p/../a' is no volume"]),
    (
        {"volumes": {"p/a": {"capacity": 0}}},
        ["kvm:volumes:p/a:capacity: 0 is no possible size"],
    ),
    (
        {"volumes": {"p/a": {"backing": {"path": "/b", "format": "raw"}}}},
        ["kvm:volumes:p/a: a volume with 'backing' has format: qcow2"],
    ),
    (
        {"volumes": {"p/a": {"backing": {"path": "/b"}, "format": "qcow2"}}},
        ["kvm:volumes:p/a:backing: "],
    ),
    (
        {"volumes": {"p/a": {"source": "https://example.com/a.raw"}}},
        ["kvm:volumes:p/a: 'source_hash' is needed with a 'source' from elsewhere"],
    ),
    (
        {"secrets": {"s": {"value": "x", "value_file": "/x"}}},
        ["kvm:secrets:s: declare either 'value' or 'value_file'"],
    ),
    (
        {"secrets": {"s": {"usage": "ceph", "value": "no base64!", "encoding": "base64"}}},
        ["kvm:secrets:s: the secret's value is no base64"],
    ),
    ("kvm", ["kvm: Expected 'mapping', got 'str', not 'kvm'; its keys: "]),
    (
        {"domains": {"w": {"disks": [{"volume": "pool/a.raw"}]}}},
        [
            "kvm:domains:w:disks[0]:volume: Expected 'mapping', got 'str', not 'pool/a.raw'; "
            "its keys: pool, volume"
        ],
    ),
]


@pytest.mark.parametrize(("section", "told"), BAD, ids=[str(bad[0])[:60] for bad in BAD])
def test_every_fault_is_told_with_its_path(section, told):
    found = problems(section)
    assert len(found) == len(told)
    for problem, start in zip(found, told, strict=True):
        assert problem.startswith(start)


def test_a_long_value_is_cut_in_the_message():
    (problem,) = problems({"domains": {"w": {"vcpus": "9" * 100_000}}})
    assert len(problem) < 200


def test_what_was_read_is_not_read_again():
    section = {"domains": {"a": {"memory": "1GiB"}, "b": {"state": "stopped", "title": None}}}
    known = pillar.Known(section, pillar.parse(section))
    fields = {"memory": "1GiB", "state": "running"}
    assert converge.aim("domain", "a", fields, known).want is known.pillar.domains["a"]
    stopped = {"state": "stopped", "title": None}
    assert converge.aim("domain", "b", stopped, known).want is known.pillar.domains["b"]


@pytest.mark.parametrize(
    ("noun", "name", "fields"),
    [
        ("domain", "a", {"memory": "2GiB", "state": "running"}),
        ("domain", "a", {"memory": "1GiB", "state": "stopped"}),
        ("domain", "a", {"state": "running"}),
        ("domain", "c", {"memory": "1GiB", "state": "running"}),
        ("network", "a", {"forward": "nat", "state": "running"}),
        ("nested", "a", {"enabled": True, "state": "nested"}),
    ],
)
def test_what_says_another_thing_is_read(noun, name, fields):
    """A state of one's own, or an argument that another SLS has changed."""
    section = {"domains": {"a": {"memory": "1GiB"}}}
    known = pillar.Known(section, pillar.parse(section))
    assert converge.aim(noun, name, fields, known) == converge.aim(noun, name, fields)
