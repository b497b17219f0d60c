"""Images from elsewhere: fetched once, checked, kept once, and cloned."""

import bz2
import codecs
import errno
import gzip
import hashlib
import http.server
import json
import lzma
import multiprocessing
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from salt_kvm.backend.client import Client
from salt_kvm.backend.storage import store as backend
from salt_kvm.backend.system import command, copying, temporary
from salt_kvm.backend.system.progress import Progress, silent
from salt_kvm.errors import ApplyError
from waiting import SECONDS

from .conftest import PREFIX, in_child
from .test_image_change import MIB, holds, qemu_img, told, write
from .test_image_untrusted import CRAFTED

FORK = multiprocessing.get_context("fork")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; ``cut/NAME`` breaks off in the middle, ``slow/NAME`` takes its time.

    ``crawl/NAME`` takes more of it; ``mute/NAME`` does not tell how large it is.
    """

    def do_HEAD(self):
        if self.path.startswith("/mute/"):
            self.send_error(405)
            return
        how, _, name = self.path.strip("/").partition("/")
        self.path = f"/{name or how}"
        super().do_HEAD()

    def do_GET(self):
        self.server.asked.append(self.path)
        how, _, name = self.path.strip("/").partition("/")
        if not name:
            super().do_GET()
            return
        if not (Path(self.directory) / name).is_file():
            self.send_error(404)
            return
        data = (Path(self.directory) / name).read_bytes()
        self.send_response(200)
        if how != "mute":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        half = len(data) // 2
        self.wfile.write(data[:half])
        self.wfile.flush()
        if how != "cut":
            time.sleep({"slow": 0.5, "crawl": 3.0}.get(how, 0))
            self.wfile.write(data[half:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web(folder):
    """A web server on this machine: its folder, its address, and what it was asked for."""
    root = folder / "www"
    root.mkdir()

    def handler(*arguments):
        return Handler(*arguments, directory=str(root))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield SimpleNamespace(root=root, address=address, asked=server.asked)
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(folder, opts, monkeypatch):
    """The folder of a store of this test's own."""
    monkeypatch.setitem(opts, "kvm.store", f"{folder}/store")
    return folder / "store"


def begun_and_killed(folder):
    """Leave what a killed run leaves: a folder with a file, and a file; return their names."""

    def begin():
        Path(temporary.begin(str(folder))).touch()
        inner = Path(temporary.begin(str(folder)))
        inner.mkdir()
        (inner / "a.qcow2").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    before = set(os.listdir(folder))
    in_child(begin).join()
    left = set(os.listdir(folder)) - before
    assert len(left) == 2
    return left


def test_what_killed_runs_had_begun_is_swept(run, folder, store, monkeypatch):
    """Those of a run that lives stay, and those of another host that shares the folder."""
    # Runs of other tests at the same time would sweep too.
    records = folder / "records"
    records.mkdir()
    monkeypatch.setattr(temporary, "FOLDER", str(records))
    begun_and_killed(folder)
    (folder / ".salt-kvm-4194999-other").mkdir()
    noise(folder / "base.raw", MIB)
    fields = {"name": f"{folder}/a.qcow2", "format": "qcow2", "source": f"{folder}/base.raw"}
    with temporary.name(str(folder)) as living:
        Path(living).touch()
        kept = {"a.qcow2", "base.raw", "store", "records", ".salt-kvm-4194999-other"}
        kept.add(Path(living).name)
        assert run()("kvm_image.present", **fields)["result"] is True
        assert set(os.listdir(folder)) == kept
        # A run that finds nothing to do sweeps too, and a dry one does not.
        begun = begun_and_killed(folder)
        assert run(test=True)("kvm_image.present", **fields)["result"] is True
        assert set(os.listdir(folder)) == kept | begun
        assert run()("kvm_image.present", **fields)["changes"] == {}
        assert set(os.listdir(folder)) == kept


@pytest.fixture
def base(web):
    """A qcow2 image with two patterns, as its server has it."""
    path = web.root / "base.qcow2"
    qemu_img("create", "-f", "qcow2", path, "4M")
    write(path, "qcow2")
    write(path, "qcow2", 2 * MIB, 0x33)
    return path


def sha(path, algorithm="sha256"):
    return hashlib.new(algorithm, Path(path).read_bytes()).hexdigest()


