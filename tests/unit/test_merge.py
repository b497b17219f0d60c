"""The walk that writes an intent into a document and says what changed."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_kvm.errors import SpecError
from salt_kvm.seen import Facts
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.network import Network
from salt_kvm.xml import domain, network
from salt_kvm.xml.intent import Intent, parse_fragment
from salt_kvm.xml.live import device_in
from salt_kvm.xml.merge import HIDDEN, fits, merge, summary, without_secrets

FACTS = Facts(arch="x86_64", kvm=False)
# What libvirt 9.0 makes of a small guest, shortened to what the tests look at.
SEEN = """
<domain type='qemu'>
  <name>web1</name>
  <uuid>8b1c1a3e-7c53-4a6b-9d3e-0d4bb0a5f6d1</uuid>
  <memory unit='KiB'>524288</memory>
  <currentMemory unit='KiB'>524288</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <boot dev='hd'/>
    <boot dev='cdrom'/>
  </os>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='forbid'>qemu64</model>
  </cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/srv/a.raw'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/srv/b.raw'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/srv/one.iso'/>
      <target dev='sda' bus='sata'/>
      <readonly/>
    </disk>
    <interface type='network'>
      <mac address='52:54:00:11:22:33'/>
      <source network='default'/>
      <model type='virtio'/>
    </interface>
    <interface type='network'>
      <mac address='52:54:00:11:22:44'/>
      <source network='lab'/>
      <model type='virtio'/>
    </interface>
    <graphics type='vnc' port='-1' autoport='yes' listen='0.0.0.0' passwd='old'>
      <listen type='address' address='0.0.0.0'/>
    </graphics>
  </devices>
</domain>
"""


def merged(seen=SEEN, **fields):
    want = convert(Domain, fields, "kvm:domains:web1")
    seen = ET.fromstring(seen) if isinstance(seen, str) else seen
    result = merge(seen, domain.intent("web1", want, FACTS))
    domain.complete(result.xml, result.added)
    return result


def paths(result):
    return {d.path: (d.old, d.new) for d in result.differences}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"memory": "512MiB", "vcpus": 2},
        {"memory": 512 * 1024**2 - 5},
        {"machine": "q35"},
        {"machine": "pc-q35-7.2"},
        {"virt_type": "auto"},
        {"boot": ["hd", "cdrom"]},
        {"cdrom": "/srv/one.iso"},
        {"cdrom": "/srv//./one.iso"},
        {"disks": [{"path": "/srv/a.raw"}, {"path": "/srv/b.raw"}]},
        {"disks": [{"path": "/srv/b.raw", "bus": "virtio"}, {"path": "/srv/a.raw"}]},
        {"interfaces": [{"network": "lab"}, {"network": "default"}]},
        {"interfaces": [{"network": "default", "mac": "52:54:00:11:22:33"}, {"network": "lab"}]},
        {"graphics": [{"type": "vnc", "listen": "0.0.0.0"}]},
        {"graphics": [{"type": "vnc", "port": "auto", "password": "old"}]},
        {"xml": "<memory unit='MiB'>512</memory>"},
        {"xml": "<os><type machine='q35'/></os>"},
    ],
    ids=str,
)
def test_what_is_there_is_no_difference(fields):
    assert merged(**fields).differences == ()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"vcpus": 4}, {"vcpu": ("2", "4"), "vcpu/@current": ("2", "4")}),
        ({"vcpus": 2, "max_vcpus": 4}, {"vcpu": ("2", "4")}),
        ({"machine": "pc"}, {"os/type/@machine": ("pc-q35-7.2", "pc")}),
        ({"boot": ["cdrom", "hd"]}, {
            "os/boot[1]/@dev": ("hd", "cdrom"), "os/boot[2]/@dev": ("cdrom", "hd")}),
        ({"boot": ["hd"]}, {"os/boot": ({"@dev": "cdrom"}, None)}),
        ({"cdrom": ""}, {"devices/disk[cdrom]/source/@file": ("/srv/one.iso", None)}),
        ({"cdrom": "/x.iso"}, {"devices/disk[cdrom]/source/@file": ("/srv/one.iso", "/x.iso")}),
        ({"cpu": "host-passthrough"}, {"cpu/@mode": ("custom", "host-passthrough")}),
        ({"graphics": [{"password": "new"}]}, {"devices/graphics/@passwd": (HIDDEN, HIDDEN)}),
        ({"graphics": [{"port": 5901}]}, {
            "devices/graphics/@port": ("-1", "5901"),
            "devices/graphics/@autoport": ("yes", "no")}),
        ({"xml": "<title>T</title>"}, {"title": (None, "T")}),
    ],
    ids=str,
)  # fmt: skip
def test_a_difference_is_told_by_its_path(fields, told):
    assert paths(merged(**fields)) == told


def test_memory_is_told_with_its_unit():
    assert paths(merged(memory="1GiB"))["memory"] == ("512MiB", "1GiB")


def test_what_is_not_declared_survives():
    root = merged(vcpus=4, disks=[{"path": "/srv/a.raw", "cache": "none"}]).xml
    assert root.findtext("uuid") == "8b1c1a3e-7c53-4a6b-9d3e-0d4bb0a5f6d1"
    assert root.find("vcpu").get("placement") == "static"
    disk = root.find("devices/disk")
    assert disk.find("address").get("bus") == "0x04"
    assert disk.find("driver").attrib == {"name": "qemu", "type": "raw", "cache": "none"}
    assert len(root.findall("devices/interface")) == 2


@pytest.mark.parametrize("theirs", ["lots", "512"])
def test_what_other_programs_keep_in_the_metadata_is_not_read(theirs):
    """Elements that have no namespace of their own may have libvirt's names."""
    kept = f"<metadata><a:b xmlns:a='urn:a'><memory>{theirs}</memory></a:b></metadata>"
    document = merged(SEEN.replace("<memory", f"{kept}<memory", 1), vcpus=7).xml
    assert ET.tostring(document.find("metadata/*/memory")).strip() == (
        f"<memory>{theirs}</memory>".encode()
    )


