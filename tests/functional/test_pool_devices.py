"""Pools over block devices: loop devices, which are real to mkfs, parted, LVM and libvirt."""

import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from salt_kvm.backend.storage import begun, pool

from .conftest import MIB, PREFIX, RUN, in_child, virsh

NAME = f"{PREFIX}dev"
# From Linux's loop.h.
LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C80, 0x4C81
# Nobody else takes the device of this number while it is away.
OWN_NUMBER = 1000 + RUN
OWN = f"/dev/loop{OWN_NUMBER}"


@pytest.fixture
def loop(folder):
    """Return the maker of loop devices: ``loop(MiB)``, or with a name that is free."""
    made = []

    def make(size, device="--find"):
        image = folder / f"loop{len(made)}"
        with image.open("wb") as file:
            file.truncate(size * 1024**2)
        command = ["losetup", "--show", "--partscan", device, str(image)]
        made.append(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        )
        return made[-1]

    yield make
    virsh("pool-destroy", NAME)
    # Its device is another test's as soon as it is given back.
    virsh("pool-undefine", NAME)
    for device in made:
        subprocess.run(["umount", device], capture_output=True, check=False)
        subprocess.run(["vgchange", "-an", f"{PREFIX}vg"], capture_output=True, check=False)
        subprocess.run(["wipefs", "-qa", device], capture_output=True, check=False)
        subprocess.run(["losetup", "--detach", device], check=True)
        if device == OWN:
            loop_control(LOOP_CTL_REMOVE)


def loop_control(*requests):
    """Add or remove the device that has this run's number."""
    with open("/dev/loop-control", "rb") as control:
        for request in requests:
            fcntl.ioctl(control.fileno(), request, OWN_NUMBER)


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


@pytest.mark.parametrize(("format", "size"), [("ext4", 16), ("xfs", 320), ("btrfs", 128)])
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


@pytest.mark.parametrize("format", ["ext4", "btrfs"])
def test_a_device_that_holds_something_is_never_built_over_unasked(
    run, converge, folder, loop, format
):
    device, path = loop(128), folder / "mnt"
    fields = {"type": "fs", "path": str(path), "source": {"device": device, "format": format}}
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
    assert changed["changes"][f"contents[{device}]"] == {"old": "unknown data", "new": format}
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


@pytest.mark.parametrize("format", ["xfs", "btrfs"])
def test_a_failed_build_takes_the_definition_back(run, folder, loop, format):
    """These want more room than this device has."""
    fields = {
        "type": "fs",
        "path": str(folder / "mnt"),
        "source": {"device": loop(16), "format": format},
    }
    failed = run()("kvm_pool.running", name=NAME, **fields)
    assert (failed["result"], failed["changes"]) == (False, {})
    assert "mkfs" in failed["comment"]
    assert "\n" not in failed["comment"]
    assert NAME not in virsh("pool-list", "--all", "--name").split()
    assert not (folder / "mnt").exists()


def rewrite(device, at, data):
    with open(device, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), data, at)
        os.fsync(file.fileno())


# By the format: what builds it, and the bytes that its program writes last, as they are before.
HALVES = {
    "ext4": (["mkfs", "-t", "ext4", "-F"], [], [(1024, bytes(1024))]),
    "xfs": (["mkfs", "-t", "xfs", "-f"], [], [(126, b"\x01")]),
    "btrfs": (["mkfs.btrfs", "-q", "-f"], [], [(64 * 1024 + 64, b"!BHRfS_M")]),
    "gpt": (["parted", "-s"], ["mklabel", "gpt"], [(512, bytes(MIB - 512)), (-MIB, bytes(MIB))]),
}


@pytest.fixture
def killed(monkeypatch, run):
    """Return what lets a run die in the middle of a build: ``killed(device, format, **fields)``."""

    def half(device, format):
        program, arguments, last = HALVES[format]
        subprocess.run([*program, device, *arguments], check=True, capture_output=True)
        size = int(subprocess.check_output(["blockdev", "--getsize64", device]))
        for at, data in last:
            rewrite(device, at % size, data)

    def go(device, format, fields):
        def die():
            def build(hypervisor, step):
                half(device, format)
                os.kill(os.getpid(), signal.SIGKILL)

            monkeypatch.setattr(pool, "_build", build)
            run()("kvm_pool.running", name=NAME, **fields)

        child = in_child(die)
        child.join()
        assert child.exitcode == -signal.SIGKILL

    yield go
    begun.end("qemu:///system", NAME)


def fields_of(device, format, folder):
    source = {"device": device, "format": format}
    if format == "gpt":
        return {"type": "disk", "source": source}
    return {"type": "fs", "path": f"{folder}/mnt", "source": source}


@pytest.mark.parametrize("format", HALVES)
def test_a_build_that_was_cut_off_is_begun_anew(run, converge, folder, loop, killed, format):
    """A record tells that what is there was begun here; without it the device is refused."""
    device = loop(320)
    fields = fields_of(device, format, folder)
    killed(device, format, fields)
    (record,) = (path for path in Path(begun.FOLDER).iterdir() if NAME in path.name)
    kept = record.read_bytes()
    record.unlink()
    told = run(test=True)("kvm_pool.running", name=NAME, **fields)
    if format != "xfs":
        assert "is to be built, holds " in told["comment"]
    record.write_bytes(kept)
    made = converge("kvm_pool.running", name=NAME, **fields)
    assert made["changes"][f"contents[{device}]"] == {"old": "half of it", "new": format}
    assert format in signatures(device)
    assert not record.exists()


