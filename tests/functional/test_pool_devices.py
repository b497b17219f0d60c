"""Pools over block devices: loop devices, which are real to mkfs, parted, LVM and libvirt."""

import json
import subprocess
from pathlib import Path

import pytest

from .conftest import PREFIX, virsh

NAME = f"{PREFIX}dev"


@pytest.fixture
def loop(folder):
    """Return the maker of loop devices: ``loop(MiB)``."""
    made = []

    def make(size):
        image = folder / f"loop{len(made)}"
        with image.open("wb") as file:
            file.truncate(size * 1024**2)
        command = ["losetup", "--find", "--show", "--partscan", str(image)]
        made.append(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        )
        return made[-1]

    yield make
    virsh("pool-destroy", NAME)
    for device in made:
        subprocess.run(["umount", device], capture_output=True, check=False)
        subprocess.run(["vgchange", "-an", f"{PREFIX}vg"], capture_output=True, check=False)
        subprocess.run(["wipefs", "-qa", device], capture_output=True, check=False)
        subprocess.run(["losetup", "--detach", device], check=True)


def signatures(device):
    told = subprocess.run(["wipefs", "--json", "-n", device], capture_output=True, check=True)
    return {row["type"] for row in json.loads(told.stdout)["signatures"]}


def head(device):
    with open(device, "rb") as file:
        return file.read(1024**2)


def mounted(path):
    return any(
        line.split()[1] == str(path) for line in Path("/proc/mounts").read_text().splitlines()
    )


@pytest.mark.parametrize(("format", "size"), [("ext4", 16), ("xfs", 320)])
def test_a_file_system_is_made_on_a_blank_device(converge, modules, folder, loop, format, size):
    device, path = loop(size), folder / "mnt"
    fields = {"type": "fs", "path": str(path), "source": {"device": device, "format": format}}
    made = converge("kvm_pool.running", name=NAME, **fields)
    assert set(made["changes"]) == {"directory", "definition", f"contents[{device}]", "state"}
    assert made["changes"][f"contents[{device}]"] == {"old": None, "new": format}
    assert signatures(device) == {format}
    assert mounted(path)
    (path / "data.raw").write_bytes(b"data")
    converge("kvm_pool.stopped", name=NAME, **fields)
    assert not mounted(path)
    started = converge("kvm_pool.running", name=NAME, **fields)
    assert set(started["changes"]) == {"state"}
    assert (path / "data.raw").read_bytes() == b"data"
    assert modules["kvm_pool.info"](NAME)["type"] == "fs"
    converge("kvm_pool.absent", name=NAME)
    assert signatures(device) == {format}


def test_btrfs_and_whatever_else_is_there_is_mounted_as_it_is(converge, folder, loop):
    device, path = loop(128), folder / "mnt"
    subprocess.run(["mkfs.btrfs", "-q", device], check=True)
    fields = {"type": "fs", "path": str(path), "source": {"device": device}}
    made = converge("kvm_pool.running", name=NAME, **fields, mount_options=["noatime"])
    assert set(made["changes"]) == {"directory", "definition", "state"}
    assert mounted(path)
    assert "noatime" in Path("/proc/mounts").read_text().partition(str(path))[2].splitlines()[0]


def test_a_device_that_holds_something_is_never_built_over_unasked(run, converge, folder, loop):
    device, path = loop(16), folder / "mnt"
    fields = {"type": "fs", "path": str(path), "source": {"device": device, "format": "ext4"}}
    for fill, told in (
        (["mkfs.ext2", "-q", device], "ext2"),
        (["sh", "-c", f"wipefs -qa {device}; parted -s {device} mklabel gpt"], "gpt, PMBR"),
        # A raw database, a LUKS payload, ...: no signature, but no zeros either.
        (
            [
                "sh",
                "-c",
                f"wipefs -qa {device}; printf x | dd of={device} bs=1 seek=5000 status=none",
            ],
            "unknown data",
        ),
    ):
        subprocess.run(fill, check=True)
        was = head(device)
        for test in (True, False):
            refused = run(test=test)("kvm_pool.running", name=NAME, **fields)
            assert refused["result"] is False
            assert refused["changes"] == {}
            assert f"{device}, where pool {NAME} is to be built, holds {told}" in refused["comment"]
            assert "overwrite: true" in refused["comment"]
        assert head(device) == was
        assert NAME not in virsh("pool-list", "--all", "--name").split()
    changed = converge("kvm_pool.running", name=NAME, **fields, overwrite=True)
    assert changed["changes"][f"contents[{device}]"] == {"old": "unknown data", "new": "ext4"}
    (path / "data.raw").write_bytes(b"data")
    # Left in the pillar it does no harm to a pool that is as declared.
    converge("kvm_pool.stopped", name=NAME, **fields, overwrite=True)
    converge("kvm_pool.running", name=NAME, **fields, overwrite=True)
    assert (path / "data.raw").read_bytes() == b"data"


