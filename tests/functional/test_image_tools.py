"""The functions of kvm_image, each against the real tool; and the store, listed and pruned."""

import json
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import salt.loader
from salt.exceptions import CommandExecutionError

from salt_kvm.backend.storage.store import Entry
from waiting import wait_for

from .conftest import PREFIX, in_child, virsh
from .test_image_change import MIB, holds, made, qemu_img, told, write
from .test_image_untrusted import qcow2_with_backing


@pytest.fixture
def image(opts, libvirtd, folder):
    """The functions of kvm_image with a store of this test's own: ``image.check(path)``."""
    loaded = salt.loader.minion_mods({**opts, "kvm.store": f"{folder}/store"}, context={})
    names = [name for name in loaded if name.startswith("kvm_image.")]
    return SimpleNamespace(**{name.partition(".")[2]: loaded[name] for name in names})


@pytest.fixture
def make(opts, modules, folder):
    """Return what makes an image with that store."""

    def go(**fields):
        options = {**opts, "test": False, "kvm.store": f"{folder}/store"}
        states = salt.loader.states(options, modules, {}, None, context={})
        answer = states["kvm_image.present"](**fields)
        assert answer["result"] is True, answer
        return answer

    return go


def test_resize(image, folder):
    path = made(folder, "qcow2")
    assert image.resize(str(path), "8MiB") is True
    assert image.resize(str(path), "8MiB") is False
    assert told(path)["virtual-size"] == 8 * MIB
    with pytest.raises(CommandExecutionError, match="shrink: true"):
        image.resize(str(path), "1MiB")
    assert image.resize(str(path), "1MiB", shrink=True) is True
    assert holds(path, "qcow2")


def test_convert_and_compare(image, folder):
    path, target = made(folder, "raw"), folder / "b.qcow2"
    options = {"cluster_size": 131072}
    assert image.convert(str(path), str(target), "qcow2", options=options) is True
    assert told(target)["cluster-size"] == 131072
    assert image.compare(str(path), str(target)) == {"identical": True, "difference": None}
    write(target, "qcow2", MIB, 7)
    differing = image.compare(str(path), str(target))
    assert differing["identical"] is False
    assert "1048576" in differing["difference"]
    with pytest.raises(CommandExecutionError, match="something is there already"):
        image.convert(str(path), str(target), "qcow2")
    assert sorted(os.listdir(folder)) == ["a.raw", "b.qcow2"]


def test_rebase_and_commit(image, folder):
    base = made(folder, "raw")
    top = folder / "top.qcow2"
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "raw", top)
    write(top, "qcow2", MIB, 9)
    copy = folder / "copy.raw"
    copy.write_bytes(base.read_bytes())
    assert image.rebase(str(top), str(copy), "raw", format="qcow2", unsafe=True) is True
    assert told(top)["backing-filename"] == str(copy)
    assert image.rebase(str(top), str(base), "raw", format="qcow2") is True
    assert image.rebase(str(top), str(base), "raw", format="qcow2") is False
    other = folder / "other.qcow2"
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "raw", other)
    with pytest.raises(CommandExecutionError, match=r"other.qcow2 stands on .* too"):
        image.commit(str(top), format="qcow2")
    other.unlink()
    assert image.commit(str(top), format="qcow2") is True
    assert holds(base, "raw", MIB, 9)
    with pytest.raises(CommandExecutionError, match="stands on no other image"):
        image.commit(str(base))


def test_nothing_is_written_into_the_store(image, make, run, folder):
    """A clone elsewhere, of no domain, is seen by nobody who looks for what stands on an image."""
    (folder / "far").mkdir()
    one, two = folder / "one.qcow2", folder / "far" / "two.qcow2"
    for path in (one, two):
        make(name=str(path), format="qcow2", source=base(folder, "base"))
    write(one, "qcow2", 0, 9)
    entry = image.store()[0]["path"]
    was = Path(entry).read_bytes()
    with pytest.raises(CommandExecutionError, match="is in the store"):
        image.commit(str(one), format="qcow2")
    with pytest.raises(CommandExecutionError, match="is in the store"):
        image.snapshot_create(entry, "s")
    with pytest.raises(CommandExecutionError, match="is in the store"):
        image.resize(entry, "512KiB", shrink=True)
    assert Path(entry).read_bytes() == was
    assert holds(two, "qcow2", 0, sum(b"base") % 255)


@pytest.mark.parametrize("path", ["a.qcow2", "a\0b", 5, ""])
def test_what_is_no_path_is_told(image, folder, path):
    source = made(folder, "qcow2")
    with pytest.raises(CommandExecutionError, match="is no absolute path"):
        image.info(path)
    with pytest.raises(CommandExecutionError, match="is no absolute path"):
        image.convert(str(source), path, "raw")


