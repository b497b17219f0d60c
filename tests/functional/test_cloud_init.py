"""What a guest is told at its first boot: the file beside it, and the way that it gets it."""

import json
import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from salt_kvm.backend.guests import iso
from salt_kvm.xml.identity import seed as seed_of
from waiting import wait_for

from . import cloud_image as cloud
from .conftest import PREFIX, virsh

NAME = f"{PREFIX}cloud"
SECRET = "correct horse battery staple"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxM1eFwCqCzYnQmSbLvT0vtyC6PTdyIAjo0IjIDvRQm anna"
CLOUD = {"users": [{"name": "anna", "plain_text_passwd": SECRET}], "hostname": "web1"}


@pytest.fixture
def fields(folder):
    """The fields of a guest without a system, whose first disk is in ``folder``."""
    (folder / "a.raw").write_bytes(b"\0" * 1024**2)
    return {
        "name": NAME,
        "virt_type": "qemu",
        "memory": "64MiB",
        "disks": [{"path": str(folder / "a.raw")}],
        "cloud_init": CLOUD,
    }


@pytest.fixture
def seed(folder):
    """The path of that guest's seed."""
    return folder / f"{NAME}-cidata.iso"


def held(seed):
    """Return what is in a seed."""
    label, _made_for, files = iso.contents(seed.read_bytes())
    assert label == "cidata"
    return {name: yaml.safe_load(data) for name, data in files.items()}


def drives():
    """Return the drives of seeds in the definition, by the file that is in them."""
    disks = ET.fromstring(virsh("dumpxml", "--inactive", NAME)).findall("devices/disk")
    ours = [disk for disk in disks if seed_of(disk)]
    return {disk.find("source").get("file"): disk for disk in ours}


def told(verdict):
    return json.dumps([verdict["changes"], verdict["comment"]])


def test_a_new_guest_has_its_seed(converge, fields, seed):
    made = converge("kvm_domain.present", **fields)
    assert made["changes"]["seed[cidata]/user-data"] == {"old": None, "new": "(hidden)"}
    assert SECRET not in told(made)
    files = held(seed)
    assert files["user-data"]["users"] == CLOUD["users"]
    assert files["meta-data"] == {"instance-id": NAME, "local-hostname": "web1"}
    found = seed.stat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o600, 0)
    (drive,) = drives().values()
    assert drive.get("device") == "disk"
    assert drive.find("target").attrib == {"dev": "vdz", "bus": "virtio"}
    assert drive.find("readonly") is not None


def test_the_short_forms_make_the_documents(converge, fields, seed):
    mac = "52:54:00:12:34:57"
    more = {
        "ssh_authorized_keys": [KEY],
        "network": [
            {
                "addresses": ["192.0.2.2/24", "2001:db8::2/64"],
                "gateway": ["192.0.2.1", "2001:db8::1"],
                "nameservers": ["192.0.2.1"],
                "search": ["lab.example"],
            },
            {"name": "eth1", "dhcp": True},
        ],
    }
    given = {**fields, "interfaces": [{"user": True, "mac": mac}], "cloud_init": {**CLOUD, **more}}
    converge("kvm_domain.present", **given)
    files = held(seed)
    assert files["user-data"]["ssh_authorized_keys"] == [KEY]
    assert files["network-config"] == {
        "version": 2,
        "ethernets": {
            "eth0": {
                "match": {"macaddress": mac},
                "set-name": "eth0",
                "dhcp4": False,
                "addresses": ["192.0.2.2/24", "2001:db8::2/64"],
                "routes": [
                    {"to": "0.0.0.0/0", "via": "192.0.2.1"},
                    {"to": "::/0", "via": "2001:db8::1"},
                ],
                "nameservers": {"addresses": ["192.0.2.1"], "search": ["lab.example"]},
            },
            "eth1": {"dhcp4": True},
        },
    }


