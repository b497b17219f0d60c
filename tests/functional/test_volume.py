"""Volumes of pools on a real libvirtd."""

import errno
import gzip
import hashlib
import os
import signal
import subprocess
from pathlib import Path

import libvirt
import pytest
from salt.exceptions import CommandExecutionError

from salt_kvm.backend.storage import begun
from salt_kvm.backend.virt import volume_calls
from salt_kvm.backend.virt.hypervisor import Hypervisor

from .conftest import PREFIX, in_child, virsh

POOL = f"{PREFIX}vols"
VOLUME = f"{POOL}/a.qcow2"
MIB = 1024**2


@pytest.fixture
def pool(run, folder):
    """The directory of an active pool."""
    path = folder / "vols"
    made = run()("kvm_pool.running", name=POOL, path=str(path))
    assert made["result"] is True, made["comment"]
    return path


def image_info(path):
    command = ["qemu-img", "info", "-U", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_life_of_a_volume(converge, modules, pool):
    fields = {"name": VOLUME, "format": "qcow2"}
    made = converge("kvm_volume.present", **fields, capacity="3MiB")
    told = {"capacity": "3MiB", "format": "qcow2"}
    assert made["changes"] == {"volume": {"old": None, "new": told}}
    grown = converge("kvm_volume.present", **fields, capacity="5MiB")
    assert grown["changes"] == {"capacity": {"old": "3MiB", "new": "5MiB"}}
    assert "virtual size: 5 MiB" in image_info(pool / "a.qcow2")
    info = modules["kvm_volume.info"](VOLUME)
    assert (info["capacity"], info["format"], info["path"]) == (5 * MIB, "qcow2", f"{pool}/a.qcow2")
    assert modules["kvm_volume.list"](POOL)["a.qcow2"]["capacity"] == 5 * MIB
    assert "<name>a.qcow2</name>" in modules["kvm_volume.xml"](VOLUME)
    gone = converge("kvm_volume.absent", name=VOLUME)
    assert gone["changes"] == {"volume": {"old": "present", "new": None}}
    assert list(pool.iterdir()) == []


@pytest.mark.parametrize("at", ["_find", "_document"])
def test_what_another_run_takes_away_meanwhile_is_not_there(pool, libvirtd, monkeypatch, at):
    """Each state asks where the disks of every guest are, those of other runs too."""
    virsh("vol-create-as", POOL, "a", "1M")
    hypervisor, step = Hypervisor(libvirtd), getattr(volume_calls, at)
    find = Hypervisor.find

    def take_away():
        virsh("pool-destroy", POOL)
        virsh("pool-undefine", POOL)

    def found(self, kind, name):
        pool = find(self, kind, name)
        take_away()
        return pool

    def document(*arguments):
        take_away()
        return step(*arguments)

    if at == "_find":
        monkeypatch.setattr(Hypervisor, "find", found)
    else:
        monkeypatch.setattr(volume_calls, at, document)
    assert volume_calls.read(hypervisor, POOL, "a") == (at == "_document", None)


@pytest.mark.parametrize("size", [1, 4096, 262_143, 262_145, 300_000, 1_000_000])
def test_a_source_of_any_size_arrives_whole(run, pool, folder, size):
    """Data without holes, of no round size, and with a hole before and behind it."""
    data = os.urandom(size)
    for name, parts in (("a", (data, 0)), ("b", (b"\0" * MIB + data, 0)), ("c", (data, MIB))):
        body, hole = parts
        with (folder / name).open("wb") as file:
            file.seek(len(body) - size)
            file.write(data)
            file.truncate(len(body) + hole)
        made = run()("kvm_volume.present", name=f"{POOL}/{name}", source=f"{folder}/{name}")
        assert made["result"] is True, made["comment"]
        assert (pool / name).read_bytes() == body + b"\0" * hole
    made = run()("kvm_volume.present", name=f"{POOL}/d", source=f"{folder}/c", capacity="4MiB")
    assert made["result"] is True, made["comment"]
    assert (pool / "d").read_bytes() == (data + b"\0" * MIB).ljust(4 * MIB, b"\0")


@pytest.mark.parametrize("format", ["raw", "qcow2", "qed", "vmdk", "vdi", "vpc"])
@pytest.mark.parametrize(
    "spellings",
    [
        ("1GiB", "1024MiB", "1G", 1024**3, "1073741824B"),
        ("1000001", "1000001B", 1000001),
        ("10MB", 10_000_000),
    ],
)
def test_every_spelling_of_a_capacity_converges(run, converge, pool, format, spellings):
    fields = {"name": VOLUME, "format": format}
    converge("kvm_volume.present", **fields, capacity=spellings[0])
    for spelling in spellings:
        told = run()("kvm_volume.present", **fields, capacity=spelling)
        assert (told["result"], told["changes"]) == (True, {}), (spelling, told["comment"])


def test_shrinking_is_refused_unless_asked_for(run, converge, pool):
    for name, format in (("a.raw", "raw"), ("a.qcow2", "qcow2")):
        fields = {"name": f"{POOL}/{name}", "format": format}
        assert run()("kvm_volume.present", **fields, capacity="4MiB")["result"] is True
        for test in (True, False):
            told = run(test=test)("kvm_volume.present", **fields, capacity="2MiB")
            assert told["result"] is False
            assert "has 4MiB and 2MiB is declared" in told["comment"]
            assert "shrink: true" in told["comment"]
        converge("kvm_volume.present", **fields, capacity="2MiB", shrink=True)


def test_what_a_volume_holds_is_never_rewritten(run, pool, folder):
    (folder / "base.raw").write_bytes(b"\0" * MIB)
    assert run()("kvm_volume.present", name=VOLUME, format="qcow2", capacity="1MiB")["result"]
    was = (pool / "a.qcow2").read_bytes()
    for more, told in (
        ({"format": "raw"}, "target/format/@type 'qcow2' and 'raw' is declared"),
        (
            {"format": "qcow2", "backing": {"path": f"{folder}/base.raw", "format": "raw"}},
            "has backingStore None",
        ),
    ):
        refused = run()("kvm_volume.present", name=VOLUME, capacity="1MiB", **more)
        assert refused["result"] is False
        assert told in refused["comment"]
    assert (pool / "a.qcow2").read_bytes() == was


def test_a_backing_image(run, converge, pool, folder):
    """The overlay takes its size; neither is removed or cut off under the other."""
    base = f"{POOL}/base.raw"
    converge("kvm_volume.present", name=base, capacity="2MiB")
    backing = {"path": f"{pool}/base.raw", "format": "raw"}
    converge("kvm_volume.present", name=VOLUME, format="qcow2", backing=backing)
    assert f"backing file: {pool}/base.raw" in image_info(pool / "a.qcow2")
    told = run()("kvm_volume.absent", name=base)
    assert told["result"] is False
    assert f"{pool}/a.qcow2 stands on {pool}/base.raw" in told["comment"]
    told = run()("kvm_volume.present", name=base, capacity="1MiB", shrink=True)
    assert (told["result"], told["changes"]) == (False, {})
    assert f"{pool}/a.qcow2 stands on {pool}/base.raw" in told["comment"]
    backing["path"] = f"{folder}/no.raw"
    told = run()("kvm_volume.present", name=f"{POOL}/b.qcow2", format="qcow2", backing=backing)
    assert "no.raw is not there" in told["comment"]


def test_permissions_are_mended(converge, pool):
    fields = {"name": VOLUME, "format": "qcow2", "capacity": "1MiB"}
    fields["permissions"] = {"owner": "nobody", "group": 65534, "mode": "0640"}
    converge("kvm_volume.present", **fields)
    path = pool / "a.qcow2"
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (
        65534,
        65534,
        0o640,
    )
    path.chmod(0o600)
    mended = converge("kvm_volume.present", **fields)
    assert mended["changes"] == {"target/permissions/mode": {"old": "0600", "new": "0640"}}


def test_a_source_is_uploaded_with_its_holes(run, converge, pool, folder):
    source = folder / "source.raw"
    with source.open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(8 * MIB)
        file.write(b"middle" * 1000)
        file.seek(60 * MIB)
        file.write(b"end")
    name = f"{POOL}/up.raw"
    made = converge("kvm_volume.present", name=name, source=str(source))
    assert made["changes"]["volume"]["new"] == {"capacity": "64MiB", "source": str(source)}
    assert (pool / "up.raw").read_bytes() == source.read_bytes()
    assert (pool / "up.raw").stat().st_blocks * 512 < 4 * MIB
    # It is the contents of a new volume; what the guest writes is not taken back.
    source.write_bytes(b"other")
    assert run()("kvm_volume.present", name=name, source=str(source))["changes"] == {}
    converge("kvm_volume.absent", name=name)
    converge("kvm_volume.present", name=name, source=str(source), capacity="1MiB")
    assert (pool / "up.raw").read_bytes() == b"other".ljust(MIB, b"\0")


def test_a_qcow2_source_grows_to_the_capacity(run, converge, pool, folder):
    source = folder / "source.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(source), "2M"], check=True)
    write = ["qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", str(source)]
    subprocess.run(write, check=True, capture_output=True)
    fields = {"name": VOLUME, "format": "qcow2", "source": str(source)}
    told = run()("kvm_volume.present", **fields, capacity="1MiB")
    assert f"{source} has 2MiB, more than 1MiB" in told["comment"]
    converge("kvm_volume.present", **fields, capacity="5MiB")
    assert "virtual size: 5 MiB" in image_info(pool / "a.qcow2")
    read = ["qemu-io", "-f", "qcow2", "-c", "read -P 7 1M 64k", str(pool / "a.qcow2")]
    told = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert "verification failed" not in told


def test_a_source_that_is_not_what_it_is_declared_to_be_is_refused(run, pool, folder):
    (folder / "secret.raw").write_bytes(b"s" * MIB)
    hostile = folder / "hostile.qcow2"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", f"{folder}/secret.raw", "-F", "raw"]
    subprocess.run([*command, str(hostile)], check=True)
    told = run()("kvm_volume.present", name=VOLUME, format="qcow2", source=str(hostile))
    assert f"names another file, {folder}/secret.raw" in told["comment"]
    told = run()("kvm_volume.present", name=VOLUME, source=str(hostile))
    assert told["result"] is False
    told = run()("kvm_volume.present", name=VOLUME, format="qcow2", source=f"{folder}/secret.raw")
    assert "secret.raw is a raw image" in told["comment"]
    assert list(pool.iterdir()) == []


def test_a_guest_uses_a_volume(run, converge, pool, guest):
    """By path and by name, running and not, it can be grown and not be removed or wiped."""
    fields = {"name": VOLUME, "format": "qcow2", "capacity": "4MiB"}
    assert run()("kvm_volume.present", **fields)["result"] is True
    path = f"{pool}/a.qcow2"
    for disk in (
        {"path": path, "format": "qcow2"},
        {"volume": {"pool": POOL, "volume": "a.qcow2"}, "format": "qcow2"},
    ):
        made = run()("kvm_domain.running", **{**guest, "disks": [disk]})
        assert made["result"] is True, made["comment"]
        fields["capacity"] = {"4MiB": "6MiB", "6MiB": "8MiB"}[fields["capacity"]]
        grown = converge("kvm_volume.present", **fields)
        assert set(grown["changes"]) == {"capacity"}
        told = run()("kvm_volume.present", **{**fields, "capacity": "1MiB", "shrink": True})
        assert f"in use by the running {guest['name']}" in told["comment"]
        for state in ("absent", "wiped"):
            told = run()(f"kvm_volume.{state}", name=VOLUME)
            assert (told["result"], told["changes"]) == (False, {})
            assert f"volume {VOLUME} is in use by" in told["comment"]
        twin = {**guest, "name": f"{PREFIX}twin", "disks": [disk]}
        told = run()("kvm_domain.present", **twin)
        assert f"in use by {guest['name']}" in told["comment"]
        virsh("destroy", guest["name"])
        told = run()("kvm_volume.absent", name=VOLUME)
        assert f"volume {VOLUME} is in use by {guest['name']}" in told["comment"]
    virsh("undefine", guest["name"])
    converge("kvm_volume.absent", name=VOLUME)


def test_a_bare_host_is_foretold(run, folder, guest):
    """A pool, a volume in it and a guest on that: each counts for the next one."""
    path = str(folder / "vols")
    disk = {"volume": {"pool": POOL, "volume": "a.raw"}}
    missing = {**guest, "disks": [disk]}
    told = run()("kvm_domain.present", **missing)
    assert f"there is no pool {POOL!r}; declare it under kvm:volumes" in told["comment"]
    dry = run(test=True)
    states = [
        ("kvm_pool.running", {"name": POOL, "path": path}),
        ("kvm_volume.present", {"name": f"{POOL}/a.raw", "capacity": "1MiB"}),
        ("kvm_domain.running", missing),
    ]
    told = [dry(function, **fields) for function, fields in states]
    assert [each["result"] for each in told] == [None] * 3, told
    real = run()
    for (function, fields), foretold in zip(states, told, strict=True):
        made = real(function, **fields)
        assert made["result"] is True, made["comment"]
        assert made["changes"] == foretold["changes"]
    # By its path it counts as well.
    virsh("destroy", guest["name"])
    virsh("undefine", guest["name"])
    virsh("vol-delete", "a.raw", "--pool", POOL)
    dry = run(test=True)
    dry("kvm_volume.present", name=f"{POOL}/a.raw", capacity="1MiB")
    told = dry("kvm_domain.running", **{**guest, "disks": [{"path": f"{path}/a.raw"}]})
    assert told["result"] is None, told["comment"]


def test_what_libvirt_does_not_know_and_what_is_gone(converge, run, pool):
    """A file that came without libvirt is the volume; one that went without it is made anew."""
    (pool / "a.raw").write_bytes(b"data" * 1000)
    known = converge("kvm_volume.present", name=f"{POOL}/a.raw", capacity="1MiB")
    assert known["changes"] == {
        "volume": {"old": "unknown to libvirt", "new": "known"},
        "capacity": {"old": "4000B", "new": "1MiB"},
    }
    assert (pool / "a.raw").read_bytes() == (b"data" * 1000).ljust(MIB, b"\0")
    (pool / "a.raw").unlink()
    made = converge("kvm_volume.present", name=f"{POOL}/a.raw", capacity="1MiB")
    assert set(made["changes"]) == {"volume"}
    (pool / "b.raw").write_bytes(b"data")
    converge("kvm_volume.absent", name=f"{POOL}/b.raw")
    assert not (pool / "b.raw").exists()


def test_wiped(run, converge, pool):
    path = pool / "a.raw"
    converge("kvm_volume.present", name=f"{POOL}/a.raw", capacity="4MiB", allocation="4MiB")
    assert run()("kvm_volume.wiped", name=f"{POOL}/a.raw")["changes"] == {}
    with path.open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"secret")
    wiped = converge("kvm_volume.wiped", name=f"{POOL}/a.raw")
    assert wiped["changes"] == {"contents": {"old": "data", "new": "zeros"}}
    assert path.read_bytes() == b"\0" * 4 * MIB
    told = run()("kvm_volume.wiped", name=f"{POOL}/no.raw")
    assert "there is no volume" in told["comment"]


