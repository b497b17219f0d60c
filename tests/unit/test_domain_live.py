"""What of a running guest is changed now, in which order, and what waits."""

from xml.etree import ElementTree as ET

import pytest

from salt_kvm.plan.domain import DomainSeen, plan
from salt_kvm.plan.steps import AttachDevice, Define, DetachDevice, UpdateDevice
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


def document(*disks, card="network"):
    """A guest with disks, each its target and file."""
    text = ""
    for dev, file in disks:
        drive = dev.startswith("sd")
        kind = {"device": "cdrom" if drive else "disk", "bus": "sata" if drive else "virtio"}
        text += DISK.format(dev=dev, file=file, **kind)
    return SEEN.format(disks=text, card=card)


def planned(live, definition=None, **fields):
    want = convert(Domain, fields, "kvm:domains:web1")
    there = Observed("domain", "web1", definition or live, live=live)
    return list(plan("web1", want, DomainSeen(there, None, FACTS)))


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