def test_a_list_is_declared_in_full_and_a_cd_drive_is_no_disk():
    root = merged(disks=[{"path": "/srv/b.raw"}]).xml
    assert [d.find("target").get("dev") for d in root.iter("disk")] == ["vdb", "sda"]
    assert [d.get("device") for d in merged(disks=[]).xml.iter("disk")] == ["cdrom"]


CODECS = (
    "<domain><devices><sound model='ich6'><codec type='duplex'/></sound>"
    "<sound model='ich9'><codec type='duplex'/><codec type='micro'/></sound></devices></domain>"
)


@pytest.mark.parametrize(
    ("declared", "left"),
    [
        (({}, {"codecs": ["micro"]}), ["duplex", "micro"]),
        (({}, {"codecs": []}), ["duplex"]),
        (({"codecs": []}, {}), ["duplex", "micro"]),
        (({}, {}), ["duplex", "duplex", "micro"]),
    ],
    ids=str,
)
def test_a_list_of_one_device_is_not_that_of_its_neighbour(declared, left):
    cards = [{"model": m, **more} for m, more in zip(("ich6", "ich9"), declared, strict=True)]
    once = merged(CODECS, sounds=cards)
    assert [codec.get("type") for codec in once.xml.iter("codec")] == left
    again = merged(ET.tostring(once.xml, encoding="unicode"), sounds=cards)
    assert again.differences == ()


def test_a_new_disk_takes_the_first_free_target_and_moves_no_other():
    disks = [{"path": f"/srv/{name}.raw"} for name in ("new", "a", "b")]
    root = merged(disks=disks).xml
    targets = {d.find("source").get("file"): d.find("target").get("dev") for d in root.iter("disk")}
    assert targets["/srv/a.raw"] == "vda"
    assert targets["/srv/b.raw"] == "vdb"
    assert targets["/srv/new.raw"] == "vdc"