@pytest.mark.parametrize(
    ("what", "format", "told"),
    [
        ("another device", "ext4", "unknown data"),
        ("a file system", "ext4", "ext2"),
        ("data from its beginning on", "ext4", "unknown data"),
        ("data behind a label", "gpt", "PMBR"),
        ("written since a reboot", "btrfs", "unknown data"),
    ],
)
def test_what_came_after_a_build_that_was_cut_off_is_not_built_over(
    run, folder, loop, killed, what, format, told
):
    device = loop(128)
    fields = fields_of(device, format, folder)
    killed(device, format, fields)
    (record,) = (path for path in Path(begun.FOLDER).iterdir() if NAME in path.name)
    kept = json.loads(record.read_text())
    if what == "another device":
        kept["devices"][device]["loop/backing_file"] = "/srv/other"
    elif what == "a file system":
        subprocess.run(["mkfs.ext2", "-qF", device], check=True)
    elif what == "written since a reboot":
        kept["boot"] = "another"
    else:
        rewrite(device, 700, b"mine")
    record.write_text(json.dumps(kept))
    was = head(device)
    for test in (True, False):
        refused = run(test=test)("kvm_pool.running", name=NAME, **fields)
        assert (refused["result"], refused["changes"]) == (False, {})
        assert f"is to be built, holds {told}" in refused["comment"]
    assert head(device) == was


def test_after_a_reboot_what_nobody_wrote_to_is_still_half_of_it(converge, folder, loop, killed):
    """A device that is new to the kernel counts from zero, as after a start of the host."""
    device = loop(128, OWN)
    fields = fields_of(device, "ext4", folder)
    killed(device, "ext4", fields)
    (record,) = (path for path in Path(begun.FOLDER).iterdir() if NAME in path.name)
    record.write_text(json.dumps({**json.loads(record.read_text()), "boot": "another"}))
    image = json.loads(record.read_text())["devices"][device]["loop/backing_file"]
    subprocess.run(["losetup", "--detach", device], check=True)
    loop_control(LOOP_CTL_REMOVE, LOOP_CTL_ADD)
    subprocess.run(["losetup", "--partscan", device, image], check=True)
    assert converge("kvm_pool.running", name=NAME, **fields)["result"] is True


def test_a_record_goes_with_a_build_that_was_over(run, converge, folder, loop, killed):
    """The kill came between the end of the build and that of its record."""
    device = loop(32)
    fields = fields_of(device, "ext4", folder)
    killed(device, "ext4", fields)
    subprocess.run(["mkfs.ext4", "-qF", device], check=True)
    started = converge("kvm_pool.running", name=NAME, **fields)
    assert set(started["changes"]) == {"state"}
    assert not [path for path in Path(begun.FOLDER).iterdir() if NAME in path.name]


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


# A logical volume as LVM's metadata have it: to make one takes the device-mapper.
LV = """logical_volumes { kept {
    id = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA"
    status = ["READ", "WRITE", "VISIBLE"]
    flags = []
    segment_count = 1
    segment1 {
        start_extent = 0
        extent_count = 1
        type = "striped"
        stripe_count = 1
        stripes = ["pv0", 0]
    }
} }
"""


@pytest.mark.parametrize("data", ["delete_empty", "delete"])
def test_what_libvirt_does_not_list_keeps_a_volume_group(converge, run, folder, loop, data):
    """It lists no inactive volume, no thin pool and none that came since its last look."""
    group, metadata = f"{PREFIX}vg", folder / "metadata"
    source = {"name": group, "devices": [loop(16)]}
    converge("kvm_pool.running", name=NAME, type="logical", source=source)
    subprocess.run(["vgcfgbackup", "-q", "-f", metadata, group], check=True)
    head, _end, tail = metadata.read_text().rpartition("\n}\n")
    metadata.write_text(f"{head}\n{LV}}}\n{tail}")
    subprocess.run(["vgcfgrestore", "-q", "--force", "-f", metadata, group], check=True)
    for test in (True, False):
        told = run(test=test)("kvm_pool.absent", name=NAME, data=data)
        assert (told["result"], told["changes"]) == (False, {})
        assert f"pool {NAME} holds kept, which libvirt does not list" in told["comment"]
    listed = ["lvs", "--noheadings", "--options", "lv_name", group]
    assert subprocess.run(listed, capture_output=True, text=True).stdout.strip() == "kept"


def test_a_device_that_is_not_there_is_told_before_anything_is_done(run, folder):
    for path, what in ((f"{folder}/no", "is not there"), (str(folder), "is a directory")):
        source = {"device": path, "format": "ext4"}
        fields = {"type": "fs", "path": f"{folder}/mnt", "source": source}
        told = run()("kvm_pool.running", name=NAME, **fields)
        assert told["result"] is False
        assert what in told["comment"]
        assert not (folder / "mnt").exists()
