"""Domains on a real libvirtd: definitions, what waits for a boot, and what is never touched."""

import json
import os
from xml.etree import ElementTree as ET

import pytest

from .conftest import PREFIX, virsh

NAME = f"{PREFIX}web1"
ISO = "/usr/lib/ipxe/ipxe.iso"


def inactive():
    return ET.fromstring(virsh("dumpxml", "--inactive", "--security-info", NAME))


def test_life_of_a_domain(converge, guest, modules):
    made = converge("kvm_domain.running", autostart=True, cdrom=ISO, **guest)
    assert set(made["changes"]) == {"definition", "autostart", "state"}
    assert "VNC at 127.0.0.1:59" in made["comment"]
    assert modules["kvm_domain.list"]()[NAME] == "running"
    info = modules["kvm_domain.info"](NAME)
    assert (info["memory"], info["vcpus"], info["autostart"]) == (64 * 1024**2, 1, True)
    assert info["interfaces"][0]["source"]["network"] == f"{PREFIX}net"
    vnc = modules["kvm_domain.vnc"](NAME)
    assert vnc["address"] in made["comment"]
    # Nothing in this guest listens to the power button, so only the plug stops it.
    stopped = converge("kvm_domain.stopped", name=NAME, timeout=1, force=True)
    assert stopped["changes"] == {"state": {"old": "running", "new": "off"}}
    assert modules["kvm_domain.vnc"](NAME) == {}
    converge("kvm_domain.absent", name=NAME)
    assert os.path.exists(guest["disks"][0]["path"])
    assert os.path.exists(ISO)


def test_a_guest_that_does_not_power_off_is_told_and_left_running(run, guest):
    run()("kvm_domain.running", **guest)
    told = run()("kvm_domain.stopped", name=NAME, timeout=1)
    assert told["result"] is False
    assert told["changes"] == {}
    assert "still running 1 s after it was asked to power off" in told["comment"]
    assert NAME in virsh("list", "--name").split()


def test_present_leaves_the_state_alone(converge, guest):
    converge("kvm_domain.present", **guest)
    assert NAME not in virsh("list", "--name").split()
    virsh("start", NAME)
    converge("kvm_domain.present", **guest)
    assert NAME in virsh("list", "--name").split()


def test_a_change_on_a_running_guest_waits_for_its_boot_and_is_told_until_then(
    converge, run, guest
):
    converge("kvm_domain.running", **guest)
    process = virsh("domid", NAME)
    bigger = {**guest, "memory": "96MiB", "vcpus": 2}
    changed = converge("kvm_domain.running", **bigger)
    assert changed["changes"]["memory"] == {"old": "64MiB", "new": "96MiB"}
    for _ in range(2):
        told = run()("kvm_domain.running", **bigger)
        assert told["changes"] == {}
        assert "Waits for the next start: memory '64MiB' -> '96MiB'" in told["comment"]
    assert virsh("domid", NAME) == process, "the guest was restarted"
    virsh("destroy", NAME)
    virsh("start", NAME)
    assert "Waits" not in run()("kvm_domain.running", **bigger)["comment"]


def test_the_medium_of_a_running_guest_changes_at_once(converge, guest, folder):
    other = folder / "other.iso"
    other.write_bytes(b"\0" * 2048)
    converge("kvm_domain.running", cdrom=ISO, **guest)
    converge("kvm_domain.running", cdrom=str(other), **guest)
    assert str(other) in virsh("domblklist", NAME)
    converge("kvm_domain.running", cdrom="", **guest)
    assert str(other) not in virsh("domblklist", NAME)
    assert converge("kvm_domain.running", cdrom="", **guest)["changes"] == {}


def test_uuid_mac_and_addresses_never_change(converge, guest, folder):
    converge("kvm_domain.present", **guest)
    before = inactive()
    (folder / "b.raw").write_bytes(b"\0" * 1024**2)
    disks = [{"path": str(folder / "b.raw")}, *guest["disks"]]
    converge("kvm_domain.present", **{**guest, "disks": disks, "vcpus": 2})
    after = inactive()
    for path in ("uuid", "devices/interface/mac", "devices/interface/address"):
        assert ET.tostring(after.find(path)) == ET.tostring(before.find(path))
    old = {d.find("source").get("file"): d for d in after.iterfind("devices/disk")}
    moved, kept = old[disks[1]["path"]], before.find("devices/disk")
    for path in ("target", "address"):
        assert moved.find(path).attrib == kept.find(path).attrib


