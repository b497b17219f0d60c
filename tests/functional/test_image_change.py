"""An image that is there is changed and loses nothing, or is left as it is and says why."""

import json
import multiprocessing
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from salt_kvm.backend.storage import qemu_img as library
from salt_kvm.seen import Hidden
from waiting import wait_for

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


def test_an_image_with_dirty_bitmaps_keeps_them(run, folder):
    """Without them the next backup of what has changed is one of all."""
    path = made(folder, "qcow2")
    qemu_img("bitmap", "--add", path, "one")
    words = "holds 1 dirty bitmaps"
    assert refused(run, path, words, format="raw", replace=True)
    wide = {"cluster_size": "128KiB"}
    assert refused(run, path, words, format="qcow2", replace=True, options=wide)
    assert refused(run, path, words, format="qcow2", options={"compat": "0.10"})


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


def test_a_link_to_an_image_stays_one(converge, folder):
    """Another may name what it leads to; and what that holds is on the disk that was meant."""
    (folder / "large").mkdir()
    path, link = folder / "large" / "a.img", folder / "a.img"
    qemu_img("create", "-f", "raw", path, "1M")
    write(path, "raw")
    link.symlink_to(path)
    converge("kvm_image.present", name=str(link), format="qcow2", replace=True)
    assert link.is_symlink()
    assert told(path)["format"] == "qcow2"
    assert holds(path, "qcow2")
    assert os.listdir(folder / "large") == ["a.img"]


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
        ({"format": "vmdk", "backing": "/a"}, "a vmdk image stands on vmdk images only"),
        ({"format": "vmdk", "backing": "/a", "backing_format": "qcow2"}, "on vmdk images only"),
        ({"format": "vpc", "size": "3TiB"}, "'size' of a vpc image is at most 2040GiB"),
        ({"format": "vhdx", "size": "65TiB"}, "at most 64TiB"),
        ({"format": "vdi", "size": "512TiB"}, "at most 536870784MiB"),
        ({"format": "qed", "size": "65TiB"}, "at most 64TiB, of one with larger clusters more"),
        ({"format": "qcow2", "size": "3PiB"}, "at most 2PiB, of one with larger clusters more"),
        ({"format": "vdi", "options": {"preallocation": "full"}}, "no option 'preallocation'"),
        ({"format": "raw", "options": {"preallocation": "metadata"}}, "is off or falloc or full"),
        ({"format": "raw", "options": {"preallocation": True}}, "full, not true"),
        ({"format": "vpc", "options": {"subformat": "fixed"}}, "of a vpc image is dynamic"),
        ({"format": "vhdx", "options": {"subformat": "streamOptimized"}}, "is dynamic or fixed"),
        ({"format": "qcow2", "options": {"cluster_size": "100KiB"}}, "from 512B to 2MiB"),
        ({"format": "qed", "options": {"cluster_size": "4MiB"}}, "from 4KiB to 2MiB"),
        ({"format": "qcow2", "options": {"compat": 0.1, "extended_l2": True}}, "compat '1.1'"),
        (
            {"format": "qcow2", "options": {"cluster_size": "4KiB", "extended_l2": True}},
            "goes with a 'cluster_size' of 16KiB or more",
        ),
        (
            {"format": "qcow2", "backing": "/a", "options": {"preallocation": "full"}},
            "'preallocation' of an image on another one goes with 'extended_l2'",
        ),
        (
            {"format": "qcow2", "source": "/a", "options": {"preallocation": "full"}},
            "'preallocation' of an image on another one goes with 'extended_l2'",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(run, folder, fields, words):
    for test in (True, False):
        answer = run(test=test)("kvm_image.present", name=f"{folder}/a.img", **fields)
        assert answer["result"] is False, answer
        assert words in answer["comment"]
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("format", "size"),
    [("vpc", "2040GiB"), ("vhdx", "64TiB"), ("vdi", "511TiB"), ("qed", "64TiB"), ("qcow2", "2PiB")],
)
def test_the_largest_image_of_a_format(converge, folder, format, size):
    converge("kvm_image.present", name=f"{folder}/a.img", format=format, size=size)


