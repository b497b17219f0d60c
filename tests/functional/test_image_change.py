"""An image that is there is changed and loses nothing, or is left as it is and says why."""

import json
import multiprocessing
import os
import signal
import subprocess
import time

import pytest

from .conftest import PREFIX, virsh

MIB = 1024**2
SENTINEL = 0x5A


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


def qemu_io(path, format, command, **options):
    full = ["qemu-io", "-f", format, "-c", command, str(path)]
    return subprocess.run(full, capture_output=True, text=True, check=True, **options).stdout


def write(path, format, at=0, pattern=SENTINEL):
    """Write 64 KiB of a pattern as a guest would."""
    qemu_io(path, format, f"write -P {pattern} {at} 64k")


def holds(path, format, at=0, pattern=SENTINEL):
    """Tell whether the pattern is still there, as a guest would read it."""
    return "Pattern verification failed" not in qemu_io(path, format, f"read -P {pattern} {at} 64k")


def told(path):
    command = ["qemu-img", "info", "--output=json", "-U", str(path)]
    return json.loads(subprocess.check_output(command))


def refused(run, path, words, **fields):
    before = path.read_bytes()
    for test in (True, False):
        answer = run(test=test)("kvm_image.present", name=str(path), **fields)
        assert answer["result"] is False, answer
        assert answer["changes"] == {}
        assert words in answer["comment"]
    assert path.read_bytes() == before
    return True


def made(folder, format, size="4M"):
    path = folder / f"a.{format}"
    qemu_img("create", "-f", format, path, size)
    write(path, format)
    write(path, format, 2 * MIB, 0x33)
    return path


@pytest.mark.parametrize("format", ["raw", "qcow2", "qed"])
def test_an_image_grows_and_keeps_its_data(converge, folder, format):
    path = made(folder, format)
    answer = converge("kvm_image.present", name=str(path), format=format, size="64MiB")
    assert answer["changes"] == {"size": {"old": "4MiB", "new": "64MiB"}}
    assert holds(path, format)
    assert holds(path, format, 2 * MIB, 0x33)
    assert holds(path, format, 60 * MIB, 0)
    assert told(path)["virtual-size"] == 64 * MIB


@pytest.mark.parametrize("format", ["vmdk", "vdi", "vhdx", "vpc"])
def test_a_format_that_cannot_grow_says_so(run, folder, format):
    path = made(folder, format)
    assert refused(run, path, f"qemu-img can't grow a {format} image", format=format, size="1GiB")


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_an_image_shrinks_only_where_that_is_declared(run, converge, folder, format):
    path = made(folder, format)
    fields = {"format": format, "size": "1MiB"}
    assert refused(run, path, "declare its size, or shrink: true", **fields)
    assert refused(run, path, "declare its size, or shrink: true", shrink=False, **fields)
    converge("kvm_image.present", name=str(path), shrink=True, **fields)
    assert told(path)["virtual-size"] == MIB
    assert holds(path, format)


def test_an_image_with_snapshots_is_neither_shrunk_nor_rewritten(run, folder):
    path = made(folder, "qcow2")
    qemu_img("snapshot", "-c", "one", path)
    words = "holds 1 internal snapshots"
    assert refused(run, path, words, format="qcow2", size="1MiB", shrink=True)
    assert refused(run, path, words, format="raw", replace=True)


def test_an_image_that_backs_another_is_neither_shrunk_rewritten_nor_removed(run, folder):
    path = made(folder, "qcow2")
    qemu_img("create", "-f", "qcow2", "-b", path, "-F", "qcow2", folder / "top.qcow2")
    words = f"{folder}/top.qcow2 stands on {path}"
    assert refused(run, path, words, format="qcow2", size="1MiB", shrink=True)
    assert refused(run, path, words, format="raw", replace=True)
    answer = run()("kvm_image.absent", name=str(path))
    assert answer["result"] is False
    assert words in answer["comment"]
    assert path.exists()


FORMATS = ["raw", "qcow2", "vmdk", "vdi", "vhdx", "qed"]


@pytest.mark.parametrize("new", FORMATS)
@pytest.mark.parametrize("old", ["raw", "qcow2", "vmdk"])
def test_a_format_changes_only_where_that_is_declared(run, converge, folder, old, new):
    if old == new:
        return
    path = made(folder, old)
    os.chown(path, 65534, 0)
    os.chmod(path, 0o640)
    words = f"is a {old} image and {new} is declared; declare its format, or replace: true"
    assert refused(run, path, words, format=new)
    answer = converge("kvm_image.present", name=str(path), format=new, replace=True)
    assert answer["changes"] == {"format": {"old": old, "new": new}}
    assert told(path)["format"] == new
    assert holds(path, new)
    assert holds(path, new, 2 * MIB, 0x33)
    found = path.stat()
    assert (found.st_uid, found.st_mode & 0o7777) == (65534, 0o640)
    assert os.listdir(folder) == [path.name]


