"""What of a running guest is changed now, in which order, and what waits."""

import re
from xml.etree import ElementTree as ET

import pytest
from guests import Guest

from salt_kvm.errors import SpecError
from salt_kvm.plan.domain import DomainSeen, plan
from salt_kvm.plan.steps import (
    AttachDevice,
    Define,
    DetachDevice,
    SetProperty,
    UpdateDevice,
)
from salt_kvm.seen import Facts, Observed
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.xml.merge import Difference

FACTS = Facts(arch="x86_64", kvm=False)
SEEN = """
<domain type='qemu'>
  <name>web1</name>
  <uuid>8b1c1a3e-7c53-4a6b-9d3e-0d4bb0a5f6d1</uuid>
  <memory unit='KiB'>524288</memory>
  <vcpu placement='static'>2</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <controller type='scsi' index='1' model='virtio-scsi'/>
    {more}
    {disks}
    <interface type='{card}'>
      <mac address='52:54:00:11:22:33'/>
      <source {card}='here' portid='1'/>
      <model type='virtio'/>
    </interface>
  </devices>
</domain>
"""
DISK = """
<disk type='file' device='{device}'>
  <driver name='qemu' type='raw'/><source file='{file}'/><target dev='{dev}' bus='{bus}'/>
</disk>
"""


def document(*disks, card="network", more=""):
    """A guest with disks, each its target and file."""
    text = ""
    for dev, file in disks:
        drive = dev.startswith("sd")
        kind = {"device": "cdrom" if drive else "disk", "bus": "sata" if drive else "virtio"}
        text += DISK.format(dev=dev, file=file, **kind)
    return SEEN.format(disks=text, card=card, more=more)


def planned(live, definition=None, guest=None, **fields):
    want = convert(Domain, fields, "kvm:domains:web1")
    there = Observed("domain", "web1", definition or live, live=live)
    return list(plan("web1", want, DomainSeen(there, None, FACTS, guest or Guest())))


def told(steps):
    """The steps in short: what they do, and with which target of a disk or which device."""
    names = {AttachDevice: "attach", DetachDevice: "detach", UpdateDevice: "update"}
    for step in steps:
        if isinstance(step, Difference):
            continue
        if isinstance(step, Define):
            yield "define"
            continue
        target = ET.fromstring(step.xml).find("target")
        yield f"{names[type(step)]} {step.device if target is None else target.get('dev')}"


def declared(*disks):
    return [{"path": path, **more} for path, more in disks]


@pytest.mark.parametrize(
    ("there", "wanted", "steps"),
    [
        ("vda a, vdb b", [("/a", {}), ("/c", {})], ["attach vdc", "define", "detach vdb"]),
        ("vda a, vdb b", [("/b", {}), ("/a", {})], []),
        ("vda a, vdb b", [("/a", {})], ["define", "detach vdb"]),
        ("vda a, vdb b", [("/a", {}), ("/b", {}), ("/c", {})], ["attach vdc", "define"]),
        (
            "vda a, vdb b",
            [("/a", {"target": "vda"}), ("/c", {"target": "vdb"})],
            ["detach vdb", "attach vdb", "define"],
        ),
        (
            "vda a, vdb b",
            [("/a", {"target": "vdb"}), ("/c", {"target": "vda"})],
            ["define", "detach vdb"],
        ),
        ("vda a", [("/a", {"bus": "sata"})], ["define"]),
    ],
    ids=str,
)
def test_a_disk_that_is_replaced_leaves_before_one_takes_its_target(there, wanted, steps):
    live = document(*(pair.replace(" ", " /").split() for pair in there.split(", ")))
    assert list(told(planned(live, disks=declared(*wanted)))) == steps


def test_only_what_the_next_device_needs_must_be_released():
    live = document(("vda", "/a"), ("vdb", "/b"))
    steps = planned(live, disks=declared(("/c", {"target": "vda"})))
    needed = {step.device: step.needed for step in steps if isinstance(step, DetachDevice)}
    assert needed == {"disk[/a]": True, "disk[/b]": False}