def test_an_off_without_quotes_is_false_for_yaml(converge, folder):
    options = {"preallocation": False}
    converge("kvm_image.present", name=f"{folder}/a.raw", size="1MiB", options=options)


@pytest.mark.parametrize(
    ("was", "fields", "words"),
    [
        (["-o", "compat=0.10"], {"lazy_refcounts": True}, "goes with compat '1.1'"),
        (["-o", "compat=0.10"], {"extended_l2": True}, "goes with compat '1.1'"),
        (["-o", "extended_l2=on"], {"compat": "0.10"}, "goes with compat '1.1'"),
        (["-o", "extended_l2=on"], {"cluster_size": "4KiB"}, "of 16KiB or more"),
    ],
)
def test_options_that_do_not_go_with_those_of_the_image(run, folder, was, fields, words):
    path = folder / "a.qcow2"
    qemu_img("create", "-f", "qcow2", *was, path, "1M")
    assert refused(run, path, words, format="qcow2", options=fields, replace=True)


def test_snapshots_of_the_older_qcow2_keep_its_size_and_its_compat(run, converge, folder):
    path = folder / "a.qcow2"
    fields = {"format": "qcow2", "size": "2MiB"}
    qemu_img("create", "-f", "qcow2", "-o", "compat=0.10", path, "1M")
    qemu_img("snapshot", "-c", "one", path)
    assert refused(run, path, "has compat '0.10', so that it can't grow", **fields)
    converge("kvm_image.present", name=str(path), format="qcow2", options={"compat": "1.1"})
    converge("kvm_image.present", name=str(path), **fields)
    words = "holds 1 internal snapshots, which prevents compat '0.10'"
    assert refused(run, path, words, format="qcow2", options={"compat": "0.10"})


def test_a_vmdk_image_stands_on_another_or_on_none(run, converge, folder):
    base, path = made(folder, "vmdk"), folder / "top.vmdk"
    backing = {"backing": str(base), "backing_format": "vmdk"}
    converge("kvm_image.present", name=str(path), format="vmdk", **backing)
    write(path, "vmdk", MIB, 0x44)
    assert refused(run, path, "can't grow a vmdk image", format="vmdk", size="8MiB", **backing)
    converge("kvm_image.present", name=str(path), format="vmdk", backing="", replace=True)
    assert "backing-filename" not in told(path)
    assert [holds(path, "vmdk", at, was) for at, was in ((0, SENTINEL), (MIB, 0x44))] == [True] * 2
    words = "of vmdk images qemu-img does that to new ones only"
    assert refused(run, path, words, format="vmdk", replace=True, **backing)


def test_a_backing_file_that_is_none_is_told(run, folder):
    os.mkfifo(folder / "pipe")
    for path, kind in ((folder, "directory"), (folder / "pipe", "special file")):
        fields = {"name": f"{folder}/a.qcow2", "format": "qcow2", "backing": str(path)}
        for test in (True, False):
            answer = run(test=test)("kvm_image.present", **fields)
            assert (answer["result"], answer["changes"]) == (False, {})
            assert f"{path} is a {kind}, not a file" in answer["comment"]


CHANGES = [
    ("kvm_image.present", "new.raw", {"size": "1MiB"}),
    ("kvm_image.present", "a.raw", {"size": "64MiB"}),
    ("kvm_image.present", "a.raw", {"mode": "0600"}),
    ("kvm_image.present", "a.raw", {"format": "qcow2", "replace": True}),
    ("kvm_image.present", "a.qcow2", {"format": "qcow2", "options": {"lazy_refcounts": True}}),
    ("kvm_image.absent", "a.raw", {}),
]