def test_reordering_a_list_is_no_change(converge, guest, folder):
    for name in ("b.raw", "c.raw"):
        (folder / name).write_bytes(b"\0" * 1024**2)
    disks = [{"path": str(folder / name)} for name in ("a.raw", "b.raw", "c.raw")]
    converge("kvm_domain.present", **{**guest, "disks": disks})
    assert converge("kvm_domain.present", **{**guest, "disks": disks[::-1]})["changes"] == {}


def test_undeclared_is_left_alone_and_an_empty_list_empties(converge, guest):
    converge("kvm_domain.present", **guest)
    bare = {"name": NAME, "memory": "64MiB"}
    assert converge("kvm_domain.present", **bare)["changes"] == {}
    changes = converge("kvm_domain.present", **bare, interfaces=[])["changes"]
    assert len(changes) == 1
    assert inactive().find("devices/interface") is None
    assert inactive().find("devices/disk") is not None


def test_drift_out_of_band_is_mended_where_it_is_declared(converge, guest, tmp_path):
    converge("kvm_domain.present", **guest)
    drifted = tmp_path / "drifted.xml"
    text = virsh("dumpxml", "--inactive", NAME).replace(">1</vcpu>", ">3</vcpu>")
    drifted.write_text(text.replace("<on_crash>destroy", "<on_crash>restart"))
    virsh("define", str(drifted))
    changes = converge("kvm_domain.present", **guest)["changes"]
    assert changes == {
        "vcpu": {"old": "3", "new": "1"},
        "vcpu/@current": {"old": "3", "new": "1"},
    }
    assert inactive().findtext("on_crash") == "restart"


def test_a_disk_with_a_size_brings_its_image(converge, guest, folder):
    path = str(folder / "new.qcow2")
    disks = [*guest["disks"], {"path": path, "format": "qcow2", "size": "1GiB"}]
    changes = converge("kvm_domain.running", **{**guest, "disks": disks})["changes"]
    assert changes[f"image[{path}]"]["new"] == {"path": path, "format": "qcow2", "size": "1GiB"}
    assert path in virsh("domblklist", NAME)


def test_a_failed_start_leaves_no_definition_and_no_image(run, guest, folder):
    path = str(folder / "new.raw")
    disks = [{"path": path, "size": "1MiB"}]
    failed = run()("kvm_domain.running", **{**guest, "disks": disks, "xml": BROKEN_AT_START})
    assert failed["result"] is False
    assert failed["changes"] == {}
    assert "Nothing was left changed" in failed["comment"]
    assert not os.path.exists(path)
    assert NAME not in virsh("list", "--all", "--name").split()


def test_a_failed_change_restores_the_previous_definition(run, converge, guest):
    converge("kvm_domain.present", **guest)
    before = elements(inactive())
    failed = run()("kvm_domain.running", **{**guest, "vcpus": 2, "xml": BROKEN_AT_START})
    assert failed["result"] is False, failed
    assert elements(inactive()) == before


def elements(root):
    """libvirt sorts the controllers of a document that it reads again."""
    return sorted(
        ET.tostring(each) for each in [*root, *root.find("devices")] if each.tag != "devices"
    )


BROKEN_AT_START = """
<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <qemu:arg value='-no-such-option'/>
</qemu:commandline>
"""


def test_any_libvirt_xml_can_be_declared_and_is_compared(converge, guest):
    xml = "<metadata><a:b xmlns:a='urn:a'>x</a:b></metadata><on_crash>restart</on_crash>"
    converge("kvm_domain.present", **guest, xml=xml)
    assert inactive().findtext("on_crash") == "restart"
    other = xml.replace("restart", "destroy")
    changes = converge("kvm_domain.present", **guest, xml=other)["changes"]
    assert changes == {"on_crash": {"old": "restart", "new": "destroy"}}


def test_a_password_is_set_kept_and_never_shown(converge, guest, modules):
    guest["graphics"] = [{"type": "vnc", "listen": "127.0.0.1", "password": "t0psecrt"}]
    made = converge("kvm_domain.running", **guest)
    changed = converge("kvm_domain.running", **{**guest, "vcpus": 2})
    assert inactive().find("devices/graphics").get("passwd") == "t0psecrt"
    guest["graphics"][0]["password"] = "an0th3r"
    again = converge("kvm_domain.running", **guest)
    shown = json.dumps([made, changed, again]) + modules["kvm_domain.xml"](NAME)
    assert "t0psecrt" not in shown
    assert "an0th3r" not in shown