def test_an_interface_that_moves_to_another_network_keeps_its_mac():
    root = merged(interfaces=[{"network": "dmz"}, {"network": "lab"}]).xml
    cards = {
        i.find("source").get("network"): i.find("mac").get("address")
        for i in root.iter("interface")
    }
    assert cards == {"dmz": "52:54:00:11:22:33", "lab": "52:54:00:11:22:44"}


def test_another_cpu_mode_drops_the_model_of_the_old_one():
    cpu = merged(cpu="host-passthrough").xml.find("cpu")
    assert cpu.attrib == {"mode": "host-passthrough"}
    assert len(cpu) == 0


def test_merging_twice_changes_nothing_more():
    once = merged(vcpus=8, disks=[{"path": "/srv/z.raw", "cache": "none"}], cdrom="", cpu="Nehalem")
    text = ET.tostring(once.xml, encoding="unicode")
    again = merged(
        text, vcpus=8, disks=[{"path": "/srv/z.raw", "cache": "none"}], cdrom="", cpu="Nehalem"
    )
    assert again.differences == ()


def test_secrets_are_hidden():
    assert "old" not in without_secrets(SEEN)
    assert HIDDEN in without_secrets(SEEN)


@pytest.mark.parametrize(
    "text",
    [
        "<os>",
        "<!DOCTYPE x><os/>",
        "<!ENTITY a 'b'>",
        "<name>other</name>",
        "<domain><uuid>1</uuid></domain>",
        "<memory>lots</memory>",
        "<memory unit='ell'>1</memory>",
        "<devices><lease expiry='soon'/></devices>",
        "\0",
    ],
)
def test_a_fragment_that_is_refused(text):
    with pytest.raises(SpecError, match="kvm:domains:web1:xml"):
        parse_fragment(text, "domain", "kvm:domains:web1")


HOSTILE = st.text(
    alphabet=st.characters(codec="utf-8", exclude_characters="/\0\r\n\t", min_codepoint=32)
)


@given(HOSTILE.filter(lambda text: text.strip() == text and text not in ("", ".", "..")))
def test_a_hostile_value_is_escaped_never_markup(text):
    want = convert(Domain, {"interfaces": [{"network": text}]}, "x")
    xml = ET.tostring(domain.intent("x", want, FACTS).xml, encoding="unicode")
    root = ET.fromstring(xml)
    assert [e.tag for e in root.iter()] == ["domain", "name", "devices", "interface", "source"]
    assert root.find("devices/interface/source").get("network") == text


NETWORK = """
<network>
  <name>default</name>
  <forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>
  <bridge name='virbr0' stp='on' delay='0'/>
  <mac address='52:54:00:aa:bb:cc'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp>
  </ip>
</network>
"""


def network_paths(**fields):
    want = convert(Network, fields, "kvm:networks:default")
    return paths(merge(ET.fromstring(NETWORK), network.intent("default", want)))


def test_a_netmask_is_its_prefix_and_the_nat_ports_are_no_drift():
    ranges = ["192.168.122.2-192.168.122.254"]
    assert network_paths(forward="nat", ip="192.168.122.1/24", dhcp={"ranges": ranges}) == {}


def test_changes_of_a_network():
    assert network_paths(ip="192.168.122.1/25") == {"ip/@prefix": ("24", "25")}
    assert network_paths(forward="isolated")["forward"][1] is None
    assert network_paths(ip="192.168.122.1/24", dhcp={"ranges": []}) == {
        "ip/dhcp/range[192.168.122.2-192.168.122.254]": (
            {"@start": "192.168.122.2", "@end": "192.168.122.254"},
            None,
        )
    }


@pytest.mark.parametrize(
    ("typed", "said"), [("bridge", "<forward mode='nat'/>"), ("isolated", "<forward/>")]
)
def test_two_modes_of_a_network_are_refused(typed, said):
    with pytest.raises(SpecError, match="kvm:networks:default:xml: <forward> and 'forward' differ"):
        network_paths(forward=typed, xml=said)
    assert network_paths(forward="nat", xml="<forward mode='nat'/>") == {}


