"""Crafted images: none makes QEMU's tools open a file of the host that was not declared."""

import os
import shutil
import struct
import subprocess

import pytest

QEMU_IMG = shutil.which("qemu-img") or "qemu-img"
SECRET = "/etc/shadow"


def qemu_img(*arguments):
    subprocess.run([QEMU_IMG, *map(str, arguments)], check=True, capture_output=True)


def qcow2_with_backing(path, name=SECRET):
    qemu_img("create", "-f", "qcow2", "-u", "-b", name, "-F", "raw", path, "1M")


def qcow2_with_json_backing(path):
    qcow2_with_backing(path, f'json:{{"driver":"raw","file.filename":"{SECRET}"}}')


def qcow2_with_data_file(path):
    data = path.with_name("data")
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={data}", path, "1M")
    data.unlink()
    path.write_bytes(path.read_bytes().replace(str(data).encode(), SECRET.encode()))


def qed_with_backing(path):
    qemu_img("create", "-f", "qed", "-u", "-b", SECRET, "-F", "raw", path, "1M")


def vmdk_descriptor(path):
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 4 FLAT "{SECRET}" 0\n'
    )


def vmdk_without_capacity(path):
    text = "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
    text += f'createType="monolithicFlat"\nRW 4 FLAT "{SECRET}" 0\n'
    head = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, 0, 128, 1, 20)
    path.write_bytes(head.ljust(512, b"\0") + text.encode().ljust(20 * 512, b"\0"))


def vmdk_with_parent(path):
    qemu_img("create", "-f", "vmdk", path, "1M")
    hint = f'parentFileNameHint="{SECRET}"\n'.encode()
    text = path.read_bytes()
    at = text.index(b"# Extent description")
    path.write_bytes(text[:at] + hint + text[at + len(hint) :])


CRAFTED = [
    qcow2_with_backing,
    qcow2_with_json_backing,
    qcow2_with_data_file,
    qed_with_backing,
    vmdk_descriptor,
    vmdk_without_capacity,
    vmdk_with_parent,
]


@pytest.fixture(params=CRAFTED, ids=lambda craft: craft.__name__)
def crafted(request, folder):
    path = folder / "a.raw"
    request.param(path)
    return path


@pytest.fixture
def opened(monkeypatch, folder):
    """What qemu-img is called with: a program of its name notes it first."""
    log = folder / "opened"
    shim = folder / "bin"
    shim.mkdir()
    (shim / "qemu-img").write_text(f'#!/bin/sh\necho "$@" >>{log}\nexec {QEMU_IMG} "$@"\n')
    (shim / "qemu-img").chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim}:{os.environ['PATH']}")
    return lambda: log.read_text() if log.exists() else ""


@pytest.mark.parametrize("replace", [False, True])
def test_a_raw_image_with_another_header_is_not_opened(run, opened, crafted, replace):
    for test in (True, False):
        answer = run(test=test)("kvm_image.present", name=str(crafted), replace=replace)
        assert answer["result"] is False, answer
        assert answer["changes"] == {}
    assert opened() == ""


@pytest.mark.parametrize("format", ["qcow2", "qed", "vmdk"])
def test_a_declared_format_is_not_followed_further(run, opened, crafted, format):
    """With the very format that the crafted image shows, its names are still not followed."""
    fields = {"name": str(crafted), "format": format, "size": "64MiB"}
    for test in (True, False):
        run(test=test)("kvm_image.present", **fields)
    assert "info" not in opened()
    assert "convert" not in opened()


def test_a_backing_file_that_looks_like_another_format_must_be_declared(run, opened, crafted):
    top = f"{crafted.parent}/top.qcow2"
    for test in (True, False):
        answer = run(test=test)("kvm_image.present", name=top, format="qcow2", backing=str(crafted))
        assert answer["result"] is False
        assert "declare backing_format: " in answer["comment"]
    assert not os.path.exists(top)
    assert opened() == ""


def test_info_does_not_open_another_file(modules, folder):
    from salt.exceptions import CommandExecutionError

    for craft in (qcow2_with_data_file, vmdk_descriptor):
        path = folder / craft.__name__
        craft(path)
        with pytest.raises(CommandExecutionError, match="names another file"):
            modules["kvm_image.info"](str(path))


@pytest.mark.parametrize("length", [0, 3, 4, 20, 71, 72, 103, 104])
def test_a_header_that_is_cut_off_is_told(run, folder, length):
    whole = folder / "whole"
    qemu_img("create", "-f", "qcow2", whole, "1M")
    path = folder / "a.qcow2"
    path.write_bytes(whole.read_bytes()[:length])
    answer = run()("kvm_image.present", name=str(path), format="raw", size="64MiB", replace=True)
    assert answer["result"] is (length < 4), answer