def test_a_pool_that_is_off_or_not_there(run, converge, folder):
    for test in (True, False):
        told = run(test=test)("kvm_volume.present", name=VOLUME, capacity="1MiB")
        assert f"there is no pool {POOL!r}; declare it under kvm:pools" in told["comment"]
        assert run(test=test)("kvm_volume.absent", name=VOLUME)["result"] is True
    run()("kvm_pool.present", name=POOL, path=str(folder / "vols"))
    told = run()("kvm_volume.present", name=VOLUME, capacity="1MiB")
    assert f"the pool {POOL!r} is not active" in told["comment"]
    told = run()("kvm_volume.absent", name=VOLUME)
    assert "can't be seen while it is off" in told["comment"]
    told = run()("kvm_volume.present", name="nopool", capacity="1MiB")
    assert "'nopool' is no volume; write pool/volume" in told["comment"]


def test_a_volume_costs_the_same_in_a_full_pool(run, pool, monkeypatch):
    """A converged state asks libvirt the same among 1,000 volumes as among 10."""
    assert run()("kvm_volume.present", name=f"{POOL}/a.raw", capacity="1MiB")["result"] is True
    calls = []
    for name in dir(libvirt.libvirtmod):
        if name.startswith("vir") and not name.startswith(("virGet", "virErr", "virEvent")):
            call = getattr(libvirt.libvirtmod, name)
            monkeypatch.setattr(
                libvirt.libvirtmod, name, lambda *a, n=name, c=call: (calls.append(n), c(*a))[1]
            )
    asked = []
    for number in (10, 1000):
        for index in range(number):
            with (pool / f"{index}.raw").open("wb") as file:
                file.truncate(4096)
        virsh("pool-refresh", POOL)
        calls.clear()
        told = run()("kvm_volume.present", name=f"{POOL}/a.raw", capacity="1MiB")
        assert (told["result"], told["changes"]) == (True, {}), told
        asked.append(sorted(calls))
    assert asked[0] == asked[1]
    assert len(asked[0]) <= 8, asked[0]