def test_media_that_are_exchanged_are_changed_in_their_drives():
    drives = [
        {"path": "/two", "device": "cdrom", "target": "sda"},
        {"path": "/one", "device": "cdrom", "target": "sdb"},
    ]
    steps = told(planned(document(("sda", "/one"), ("sdb", "/two")), disks=drives))
    assert list(steps) == ["update sda", "update sdb", "define"]


@pytest.mark.parametrize(
    ("card", "steps"),
    [
        ({"network": "there"}, ["update interface[there]", "define"]),
        ({"bridge": "there"}, ["update interface[there]", "define"]),
        ({"user": True}, ["define"]),
        ({"direct": "there"}, ["define"]),
    ],
    ids=str,
)
def test_a_card_moves_between_networks_and_bridges_only(card, steps):
    assert list(told(planned(document(), interfaces=[card]))) == steps


def test_a_card_that_is_no_bridge_yet_waits_for_one():
    live = document(card="direct")
    assert list(told(planned(live, interfaces=[{"bridge": "there"}]))) == ["define"]


def test_what_waits_is_told_with_the_steps():
    made = planned(document(("vda", "/a")), vcpus=1, disks=declared(("/a", {"cache": "none"})))
    waits = {each.path for each in made if isinstance(each, Difference)}
    assert waits == {"live/devices/disk[/a]/driver/@cache", "vcpu", "vcpu/@current"}


def waits(live, guest=None, **fields):
    """What waits, each with its reason."""
    made = planned(live, guest=guest, **fields)
    return {each.path: each.reason for each in made if isinstance(each, Difference)}


def set_by(steps):
    return {step.key: step.values for step in steps if isinstance(step, SetProperty)}


TUNED = {
    "cputune": {"shares": 500, "quota": 20000, "vcpupin": [{"vcpu": 1, "cpuset": "0-1"}]},
    "memtune": {"hard_limit": "2GiB"},
    "blkiotune": {"devices": [{"path": "/dev/sda", "read_bytes_sec": 10}]},
    "iothreads": 2,
}


def test_what_is_tuned_is_set_by_calls_of_its_own():
    assert set_by(planned(document(), **TUNED)) == {
        "iothreads": {"1": "1", "2": "1"},
        "cputune": {"cpu_shares": "500", "vcpu_quota": "20000"},
        "vcpupin": {"1": "0-1"},
        "memtune": {"hard_limit": "2097152"},
        "blkiotune": {"device_read_bytes_sec /dev/sda": "10"},
    }


def test_what_the_host_has_no_controller_for_waits():
    guest = Guest(lacking=("cputune", "memtune", "blkiotune"))
    assert set(set_by(planned(document(), guest=guest, **TUNED))) == {"iothreads", "vcpupin"}
    reasons = waits(document(), guest, **TUNED)
    assert reasons == dict.fromkeys(
        ("cputune/shares", "cputune/quota", "memtune/hard_limit", "blkiotune/device"),
        "no controller",
    )


def test_what_libvirt_refused_waits_with_its_reason():
    guest = Guest(refusals=("live/cputune/shares", "live/devices/disk[/b]: None"))
    live, fields = document(("vda", "/a"), ("vdb", "/b")), {"disks": [{"path": "/a"}], **TUNED}
    steps = planned(live, guest=guest, **fields)
    assert "cputune" not in set_by(steps)
    assert not [step for step in steps if isinstance(step, DetachDevice)]
    reasons = waits(live, guest, **fields)
    assert reasons["live/devices/disk[/b]"] == reasons["live/cputune/shares"] == "refused"


def test_what_takes_the_place_of_a_refused_device_waits_too():
    guest = Guest(refusals=("live/devices/disk[/a]: None",))
    disks = declared(("/c", {"target": "vda"}))
    steps = planned(document(("vda", "/a")), guest=guest, disks=disks)
    assert [type(each) for each in steps if not isinstance(each, Difference)] == [Define]