def entries(store):
    """The whole entries of a store; there must be nothing else but its links."""
    names = [name for name in os.listdir(store) if name != "by"] if store.exists() else []
    assert [name for name in names if len(name) != 64] == []
    return names


def whole(path, format):
    return holds(path, format) and holds(path, format, 2 * MIB, 0x33)


COMPRESS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: (
        subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout
    ),
}


@pytest.mark.parametrize("compression", [None, *COMPRESS])
@pytest.mark.parametrize("format", ["qcow2", "raw"])
def test_an_image_comes_from_a_web_server(converge, folder, web, store, base, format, compression):
    if compression == "zst" and shutil.which("zstd") is None:
        pytest.skip("no zstd on this machine")
    served = base
    if compression is not None:
        served = base.with_name(f"base.{compression}")
        served.write_bytes(COMPRESS[compression](base.read_bytes()))
    path = folder / "a.img"
    source = {"source": f"{web.address}/{served.name}", "source_hash": sha(served)}
    answer = converge("kvm_image.present", name=str(path), format=format, **source)
    assert answer["changes"]["image"]["new"]["source"] == source["source"]
    assert told(path)["format"] == format
    assert whole(path, format)
    assert entries(store) == [sha(served)]
    assert web.asked == [f"/{served.name}"]
    assert (store / sha(served) / "image").read_bytes() == base.read_bytes()


HASHES = {
    "bare": lambda digest: digest,
    "named": lambda digest: f"{digest}  base.qcow2\n",
    "binary": lambda digest: f"{'0' * 64} *other\n{digest} *base.qcow2\n",
    "here": lambda digest: f"{digest}  ./base.qcow2\n",
    "bsd": lambda digest: f"SHA256 (base.qcow2) = {digest}\n",
    # As editors and shells of Windows write it.
    "marked": lambda digest: codecs.BOM_UTF8 + f"{digest}  base.qcow2\r\n".encode(),
    "wide": lambda digest: f"{digest}  base.qcow2\r\n".encode("utf-16"),
}


@pytest.mark.parametrize("kind", HASHES)
def test_the_checksum_stands_in_a_file(converge, folder, web, store, base, kind):
    made = HASHES[kind](sha(base))
    (web.root / "SUMS").write_bytes(made.encode() if isinstance(made, str) else made)
    source = {"source": f"{web.address}/base.qcow2", "source_hash": f"{web.address}/SUMS"}
    converge("kvm_image.present", name=f"{folder}/a.qcow2", format="qcow2", **source)
    assert whole(folder / "a.qcow2", "qcow2")


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha384", "sha512"])
def test_an_entry_is_found_by_any_checksum(run, folder, web, store, base, algorithm):
    source = {"source": f"{web.address}/base.qcow2", "source_hash": sha(base, algorithm)}
    for name in ("a", "b"):
        fields = {"name": f"{folder}/{name}.qcow2", "format": "qcow2", **source}
        assert run()("kvm_image.present", **fields)["result"] is True
    assert web.asked == ["/base.qcow2"]
    assert entries(store) == [sha(base)]


def failing(run, folder, store, words, **fields):
    """A run that fails, says why and leaves nothing; return what it said."""
    path = folder / "failing.img"
    answer = run()("kvm_image.present", name=str(path), **fields)
    assert answer["result"] is False, answer
    assert answer["changes"] == {}
    assert words in answer["comment"], answer["comment"]
    assert not path.exists()
    return True


def test_a_wrong_checksum_is_told(run, folder, web, store, base):
    source = {"format": "qcow2", "source": f"{web.address}/base.qcow2"}
    wrong = "0" * 64
    words = f"has the sha256 checksum {sha(base)}, and {wrong} is declared"
    assert failing(run, folder, store, words, source_hash=wrong, **source)
    (web.root / "SUMS").write_text(f"{sha(base)}  other.qcow2\n")
    words = "SUMS has no checksum of base.qcow2; correct source_hash"
    assert failing(run, folder, store, words, source_hash=f"{web.address}/SUMS", **source)
    words = "/none can't be fetched"
    assert failing(run, folder, store, words, source_hash=f"{web.address}/none", **source)
    assert failing(run, folder, store, "'source_hash' is needed with a 'source'", **source)