def test_functions_by_hand(run, modules, pool, folder, guest):
    name, copy = f"{POOL}/a.raw", f"{POOL}/copy.raw"
    assert run()("kvm_volume.present", name=name, capacity="1MiB")["result"] is True
    contents = b"hello".ljust(MIB, b"\0")
    (folder / "in").write_bytes(contents)
    assert modules["kvm_volume.upload"](name, f"{folder}/in") is True
    assert modules["kvm_volume.clone"](name, copy) is True
    assert modules["kvm_volume.resize"](copy, "2MiB") is True
    assert modules["kvm_volume.resize"](copy, "2MiB") is False
    assert modules["kvm_volume.download"](copy, f"{folder}/out") is True
    assert (folder / "out").read_bytes() == contents.ljust(2 * MIB, b"\0")
    with pytest.raises(CommandExecutionError, match="something is there already"):
        modules["kvm_volume.download"](copy, f"{folder}/out")
    assert modules["kvm_volume.wipe"](copy) is True
    assert (pool / "copy.raw").read_bytes() == b"\0" * 2 * MIB
    # What it held does not stay in the holes of what is written over it.
    (pool / "copy.raw").write_bytes(b"x" * 2 * MIB)
    with (folder / "holes").open("wb") as file:
        file.write(b"one")
        file.truncate(MIB)
    assert modules["kvm_volume.upload"](copy, f"{folder}/holes") is True
    written = b"one".ljust(MIB, b"\0") + b"x" * MIB
    assert (pool / "copy.raw").read_bytes() == written
    plan = modules["kvm_volume.plan"](copy, capacity="3MiB")
    assert plan["changes"] == {"capacity": {"old": "2MiB", "new": "3MiB"}}
    disks = [{"volume": {"pool": POOL, "volume": "a.raw"}}]
    made = run()("kvm_domain.running", **{**guest, "disks": disks})
    assert made["result"] is True, made["comment"]
    for function, arguments in (
        ("upload", (name, f"{folder}/in")),
        ("wipe", (name,)),
        ("clone", (name, f"{POOL}/other.raw")),
    ):
        with pytest.raises(CommandExecutionError, match="is in use by the running"):
            modules[f"kvm_volume.{function}"](*arguments)
    with pytest.raises(CommandExecutionError, match="there is no volume"):
        modules["kvm_volume.info"](f"{POOL}/no.raw")
    with pytest.raises(CommandExecutionError, match="no way to wipe"):
        modules["kvm_volume.wipe"](copy, algorithm="fire")