@pytest.mark.parametrize(
    ("more", "fields", "keys"),
    [
        ("<iothreads>3</iothreads>", {"iothreads": 1}, ["iothreads"]),
        ("", {"cputune": {"vcpupin": [{"vcpu": 2, "cpuset": 0}]}}, []),
        ("", {"numatune": {"nodeset": 0}}, []),
        ("<numatune><memory mode='strict' nodeset='0'/></numatune>", {"numatune": {"nodeset": 1}},
         []),
        ("<numatune><memory mode='restrictive' nodeset='0'/></numatune>",
         {"numatune": {"nodeset": 1}}, ["numatune"]),
        ("<cputune><vcpupin vcpu='0' cpuset='0'/></cputune>", {"cputune": {"vcpupin": []}}, []),
        ("", {"metadata": "<a:b xmlns:a='urn:a'><a:c/></a:b>"}, ["metadata"]),
        ("", {"metadata": "<a:b xmlns:a='urn:a' xmlns:d='urn:d'><d:c/></a:b>"}, []),
        ("<blkiotune><device><path>/dev/a</path><weight>200</weight></device></blkiotune>",
         {"blkiotune": {"devices": []}}, []),
        ("<blkiotune><device><path>/dev/a</path><read_iops_sec>2</read_iops_sec></device>"
         "</blkiotune>", {"blkiotune": {"devices": []}}, ["blkiotune"]),
        ("", {"memory": "256MiB"}, ["memory"]),
        ("", {"memory": "1GiB"}, []),
        ("", {"vcpus": 1}, []),
    ],
    ids=str,
)  # fmt: skip
def test_what_can_be_set_while_a_guest_runs(more, fields, keys):
    live = document().replace("<os>", f"{more}<os>")
    assert list(set_by(planned(live, **fields))) == keys


def test_memory_waits_for_a_guest_whose_balloon_driver_is_silent():
    reasons = waits(document(), Guest(balloon=False), memory="256MiB")
    assert reasons["currentMemory"] == "the guest's balloon driver does not answer"


def test_an_io_thread_that_a_disk_uses_stays():
    live = document(("vda", "/a")).replace("name='qemu'", "name='qemu' iothread='2'")
    live = live.replace("<os>", "<iothreads>3</iothreads><os>")
    assert set_by(planned(live, iothreads=2)) == {"iothreads": {"3": "0"}}
    assert waits(live, iothreads=1) == {"iothreads": "I/O thread 2 is in use"}


PORT = "<controller type='pci' model='pcie-root-port' index='{}'/>"
EXPRESS = "<controller type='pci' model='pcie-root' index='0'/>" + PORT.format(1)
TAKEN = "<memballoon model='virtio'><address type='pci' bus='0x01'/></memballoon>"
BRIDGE = "<controller type='pci' model='pcie-to-pci-bridge' index='5'/>"
DIMM = {"memory_devices": [{"model": "dimm", "size": "128MiB"}]}
CELLS = (
    "<cpu><numa><cell id='0' cpus='0' memory='1'/></numa></cpu><maxMemory slots='2'>9</maxMemory>"
)
DOG = {"watchdog": [{"model": "i6300esb"}]}
FOLDER = {"filesystems": [{"source": "/srv", "target": "a", "driver": "virtiofs"}]}