def test_another_backing_file_shows_a_guest_the_same(run, converge, folder):
    for name, pattern in (("one", 1), ("two", 2)):
        (folder / f"{name}.raw").write_bytes(bytes([pattern]) * MIB)
    path = folder / "top.qcow2"
    fields = {"name": str(path), "format": "qcow2"}
    converge("kvm_image.present", backing=f"{folder}/one.raw", **fields)
    write(path, "qcow2")
    assert refused(run, path, "replace: true", format="qcow2", backing=f"{folder}/two.raw")
    converge("kvm_image.present", backing=f"{folder}/two.raw", replace=True, **fields)
    assert told(path)["backing-filename"] == f"{folder}/two.raw"
    assert told(path)["backing-filename-format"] == "raw"
    for at, pattern in ((0, SENTINEL), (512 * 1024, 1)):
        assert holds(path, "qcow2", at, pattern)
    converge("kvm_image.present", backing="", replace=True, **fields)
    assert "backing-filename" not in told(path)
    for at, pattern in ((0, SENTINEL), (512 * 1024, 1)):
        assert holds(path, "qcow2", at, pattern)


def test_options_are_those_of_the_image(converge, folder):
    path = folder / "a.qcow2"
    options = {"cluster_size": "128KiB", "extended_l2": True, "lazy_refcounts": True, "compat": 1.1}
    fields = {"name": str(path), "format": "qcow2", "size": "1MiB", "options": options}
    converge("kvm_image.present", **fields)
    data = told(path)["format-specific"]["data"]
    assert told(path)["cluster-size"] == 128 * 1024
    assert (data["extended-l2"], data["lazy-refcounts"], data["compat"]) == (True, True, "1.1")