def test_a_device_in_use_is_not_built_over_even_where_that_is_asked_for(run, folder, loop):
    """Mounted as a whole, or one of its partitions."""
    whole, disk = loop(16), loop(32)
    subprocess.run(["mkfs.ext2", "-q", whole], check=True)
    subprocess.run(
        ["parted", "-s", disk, "mklabel", "gpt", "mkpart", "a", "1MiB", "20MiB"], check=True
    )
    subprocess.run(["mkfs.ext2", "-q", f"{disk}p1"], check=True)
    (folder / "mounted").mkdir()
    for device, mount in ((whole, whole), (disk, f"{disk}p1")):
        source = {"device": device, "format": "ext4"}
        fields = {"type": "fs", "path": f"{folder}/mnt", "source": source, "overwrite": True}
        subprocess.run(["mount", mount, str(folder / "mounted")], check=True)
        try:
            was = head(device)
            for test in (True, False):
                told = run(test=test)("kvm_pool.running", name=NAME, **fields)
                assert (told["result"], told["changes"]) == (False, {})
                assert f"{device}, where pool {NAME} is to be built, is in use" in told["comment"]
            assert head(device) == was
        finally:
            subprocess.run(["umount", str(folder / "mounted")], check=True)


def test_a_new_file_system_needs_its_format(run, folder, loop):
    fields = {"type": "fs", "path": str(folder / "mnt"), "source": {"device": loop(16)}}
    told = run()("kvm_pool.running", name=NAME, **fields)
    assert told["result"] is False
    assert f"kvm:pools:{NAME}:source:format: needed to build the pool" in told["comment"]


def test_a_failed_build_takes_the_definition_back(run, folder, loop):
    """XFS wants more room than this device has."""
    fields = {
        "type": "fs",
        "path": str(folder / "mnt"),
        "source": {"device": loop(16), "format": "xfs"},
    }
    failed = run()("kvm_pool.running", name=NAME, **fields)
    assert (failed["result"], failed["changes"]) == (False, {})
    assert "mkfs" in failed["comment"]
    assert "\n" not in failed["comment"]
    assert NAME not in virsh("pool-list", "--all", "--name").split()
    assert not (folder / "mnt").exists()


def test_permissions_are_those_of_the_mounted_file_system(converge, folder, loop):
    device, path = loop(16), folder / "mnt"
    fields = {
        "type": "fs",
        "path": str(path),
        "source": {"device": device, "format": "ext4"},
        "permissions": {"owner": "nobody", "group": 65534, "mode": "0751"},
    }
    converge("kvm_pool.running", name=NAME, **fields)
    found = path.stat()
    assert (found.st_uid, found.st_gid, oct(found.st_mode)[-4:]) == (65534, 65534, "0751")
    path.chmod(0o700)
    mended = converge("kvm_pool.running", name=NAME, **fields)
    assert mended["changes"] == {"directory/mode": {"old": "0700", "new": "0751"}}
    fields["permissions"]["mode"] = "0755"
    changed = converge("kvm_pool.running", name=NAME, **fields)
    assert set(changed["changes"]) == {"target/permissions/mode", "directory/mode"}
    assert "Waits" not in changed["comment"]


def test_a_partition_table_is_made_once(converge, run, loop):
    device = loop(32)
    fields = {"type": "disk", "source": {"device": device, "format": "gpt"}}
    converge("kvm_pool.running", name=NAME, **fields)
    assert "gpt" in signatures(device)
    virsh("vol-create-as", NAME, f"{Path(device).name}p1", "4M")
    was = head(device)
    converge("kvm_pool.stopped", name=NAME, **fields)
    converge("kvm_pool.running", name=NAME, **fields)
    assert head(device) == was
    converge("kvm_pool.stopped", name=NAME, **fields)
    fields["source"] = {"device": device, "format": "dos"}
    told = run()("kvm_pool.running", name=NAME, **fields)
    assert "holds gpt" in told["comment"]
    assert head(device) == was


def test_a_volume_group_is_made_of_blank_devices(converge, run, loop):
    """The kernel of these machines may have no device-mapper: a group needs none, a volume does."""
    one, two, three = loop(16), loop(16), loop(16)
    source = {"name": f"{PREFIX}vg", "devices": [one, two]}
    made = converge("kvm_pool.running", name=NAME, type="logical", source=source)
    assert {f"contents[{one}]", f"contents[{two}]"} <= set(made["changes"])
    assert signatures(one) == signatures(two) == {"LVM2_member"}
    source["devices"] = [two, one]
    assert run()("kvm_pool.running", name=NAME, type="logical", source=source)["changes"] == {}
    converge("kvm_pool.stopped", name=NAME)
    source["devices"] = [one, two, three]
    told = run()("kvm_pool.running", name=NAME, type="logical", source=source)
    assert f"{three} is not a part of pool {NAME} yet" in told["comment"]
    converge("kvm_pool.running", name=NAME)
    converge("kvm_pool.absent", name=NAME, data="delete_empty")
    assert signatures(one) == set()


def test_a_device_that_is_not_there_is_told_before_anything_is_done(run, folder):
    for path, what in ((f"{folder}/no", "is not there"), (str(folder), "is a directory")):
        source = {"device": path, "format": "ext4"}
        fields = {"type": "fs", "path": f"{folder}/mnt", "source": source}
        told = run()("kvm_pool.running", name=NAME, **fields)
        assert told["result"] is False
        assert what in told["comment"]
        assert not (folder / "mnt").exists()