@pytest.mark.parametrize(
    ("more", "fields", "reason"),
    [
        (EXPRESS, {"rng": [{}]}, None),
        (EXPRESS + TAKEN, {"rng": [{}]}, "the guest has no free PCI Express port"),
        (EXPRESS, {"rng": [{}, {}]}, "the guest has no free PCI Express port"),
        (EXPRESS + TAKEN + PORT.format(2), {"rng": [{}]}, None),
        ("", {"rng": [{}, {}]}, None),
        (EXPRESS, DOG, "the guest has no PCI bridge"),
        (EXPRESS + BRIDGE, DOG, None),
        (EXPRESS, {"disks": [{"path": "/a", "bus": "scsi"}]}, None),
        (EXPRESS, {"disks": [{"path": "/a", "bus": "usb"}]}, None),
        (EXPRESS, {"disks": [{"path": "/a", "bus": "sata"}]}, ""),
        (EXPRESS, {"hostdevs": [{"usb": {"vendor": "0x1", "product": "0x2"}}]}, None),
        (EXPRESS, {"inputs": [{"type": "tablet", "bus": "usb"}]}, None),
        (EXPRESS, {"serial": [{"type": "pty"}]}, ""),
        (EXPRESS, {"consoles": [{"type": "pty"}]}, None),
        (EXPRESS, {"channels": [{"type": "unix", "name": "a"}]}, None),
        (EXPRESS + CELLS, DIMM, None),
        (EXPRESS, DIMM, "the guest has no NUMA cells"),
        (EXPRESS + CELLS.partition("<maxM")[0], DIMM, "the guest has no slots for memory"),
        (EXPRESS, {"sounds": [{"model": "ich9"}]}, ""),
        (EXPRESS, {"redirdevs": [{}]}, None),
        (EXPRESS, {"vsock": True}, None),
        (EXPRESS, FOLDER, None),
    ],
    ids=str,
)
def test_a_device_is_attached_where_it_has_a_place(more, fields, reason):
    # What a guest has beside its devices stands among them here.
    beside = "".join(re.findall("<cpu>.*</cpu>|<maxMemory.*</maxMemory>", more))
    live = document(more=more).replace("<os>", f"{beside}<os>")
    attached = [step for step in planned(live, **fields) if isinstance(step, AttachDevice)]
    found = {r for path, r in waits(live, **fields).items() if path.startswith("live/devices")}
    assert found == (set() if reason is None else {reason})
    assert len(attached) == sum(map(len_of, fields.values())) - len(found)


def len_of(value):
    return len(value) if isinstance(value, list) else 1


def test_what_can_be_updated_is_and_the_rest_waits():
    card = {"network": "there", "mac": "52:54:00:11:22:33", "mtu": 1400,
            "bandwidth": {"inbound": {"average": 100}}}  # fmt: skip
    made = planned(document(), interfaces=[card])
    (update,) = (step for step in made if isinstance(step, UpdateDevice))
    assert set(update.changes) == {
        "live/devices/interface[there]/source/@network",
        "live/devices/interface[there]/bandwidth",
    }
    assert "mtu" not in update.xml
    assert set(waits(document(), interfaces=[card])) == {"live/devices/interface[there]/mtu"}


def test_a_virtio_module_is_asked_for_another_size():
    memory = """<memory model='virtio-mem'><target><size unit='KiB'>262144</size><node>0</node>
      <block unit='KiB'>2048</block><requested unit='KiB'>131072</requested>
      <current unit='KiB'>131072</current></target></memory>"""
    module = {"model": "virtio-mem", "size": "256MiB", "node": 0, "block": "2MiB"}
    modules = [{**module, "requested": "64MiB"}]
    (update, *_others) = planned(document(more=memory), memory_devices=modules)
    assert isinstance(update, UpdateDevice)
    assert ET.fromstring(update.xml).findtext("target/requested") == "65536"


def test_a_device_that_is_not_to_be_there_is_detached():
    agent = """<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"""
    made = planned(document(more=agent), agent=False, tpm=False, vsock=False)
    assert [s.device for s in made if isinstance(s, DetachDevice)] == ["channel"]
    assert [d.path for d in made if isinstance(d, Difference)] == ["live/devices/tpm"]


def test_limits_of_a_disk_are_given_whole():
    """libvirt drops those of a group of limits that it is not given."""
    live = document(("vda", "/a")).replace(
        "<target", "<iotune><read_bytes_sec>5</read_bytes_sec></iotune><target"
    )
    steps = planned(live, disks=[{"path": "/a", "iotune": {"write_bytes_sec": 7}}])
    (limits,) = set_by(steps).values()
    given = {name: value for name, value in limits.items() if value != "0"}
    assert given == {"read_bytes_sec": "5", "write_bytes_sec": "7"}
    assert len(limits) == 13