def test_only_what_has_changed_is_told(converge, fields, seed):
    converge("kvm_domain.present", **fields)
    before = seed.read_bytes()
    users = [{"name": "anna", "plain_text_passwd": SECRET[::-1]}]
    changed = converge("kvm_domain.present", **{**fields, "cloud_init": {**CLOUD, "users": users}})
    assert changed["changes"] == {"seed[cidata]/user-data": {"old": "(hidden)", "new": "(hidden)"}}
    assert SECRET[::-1] not in told(changed)
    assert held(seed)["meta-data"]["instance-id"] == NAME
    converge("kvm_domain.present", **fields)
    assert seed.read_bytes() == before


def test_the_instance_follows_its_contents_where_that_is_declared(converge, fields, seed):
    def instance(**cloud):
        converge("kvm_domain.present", **{**fields, "cloud_init": {**CLOUD, **cloud}})
        return held(seed)["meta-data"]["instance-id"]

    first = instance(instance_id="content")
    assert first.startswith(f"{NAME}-")
    assert instance(instance_id="content", ssh_authorized_keys=[KEY]) != first
    assert instance(instance_id="content") == first
    assert instance(instance_id="content", hostname="web2") != first
    assert instance(instance_id="number 7") == "number 7"


def test_files_of_salt_and_of_the_host_are_taken_as_they_are(converge, opts, fields, seed, folder):
    text = "#cloud-config\n# a comment stays\npackages: [nginx]\n"
    served = Path(opts["file_roots"]["base"][-1]) / "user-data"
    served.write_text(text)
    (folder / "network").write_text("version: 2\nethernets: {}\n")
    cloud = {"user_data": "salt://user-data", "network_config": str(folder / "network")}
    converge("kvm_domain.present", **{**fields, "cloud_init": cloud})
    _label, _made_for, files = iso.contents(seed.read_bytes())
    assert files["user-data"] == text.encode()
    assert files["network-config"] == (folder / "network").read_bytes()
    served.write_text(f"{text}runcmd: [ls]\n")
    changed = converge("kvm_domain.present", **{**fields, "cloud_init": cloud})
    assert list(changed["changes"]) == ["seed[cidata]/user-data"]


def test_the_way_of_the_drive_is_what_the_guest_has_a_driver_for(converge, fields, folder):
    disk = {"path": str(folder / "a.raw"), "bus": "sata"}
    converge("kvm_domain.present", **{**fields, "disks": [disk]})
    (drive,) = drives().values()
    assert (drive.get("device"), drive.find("target").get("dev")) == ("cdrom", "sdf")
    # It stays where it is, until it is declared to be elsewhere.
    converge("kvm_domain.present", **fields)
    assert [drive.get("device") for drive in drives().values()] == ["cdrom"]
    converge("kvm_domain.present", **{**fields, "cloud_init": {**CLOUD, "drive": "disk"}})
    assert [drive.get("device") for drive in drives().values()] == ["disk"]


def test_the_cd_drive_is_another_one(converge, fields, seed, folder):
    (folder / "one.iso").write_bytes(b"\0" * 4096)
    with_cd = {**fields, "cloud_init": {**CLOUD, "drive": "cdrom"}}
    converge("kvm_domain.present", **with_cd)
    converge("kvm_domain.present", **with_cd, cdrom=str(folder / "one.iso"))
    converge("kvm_domain.present", **with_cd, cdrom="")
    del with_cd["cloud_init"]
    converge("kvm_domain.present", **with_cd, cdrom=str(folder / "one.iso"))
    assert list(drives()) == [str(seed)]
    cds = [{"path": str(folder / "one.iso"), "device": "cdrom"}]
    converge("kvm_domain.present", **{**with_cd, "disks": [*fields["disks"], *cds]})
    converge("kvm_domain.present", **{**with_cd, "disks": []})
    assert list(drives()) == [str(seed)]


