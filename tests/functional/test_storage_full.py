"""Pools and volumes where a disk runs full or a source goes away: told, nothing half-made."""

import os
import subprocess
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from salt_kvm.backend.virt import volume_calls

from .conftest import MIB, PREFIX, virsh
from .daemon import Daemon

POOL = f"{PREFIX}full"


@pytest.fixture
def pool(run, small):
    """The directory of an active pool on a small file system."""
    path = small.root / "pool"
    made = run()("kvm_pool.running", name=POOL, path=str(path))
    assert made["result"] is True, made["comment"]
    yield path
    virsh("pool-destroy", POOL)


def made(folder, format="raw", size=4 * MIB):
    """A source that is full of data."""
    source = folder / f"source.{format}"
    (folder / "data").write_bytes(os.urandom(size))
    command = ["qemu-img", "convert", "-f", "raw", "-O", format, str(folder / "data"), str(source)]
    subprocess.run(command, check=True)
    return str(source)


def told_full(told):
    assert (told["result"], told["changes"]) == (False, {}), told
    assert "o space left" in told["comment"] or "free some space" in told["comment"], told
    assert "\n" not in told["comment"]


STAGES = {
    "made": ({"format": "qcow2", "capacity": "64GiB"}, 0),
    "allocated": ({"capacity": "4MiB", "allocation": "4MiB"}, 2 * MIB),
    "encrypted": ({"format": "qcow2", "capacity": "4MiB"}, MIB),
    "on a backing image": ({"format": "qcow2", "backing": "raw"}, 0),
    "uploaded": ({"source": "raw"}, 2 * MIB),
    "uploaded as qcow2": ({"source": "qcow2", "format": "qcow2"}, 2 * MIB),
    "uploaded into nothing": ({"source": "raw"}, 0),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_volume_that_does_not_fit(run, converge, folder, small, pool, stage):
    fields, free = STAGES[stage]
    fields = {**fields, "name": f"{POOL}/a"}
    if "source" in fields:
        fields["source"] = made(folder, fields["source"])
    if "backing" in fields:
        fields["backing"] = {"path": made(folder), "format": "raw"}
    if stage == "encrypted":
        name = f"/srv/{PREFIX}.full"
        secret = {"name": name, "usage": "volume", "value": "open"}
        assert run()("kvm_secret.present", **secret)["result"] is True
        fields["encryption"] = {"secret": name}
    small.leave(free)
    for _ in range(2):
        told_full(run()("kvm_volume.present", **fields))
        assert list(pool.iterdir()) == []
        assert "a" not in virsh("vol-list", POOL).split()
    small.leave(12 * MIB)
    converge("kvm_volume.present", **fields)


def test_a_volume_that_does_not_fit_when_it_grows(run, converge, small, pool):
    """The tables of a qcow2 volume take room, and what was there stays."""
    fields = {"name": f"{POOL}/a", "format": "qcow2"}
    assert run()("kvm_volume.present", **fields, capacity="4MiB")["result"] is True
    before = (pool / "a").read_bytes()
    small.leave(0)
    told_full(run()("kvm_volume.present", **fields, capacity="64TiB"))
    check = ["qemu-img", "check", "-q", "-f", "qcow2", str(pool / "a")]
    subprocess.run(check, check=True)
    assert (pool / "a").read_bytes()[: len(before)] == before
    small.leave(12 * MIB)
    converge("kvm_volume.present", **fields, capacity="64TiB")


def test_a_copy_and_a_download_that_do_not_fit(run, modules, folder, small, pool):
    fields = {"name": f"{POOL}/a", "source": made(folder)}
    assert run()("kvm_volume.present", **fields)["result"] is True
    small.leave(2 * MIB)
    for function, target in (("clone", f"{POOL}/b"), ("download", f"{small.root}/b")):
        with pytest.raises(CommandExecutionError, match=r"o space left|free some space"):
            modules[f"kvm_volume.{function}"](f"{POOL}/a", target)
    assert [path.name for path in pool.iterdir()] == ["a"]
    assert sorted(path.name for path in small.root.iterdir()) == ["filler", "lost+found", "pool"]
    small.leave(8 * MIB)
    assert modules["kvm_volume.clone"](f"{POOL}/a", f"{POOL}/b") is True
    assert (pool / "b").read_bytes() == (folder / "data").read_bytes()


def test_room_is_compared_before_anything_is_uploaded(
    run, modules, folder, small, pool, monkeypatch
):
    """What a volume held is still there after an upload that could not have ended."""
    source = made(folder)
    fields = {"name": f"{POOL}/a", "capacity": "4MiB"}
    assert run()("kvm_volume.present", **fields)["result"] is True
    subprocess.run(["qemu-io", "-f", "raw", "-c", "write -P 7 0 1M", f"{pool}/a"], check=True)
    before = (pool / "a").read_bytes()
    small.leave(2 * MIB)
    with monkeypatch.context() as patch:
        patch.setattr(volume_calls, "upload", None)
        told_full(run()("kvm_volume.present", name=f"{POOL}/b", source=source))
        with pytest.raises(CommandExecutionError, match="3 MiB are needed; free some space"):
            modules["kvm_volume.upload"](f"{POOL}/a", source)
    assert [path.name for path in pool.iterdir()] == ["a"]
    assert (pool / "a").read_bytes() == before
    # Of what it has already nothing more is needed.
    small.leave(3 * MIB + MIB // 2)
    assert modules["kvm_volume.upload"](f"{POOL}/a", source) is True
    assert (pool / "a").read_bytes() == (folder / "data").read_bytes()


def test_a_pool_whose_directory_does_not_fit(run, converge, small):
    small.leave(0)
    fields = {"name": POOL, "path": f"{small.root}/pool"}
    told_full(run()("kvm_pool.running", **fields))
    assert POOL not in virsh("pool-list", "--all", "--name").split()
    small.leave(MIB)
    converge("kvm_pool.running", **fields)
    virsh("pool-destroy", POOL)


def test_a_pool_whose_definition_does_not_fit(run, folder, small):
    """A libvirtd whose configuration is on a small file system."""
    root = folder / "libvirtd"
    (root / "etc").mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(small.root), str(root / "etc")], check=True)
    daemon = None
    try:
        daemon = Daemon(root)
        daemon.start()
        fields = {"name": POOL, "path": f"{folder}/pool", "connection": daemon.uri}
        (small.root / "storage" / "autostart").mkdir(parents=True, exist_ok=True)
        small.leave(0)
        told_full(run()("kvm_pool.running", **fields))
        assert POOL not in daemon.virsh("pool-list", "--all", "--name").split()
        assert not (folder / "pool").exists()
        small.leave(MIB)
        made = run()("kvm_pool.running", **fields, autostart=True)
        assert made["result"] is True, made["comment"]
        assert run()("kvm_pool.running", **fields, autostart=True)["changes"] == {}
    finally:
        if daemon is not None:
            daemon.close()
        subprocess.run(["umount", str(root / "etc")], check=True)