@pytest.mark.parametrize(
    ("second", "left"),
    [
        ({}, ["1", "2"]),
        ({"hosts": []}, ["1"]),
        ({"hosts": [{"id": "00:01", "ip": "fd00::3"}]}, ["1", "3"]),
    ],
    ids=str,
)
def test_static_leases_of_an_address_are_not_those_of_another(second, left):
    seen = """<network><name>a</name>
        <ip address='10.0.0.1' prefix='24'>
          <dhcp><host mac='52:54:00:00:0c:01' ip='10.0.0.1'/></dhcp>
        </ip>
        <ip family='ipv6' address='fd00::1' prefix='64'>
          <dhcp><host id='00:01' ip='fd00::2'/></dhcp>
        </ip></network>"""
    first = {
        "address": "10.0.0.1/24",
        "dhcp": {"hosts": [{"mac": "52:54:00:00:0c:01", "ip": "10.0.0.1"}]},
    }
    fields = {"ips": [first, {"address": "fd00::1/64", "dhcp": second}]}
    intent = network.intent("a", convert(Network, fields, "kvm:networks:a"))
    merged = merge(ET.fromstring(seen), intent).xml
    assert [host.get("ip")[-1] for host in merged.iter("host")] == left
    assert merge(merged, intent).differences == ()


def test_what_must_not_be_there_is_no_part_of_what_is_new():
    fields = {"forward": "nat", "ip": "10.0.0.1/24", "dhcp": {"ranges": [], "hosts": []}}
    intent = network.intent("a", convert(Network, fields, "kvm:networks:a"))
    assert "urn:salt-kvm:intent" in ET.tostring(intent.xml, encoding="unicode")
    assert summary(intent.xml) == {
        "name": "a",
        "forward/@mode": "nat",
        "ip/@family": "ipv4",
        "ip/@address": "10.0.0.1",
        "ip/@prefix": "24",
    }


def test_an_intent_without_anything_changes_nothing():
    assert merge(ET.fromstring(SEEN), Intent(ET.Element("domain"))).differences == ()


def test_a_card_is_found_by_its_mac_among_its_twins():
    card = "<interface type='network'><mac address='{}'/><source network='default'/></interface>"
    twins = [card.format(f"52:54:00:11:22:{number}") for number in (33, 44)]
    live = f"<domain><devices>{twins[0]}</devices></domain>"
    assert device_in(live, twins[0]) is not None
    assert device_in(live, twins[1]) is None


def devices(inner):
    return ET.fromstring(f"<domain><devices>{inner}</devices></domain>")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_what_no_key_tells_apart_is_paired_by_content_the_choosiest_first(order):
    fast = "<rng model='virtio'><rate bytes='9'/></rng>"
    slow = "<rng model='virtio'><rate bytes='1'/></rng>"
    named = "<rng model='virtio'><rate bytes='1'/><alias name='ua-x'/></rng>"
    wanted = [fast, slow, named]
    intent = Intent(devices("".join(wanted[place] for place in order)), frozenset({"devices/rng"}))
    assert merge(devices(named + fast + slow), intent).differences == ()


def test_what_fits_nowhere_is_paired_by_place():
    seen = devices("<rng><rate bytes='1'/></rng><rng><rate bytes='2'/></rng>")
    want = devices("<rng><rate bytes='2'/></rng><rng><rate bytes='3'/></rng>")
    assert paths(merge(seen, Intent(want))) == {"devices/rng[2]/rate/@bytes": ("1", "3")}