NESTED = {
    "a VLAN tag": (
        """<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='ovs0'/>
        <vlan trunk='yes'><tag id='42'/><tag id='47'/></vlan><virtualport type='openvswitch'/>
        <model type='virtio'/></interface>""",
        "interface",
        {"interfaces": [{"network": "here"}, {"bridge": "ovs0", "vlan": [42]}]},
    ),
    "a codec": (
        "<sound model='ich9'><codec type='duplex'/><codec type='micro'/></sound>",
        "sound",
        {"sounds": [{"model": "ich9", "codecs": ["duplex"]}]},
    ),
    "a server": (
        """<disk type='network' device='disk'><driver name='qemu' type='raw'/>
        <source protocol='rbd' name='a/b'><host name='one'/><host name='two'/></source>
        <target dev='vdx' bus='virtio'/></disk>""",
        "disk",
        {"disks": [{"network": {"protocol": "rbd", "name": "a/b", "hosts": [{"name": "one"}]}}]},
    ),
}


@pytest.mark.parametrize("case", NESTED)
def test_what_is_taken_out_of_a_device_waits_on_every_run(case):
    """Also when the definition has it no more, and only the guest still has."""
    more, tag, fields = NESTED[case]
    live = document(more=more)
    (define,) = (each for each in planned(live, **fields) if isinstance(each, Define))
    for definition in (live, define.xml):
        made = planned(live, definition=definition, **fields)
        (waiting,) = (each for each in made if isinstance(each, Difference))
        assert waiting.path.startswith(f"live/devices/{tag}[") or tag == "sound"
        assert waiting.old is not None
        assert waiting.new is None
    assert [each for each in made if not isinstance(each, Difference)] == []


CELL = "<cell id='{}' cpus='{}' memory='131072' unit='KiB'><distances>{}</distances></cell>"
FAR = "<sibling id='0' value='10'/><sibling id='1' value='21'/>"


def test_the_distance_to_a_cell_goes_with_the_cell():
    cells = f"<cpu><numa>{CELL.format(0, 0, FAR)}{CELL.format(1, 1, FAR)}</numa></cpu><os>"
    numa = {"numa": [{"id": 0, "cpus": "0-1", "memory": "256MiB"}]}
    steps = planned(document().replace("<os>", cells), memory="256MiB", cpu=numa)
    (define,) = [each for each in steps if isinstance(each, Define)]
    left = ET.fromstring(define.xml).findall("cpu/numa/cell/distances/sibling")
    assert [each.get("id") for each in left] == ["0"]


def test_a_distance_to_a_cell_that_is_not_there_is_refused():
    cell = {"id": 0, "cpus": "0", "memory": "256MiB", "distances": [{"id": 1, "value": 21}]}
    with pytest.raises(SpecError, match=r":cpu: 'distances' names NUMA cell 1"):
        planned(document(), memory="256MiB", cpu={"numa": [cell]})


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"memory": "256MiB"}, True),
        ({"memory": "128MiB"}, False),
        ({"memory": "128MiB", "max_memory": "256MiB"}, True),
        ({"memory": "128MiB", "cpu": {"numa": [{"id": 0, "memory": "128MiB"}]}}, True),
        ({"memory": "384MiB", **DIMM}, True),
        ({"memory": "256MiB", **DIMM}, False),
        ({"vcpus": 1}, True),
        ({"memory": "256MiB", "xml": "<memory unit='MiB'>128</memory>"}, False),
    ],
    ids=str,
)
def test_memory_is_the_sum_of_cells_and_modules(fields, fits):
    """Those of the definition too; libvirt would take the sum without a word."""
    cells = "<cpu><numa><cell id='0' memory='262144' unit='KiB'/></numa></cpu><os>"
    live = document().replace("<os>", cells)
    if fits:
        planned(live, **fields)
    else:
        with pytest.raises(SpecError, match=r"memory: NUMA cells and memory modules sum up to"):
            planned(live, **fields)