@pytest.mark.parametrize("how", ["read-only", "immutable"])
def test_what_cannot_be_written_to_is_told_by_a_dry_run_too(run, folder, how):
    for format in ("raw", "qcow2"):
        made(folder, format)
    with unwritable(folder, how):
        for function, name, fields in CHANGES:
            for test in (True, False):
                answer = run(test=test)(function, name=f"{folder}/{name}", **fields)
                assert (answer["result"], answer["changes"]) == (False, {}), answer
                assert how in answer["comment"]


@contextmanager
def unwritable(folder, how):
    everything = [folder, *folder.iterdir()]
    if how == "immutable":
        begin, end = (["chattr", mode, *everything] for mode in ("+i", "-i"))
    else:
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        begin, end = ["mount", "-o", "remount,bind,ro", folder], ["umount", folder]
    try:
        subprocess.run(begin, check=True)
        yield
    finally:
        subprocess.run(end, capture_output=True, check=False)


def test_a_link_to_nowhere_is_told_by_a_dry_run_too(run, folder):
    (folder / "a.img").symlink_to(folder / "nowhere")
    for test in (True, False):
        answer = run(test=test)("kvm_image.present", name=f"{folder}/a.img", size="1MiB")
        assert (answer["result"], answer["changes"]) == (False, {})
        assert f"{folder}/a.img is a link to nowhere" in answer["comment"]


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


def test_what_a_saved_guest_goes_on_with_is_left_alone(run, folder):
    path = made(folder, "qcow2")
    disk = {"path": str(path), "format": "qcow2"}
    guest = {"name": f"{PREFIX}user", "memory": "32MiB", "disks": [disk], "virt_type": "auto"}
    assert run()("kvm_domain.running", **guest)["result"] is True
    virsh("managedsave", guest["name"])
    words = f"{path} belongs to the saved memory of {PREFIX}user"
    assert refused(run, path, words, format="raw", replace=True)
    assert refused(run, path, words, format="qcow2", size="1MiB", shrink=True)
    for test in (True, False):
        answer = run(test=test)("kvm_image.absent", name=str(path))
        assert (answer["result"], answer["changes"]) == (False, {})
        assert words in answer["comment"]
    virsh("managedsave-remove", guest["name"])
    answer = run()("kvm_image.present", name=str(path), format="raw", replace=True)
    assert answer["result"] is True, answer


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
    wait_for(lambda: not converting(folder), "the end of the qemu-img that outlives it")
    format = told(path)["format"]
    assert holds(path, format)
    assert holds(path, format, 2 * MIB, 0x33)
    answer = run()("kvm_image.present", **fields)
    assert answer["result"] is True, answer
    assert holds(path, "qcow2", 2 * MIB, 0x33)
    assert os.listdir(folder) == [path.name]