def test_a_card_that_is_changed_is_one_of_its_type():
    user = "<interface type='user'><mac address='52:54:00:00:00:01'/></interface>"
    bridge = user.replace("user", "bridge").replace("01'/>", "02'/><source bridge='a'/>")
    cards = [{"user": True, "model": "e1000"}, {"bridge": "b"}]
    result = merged(devices(bridge + user), interfaces=cards)
    assert paths(result)["devices/interface[b]/source/@bridge"] == ("a", "b")
    types = [card.get("type") for card in result.xml.iterfind("devices/interface")]
    assert types == ["bridge", "user"]


def test_a_look_at_what_fits_changes_nothing():
    seen, want = ET.fromstring(SEEN), ET.fromstring(SEEN)
    for disk in want.iterfind("devices/disk"):
        disk.find("target").set("bus", "scsi")
        disk.set("type", "block")
        ET.SubElement(disk, "serial").text = "x"
    before = ET.tostring(seen)
    assert not fits(want, seen)
    assert fits(seen, seen)
    assert ET.tostring(seen) == before


def test_another_bus_takes_its_own_address_and_target():
    disk = merged(disks=[{"path": "/srv/a.raw", "bus": "sata"}, {"path": "/srv/b.raw"}]).xml.find(
        "devices/disk"
    )
    assert disk.find("address") is None
    assert disk.find("target").attrib == {"bus": "sata", "dev": "sdb"}


def test_another_bus_keeps_the_target_that_is_declared():
    seen = SEEN.replace("dev='vda' bus='virtio'", "dev='sdk' bus='usb'")
    disk = merged(seen, disks=[{"path": "/srv/a.raw", "bus": "scsi", "target": "sdk"}]).xml.find(
        "devices/disk"
    )
    assert disk.find("address") is None
    assert disk.find("target").attrib == {"bus": "scsi", "dev": "sdk"}


def test_another_bus_keeps_the_address_that_is_declared():
    address = "<address type='drive' controller='0' bus='0' target='0' unit='3'/>"
    seen = devices("<disk><target dev='sdk' bus='usb'/><address type='usb' bus='0'/></disk>")
    want = devices(f"<disk><target dev='sdk' bus='sata'/>{address}</disk>")
    disk = merge(seen, Intent(want)).xml.find("devices/disk")
    assert ET.fromstring(address).attrib.items() <= disk.find("address").attrib.items()


CONTROLLERS = """
<controller type='usb' index='0' model='qemu-xhci'/>
<controller type='pci' index='1' model='pcie-root-port'/>
<controller type='scsi' index='0' model='virtio-scsi'/>
<controller type='scsi' index='1' model='virtio-scsi'/>
<controller type='virtio-serial' index='0'/>
"""


@pytest.mark.parametrize(
    ("others", "gone"),
    [
        ("", ["scsi0", "scsi1", "virtio-serial0"]),
        (
            "<disk><target dev='sda' bus='scsi'/><address type='drive' controller='1'/></disk>",
            ["scsi0", "virtio-serial0"],
        ),
        (
            "<disk><target dev='sda' bus='sata'/><address type='drive' controller='1'/></disk>",
            ["scsi0", "scsi1", "virtio-serial0"],
        ),
        ("<disk><target dev='sda' bus='scsi'/></disk>", ["virtio-serial0"]),
        (
            "<channel type='unix'><target type='virtio' name='a'/>"
            "<address type='virtio-serial' controller='0' port='1'/></channel>",
            ["scsi0", "scsi1"],
        ),
        ("<console type='pty'><target type='virtio'/></console>", ["scsi0", "scsi1"]),
        ("<hostdev type='scsi'/>", ["virtio-serial0"]),
    ],
)
def test_no_controllers_are_those_that_something_needs(others, gone):
    result = merged(devices(CONTROLLERS + others), controllers=[])
    left = {c.get("type") + c.get("index") for c in result.xml.iterfind("devices/controller")}
    assert left == {"usb0", "pci1", "scsi0", "scsi1", "virtio-serial0"} - set(gone)
    told = {path.split("[")[1].rstrip("]") for path in paths(result) if "controller" in path}
    assert told == {name[:-1] + "-" + name[-1] for name in gone}