def test_a_source_from_the_store(run, converge, pool, folder):
    """Compressed, or with a checksum: fetched once, checked, and uploaded."""
    contents = b"web" * 100_000
    (folder / "web.raw.gz").write_bytes(gzip.compress(contents))
    digest = hashlib.sha256((folder / "web.raw.gz").read_bytes()).hexdigest()
    for name, more in (("a.raw", {}), ("b.raw", {"source_hash": digest})):
        fields = {"name": f"{POOL}/{name}", "source": f"{folder}/web.raw.gz", **more}
        converge("kvm_volume.present", **fields)
        assert (pool / name).read_bytes() == contents
    told = run()(
        "kvm_volume.present",
        name=f"{POOL}/c.raw",
        source=f"{folder}/web.raw.gz",
        source_hash=digest[::-1],
    )
    assert told["result"] is False
    assert "is declared; it is cut off, or another file" in told["comment"]
    told = run()("kvm_volume.present", name=f"{POOL}/c.raw", source="https://example.com/a.raw")
    assert "'source_hash' is needed with a 'source' from elsewhere" in told["comment"]
    told = run()(
        "kvm_volume.present", name=f"{POOL}/c.raw", source=f"{folder}/web.raw.gz", capacity="1MB",
        format="qcow2",
    )  # fmt: skip
    assert f"is a raw image, but volume {POOL}/c.raw is declared as qcow2" in told["comment"]
    told = run()(
        "kvm_volume.present", name=f"{POOL}/c.raw", source=f"{folder}/web.raw.gz", capacity="1KiB"
    )
    assert "more than the declared 1KiB" in told["comment"]
    assert not (pool / "c.raw").exists()