def test_it_goes_with_the_guest_and_nothing_else_does(converge, fields, seed, folder):
    converge("kvm_domain.running", **fields)
    assert seed.is_file()
    gone = converge("kvm_domain.absent", name=NAME, timeout=0, force=True)
    assert gone["changes"]["seed[cidata]"] == {"old": "present", "new": None}
    assert os.listdir(folder) == ["a.raw"]


def test_it_stays_while_another_domain_has_it(converge, fields, seed):
    converge("kvm_domain.present", **fields)
    other = {"name": f"{PREFIX}other", "memory": "64MiB", "virt_type": "qemu"}
    converge("kvm_domain.present", **other, cdrom=str(seed))
    converge("kvm_domain.absent", name=NAME)
    assert seed.is_file()


def test_it_is_taken_away_where_that_is_declared(converge, fields, seed):
    converge("kvm_domain.present", **fields)
    del fields["cloud_init"]
    assert converge("kvm_domain.present", **fields)["changes"] == {}
    gone = converge("kvm_domain.present", **fields, cloud_init=False)
    assert gone["changes"]["seed[cidata]"] == {"old": "present", "new": None}
    assert drives() == {}
    assert not seed.exists()


def test_what_is_no_seed_is_not_written_over(run, fields, seed):
    seed.write_bytes(b"a diary")
    for test in (True, False):
        refused = run(test=test)("kvm_domain.present", **fields)
        assert refused["result"] is False
        assert f"{seed} is no seed of domain {NAME}" in refused["comment"]
    assert seed.read_bytes() == b"a diary"
    assert NAME not in virsh("list", "--all", "--name")
    run()("kvm_domain.present", **{**fields, "cloud_init": False})
    assert seed.read_bytes() == b"a diary"


def test_what_a_killed_run_left_is_taken_over(converge, fields, seed):
    converge("kvm_domain.present", **fields)
    virsh("undefine", NAME)
    made = converge("kvm_domain.present", **fields)
    assert "seed[cidata]/user-data" not in made["changes"]
    virsh("undefine", NAME)
    changed = {**fields, "cloud_init": {**CLOUD, "hostname": "web2"}}
    assert "seed[cidata]/meta-data" in converge("kvm_domain.present", **changed)["changes"]


def test_what_became_of_the_file_is_mended(converge, fields, seed):
    converge("kvm_domain.present", **fields)
    whole = seed.read_bytes()
    seed.write_bytes(whole[:50000])
    converge("kvm_domain.present", **fields)
    assert seed.read_bytes() == whole
    seed.unlink()
    converge("kvm_domain.present", **fields)
    seed.chmod(0o644)
    mended = converge("kvm_domain.present", **fields)
    assert mended["changes"] == {"seed[cidata]:mode": {"old": "0644", "new": "0600"}}
    assert seed.read_bytes() == whole


def test_another_writer_of_images_is_no_drift(converge, fields, seed, folder):
    """As a newer pycdlib would be: the contents count, not the bytes."""
    converge("kvm_domain.present", **fields)
    _label, _made_for, files = iso.contents(seed.read_bytes())
    for name, data in files.items():
        (folder / name).write_bytes(data)
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "cidata", "-J", "-R", "-o", str(seed)]
    subprocess.run([*command, *(str(folder / name) for name in files)], check=True)
    assert converge("kvm_domain.present", **fields)["changes"] == {}


def test_a_running_guest_gets_it_at_its_next_start(converge, run, modules, fields, seed):
    converge("kvm_domain.running", **fields)
    owner = seed.stat().st_uid
    assert owner != 0, "libvirt gives it to QEMU's user"
    assert converge("kvm_domain.running", **fields)["changes"] == {}
    changed = {**fields, "cloud_init": {**CLOUD, "hostname": "web2"}}
    first = converge("kvm_domain.running", **changed)
    waits = "Waits for the next start: seed[cidata]"
    assert waits in first["comment"]
    assert list(modules["kvm_domain.pending"](NAME)) == ["seed[cidata]"]
    assert seed.stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        assert waits in run()("kvm_domain.running", **changed)["comment"]
    # What the guest has is declared again: nothing waits any more.
    assert waits not in converge("kvm_domain.running", **fields)["comment"]
    assert modules["kvm_domain.pending"](NAME) == {}
    assert waits in converge("kvm_domain.running", **changed)["comment"]
    virsh("destroy", NAME)
    assert waits not in converge("kvm_domain.running", **changed)["comment"]