def converting(folder):
    """Tell whether a process has a file of the folder among its arguments."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(folder) in path.read_text():
                return True
    return False


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


UUID, VALUE = f"5a180000-0000-4000-8000-{os.getpid():012d}", f"open-sesame-{os.getpid()}"
ENCRYPTION = {"secret": UUID}
ENCRYPTED = {
    "qcow2": "driver=qcow2,encrypt.key-secret=k",
    "raw": "driver=luks,key-secret=k",
}


@pytest.fixture
def passphrase(run, folder):
    secret = {"name": f"{folder}/a", "usage": "volume", "uuid": UUID, "value": VALUE}
    assert run()("kvm_secret.present", **secret)["result"] is True
    yield VALUE
    virsh("secret-undefine", UUID)


def opened(path, format, *commands, value=VALUE):
    """Return what qemu-io says of an encrypted image, ``None`` where it does not open."""
    key = path.with_name("key")
    key.write_text(value)
    image = f"{ENCRYPTED[format]},file.filename={path}"
    whole = ["qemu-io", "--object", f"secret,id=k,file={key}", "--image-opts", image]
    each = [word for command in commands for word in ("-c", command)]
    ran = subprocess.run([*whole, *each], capture_output=True, text=True, check=False)
    key.unlink()
    return None if ran.returncode else ran.stdout


@pytest.mark.parametrize("format", ENCRYPTED)
def test_an_encrypted_image_opens_with_its_passphrase_only(
    converge, run, folder, caplog, format, passphrase
):
    path = folder / "a"
    fields = {"name": str(path), "format": format, "encryption": ENCRYPTION}
    made = converge("kvm_image.present", size="4MiB", **fields)
    write = f"write -P {SENTINEL} 1M 64k"
    assert opened(path, format, write)
    assert opened(path, format, write, value="wrong") is None
    grown = converge("kvm_image.present", size="8MiB", **fields)
    failed = run()("kvm_image.present", size="16MiB", owner="no-such-user", **fields)
    assert failed["result"] is False
    read = f"read -P {SENTINEL} 1M 64k"
    said = opened(path, format, "length", read)
    assert said.startswith("8 MiB\n")
    assert "failed" not in said
    assert bytes([SENTINEL]) * 512 not in path.read_bytes()
    assert VALUE not in str((made, grown)) + caplog.text
    less = {"size": "2MiB", "format": format, "encryption": ENCRYPTION}
    assert refused(run, path, "shrink: true", **less)
    converge("kvm_image.present", size="2MiB", shrink=True, **fields)
    said = opened(path, format, "length", read)
    assert said.startswith("2 MiB\n")
    assert "failed" not in said
    other = "raw" if format == "qcow2" else "qcow2"
    for replace, words in ((False, "is a"), (True, "is encrypted")):
        change = {"format": other, "encryption": ENCRYPTION, "replace": replace}
        assert refused(run, path, words, **change)


def test_an_image_is_encrypted_only_where_its_secret_is_there(run, folder):
    fields = {"name": f"{folder}/a", "encryption": ENCRYPTION, "size": "4MiB"}
    for test in (True, False):
        early = run(test=test)("kvm_image.present", **fields)
        assert early["result"] is False
        assert f"there is no secret {UUID}" in early["comment"]
    assert not os.listdir(folder)


@pytest.mark.parametrize("format", ENCRYPTED)
def test_what_is_readable_is_not_encrypted_afterwards(run, folder, passphrase, format):
    path = folder / "plain"
    qemu_img("create", "-f", format, path, "1M")
    for declared in ENCRYPTED:
        fields = {"format": declared, "encryption": ENCRYPTION, "replace": True}
        assert refused(run, path, "not encrypted", **fields)


def test_an_encrypted_raw_image_has_its_size_in_a_dry_run_too(run, folder, passphrase):
    """Its file is larger by the header, which a promised size has nothing to do with."""
    path = folder / "a"
    fields = {"name": str(path), "encryption": ENCRYPTION}
    assert run()("kvm_image.present", size="4MiB", **fields)["result"] is True
    assert path.stat().st_size > 4 * MIB
    dry = run(test=True)
    assert dry("kvm_image.present", size="8MiB", **fields)["result"] is None
    told = dry("kvm_image.present", size="8MiB", **fields)
    assert (told["result"], told["changes"]) == (True, {})


def test_what_a_guest_has_encrypted_by_itself_is_its_own(converge, folder, passphrase):
    """Where no encryption is declared, a LUKS header is data like any other."""
    path = folder / "a"
    # It tries again where LUKS can't measure how fast this machine is.
    library.create(str(path), "raw", 4 * MIB, key=Hidden(VALUE.encode()))
    size = path.stat().st_size
    converge("kvm_image.present", name=str(path), size=size + MIB)
    assert path.stat().st_size == size + MIB
    assert opened(path, "raw", "length").strip() == "5 MiB"
    converge("kvm_image.present", name=str(path), format="qcow2", replace=True)
    assert told(path)["virtual-size"] == size + MIB