def test_a_download_that_breaks_off_is_told_and_made_good(run, folder, web, store, base):
    digest = {"format": "qcow2", "source_hash": sha(base)}
    for address, words in (
        ("cut/base.qcow2", "base.qcow2 can't be fetched"),
        ("none.qcow2", "none.qcow2 can't be"),
    ):
        assert failing(run, folder, store, words, source=f"{web.address}/{address}", **digest)
    fields = {"name": f"{folder}/a.qcow2", "source": f"{web.address}/base.qcow2", **digest}
    assert run()("kvm_image.present", **fields)["result"] is True
    assert whole(folder / "a.qcow2", "qcow2")


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_compressed_file_that_is_cut_off_is_told(run, folder, web, store, base, compression):
    served = web.root / f"base.{compression}"
    served.write_bytes(COMPRESS[compression](base.read_bytes())[:-40])
    source = {"source": f"{web.address}/{served.name}", "source_hash": sha(served)}
    assert failing(run, folder, store, "is cut off or damaged", format="raw", **source)


def test_a_compressed_file_with_a_flipped_bit_is_told(tmp_path):
    """Most of these end in what zlib says, which is no OSError."""
    packed = gzip.compress(b"a text that can be compressed " * 10_000 + os.urandom(3000))
    source = tmp_path / "a.gz"
    for at in range(20, len(packed) - 8, len(packed) // 50):
        source.write_bytes(packed[:at] + bytes([packed[at] ^ 0x10]) + packed[at + 1 :])
        with pytest.raises(ApplyError, match="is cut off or damaged"):
            copying.take(str(source), str(tmp_path / f"{at}"), set(), Progress("", None, silent))


def test_a_program_does_not_wait_for_what_cannot_be_read(tmp_path, monkeypatch):
    packed = subprocess.run(["zstd"], input=os.urandom(4 * MIB), capture_output=True, check=True)
    (tmp_path / "a.zst").write_bytes(packed.stdout)
    read = copying.Hashing.read
    parts = []

    def fails(self, size=-1):
        parts.append(size)
        if len(parts) > 2:
            raise OSError(errno.EIO, "Input/output error")
        return read(self, size)

    monkeypatch.setattr(copying.Hashing, "read", fails)
    with pytest.raises(OSError, match="Input/output"):
        copying.take(f"{tmp_path}/a.zst", f"{tmp_path}/a", set(), Progress("", None, silent))


MAKES = {
    "directory": os.mkdir,
    "special file": os.mkfifo,
    "block device": lambda path: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 200)),
}


@pytest.mark.parametrize("kind", MAKES)
def test_what_is_no_image_is_no_source(run, folder, store, kind):
    source = folder / "source"
    MAKES[kind](source)
    for test in (True, False):
        answer = run(test=test)("kvm_image.present", name=f"{folder}/a.raw", source=str(source))
        assert (answer["result"], answer["changes"]) == (False, {})
        assert f"{source} is a {kind}" in answer["comment"]


def test_a_checksum_file_that_is_not_there_is_told_by_a_dry_run_too(run, folder, store, base):
    hash = {"source": str(base), "source_hash": f"{folder}/SUMS"}
    for test in (True, False):
        answer = run(test=test)("kvm_image.present", name=f"{folder}/a.qcow2", **hash)
        assert (answer["result"], answer["changes"]) == (False, {})
        assert f"{folder}/SUMS with its checksum is not there" in answer["comment"]


def test_what_a_killed_removal_left_is_an_entry_again(converge, folder, store, base):
    """Its record goes first; what stands on it, if anything, stays on it."""
    converge("kvm_image.present", name=f"{folder}/a.qcow2", format="qcow2", source=str(base))
    (store / sha(base) / "record.json").unlink()
    converge("kvm_image.present", name=f"{folder}/b.qcow2", format="qcow2", source=str(base))
    assert entries(store) == [sha(base)]
    assert len(os.listdir(store / sha(base) / "clones")) == 2
    for name in "ab":
        assert whole(folder / f"{name}.qcow2", "qcow2")


def test_a_raw_image_that_ends_within_a_sector(converge, folder, store):
    (folder / "odd").write_bytes(b"x" * 1000)
    source = str(folder / "odd")
    converge("kvm_image.present", name=f"{folder}/a.raw", source=source, size=1000)
    assert (folder / "a.raw").read_bytes() == (b"x" * 1000).ljust(1024, b"\0")


