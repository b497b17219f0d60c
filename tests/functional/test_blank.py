"""What an installer may write over: each kind of disk, blank and not."""

import subprocess
from xml.etree import ElementTree as ET

import pytest

from salt_kvm.backend.guests import blank
from salt_kvm.backend.storage import qemu_img
from salt_kvm.backend.view import View
from salt_kvm.backend.world import World
from salt_kvm.seen import Hidden, Promises

from .conftest import PREFIX, virsh
from .test_image_change import MIB, write


def create(path, format, *more):
    command = ["qemu-img", "create", "-q", "-f", format, *more, str(path), "2M"]
    subprocess.run(command, check=True)


def zeros(path):
    path.write_bytes(bytes(MIB))


def one_byte(path):
    path.write_bytes(bytes(MIB) + b"\1")


def image(path):
    create(path, "qcow2")


def written(path):
    create(path, "qcow2")
    write(path, "qcow2")


def overlay(path):
    zeros(path.with_name("base"))
    create(path, "qcow2", "-F", "raw", "-b", str(path.with_name("base")))


def encrypted(path):
    # It tries again where LUKS can't measure how fast this machine is.
    qemu_img.create(str(path), "qcow2", 2 * MIB, key=Hidden(b"abc"))


def nothing(path):
    """A file that is yet to be made."""


FILES = {
    "raw": [(nothing, True), (zeros, True), (one_byte, False), (image, False)],
    "qcow2": [
        (nothing, True), (image, True), (written, False), (overlay, False), (encrypted, False),
        (zeros, False),
    ],
}  # fmt: skip
CASES = [(format, make, told) for format, cases in FILES.items() for make, told in cases]


@pytest.fixture
def is_blank(libvirtd):
    def ask(source, format="raw"):
        disk = ET.fromstring(f"<disk><driver type='{format}'/><source {source}/></disk>")
        return blank.blank(View(World(libvirtd), Promises()), disk)

    return ask


@pytest.mark.parametrize(("format", "make", "told"), CASES)
def test_a_file(is_blank, folder, format, make, told):
    make(folder / "disk")
    assert is_blank(f"file='{folder}/disk'", format) is told


def test_a_volume_of_a_pool(is_blank, run, folder):
    name = f"{PREFIX}blank"
    assert run()("kvm_pool.running", name=name, path=str(folder))["result"] is True
    volume = f"pool='{name}' volume='a'"
    assert is_blank(volume) is True
    virsh("vol-create-as", name, "a", "1M")
    assert is_blank(volume) is True
    one_byte(folder / "a")
    assert is_blank(volume) is False


@pytest.mark.parametrize("source", ["protocol='nbd' name='a'", "type='pci' namespace='1'"])
def test_what_can_not_be_looked_at_counts_as_filled(is_blank, source):
    assert is_blank(source) is False