def test_it_is_restarted_where_that_is_declared(converge, fields, seed):
    converge("kvm_domain.running", **fields)
    changed = {**fields, "cloud_init": {**CLOUD, "hostname": "web2"}, "restart": True}
    restarted = converge("kvm_domain.running", **changed, timeout=0, force=True)
    assert restarted["changes"]["state"] == {"old": "running", "new": "restarted"}
    assert "Waits" not in restarted["comment"]
    assert virsh("domstate", NAME).strip() == "running"
    assert seed.stat().st_uid != 0


@pytest.mark.parametrize("drive", ["disk", "cdrom"])
def test_a_running_guest_is_rid_of_it(converge, guest_kernel, fields, seed, folder, drive):
    """A disk at once, by a kernel that releases it; a CD drive at the next start."""
    log = folder / "serial.log"
    fields |= {
        "memory": "256MiB",
        "serial": [{"type": "pty", "log": str(log)}],
        "os": {
            "kernel": guest_kernel.kernel,
            "initrd": guest_kernel.initramfs,
            "cmdline": guest_kernel.arguments,
        },
    }
    converge("kvm_domain.running", **{**fields, "cloud_init": {**CLOUD, "drive": drive}})
    wait_for(lambda: "tick 1" in log.read_text(), "the guest's userspace")
    rid = {**fields, "cloud_init": False}
    gone = converge("kvm_domain.running", **rid)
    assert ("Waits" in gone["comment"]) is (drive == "cdrom")
    assert seed.exists() is (drive == "cdrom")
    virsh("destroy", NAME)
    converge("kvm_domain.present", **rid)
    assert not seed.exists()


def test_a_running_guest_is_given_one(converge, fields, seed):
    with_one = {**fields, "cloud_init": {**CLOUD, "drive": "cdrom"}}
    del fields["cloud_init"]
    converge("kvm_domain.running", **fields)
    assert "Waits for the next start" in converge("kvm_domain.running", **with_one)["comment"]
    virsh("destroy", NAME)
    assert "Waits" not in converge("kvm_domain.running", **with_one)["comment"]
    assert list(drives()) == [str(seed)]


def test_ignition_comes_through_the_firmware(converge, fields, folder):
    del fields["cloud_init"]
    config = {"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": SECRET}]}}
    made = converge("kvm_domain.running", **fields, ignition={"config": config})
    assert SECRET not in told(made)
    path = folder / f"{NAME}-ignition.json"
    assert json.loads(path.read_bytes()) == config
    assert path.stat().st_mode & 0o777 == 0o600
    process = subprocess.check_output(["ps", "-ww", "-C", "qemu-system-x86_64", "-o", "args"])
    assert f"opt/com.coreos/config,file={path}" in process.decode()
    newer = {"config": {**config, "storage": {}}}
    assert "Waits" in converge("kvm_domain.running", **fields, ignition=newer)["comment"]
    rid = converge("kvm_domain.running", **fields, ignition=False)
    assert rid["changes"]["seed[ignition]"] == {"old": "present", "new": None}
    assert not path.exists()