def test_a_guest_passes_the_store_whatever_the_umask(converge, run, folder, store, base):
    old = os.umask(0o077)
    try:
        converge("kvm_image.present", name=f"{folder}/a.qcow2", format="qcow2", source=str(base))
        made = run()("kvm_pool.present", name=f"{PREFIX}umask", path=f"{folder}/pool")
    finally:
        os.umask(old)
    assert made["result"] is True, made
    for path, mode in ((store, 0o755), (store / sha(base), 0o755), (folder / "pool", 0o711)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_source_that_is_gone_is_not_missed(converge, run, folder, web, store, base):
    digest = sha(base)
    source = {"format": "qcow2", "source": f"{web.address}/base.qcow2", "source_hash": digest}
    converge("kvm_image.present", name=f"{folder}/a.qcow2", **source)
    local = {**source, "source": str(base)}
    base.unlink()
    converge("kvm_image.present", name=f"{folder}/a.qcow2", **source)
    converge("kvm_image.present", name=f"{folder}/b.qcow2", **source)
    converge("kvm_image.present", name=f"{folder}/c.qcow2", **local)
    assert whole(folder / "c.qcow2", "qcow2")
    for test in (True, False):
        gone = {**local, "source_hash": "1" * 64}
        answer = run(test=test)("kvm_image.present", name=f"{folder}/d.qcow2", **gone)
        assert answer["result"] is False
        assert f"the file {base} is not there" in answer["comment"]


def test_a_local_file_is_read_once_while_nobody_touches_it(run, folder, web, store, base):
    for name in ("a", "b"):
        fields = {"name": f"{folder}/{name}.qcow2", "format": "qcow2", "source": str(base)}
        assert run()("kvm_image.present", **fields)["result"] is True
    assert entries(store) == [sha(base)]
    write(base, "qcow2", 3 * MIB, 0x44)
    fields = {"name": f"{folder}/c.qcow2", "format": "qcow2", "source": f"file://{base}"}
    assert run()("kvm_image.present", **fields)["result"] is True
    assert len(entries(store)) == 2
    assert holds(folder / "c.qcow2", "qcow2", 3 * MIB, 0x44)
    assert base.exists()


def test_the_ways_of_a_clone(run, folder, web, store, base):
    source = {"source": str(base)}
    image = store / sha(base) / "image"
    answer = run()("kvm_image.present", name=f"{folder}/a.qcow2", format="qcow2", **source)
    assert f"a.qcow2 is an overlay on {image}." in answer["comment"]
    assert told(folder / "a.qcow2")["backing-filename"] == str(image)
    assert told(folder / "a.qcow2")["backing-filename-format"] == "qcow2"
    copied = {"name": f"{folder}/b.qcow2", "format": "qcow2", "clone": "copy", **source}
    assert f"b.qcow2 is a copy of {image}." in run()("kvm_image.present", **copied)["comment"]
    assert "backing-filename" not in told(folder / "b.qcow2")
    linked = {"name": f"{folder}/c.qcow2", "format": "qcow2", "clone": "reflink", **source}
    comment = run()("kvm_image.present", **linked)["comment"]
    assert f"a reflink of {image}." in comment or "as the file system has no reflinks" in comment
    made = run()("kvm_image.present", name=f"{folder}/d.raw", **source)
    assert f"d.raw is converted from {image}." in made["comment"]
    refused = run()("kvm_image.present", name=f"{folder}/e.raw", clone="overlay", **source)
    assert "a raw image is no overlay" in refused["comment"]
    for name, format in (("a.qcow2",) * 2, ("b.qcow2",) * 2, ("c.qcow2",) * 2, ("d.raw",) * 2):
        assert whole(folder / name, format.partition(".")[2])


def plain_overlay(path, image, size):
    """Make with qemu-img alone what a clone must be, and return its bytes."""
    qemu_img("create", "-f", "qcow2", "-b", image, "-F", "qcow2", path, str(size))
    return Path(path).read_bytes()


def test_clones_of_one_size_begin_as_one_blank(run, folder, store, base, monkeypatch):
    """Each is what qemu-img makes, and qemu-img is asked for it once."""
    image = store / sha(base) / "image"
    asked = []

    def listening(arguments, **more):
        asked.append(arguments[1])
        return command.run(arguments, **more)

    monkeypatch.setattr(backend.qemu_img, "run", listening)

    def clone(name, **more):
        asked.clear()
        fields = {"name": f"{folder}/{name}", "format": "qcow2", "source": str(base), **more}
        answer = run()("kvm_image.present", **fields)
        assert answer["result"] is True, answer
        return (folder / name).read_bytes()

    first = clone("a.qcow2")
    assert "create" in asked
    assert first == plain_overlay(f"{folder}/plain.qcow2", image, 4 * MIB)
    assert clone("b.qcow2") == first
    assert asked == []
    write(folder / "b.qcow2", "qcow2", MIB, 0x55)
    assert clone("c.qcow2") == first
    larger = clone("d.qcow2", size="8MiB")
    assert asked == ["create"]
    assert larger == plain_overlay(f"{folder}/larger.qcow2", image, 8 * MIB)
    clone("e.qcow2", options={"cluster_size": "4KiB"})
    assert asked == ["create"]
    assert told(folder / "e.qcow2")["cluster-size"] == 4096
    for blank in (store / sha(base) / "blank").iterdir():
        blank.write_bytes(b"")
    assert clone("f.qcow2") == first
    assert asked == ["create"]
    # Another version of qemu-img may make others.
    monkeypatch.setattr(backend.qemu_img, "identity", lambda: "another")
    assert clone("g.qcow2") == first
    assert asked == ["create"]


def test_a_full_disk_has_no_room_for_a_clone(run, folder, small, store, base):
    fields = {"format": "qcow2", "source": str(base)}
    small.leave(0)
    answer = run()("kvm_image.present", name=f"{small.root}/a.qcow2", **fields)
    assert answer["result"] is False
    assert answer["changes"] == {}
    assert "no space left on device; free some space" in answer["comment"]
    assert not (small.root / "a.qcow2").exists()
    assert [name for name in os.listdir(small.root) if name.startswith(temporary.PREFIX)] == []
    (small.root / "filler").unlink()
    assert run()("kvm_image.present", name=f"{small.root}/a.qcow2", **fields)["result"] is True


def test_a_sparse_raw_image_stays_sparse(run, folder, store):
    with (folder / "base.raw").open("wb") as file:
        file.truncate(256 * MIB)
        file.seek(128 * MIB)
        file.write(b"Z" * 65536)
    for name, more in (("a.raw", {}), ("b.raw", {"clone": "copy"})):
        fields = {"name": f"{folder}/{name}", "source": f"{folder}/base.raw", **more}
        assert run()("kvm_image.present", **fields)["result"] is True
        assert (folder / name).read_bytes() == (folder / "base.raw").read_bytes()
        assert os.stat(folder / name).st_blocks * 512 < MIB
    (entry,) = entries(store)
    assert os.stat(store / entry / "image").st_blocks * 512 < MIB


@pytest.mark.parametrize("format", ["qcow2", "raw"])
def test_a_clone_is_larger_but_never_smaller(run, converge, folder, store, base, format):
    source = {"format": format, "source": str(base)}
    converge("kvm_image.present", name=f"{folder}/a.img", size="8MiB", **source)
    assert told(folder / "a.img")["virtual-size"] == 8 * MIB
    assert whole(folder / "a.img", format)
    answer = run()("kvm_image.present", name=f"{folder}/b.img", size="2MiB", **source)
    assert answer["result"] is False
    assert "has 4MiB, which does not fit into the size 2MiB" in answer["comment"]
    assert not (folder / "b.img").exists()


@pytest.mark.parametrize("craft", CRAFTED, ids=lambda craft: craft.__name__)
@pytest.mark.parametrize("compression", [None, "gz"])
def test_a_crafted_image_is_not_taken(run, folder, web, store, craft, compression):
    path = web.root / "crafted.img"
    craft(path)
    if compression:
        path.write_bytes(gzip.compress(path.read_bytes()))
    source = {"source": f"{web.address}/crafted.img", "source_hash": sha(path)}
    for format in ("raw", "qcow2"):
        words = "names another file"
        assert failing(run, folder, store, words, format=format, **source)


def test_a_format_that_was_declared_must_be_there(run, folder, web, store, base):
    source = {"source": str(base), "source_format": "raw"}
    words = "begins like a qcow2 image, and source_format: raw is declared"
    assert failing(run, folder, store, words, format="raw", **source)
    fields = {"name": f"{folder}/a.raw", "source": str(base), "source_format": "qcow2"}
    assert run()("kvm_image.present", **fields)["result"] is True


@pytest.mark.parametrize("size", [0, 2**63 - 512, 2**60])
def test_an_absurd_size_is_refused(run, folder, web, store, base, size):
    data = bytearray(base.read_bytes())
    data[24:32] = size.to_bytes(8, "big")
    base.write_bytes(data)
    assert failing(run, folder, store, "which can't be", format="qcow2", source=str(base))


def test_a_corrupt_image_is_refused(run, folder, web, store, base):
    data = bytearray(base.read_bytes())
    table = int.from_bytes(data[40:48], "big")
    data[table : table + 8] = (1 << 63 | 0x7FFF0000).to_bytes(8, "big")
    base.write_bytes(data)
    assert failing(run, folder, store, "is corrupt", format="qcow2", source=str(base))
    base.write_bytes(data[:40])
    assert failing(run, folder, store, "is no whole qcow2 image", format="raw", source=str(base))


def test_a_source_of_the_file_server(run, folder, opts, store, base):
    root = Path(opts["file_roots"]["base"][0])
    assert (root / "kvm" / "init.sls").is_file()
    fields = {"name": f"{folder}/a.raw", "source": "salt://kvm/init.sls"}
    assert run()("kvm_image.present", **fields)["result"] is True
    data = (root / "kvm" / "init.sls").read_bytes()
    assert (folder / "a.raw").read_bytes().startswith(data)
    assert len(entries(store)) == 1
    missing = {"name": f"{folder}/b.raw", "source": "salt://kvm/none.qcow2"}
    answer = run()("kvm_image.present", **missing)
    assert answer["result"] is False
    assert "salt://kvm/none.qcow2 can't be fetched" in answer["comment"]


@pytest.mark.parametrize("name", ["a b.raw", "a?b#c%20d.raw", "json:{}", "nbd:a,b=c", "-a", "ä'\""])
def test_a_source_of_this_host_has_any_name(converge, folder, store, base, name):
    source = folder / name
    source.write_bytes(base.read_bytes())
    fields = {"name": f"{folder}/a.qcow2", "format": "qcow2", "source": str(source)}
    converge("kvm_image.present", **fields)
    converge("kvm_image.present", **{**fields, "name": f"{folder}/b.raw", "format": "raw"})


def test_many_runs_at_once_fetch_once(run, folder, web, store, base):
    source = {"source": f"{web.address}/slow/base.qcow2", "source_hash": sha(base)}
    results = FORK.Queue()

    def one(number):
        name = f"{folder}/a{number}.qcow2"
        results.put(run()("kvm_image.present", name=name, format="qcow2", **source))

    children = [FORK.Process(target=one, args=(number,)) for number in range(5)]
    for child in children:
        child.start()
    answers = [results.get(timeout=SECONDS) for _ in children]
    for child in children:
        child.join()
    assert [answer["result"] for answer in answers] == [True] * 5, answers
    assert web.asked == ["/slow/base.qcow2"]
    assert entries(store) == [sha(base)]
    assert all(whole(folder / f"a{number}.qcow2", "qcow2") for number in range(5))


@pytest.mark.parametrize("milliseconds", [*range(0, 700, 70), 540, 560, 580, 600, 620, 640])
def test_a_run_that_is_killed_leaves_nothing_that_looks_whole(
    run, folder, web, store, base, milliseconds
):
    path = folder / "a.raw"
    source = {"source": f"{web.address}/slow/base.qcow2", "source_hash": sha(base)}
    fields = {"name": str(path), "format": "raw", **source}
    child = FORK.Process(target=lambda: run()("kvm_image.present", **fields))
    child.start()
    time.sleep(milliseconds / 1000)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert not path.exists() or whole(path, "raw")
    for entry in backend.Store(Client(str(store))).entries():
        assert sha(entry.image) == sha(base)
    answer = run()("kvm_image.present", **fields)
    assert answer["result"] is True, answer
    assert whole(path, "raw")
    assert entries(store) == [sha(base)]
    assert sorted(os.listdir(folder)) == ["a.raw", "store", "www"]


def noise(path, size):
    """An image that can't be made smaller."""
    path.write_bytes(os.urandom(size))


@pytest.mark.parametrize("stage", ["fetch", "decompress", "copy", "convert"])
@pytest.mark.parametrize("free", [0, 2 * MIB])
def test_a_full_disk_is_told_at_every_stage(
    run, folder, web, small, opts, monkeypatch, stage, free
):
    noise(web.root / "a.raw", 4 * MIB)
    data = (web.root / "a.raw").read_bytes()
    packed = web.root / "a.raw.bz2"
    packed.write_bytes(bz2.compress(bytes(64) + data[:1024] * 4096))
    own = small.root if stage in ("fetch", "decompress") else folder
    monkeypatch.setitem(opts, "kvm.store", f"{own}/store")
    target = folder if stage in ("fetch", "decompress") else small.root
    served = packed if stage == "decompress" else web.root / "a.raw"
    fields = {"source": f"{web.address}/{served.name}", "source_hash": sha(served)}
    if stage == "convert":
        fields |= {"format": "qcow2", "clone": "copy"}
    if stage == "copy":
        fields |= {"clone": "copy"}
    name = f"{target}/made.img"
    small.leave(free)
    before = sorted(os.listdir(small.root))
    answer = run()("kvm_image.present", name=name, **fields)
    assert answer["result"] is False, answer
    assert answer["changes"] == {}
    assert "free some space" in answer["comment"] or "No space left" in answer["comment"], answer
    assert not os.path.exists(name)
    assert sorted(os.listdir(small.root)) in (before, sorted([*before, "store"]))
    assert entries(Path(f"{small.root}/store")) == []
    small.leave(12 * MIB)
    answer = run()("kvm_image.present", name=name, **fields)
    assert answer["result"] is True, answer


def test_a_fetch_that_does_not_fit_is_not_begun(run, folder, web, small, opts, monkeypatch):
    """Where the server tells the size; from one that does not the disk runs full, which is told."""
    noise(web.root / "a.raw", 4 * MIB)
    monkeypatch.setitem(opts, "kvm.store", f"{small.root}/store")
    small.leave(2 * MIB)
    fields = {"name": f"{folder}/a.raw", "source_hash": sha(web.root / "a.raw")}
    told = run()("kvm_image.present", source=f"{web.address}/a.raw", **fields)
    assert "MiB free and 4 MiB are needed; free some space" in told["comment"]
    assert web.asked == []
    mute = {**fields, "source": f"{web.address}/mute/a.raw"}
    told = run()("kvm_image.present", **mute)
    assert told["result"] is False
    assert "has no room left; free some space" in told["comment"]
    small.leave(12 * MIB)
    assert run()("kvm_image.present", **mute)["result"] is True


def test_a_fetch_tells_how_far_it_is(run, folder, web, store, base, opts, monkeypatch, capsys):
    monkeypatch.setitem(opts, "__cli", "salt-call")
    fields = {"name": f"{folder}/a.qcow2", "format": "qcow2", "source_hash": sha(base)}
    address = f"{web.address}/crawl/base.qcow2"
    assert run()("kvm_image.present", source=address, **fields)["result"] is True
    assert re.search(rf"fetch of {address}: (4\d|50) %", capsys.readouterr().err)


def test_a_password_in_an_address_goes_to_the_server_alone(
    run, folder, web, store, base, caplog, monkeypatch
):
    """Also where the size is asked for; it stands in no change, comment, log or record."""
    caplog.set_level(1)
    seen = []
    monkeypatch.setattr(
        Handler, "parse_request",
        lambda self, parse=Handler.parse_request: (
            parse(self), seen.append((self.command, self.headers.get("Authorization")))
        )[0],
    )  # fmt: skip
    address = web.address.replace("http://", "http://someone:hunter2@") + "/base.qcow2"
    fields = {"name": f"{folder}/a.qcow2", "format": "qcow2", "source_hash": sha(base)}
    told = [run(test=test)("kvm_image.present", source=address, **fields) for test in (True, False)]
    assert [each["result"] for each in told] == [None, True], told
    gone = {**fields, "name": f"{folder}/b.qcow2", "source_hash": "0" * 64}
    told += [run()("kvm_image.present", source=f"{address}{more}", **gone) for more in ("", "x")]
    assert [each["result"] for each in told[2:]] == [False, False], told
    record = (store / sha(base) / "record.json").read_text()
    assert "hunter2" not in str(told) + record
    assert {command: bool(given) for command, given in seen} == {"HEAD": True, "GET": True}
    assert "hunter2" not in caplog.text


def test_a_file_that_is_written_to_while_it_is_read_is_no_source(run, folder, store, monkeypatch):
    source = folder / "base.raw"
    noise(source, 2 * MIB)
    write_sparse = copying.write_sparse

    def meanwhile(read, out):
        write_sparse(read, out)
        with source.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(copying, "write_sparse", meanwhile)
    words = "was changed while it was read; run this again"
    assert failing(run, folder, store, words, source=str(source))
    monkeypatch.undo()
    fields = {"name": f"{folder}/a.raw", "source": str(source)}
    assert run()("kvm_image.present", **fields)["result"] is True
    assert (folder / "a.raw").read_bytes().rstrip(bytes(1)) == source.read_bytes()


def spread(path, size, step):
    """Write a MiB of noise at each step of a file that has holes between (MiB)."""
    with path.open("wb") as file:
        file.truncate(size * MIB)
        for at in range(0, size, step):
            file.seek(at * MIB)
            file.write(os.urandom(MIB))
    return str(path)


def test_a_large_image_passes_through_without_taking_memory(run, modules, folder, store):
    """Into the store and out of it whole and converted, into a volume and out of that.

    A volume that is there is written over with all zeros too, which of 4 GiB takes its time.
    """
    pool = f"{PREFIX}large"
    assert run()("kvm_pool.running", name=pool, path=f"{folder}/pool")["result"] is True

    def through(source, kind):
        """Yield what each way did with an image."""
        image = {"source": source, "clone": "copy"}
        options = {"format": "qcow2", "options": {"cluster_size": "128KiB"}}
        yield run()("kvm_image.present", name=f"{folder}/{kind}.raw", **image)["result"]
        more = {**image, **options}
        yield run()("kvm_image.present", name=f"{folder}/{kind}.qcow2", **more)["result"]
        yield run()("kvm_volume.present", name=f"{pool}/{kind}", source=source)["result"]
        yield modules["kvm_volume.download"](f"{pool}/{kind}", f"{folder}/{kind}.down")
        over = spread(folder / f"{kind}.over", 8 if kind == "small" else 512, 16)
        yield run()("kvm_volume.present", name=f"{pool}/{kind}.o", capacity="512MiB")["result"]
        yield modules["kvm_volume.upload"](f"{pool}/{kind}.o", over)

    results = FORK.Queue()

    def one():
        done = [*through(spread(folder / "small.raw", 4, 1), "small")]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        done += through(spread(folder / "large.raw", 4096, 64), "large")
        results.put((done, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))

    child = FORK.Process(target=one)
    child.start()
    done, grown = results.get(timeout=SECONDS)
    child.join()
    assert done == [True] * 12
    assert grown < 16 * 1024, f"{grown} KiB"
    for name in ("large.raw", "large.down"):
        assert os.path.getsize(folder / name) == 4096 * MIB
    assert told(folder / "large.qcow2")["virtual-size"] == 4096 * MIB


def test_a_record_says_where_an_entry_comes_from(run, folder, web, store, base):
    source = {"source": f"{web.address}/base.qcow2", "source_hash": sha(base, "sha512")}
    run()("kvm_image.present", name=f"{folder}/a.raw", **source)
    record = json.loads((store / sha(base) / "record.json").read_text())
    assert record["source"] == source["source"]
    assert record["sha256"] == sha(base)
    assert record["sha512"] == sha(base, "sha512")
    assert (record["format"], record["virtual_size"]) == ("qcow2", 4 * MIB)
    assert os.stat(store / sha(base) / "image").st_mode & 0o777 == 0o444


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_reflink_shares_its_blocks(run, folder, opts, monkeypatch, kind):
    disk, mounted = folder / "disk", folder / "shared"
    with disk.open("wb") as file:
        file.truncate(512 * MIB)
    if shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"no mkfs.{kind} on this machine")
    subprocess.run([f"mkfs.{kind}", "-q", str(disk)], check=True, capture_output=True)
    mounted.mkdir()
    mount = subprocess.run(["mount", "-o", "loop", disk, mounted], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip(f"no {kind} can be mounted here")
    try:
        monkeypatch.setitem(opts, "kvm.store", f"{mounted}/store")
        noise(folder / "base.raw", 100 * MIB)
        fields = {"source": f"{folder}/base.raw"}
        run()("kvm_image.present", name=f"{folder}/first.raw", **fields)
        os.sync()
        free = shutil.disk_usage(mounted).free
        for number in range(5):
            made = run()("kvm_image.present", name=f"{mounted}/{number}.raw", **fields)
            assert made["result"] is True, made
            assert "is a reflink of " in made["comment"]
        os.sync()
        assert free - shutil.disk_usage(mounted).free < 50 * MIB
        assert sha(mounted / "4.raw") == sha(folder / "base.raw")
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