CELLS = "<cpu><numa><cell id='0' cpus='{}' memory='131072'/><cell id='1' cpus='3' memory='131072'/>"


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"cpu": {"numa": [{"id": 0, "memory": "128MiB"}, {"id": 1, "memory": "128MiB"}]}}, True),
        ({"vcpus": 5}, True),
        ({"cpu": {"numa": [{"id": 0, "cpus": "0-2", "memory": "256MiB"}]}}, False),
        ({"xml": "<cpu><numa><cell id='0' cpus='0,1'/></numa></cpu>"}, False),
        ({"vcpus": 5, "xml": "<cpu><numa><cell id='0' cpus='0-2,4'/></numa></cpu>"}, True),
    ],
    ids=str,
)
def test_the_cpus_of_a_guest_are_in_its_cells(fields, fits):
    """Also where only the definition knows how many there are."""
    there = document().replace("<os>", f"{CELLS.format('0-2')}</numa></cpu><os>")
    there = re.sub("<vcpu[^/]*</vcpu>", "<vcpu>4</vcpu>", there)
    if fits:
        planned(there, **fields)
    else:
        with pytest.raises(SpecError, match=r":cpu:numa: the NUMA cells lack vcpu [23]"):
            planned(there, **fields)


FILTERED = """
<interface type='network'>
  <mac address='52:54:00:11:22:44'/>
  <source network='here'/>
  <vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan>
  <filterref filter='clean-traffic'>
    <parameter name='IP' value='192.0.2.1'/><parameter name='MASK' value='255.255.255.0'/>
  </filterref>
  <model type='virtio'/>
</interface>
"""


@pytest.mark.parametrize(
    ("more", "variables", "tags"),
    [
        ({"filterref": {"name": "clean-traffic", "parameters": {"IP": "192.0.2.1"}}}, ["IP"], 2),
        ({"filterref": {"name": "clean-traffic", "parameters": {}}}, [], 2),
        ({"filterref": {"name": "clean-traffic", "parameters": {}}, "vlan": [1]}, [], 2),
        ({"filterref": {"name": "clean-traffic"}, "link": "down"}, ["IP", "MASK"], 2),
    ],
)
def test_what_a_card_is_updated_with_lacks_what_is_to_go(more, variables, tags):
    live = document(more=FILTERED)
    cards = [{"network": "here", "mac": "52:54:00:11:22:33"}]
    cards.append({"network": "here", "mac": "52:54:00:11:22:44", **more})
    [step] = [s for s in planned(live, interfaces=cards) if isinstance(s, UpdateDevice)]
    card = ET.fromstring(step.xml)
    assert [each.get("name") for each in card.iterfind("filterref/parameter")] == variables
    assert len(card.findall("vlan/tag")) == tags


@pytest.mark.parametrize(("taken", "kept"), [("0x01", False), ("0x02", True)])
def test_a_device_is_not_plugged_into_the_place_of_another_one(taken, kept):
    place = "<address type='pci' domain='0x0000' bus='{}' slot='0x00' function='0x0'/>"
    card = f"""<interface type='network'><mac address='52:54:00:11:22:55'/>
      <source network='here'/><model type='virtio'/>{place.format("0x01")}</interface>"""
    live = document(more=f"<rng model='virtio'>{place.format(taken)}</rng>")
    cards = [{"network": "here", "mac": f"52:54:00:11:22:{end}"} for end in ("33", "55")]
    steps = planned(live, document(more=card), interfaces=cards)
    [attach] = [step for step in steps if isinstance(step, AttachDevice)]
    assert (ET.fromstring(attach.xml).find("address") is not None) is kept


@pytest.mark.parametrize(
    ("own", "taken", "kept"),
    [("0x01", "0x02", False), ("0x01", "0x03", True), ("0x02", "0x03", True)],
)
def test_a_disk_in_place_of_another_one_is_not_plugged_into_a_third(own, taken, kept):
    """The place of the one that goes is free, and is the definition's or was chosen live."""
    place = "<address type='pci' domain='0x0000' bus='{}' slot='0x00' function='0x0'/></{}>"
    disk = document(("vdb", "/b"))
    live = disk.replace("</disk>", place.format(own, "disk"))
    live = live.replace("<interface", f"<rng model='virtio'>{place.format(taken, 'rng')}<interface")
    definition = disk.replace("</disk>", place.format("0x02", "disk"))
    steps = planned(live, definition, disks=declared(("/c", {"target": "vdb"})))
    [attach] = [step for step in steps if isinstance(step, AttachDevice)]
    assert (ET.fromstring(attach.xml).find("address") is not None) is kept