def test_a_pool_that_runs_full_leaves_no_half_volume(run, converge, folder):
    """An 8 MiB file system of its own, and a source that does not fit."""
    image, mount = folder / "small", folder / "mnt"
    with image.open("wb") as file:
        file.truncate(8 * MIB)
    mount.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    try:
        assert run()("kvm_pool.running", name=POOL, path=str(mount))["result"] is True
        (folder / "large.raw").write_bytes(b"x" * 16 * MIB)
        fields = {"name": f"{POOL}/a.raw", "source": f"{folder}/large.raw"}
        for _ in range(2):
            told = run()("kvm_volume.present", **fields)
            assert told["result"] is False
            assert "MiB free and 16 MiB are needed" in told["comment"]
            assert "Nothing was left changed" in told["comment"]
            assert {path.name for path in mount.iterdir()} == {"lost+found"}
        fields["allocation"] = "16MiB"
        del fields["source"]
        told = run()("kvm_volume.present", **fields, capacity="16MiB")
        assert told["result"] is False
        assert {path.name for path in mount.iterdir()} == {"lost+found"}
        (folder / "large.raw").write_bytes(b"x" * MIB)
        converge("kvm_volume.present", name=f"{POOL}/a.raw", source=f"{folder}/large.raw")
    finally:
        virsh("pool-destroy", POOL)
        subprocess.run(["umount", str(mount)], check=True)