def test_ignition_and_combustion_have_drives_of_their_own(converge, fields, folder):
    del fields["cloud_init"]
    config = '{"ignition": {"version": "3.3.0"}}'
    given = {"ignition": {"config": config, "delivery": "drive"}, "combustion": "#!/bin/sh\n"}
    converge("kvm_domain.running", **fields, **given)
    for kind, path in {"ignition": "config.ign", "combustion": "script"}.items():
        label, _, files = iso.contents((folder / f"{NAME}-{kind}.iso").read_bytes())
        assert (label, list(files)) == (kind, [f"{kind}/{path}"])
    targets = [drive.find("target").get("dev") for drive in drives().values()]
    assert sorted(targets) == ["vdy", "vdz"]
    converge("kvm_domain.absent", name=NAME, timeout=0, force=True)
    assert os.listdir(folder) == ["a.raw"]


BAD = [
    ({"user_data": "packages: [nginx]"}, "cloud-init knows it by its first line"),
    ({"user_data": f"#cloud-config\npassword: *{SECRET}\n"}, "no valid YAML: line 2, column"),
    ({"user_data": f"#cloud-config\n- {SECRET}\n"}, "a mapping is needed, not a list"),
    ({"user_data": "#cloud-config\n", "users": []}, "'users' can't be put into a user_data"),
    ({"user_data": {"users": []}, "users": []}, "'users' and user_data say the same"),
    ({"user_data": "/nowhere/user-data"}, "/nowhere/user-data can't be read: no such file"),
    ({"user_data": "salt://nowhere"}, "salt://nowhere can't be read"),
    ({"user_data": {"a": {1: "one"}}}, "user_data:a: the key 1 is no text"),
    ({"user_data": {"a": float("inf")}}, "a number or a nesting without end"),
    ({"user_data": "#!/bin/sh\n" + "x" * 17 * 1024**2}, "is more than the 16MiB of a seed"),
    ({"meta_data": {"instance-id": "a"}, "instance_id": "b"}, "'instance_id' and meta_data say"),
    ({"meta_data": "a"}, "a mapping is needed"),
    ({"network_config": {"ethernets": {}}}, "no network configuration; it has version: 2"),
    ({"network_config": {"network": [1]}}, "cloud_init:network_config: no network"),
    ({"network_config": "network: eth0"}, "no network configuration; it has version"),
    ({"network_config": {"version": 2}, "network": []}, "'network' and network_config say"),
    ({"network": [{"dhcp": True}]}, "is of no known card"),
    ({"network": [{"name": "a", "addresses": ["192.0.2.2"]}]}, "write 192.0.2.2/24"),
    ({"network": [{"name": "a", "gateway": "192.0.2.1"}]}, "goes with an address of its family"),
    ({"network": [{"name": "a", "addresses": ["x/24"]}]}, "'x/24' does not appear"),
    ({"hostname": "a_b"}, "kvm:domains"),
    ({"users": [{"nome": "a"}]}, "each of 'users' needs its 'name'"),
    ({"hostnam": "a"}, "did you mean 'hostname'?"),
    ({"user_data": [SECRET]}, "cloud_init:user_data: Expected"),
    (5, "cloud_init: Expected"),
]