@pytest.mark.parametrize(
    "fields",
    [
        {"cpu": "host-model"},
        {"cpu": "maximum"},
        {"cpu": "Nehalem"},
        {"machine": "q35"},
        {"boot": ["network", "hd"]},
        {"serial": [{"type": "pty"}]},
        {"graphics": []},
        {"graphics": [{"type": "vnc", "port": 5987}]},
        {"graphics": [{"type": "vnc", "port": "auto"}]},
        {"virt_type": "qemu"},
        {"xml": "<memory unit='MiB'>80</memory>"},
        {"xml": "<vcpu current='1'>2</vcpu>"},
    ],
    ids=str,
)
def test_a_field_converges_on_an_off_and_on_a_running_guest(converge, guest, fields):
    converge("kvm_domain.present", **guest)
    converge("kvm_domain.present", **{**guest, **fields})
    converge("kvm_domain.running", **{**guest, **fields})
    converge("kvm_domain.running", **guest)


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_a_cd_drive_sits_where_the_machine_has_a_place_for_it(converge, guest, machine):
    converge("kvm_domain.running", cdrom=ISO, machine=machine, **guest)
    bus = {"pc": "ide", "q35": "sata"}[machine]
    drive = inactive().find("devices/disk[@device='cdrom']/target")
    assert drive.get("bus") == bus


def test_plan_says_what_the_state_would_do(modules, guest):
    plan = modules["kvm_domain.plan"](**guest)
    assert plan["steps"] == [f"define domain {NAME}", f"start domain {NAME}"]
    assert plan["waiting"] == {}


def test_a_dry_run_counts_what_its_earlier_states_would_make(run, folder):
    """Network, image and guest, none of which exist: predicted together, nothing is missing."""
    dry = run(test=True)
    image = str(folder / "later.raw")
    network = {"name": f"{PREFIX}later", "forward": "isolated"}
    guest = {
        "name": NAME,
        "memory": "64MiB",
        "disks": [{"path": image}],
        "interfaces": [{"network": f"{PREFIX}later"}],
    }
    assert dry("kvm_domain.running", **guest)["result"] is False
    assert dry("kvm_network.running", **network)["result"] is None
    assert dry("kvm_image.present", name=image, size="1MiB")["result"] is None
    predicted = dry("kvm_domain.running", **guest)
    assert predicted["result"] is None, predicted["comment"]
    assert dry("kvm_domain.running", **guest)["result"] is True
    assert not os.path.exists(image)


def test_absent_handles_what_libvirt_keeps_beside_a_domain(converge, run, folder):
    """A snapshot and a saved memory each make a plain undefine fail."""
    disk = {"path": f"{folder}/a.qcow2", "format": "qcow2", "size": "1MiB"}
    run()("kvm_domain.running", name=NAME, memory="32MiB", disks=[disk])
    assert "created" in virsh("snapshot-create-as", NAME, "one")
    assert "saved" in virsh("managedsave", NAME)
    converge("kvm_domain.absent", name=NAME)
    assert NAME not in virsh("list", "--all", "--name").split()
    assert os.path.exists(disk["path"])


def test_absent_removes_the_record_of_a_checkpoint(converge, run, folder):
    """A running guest has it; libvirt keeps it beside the definition."""
    disk = {"path": f"{folder}/a.qcow2", "format": "qcow2", "size": "1MiB"}
    run()("kvm_domain.running", name=NAME, memory="32MiB", disks=[disk])
    assert "created" in virsh("checkpoint-create-as", NAME, "one")
    converge("kvm_domain.absent", name=NAME, timeout=0, force=True, disks="delete")
    assert NAME not in virsh("list", "--all", "--name").split()
    assert not os.path.exists(disk["path"])


def test_a_restart_that_the_guest_does_not_hear_takes_the_change_back(run, guest):
    """It has no operating system; what waits for the start that did not come is not defined."""
    run()("kvm_domain.running", **guest)
    before = [virsh("dumpxml", *flag, guest["name"]) for flag in ((), ("--inactive",))]
    more = {**guest, "memory": "96MiB", "restart": True}
    told = run()("kvm_domain.running", **more, timeout=1)
    assert (told["result"], told["changes"]) == (False, {})
    assert "still running 1 s after it was asked to power off" in told["comment"]
    assert [virsh("dumpxml", *flag, guest["name"]) for flag in ((), ("--inactive",))] == before
    told = run()("kvm_domain.running", **more, timeout=1, force=True)
    assert told["changes"]["state"] == {"old": "running", "new": "restarted"}
    assert "Waits" not in told["comment"]


def test_a_password_for_a_console_that_has_none_waits(converge, guest):
    converge("kvm_domain.running", **guest)
    guest["graphics"][0]["password"] = "first"
    told = converge("kvm_domain.running", **guest)
    assert "Waits for the next start" in told["comment"]
    assert "first" not in told["comment"]