def test_a_volume_by_name_counts_for_images_too(run, pool, guest):
    """One guest has it by its pool's and its own name; nobody else gets its file, by any way."""
    path = f"{pool}/a.raw"
    assert run()("kvm_volume.present", name=f"{POOL}/a.raw", capacity="1MiB")["result"] is True
    disks = [{"volume": {"pool": POOL, "volume": "a.raw"}}]
    made = run()("kvm_domain.running", **{**guest, "disks": disks})
    assert made["result"] is True, made["comment"]
    twin = {**guest, "name": f"{PREFIX}twin", "disks": [{"path": path}]}
    told = run()("kvm_domain.present", **twin)
    assert f"{path} is in use by {guest['name']}" in told["comment"]
    told = run()("kvm_image.absent", name=path)
    assert f"{path} is in use by the running {guest['name']}" in told["comment"]
    told = run()(
        "kvm_image.present",
        name=f"{pool}/b.qcow2",
        format="qcow2",
        backing=path,
        backing_format="raw",
    )
    assert f"{path} is written by {guest['name']}" in told["comment"]


@pytest.mark.parametrize("after", [0, 3 * MIB])
def test_a_run_that_is_killed_leaves_nothing_that_counts_as_whole(
    run, converge, pool, folder, monkeypatch, after
):
    """While it uploads; a volume that somebody made in that place meanwhile is left alone."""
    data = os.urandom(8 * MIB)
    (folder / "web.raw").write_bytes(data)
    fields = {"name": f"{POOL}/a.raw", "source": f"{folder}/web.raw"}

    def killed():
        sent = []
        upload = volume_calls.upload

        def cut(hypervisor, pool, name, file, count, **more):
            def counted(length):
                sent.append(length)
                if sum(sent) > after:
                    os.kill(os.getpid(), signal.SIGKILL)

            upload(hypervisor, pool, name, file, counted, **more)

        monkeypatch.setattr(volume_calls, "upload", cut)
        run()("kvm_volume.present", **fields)

    def kill_one():
        child = in_child(killed)
        child.join()
        assert child.exitcode == -signal.SIGKILL

    kill_one()
    assert (pool / "a.raw").read_bytes() != data
    made = converge("kvm_volume.present", **fields)
    assert set(made["changes"]) == {"volume"}
    assert (pool / "a.raw").read_bytes() == data
    virsh("vol-delete", "a.raw", "--pool", POOL)
    kill_one()
    virsh("vol-delete", "a.raw", "--pool", POOL)
    virsh("vol-create-as", POOL, "b.raw", "1M")
    (pool / "b.raw").rename(pool / "a.raw")
    (pool / "a.raw").write_bytes(b"mine" * 1000)
    virsh("pool-refresh", POOL)
    told = run()("kvm_volume.present", **fields)
    assert (told["result"], told["changes"]) == (True, {})
    assert (pool / "a.raw").read_bytes() == b"mine" * 1000
    converge("kvm_volume.absent", name=fields["name"])
    assert [path for path in Path(begun.FOLDER).iterdir() if POOL in path.name] == []


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", ["directory", "special file", "link to nowhere"])
def test_what_is_no_file_is_no_volume(run, pool, kind, known):
    """A directory is one of libvirt's volumes, which nothing is stored in."""
    make = {"directory": os.mkdir, "special file": os.mkfifo}
    make.get(kind, lambda path: path.symlink_to("nowhere"))(pool / "a")
    if known:
        virsh("pool-refresh", POOL)
    for test in (True, False):
        told = run(test=test)("kvm_volume.present", name=f"{POOL}/a", capacity="1MiB")
        assert (told["result"], told["changes"]) == (False, {})
        assert f"is a {kind}" in told["comment"]


