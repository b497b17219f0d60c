"""What a guest, or anybody, can leave beside an image stops nobody who looks for its users."""

import os
import struct

import pytest

from salt_kvm.backend.storage import usage, volume_usage
from salt_kvm.backend.system import header
from salt_kvm.seen import Observed


def qcow2(path, backing):
    fields = (b"QFI\xfb", 2, 200, len(backing), 16, 1 << 20, 0, 0, 0, 0, 0, 0, 0)
    path.write_bytes(struct.pack(">4sIQIIQIIQQIIQ", *fields).ljust(200, b"\0") + backing)
    return str(path)


def far_descriptor(path):
    path.write_bytes(struct.pack("<4sIIQQQQ", b"KDMV", 1, 0, 1, 1, 2**63, 1).ljust(600, b"\0"))


LEFT = {
    "a descriptor where no file has a place": far_descriptor,
    "a name with a NUL": lambda path: qcow2(path, b"/a\0b"),
    "a nested name": lambda path: qcow2(path, b"json:" + b"[" * 50_000),
    "a pipe": os.mkfifo,
    "the name of a pipe": lambda path: (
        os.mkfifo(path.with_name("pipe")),
        qcow2(path, bytes(path.with_name("pipe"))),
    ),
    "the name of a device": lambda path: qcow2(path, b"/dev/tty"),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("what", LEFT)
def test_what_is_left_beside_an_image_stops_nothing(tmp_path, what):
    base = tmp_path / "base.raw"
    base.write_bytes(b"\0" * 512)
    LEFT[what](tmp_path / "left")
    top = qcow2(tmp_path / "top.qcow2", b"base.raw")
    assert usage.standing([], str(base)) == [top]
    assert usage.chain(str(tmp_path / "left"))


def test_a_place_that_no_file_has_is_damage(tmp_path):
    far_descriptor(tmp_path / "left")
    assert header.read(str(tmp_path / "left")).damaged


def test_what_is_neither_file_nor_disk_is_not_opened(monkeypatch):
    """To open a watchdog starts it."""
    monkeypatch.setattr("builtins.open", None)
    with pytest.raises(OSError, match="no file"):
        header.read("/dev/null")


def test_a_volume_that_is_no_file_has_nothing_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert usage.standing([], "rbd/volume") == []


def disk(path):
    return f"<domain><devices><disk><source file='{path}'/></disk></devices></domain>"


def test_what_a_disk_is_copied_to_is_in_use(tmp_path):
    target = tmp_path / "target.raw"
    target.write_bytes(b"\0" * 512)
    mirror = f"<mirror type='file' job='copy'><source file='{target}'/></mirror></disk>"
    live = disk("/srv/a.raw").replace("</disk>", mirror)
    assert usage.running([Observed("domain", "a", disk("/srv/a.raw"), live=live)], str(target))


def test_what_the_next_start_needs_is_in_use(tmp_path):
    """A disk that waits for the next start is in the definition, and not in the running guest."""
    base = tmp_path / "base.raw"
    base.write_bytes(b"\0" * 512)
    top = qcow2(tmp_path / "top.qcow2", bytes(base))
    (tmp_path / "pool").mkdir()
    moved = os.rename(top, tmp_path / "pool" / "top.qcow2") or str(tmp_path / "pool" / "top.qcow2")
    guest = Observed("domain", "a", disk(moved), live="<domain/>")
    assert volume_usage.of_volume([guest], "pool/volume", str(base)) == ["a"]
    assert volume_usage.of_volume([guest], "pool/volume", moved) == ["a"]
    assert volume_usage.runners([guest], "pool/volume", moved) == []
    assert usage.standing([guest], str(base)) == [moved]