@pytest.mark.parametrize(("cloud", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_what_is_wrong_is_told_and_nothing_is_made(run, fields, folder, cloud, sentence):
    for test in (True, False):
        refused = run(test=test)("kvm_domain.running", **{**fields, "cloud_init": cloud})
        assert refused["result"] is False, refused
        assert sentence in refused["comment"]
        assert SECRET not in refused["comment"]
        assert len(refused["comment"]) < 500
    assert os.listdir(folder) == ["a.raw"]
    assert NAME not in virsh("list", "--all", "--name")


@pytest.mark.parametrize("kind", ["cloud_init", "ignition", "combustion"])
def test_what_never_answers_is_not_waited_for(run, fields, folder, kind):
    pipe = f"{folder}/pipe"
    os.mkfifo(pipe)
    named = {"cloud_init": {"user_data": pipe}, "ignition": {"config": pipe}, "combustion": pipe}
    given = {**fields, "cloud_init": None, kind: named[kind]}
    answer = run()("kvm_domain.present", **given)
    assert answer["result"] is False, answer
    assert f"{pipe} can't be read: it is no file" in answer["comment"]


def test_the_cards_can_be_left_to_the_image(converge, fields, seed):
    disabled = {"network": {"config": "disabled"}}
    converge("kvm_domain.present", **{**fields, "cloud_init": {"network_config": disabled}})
    assert held(seed)["network-config"] == disabled


OTHERS = [
    ({"ignition": {"config": {"variant": "fcos"}}}, "which butane writes of this"),
    ({"ignition": {"config": '{"a": '}}, "no valid JSON: line 2"),
    ({"ignition": True}, "'ignition' is what the guest is told, or false"),
    ({"combustion": "echo"}, "its first line is like #!/bin/bash"),
    ({"combustion": "#!/bin/sh", "cloud_init": {}}, "exclude each other"),
]


@pytest.mark.parametrize(("more", "sentence"), OTHERS, ids=[sentence for _, sentence in OTHERS])
def test_of_the_others_too(run, fields, folder, more, sentence):
    del fields["cloud_init"]
    refused = run()("kvm_domain.running", **fields, **more)
    assert refused["result"] is False
    assert sentence in refused["comment"]
    assert os.listdir(folder) == ["a.raw"]


def test_a_folder_that_is_not_there_is_told_before_anything_is_made(run, fields, folder):
    (folder / "deep").mkdir()
    fields["disks"] = [{"path": f"{folder}/deep/b.raw", "size": "1MiB"}]
    os.rmdir(folder / "deep")
    refused = run()("kvm_domain.running", **fields)
    assert refused["result"] is False
    assert re.search(rf"{folder}/deep", refused["comment"])
    assert NAME not in virsh("list", "--all", "--name")


def test_a_guest_without_a_disk_has_it_among_the_packs_own(converge, fields):
    seed = Path("/var/lib/salt-kvm/seed") / f"{NAME}-cidata.iso"
    converge("kvm_domain.running", **{**fields, "disks": []})
    assert seed.is_file()
    converge("kvm_domain.absent", name=NAME, timeout=0, force=True)
    assert not seed.exists()


def test_a_run_that_fails_leaves_the_old_seed(run, fields, seed):
    run()("kvm_domain.present", **fields)
    before = seed.read_bytes()
    broken = "<devices><hostdev mode='nonsense'/></devices>"
    failed = run()("kvm_domain.present", **{**fields, "cloud_init": {"hostname": "b"}}, xml=broken)
    assert failed["result"] is False
    assert seed.read_bytes() == before
    assert SECRET not in failed["comment"]


def test_the_schema_of_a_cloud_init_that_is_here_is_asked(
    run, cloud_image, fields, folder, tmp_path, monkeypatch
):
    """The very program of the cloud image; what it says would tell the secret."""
    cloud.cloud_init(cloud_image.disk, tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    wrong = {"user_data": {"packages": {"nginx": SECRET}, "runcmd": 5, "package_update": True}}
    for test in (True, False):
        refused = run(test=test)("kvm_domain.present", **{**fields, "cloud_init": wrong})
        assert refused["result"] is False
        assert refused["comment"].endswith("cloud-init does not take 'packages', 'runcmd'")
    assert os.listdir(folder) == ["a.raw"]
    assert run()("kvm_domain.present", **fields)["result"] is True
    # One that is broken decides nothing.
    script = f'echo "$@" >> {tmp_path}/asked; stat -c %a "$3" >> {tmp_path}/asked; exit 1'
    (tmp_path / "cloud-init").write_text(f"#!/bin/sh\n{script}\n")
    assert run()("kvm_domain.present", **{**fields, "cloud_init": wrong})["result"] is True
    asked = (tmp_path / "asked").read_text().splitlines()
    assert set(asked[1::2]) == {"600"}
    assert SECRET not in str(asked)