def test_a_run_that_is_killed_where_a_file_takes_no_mark(run, converge, pool, folder, monkeypatch):
    """As in a pool over NFS: half a volume is not taken for whole, nor for sure what is to go."""
    data = os.urandom(4 * MIB)
    (folder / "web.raw").write_bytes(data)
    fields = {"name": f"{POOL}/a.raw", "source": f"{folder}/web.raw"}

    def refused(*_arguments):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    def killed():
        monkeypatch.setattr(os, "setxattr", refused)
        upload = volume_calls.upload

        def cut(hypervisor, pool, name, file, count, **more):
            upload(hypervisor, pool, name, file, count, **more)
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(volume_calls, "upload", cut)
        run()("kvm_volume.present", **fields)

    child = in_child(killed)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    for test in (True, False):
        told = run(test=test)("kvm_volume.present", **fields)
        assert (told["result"], told["changes"]) == (False, {}), told
        assert "may be what a run that was killed had begun" in told["comment"]
    # Another file of that name is none of it.
    (pool / "b.raw").write_bytes(b"mine" * 1000)
    (pool / "b.raw").rename(pool / "a.raw")
    virsh("pool-refresh", POOL)
    assert run()("kvm_volume.present", **fields)["changes"] == {}
    converge("kvm_volume.absent", name=fields["name"])
    assert [path for path in Path(begun.FOLDER).iterdir() if POOL in path.name] == []


@pytest.mark.parametrize("format", ["raw", "qcow2", "vmdk"])
def test_a_run_that_is_killed_before_it_marks_what_it_has_made(
    run, converge, pool, folder, monkeypatch, format
):
    """It had written nothing: the next run makes the volume anew, unless that holds something."""
    source = folder / "source"
    subprocess.run(["qemu-img", "create", "-q", "-f", format, str(source), "4M"], check=True)
    write = ["qemu-io", "-f", format, "-c", "write -P 7 1M 64k", str(source)]
    subprocess.run(write, check=True, capture_output=True)
    fields = {"name": f"{POOL}/a", "format": format, "source": str(source)}

    def killed():
        monkeypatch.setattr(begun, "_mark", lambda document: os.kill(os.getpid(), signal.SIGKILL))
        run()("kvm_volume.present", **fields)

    def kill_one():
        child = in_child(killed)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert (pool / "a").exists()

    kill_one()
    made = converge("kvm_volume.present", **fields)
    assert set(made["changes"]) == {"volume"}
    assert (pool / "a").read_bytes() == source.read_bytes()
    converge("kvm_volume.absent", name=f"{POOL}/a")
    kill_one()
    (pool / "a").write_bytes(source.read_bytes())
    virsh("pool-refresh", POOL)
    told = run()("kvm_volume.present", **fields)
    assert (told["result"], told["changes"]) == (True, {}), told
    converge("kvm_volume.wiped", name=f"{POOL}/a")
    assert [path for path in Path(begun.FOLDER).iterdir() if POOL in path.name] == []