def test_a_pool_that_can_not_be_built_leaves_its_device_as_blank_as_it_was(
    run, converge, folder, small
):
    """The device is a file with more holes than its file system has room for."""
    image = small.root / "image"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    small.leave(64 * 1024)
    command = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        source = {"device": device, "format": "ext4"}
        fields = {"name": POOL, "type": "fs", "path": f"{folder}/mnt", "source": source}
        for _ in range(2):
            told = run()("kvm_pool.running", **fields)
            assert (told["result"], told["changes"]) == (False, {}), told
            assert "mkfs" in told["comment"], told
            assert POOL not in virsh("pool-list", "--all", "--name").split()
        small.leave(12 * MIB)
        converge("kvm_pool.running", **fields)
    finally:
        virsh("pool-destroy", POOL)
        virsh("pool-undefine", POOL)
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.parametrize("how", ["cut off", "removed", "written to"])
def test_a_source_that_changes_while_it_is_uploaded(
    run, converge, folder, small, pool, monkeypatch, how
):
    source = Path(made(folder))
    data = source.read_bytes()
    upload = volume_calls.upload

    def meanwhile():
        if how == "cut off":
            os.truncate(source, MIB)
        elif how == "removed":
            source.unlink(missing_ok=True)
        else:
            os.utime(source, ns=(0, 0))

    def disturbed(hypervisor, pool, name, file, count, **more):
        upload(hypervisor, pool, name, file, lambda length: (count(length), meanwhile()), **more)

    monkeypatch.setattr(volume_calls, "upload", disturbed)
    fields = {"name": f"{POOL}/a", "source": str(source)}
    told = run()("kvm_volume.present", **fields)
    assert (told["result"], told["changes"]) == (False, {}), told
    assert f"{source}" in told["comment"]
    assert list(pool.iterdir()) == []
    monkeypatch.undo()
    source.write_bytes(data)
    converge("kvm_volume.present", **fields)
    assert (pool / "a").read_bytes() == data


def test_a_corrupt_source_is_refused(run, folder, pool):
    source = Path(made(folder, "qcow2"))
    data = bytearray(source.read_bytes())
    table = int.from_bytes(data[40:48], "big")
    data[table : table + 8] = (1 << 63 | 0x7FFF0000).to_bytes(8, "big")
    source.write_bytes(data)
    told = run()("kvm_volume.present", name=f"{POOL}/a", format="qcow2", source=str(source))
    assert (told["result"], told["changes"]) == (False, {})
    assert f"{source} is corrupt" in told["comment"]
    assert list(pool.iterdir()) == []