def test_an_unsafe_rebase_needs_a_format(image, folder):
    top = made(folder, "qcow2")
    with pytest.raises(CommandExecutionError, match="backing_format: needed"):
        image.rebase(str(top), f"{folder}/base.raw", format="qcow2", unsafe=True)


def test_check_and_repair(image, folder):
    path = made(folder, "qcow2")
    assert image.check(str(path))["check-errors"] == 0
    with path.open("ab") as file:
        file.write(b"\0" * 65536)
    # A cluster that nothing refers to, with a reference count of one.
    data = bytearray(path.read_bytes())
    table = int.from_bytes(data[48:56], "big")
    block = int.from_bytes(data[table : table + 8], "big")
    index = len(data) // 65536 - 1
    data[block + 2 * index : block + 2 * index + 2] = b"\0\1"
    path.write_bytes(data)
    assert image.check(str(path))["leaks"] == 1
    image.check(str(path), repair="leaks")
    assert image.check(str(path)).get("leaks", 0) == 0


def test_measure_map_and_dd(image, folder):
    path = made(folder, "raw")
    assert image.measure(str(path), "raw")["fully-allocated"] == 4 * MIB
    extents = image.map(str(path))
    assert sum(extent["length"] for extent in extents) == 4 * MIB
    assert extents[0]["data"] is True
    part = folder / "part.raw"
    assert image.dd(str(path), str(part), "raw", block_size="1MiB", count=3, skip=2) is True
    assert part.stat().st_size == 1 * MIB
    assert holds(part, "raw", 0, 0x33)


def test_snapshots(image, folder):
    path = made(folder, "qcow2")
    assert image.snapshot_list(str(path)) == []
    assert image.snapshot_create(str(path), "one") is True
    write(path, "qcow2", 0, 1)
    assert [each["name"] for each in image.snapshot_list(str(path))] == ["one"]
    assert image.snapshot_apply(str(path), "one") is True
    assert holds(path, "qcow2")
    assert image.snapshot_delete(str(path), "one") is True
    assert image.snapshot_list(str(path)) == []
    with pytest.raises(CommandExecutionError, match="snapshot"):
        image.snapshot_apply(str(path), "none")


def test_bitmaps(image, folder):
    path = str(made(folder, "qcow2"))
    assert image.bitmap_list(path) == []
    assert image.bitmap_add(path, "daily", granularity="128KiB") is True
    assert image.bitmap_add(path, "weekly", granularity="128KiB") is True
    listed = {each["name"]: each for each in image.bitmap_list(path)}
    assert listed["daily"]["granularity"] == 131072
    assert image.bitmap_merge(path, "weekly", "daily") is True
    assert image.bitmap_disable(path, "daily") is True
    assert image.bitmap_enable(path, "daily") is True
    assert image.bitmap_clear(path, "daily") is True
    assert image.bitmap_remove(path, "daily") is True
    assert [each["name"] for each in image.bitmap_list(path)] == ["weekly"]


def test_a_name_that_a_guest_could_have_written_is_not_followed(image, folder):
    path = folder / "a.raw"
    qcow2_with_backing(path)
    calls = [
        lambda: image.convert(str(path), f"{folder}/b.raw", "raw"),
        lambda: image.dd(str(path), f"{folder}/b.raw", "raw"),
        lambda: image.map(str(path)),
        lambda: image.compare(str(path), str(path)),
        lambda: image.check(str(path)),
    ]
    for call in calls:
        with pytest.raises(CommandExecutionError, match="a guest could have written; say format"):
            call()
    assert image.convert(str(path), f"{folder}/b.raw", "raw", source_format="raw") is True
    assert (folder / "b.raw").read_bytes().startswith(path.read_bytes()[:4096])


def test_a_backing_file_without_a_format_is_not_guessed(image, folder):
    base = made(folder, "raw")
    path = folder / "top.qcow2"
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "raw", path)
    data = path.read_bytes()
    at = data.index(bytes.fromhex("e2792aca"))
    path.write_bytes(data[:at] + bytes(8) + data[at + 8 :])
    with pytest.raises(CommandExecutionError, match="does not say the format of"):
        image.convert(str(path), f"{folder}/b.raw", "raw", source_format="qcow2")


def test_what_a_running_guest_has_open_is_refused(image, run, folder):
    path = made(folder, "qcow2")
    guest = {"name": f"{PREFIX}open", "memory": "32MiB"}
    guest["disks"] = [{"path": str(path), "format": "qcow2"}]
    assert run()("kvm_domain.running", **guest)["result"] is True
    for call in (
        lambda: image.snapshot_create(str(path), "one"),
        lambda: image.bitmap_add(str(path), "one"),
        lambda: image.check(str(path), repair="all"),
    ):
        with pytest.raises(CommandExecutionError, match=f"in use by the running {PREFIX}open"):
            call()
    assert image.map(str(path))
    assert image.resize(str(path), "8MiB") is True


