"""Disk images through the real qemu-img."""

import json
import os
import stat
import subprocess

import pytest

SENTINEL = b"not to be lost"


@pytest.mark.parametrize("format", ["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "qed"])
def test_life_of_an_image(converge, modules, folder, format):
    path = str(folder / "a.img")

    size = "130MiB"
    made = converge("kvm_image.present", name=path, format=format, size=size, mode="0600")
    assert made["changes"]["image"]["new"]["format"] == format
    info = modules["kvm_image.info"](path)
    assert info["format"] == format
    assert info["mode"] == "0600"
    converge("kvm_image.absent", name=path)
    assert os.listdir(folder) == []


def test_the_image_of_the_procedure(converge, folder):
    path = str(folder / "CentOS-7-x86_64.raw")
    converge("kvm_image.present", name=path, format="raw", size="10GiB")
    command = ["qemu-img", "info", "--output=json", "-f", "raw", path]
    assert json.loads(subprocess.check_output(command))["virtual-size"] == 10737418240


def test_owner_group_and_mode(converge, folder):
    path = str(folder / "a.raw")
    converge("kvm_image.present", name=path, size="1MiB", owner="nobody", group="nogroup", mode=640)
    found = os.stat(path)
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert found.st_uid == 65534
    changed = converge("kvm_image.present", name=path, owner="root", mode="0600")
    assert changed["changes"] == {
        "owner": {"old": "nobody", "new": "root"},
        "mode": {"old": "0640", "new": "0600"},
    }


def test_an_owner_may_be_a_number_also_with_zeros_before_it(converge, run, folder):
    path = str(folder / "a.raw")
    converge("kvm_image.present", name=path, size="1MiB", owner="007", group="0")
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (7, 0)
    converge("kvm_image.present", name=path, owner=8, group=9)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (8, 9)
    told = run()("kvm_image.present", name=path, owner="9" * 5000)
    assert told["result"] is False
    assert "is no number of a user" in told["comment"]


@pytest.mark.parametrize("fields", [{"format": "qcow2"}, {"size": "512KiB"}])
def test_data_is_never_touched_to_please_a_declaration(run, folder, fields):
    path = folder / "a.raw"
    path.write_bytes(SENTINEL.ljust(1024**2, b"\0"))
    for test in (True, False):
        told = run(test=test)("kvm_image.present", name=str(path), **fields)
        assert told["result"] is False
        assert told["changes"] == {}
        assert str(path) in told["comment"]
    assert path.read_bytes().startswith(SENTINEL)
    assert path.stat().st_size == 1024**2


def test_create_refuses_what_is_there(modules, folder):
    path = str(folder / "a.raw")
    assert modules["kvm_image.create"](path, size="1MiB") is True
    assert modules["kvm_image.create"](path, size="1MiB") is False


def test_an_image_that_gets_no_second_name_is_removed_all_the_same(converge, full):
    """A full file system has no room to keep it until the run is over."""
    converge("kvm_image.absent", name=str(full / "a.raw"))
    assert not (full / "a.raw").exists()


@pytest.fixture
def full(folder):
    """A file system that has no inode left for another name's directory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=2", "tmpfs", folder], check=True)
    try:
        (folder / "a.raw").write_bytes(b"\0" * 1024)
        with pytest.raises(OSError, match="No space left"):
            (folder / "more").mkdir()
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