def test_preallocated_space_is_taken(converge, folder):
    options = {"preallocation": "full"}
    converge("kvm_image.present", name=f"{folder}/a.raw", size="4MiB", options=options)
    assert os.stat(folder / "a.raw").st_blocks * 512 >= 4 * MIB


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": "raw", "backing": "/a"}, "a raw image has no backing file"),
        ({"format": "vdi", "options": {"cluster_size": 65536}}, "no option 'cluster_size'"),
        ({"format": "qcow2", "options": {"compat": 2}}, "neither '0.10' nor '1.1'"),
        ({"format": "qcow2", "backing_format": "raw"}, "goes with 'backing'"),
        ({"format": "qcow2", "backing": "/nowhere/a", "size": "1M"}, "/nowhere/a is not there"),
        ({"format": "qcow2"}, "size: needed to make the image"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(run, folder, fields, words):
    for test in (True, False):
        answer = run(test=test)("kvm_image.present", name=f"{folder}/a.img", **fields)
        assert answer["result"] is False, answer
        assert words in answer["comment"]
    assert os.listdir(folder) == []


def test_what_a_running_guest_uses_is_left_alone(run, folder):
    path = made(folder, "qcow2")
    disk = {"path": str(path), "format": "qcow2"}
    guest = {"name": f"{PREFIX}user", "memory": "32MiB", "disks": [disk]}
    assert run()("kvm_domain.running", **guest)["result"] is True
    words = f"in use by the running {PREFIX}user"
    assert refused(run, path, words, format="qcow2", size="1MiB", shrink=True)
    assert refused(run, path, words, format="raw", replace=True)
    compat = {"format": "qcow2", "options": {"compat": "0.10"}}
    assert refused(run, path, words, **compat)
    assert run()("kvm_image.absent", name=str(path))["result"] is False
    run()("kvm_domain.stopped", name=guest["name"], force=True, timeout=0)
    assert run()("kvm_image.present", name=str(path), **compat)["result"] is True


def test_the_image_of_a_running_guest_grows_through_the_guest(run, folder):
    path = made(folder, "qcow2")
    guest = {"name": f"{PREFIX}user", "memory": "32MiB"}
    guest["disks"] = [{"path": str(path), "format": "qcow2"}]
    assert run()("kvm_domain.running", **guest)["result"] is True
    fields = {"name": str(path), "format": "qcow2", "size": "8MiB"}
    dry = run(test=True)("kvm_image.present", **fields)
    real = run()("kvm_image.present", **fields)
    assert real["result"] is True, real
    assert dry["changes"] == real["changes"] == {"size": {"old": "4MiB", "new": "8MiB"}}
    assert f"of the running domain {PREFIX}user to 8MiB" in real["comment"]
    assert run()("kvm_image.present", **fields)["changes"] == {}
    run()("kvm_domain.stopped", name=guest["name"], force=True, timeout=0)
    assert told(path)["virtual-size"] == 8 * MIB
    assert holds(path, "qcow2", 2 * MIB, 0x33)


def test_the_disk_of_a_guest_that_is_off_grows(converge, folder):
    path = folder / "a.qcow2"
    disk = {"path": str(path), "format": "qcow2", "size": "4MiB"}
    guest = {"name": f"{PREFIX}user", "memory": "32MiB"}
    converge("kvm_domain.present", disks=[disk], **guest)
    write(path, "qcow2")
    answer = converge("kvm_domain.present", disks=[{**disk, "size": "8MiB"}], **guest)
    assert answer["changes"] == {f"image[{path}]/size": {"old": "4MiB", "new": "8MiB"}}
    assert told(path)["virtual-size"] == 8 * MIB
    assert holds(path, "qcow2")


def test_what_a_guest_writes_to_is_no_backing_file(run, folder):
    path = made(folder, "raw")
    guest = {"name": f"{PREFIX}user", "memory": "32MiB", "disks": [{"path": str(path)}]}
    assert run()("kvm_domain.present", **guest)["result"] is True
    top = {"name": f"{folder}/top.qcow2", "format": "qcow2", "backing": str(path)}
    for test in (True, False):
        answer = run(test=test)("kvm_image.present", **top)
        assert answer["result"] is False
        assert f"{path} is written by {PREFIX}user" in answer["comment"]


@pytest.mark.parametrize("milliseconds", range(0, 300, 30))
def test_a_conversion_that_is_killed_leaves_the_old_image_or_the_new(run, folder, milliseconds):
    path = made(folder, "raw", "32M")
    fields = {"name": str(path), "format": "qcow2", "replace": True}
    context = multiprocessing.get_context("fork")
    child = context.Process(target=lambda: run()("kvm_image.present", **fields))
    child.start()
    time.sleep(milliseconds / 1000)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    format = told(path)["format"]
    assert holds(path, format)
    assert holds(path, format, 2 * MIB, 0x33)
    answer = run()("kvm_image.present", **fields)
    assert answer["result"] is True, answer
    assert holds(path, "qcow2", 2 * MIB, 0x33)
    assert os.listdir(folder) == [path.name]


def test_a_corrupt_image_is_not_converted(run, folder):
    """QEMU's tools read zeros where a table of a corrupt image points nowhere."""
    path = made(folder, "qcow2")
    data = bytearray(path.read_bytes())
    table = int.from_bytes(data[40:48], "big")
    data[table : table + 8] = (1 << 63 | 0x7FFF0000).to_bytes(8, "big")
    path.write_bytes(data)
    before = path.read_bytes()
    answer = run()("kvm_image.present", name=str(path), format="raw", replace=True)
    assert answer["result"] is False
    assert "is corrupt" in answer["comment"]
    assert path.read_bytes() == before
    assert os.listdir(folder) == [path.name]


def test_an_encrypted_image_opens_with_its_passphrase_only(converge, run, folder, caplog):
    uuid, value = "5a180000-0000-4000-8000-000000000001", f"open-sesame-{os.getpid()}"
    secret = {"name": f"{folder}/a.qcow2", "usage": "volume", "uuid": uuid, "value": value}
    path = folder / "a.qcow2"
    fields = {"name": str(path), "format": "qcow2", "encryption": {"secret": uuid}}
    for test in (True, False):
        early = run(test=test)("kvm_image.present", size="4MiB", **fields)
        assert early["result"] is False
        assert f"there is no secret {uuid}" in early["comment"]
    try:
        assert run()("kvm_secret.present", **secret)["result"] is True
        made = converge("kvm_image.present", size="4MiB", **fields)
        grown = converge("kvm_image.present", size="8MiB", **fields)
        assert told(path)["virtual-size"] == 8 * MIB
        assert told(path)["format-specific"]["data"]["encrypt"]["format"] == "luks"
        key = folder / "key"
        for text, opens in ((value, True), ("wrong", False)):
            key.write_text(text)
            image = f"driver=qcow2,file.filename={path},encrypt.key-secret=k"
            opened = ["qemu-io", "--object", f"secret,id=k,file={key}", "--image-opts", image]
            ran = subprocess.run([*opened, "-c", "read 0 64k"], capture_output=True, check=False)
            assert (ran.returncode == 0) is opens
        assert value not in str((made, grown)) + caplog.text
        plain = made_plain(folder)
        assert refused(run, plain, "not encrypted", format="qcow2", encryption={"secret": uuid})
    finally:
        virsh("secret-undefine", uuid)


def made_plain(folder):
    path = folder / "plain.qcow2"
    qemu_img("create", "-f", "qcow2", path, "1M")
    return path