def base(folder, name):
    path = folder / name
    qemu_img("create", "-f", "qcow2", path, "1M")
    write(path, "qcow2", 0, sum(name.encode()) % 255)
    return str(path)


def test_the_store_is_listed_with_who_uses_what(image, make, run, folder):
    make(name=f"{folder}/one.qcow2", format="qcow2", source=base(folder, "base"))
    make(name=f"{folder}/two.raw", source=base(folder, "second"))
    disk = {"path": f"{folder}/one.qcow2", "format": "qcow2"}
    run()("kvm_domain.present", name=f"{PREFIX}uses", memory="32MiB", disks=[disk])
    rows = {row["source"]: row for row in image.store()}
    first = rows[f"{folder}/base"]
    assert first["users"] == [f"domain {PREFIX}uses", f"{folder}/one.qcow2"]
    assert first["path"] == f"{folder}/store/{first['sha256']}/image"
    assert (first["format"], first["virtual_size"]) == ("qcow2", MIB)
    assert rows[f"{folder}/second"]["users"] == []


def test_only_what_nothing_stands_on_is_pruned(image, make, run, folder):
    pool = folder / "pool"
    pool.mkdir()
    make(name=f"{folder}/one.qcow2", format="qcow2", source=base(folder, "first"))
    make(name=f"{folder}/two.raw", source=base(folder, "second"))
    make(name=f"{folder}/far.qcow2", format="qcow2", source=base(folder, "third"))
    make(name=f"{folder}/domain.qcow2", format="qcow2", source=base(folder, "fourth"))
    # An image on an image on the store's, an image that moved into a pool, and one of a domain.
    top = ("-b", f"{folder}/one.qcow2", "-F", "qcow2", f"{folder}/top.qcow2")
    qemu_img("create", "-f", "qcow2", *top)
    os.rename(folder / "far.qcow2", pool / "moved.qcow2")
    made_pool = run()("kvm_pool.running", name=f"{PREFIX}pool", type="dir", path=str(pool))
    assert made_pool["result"] is True, made_pool
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    os.rename(folder / "domain.qcow2", elsewhere / "moved.qcow2")
    disk = {"path": f"{elsewhere}/moved.qcow2", "format": "qcow2"}
    guest = {"name": f"{PREFIX}uses", "memory": "32MiB", "disks": [disk]}
    assert run()("kvm_domain.present", **guest)["result"] is True
    unused = image.prune()
    assert (unused["removed"], unused["kept"]) == (False, 3)
    assert [entry["source"] for entry in unused["entries"]] == [f"{folder}/second"]
    assert len(image.store()) == 4
    pruned = image.prune(remove=True)
    assert {**pruned, "removed": False} == unused
    assert len(image.store()) == 3
    for path in (f"{folder}/top.qcow2", pool / "moved.qcow2", elsewhere / "moved.qcow2"):
        assert told(path)["virtual-size"] == MIB
        chain = ["qemu-img", "info", "--backing-chain", "--output=json", "-U", str(path)]
        assert json.loads(subprocess.check_output(chain))
    virsh("undefine", f"{PREFIX}uses")
    os.unlink(elsewhere / "moved.qcow2")
    assert image.prune()["kept"] == 2
    # It is fetched again where it is wanted again.
    make(name=f"{folder}/again.raw", source=f"{folder}/second")
    assert len(image.store()) == 4


def test_prune_waits_for_the_clone_that_is_just_being_made(image, make, folder, monkeypatch):
    """Between the look for an entry and the note of its clone nothing stands on it."""
    make(name=f"{folder}/one.raw", source=base(folder, "base"), clone="copy")
    (folder / "reached").mkdir()
    add_clone = Entry.add_clone

    def slowly(entry, path):
        (folder / "reached" / "it").touch()
        time.sleep(2)
        add_clone(entry, path)

    def clone():
        monkeypatch.setattr(Entry, "add_clone", slowly)
        make(name=f"{folder}/two.qcow2", format="qcow2", source=f"{folder}/base")

    child = in_child(clone)
    wait_for((folder / "reached" / "it").exists, "the clone")
    pruned = image.prune(remove=True)
    child.join()
    assert (pruned["entries"], pruned["kept"]) == ([], 1)
    check = ["qemu-img", "check", "-q", "-f", "qcow2", f"{folder}/two.qcow2"]
    subprocess.run(check, check=True)


def test_a_clone_on_a_file_system_that_is_not_mounted_counts(image, make, folder):
    place = folder / "place"
    place.mkdir()
    make(name=f"{place}/one.qcow2", format="qcow2", source=base(folder, "first"))
    os.rename(place, folder / "away")
    assert image.store()[0]["users"] == [f"{place}/one.qcow2"]
    assert image.prune(remove=True)["entries"] == []
    (folder / "away" / "one.qcow2").unlink()
    os.rename(folder / "away", place)
    assert len(image.prune(remove=True)["entries"]) == 1
