"""Guests on disks that LUKS encrypts: they boot from them, write to them, and nobody reads it."""

import base64
import gzip
import os
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from waiting import wait_for

from . import talking
from .conftest import PREFIX, virsh
from .test_guest import ISO
from .test_secret import files_with

ROOT = Path(__file__).parents[2]
NAME = f"{PREFIX}luks"
VALUE = f"open-sesame-{os.getpid()}"
UUID = f"5a190000-0000-4000-8000-{os.getpid():012d}"
SENTINEL = "the guest wrote this"
# A module comes after those that it needs.
MODULES = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
           "virtio_blk")  # fmt: skip
MIB = 1024**2
# By the format of a disk: how QEMU's tools open it with a passphrase.
OPENED = {"qcow2": "driver=qcow2,encrypt.key-secret", "raw": "driver=luks,key-secret"}


@pytest.fixture
def secret(run, folder):
    """A secret that is known by the path of the image."""
    path = f"{folder}/{NAME}.img"
    fields = {"name": path, "usage": "volume", "uuid": UUID, "value": VALUE}
    made = run()("kvm_secret.present", **fields)
    assert made["result"] is True, made["comment"]
    return path


@pytest.fixture(params=["qcow2", "raw"])
def disk(request, run, secret):
    """A disk on an image that kvm_image has encrypted."""
    fields = {"format": request.param, "encryption": {"secret": secret}}
    made = run()("kvm_image.present", name=secret, size="8MiB", **fields)
    assert made["result"] is True, made["comment"]
    return {"path": secret, **fields}


@pytest.fixture
def booting(guest_kernel, folder, disk):
    """The fields of a guest whose kernel has the driver of its disk."""
    root = folder / "more"
    (root / "modules").mkdir(parents=True)
    for number, name in enumerate(MODULES):
        (found,) = (ROOT / ".cache/guest/modules").rglob(f"{name}.ko")
        (root / "modules" / f"{number}-{name}.ko").write_bytes(found.read_bytes())
    # What it prints by itself would come between the letters of what it is sent.
    (root / "quiet").touch()
    modules = [f"modules/{path.name}" for path in (root / "modules").iterdir()]
    files = "\n".join(["quiet", "modules", *modules])
    command = ["cpio", "--quiet", "-o", "-H", "newc"]
    more = subprocess.run(command, cwd=root, input=files.encode(), capture_output=True, check=True)
    initrd = folder / "initramfs"
    initrd.write_bytes(Path(guest_kernel.initramfs).read_bytes() + gzip.compress(more.stdout))
    xml = (
        f"<os><kernel>{guest_kernel.kernel}</kernel><initrd>{initrd}</initrd>"
        f"<cmdline>{guest_kernel.arguments}</cmdline></os>"
    )
    return {
        "name": NAME,
        "virt_type": "auto",
        "memory": "256MiB",
        "disks": [disk],
        "serial": [{"type": "pty", "log": f"{folder}/serial.log"}],
        "xml": xml,
    }


class Console:
    """The serial port of a guest."""

    def __init__(self, fields):
        self.log = Path(fields["serial"][0]["log"])
        self.known = 0

    def forget(self):
        """Look no more at what was said before, as before a start."""
        self.known = len(self.said(0))

    def booted(self):
        wait_for(lambda: "salt-kvm guest up" in self.said(), "the guest's userspace")

    def said(self, known=None):
        known = self.known if known is None else known
        return self.log.read_text(errors="replace")[known:] if self.log.exists() else ""

    def run(self, line, answer):
        talking.say(NAME, line, lambda: self.said(0))
        wait_for(lambda: answer in self.said(), self.said)


def test_a_guest_writes_to_an_encrypted_disk_and_reads_it_again(run, converge, booting, secret):
    console = Console(booting)
    converge("kvm_domain.running", **booting)
    console.booted()
    text = SENTINEL.replace("this", "t''his")
    console.run(f"echo '{text}' | dd of=/dev/vda bs=512 seek=64 conv=fsync; echo do''ne", "done")
    grown = {**booting, "disks": [{**booting["disks"][0], "size": "16MiB"}]}
    converge("kvm_domain.running", **grown)
    console.run('echo "has $(cat /sys/block/vda/size)"', f"has {16 * MIB // 512}")
    converge("kvm_domain.stopped", **grown, timeout=300)
    assert SENTINEL.encode() not in Path(secret).read_bytes()
    assert VALUE.encode() not in Path(secret).read_bytes()
    console.forget()
    converge("kvm_domain.running", **grown)
    console.booted()
    console.run("dd if=/dev/vda bs=512 skip=64 count=1 2>/dev/null | head -n 1", SENTINEL)
    arguments = Path("/proc", _process(), "cmdline").read_bytes()
    assert VALUE.encode() not in arguments


def _process():
    return Path(f"/run/libvirt/qemu/{NAME}.pid").read_text().strip()


def test_an_encrypted_disk_boots(run, modules, disk, guest, folder):
    """iPXE is on it, the boot loader of its ISO; it asks for an address."""
    (folder / "key").write_text(VALUE)
    image = f"{OPENED[disk['format']]}=k,file.filename={disk['path']}"
    command = ["qemu-img", "convert", "-n", "-f", "raw", "--target-image-opts", ISO, image]
    key = ["--object", f"secret,id=k,file={folder}/key"]
    subprocess.run([*command[:2], *key, *command[2:]], check=True)
    made = run()("kvm_domain.running", **{**guest, "disks": [disk]})
    assert made["result"] is True, made["comment"]
    network = guest["interfaces"][0]["network"]
    wait_for(lambda: modules["kvm_network.leases"](network), "a DHCP lease")


def test_without_its_secret_a_guest_is_not_made_and_not_started(run, converge, disk, guest):
    fields = {**guest, "disks": [disk]}
    missing = {**disk, "encryption": {"secret": f"5a19ffff-0000-4000-8000-{os.getpid():012d}"}}
    for test in (True, False):
        told = run(test=test)("kvm_domain.present", **{**guest, "disks": [missing]})
        assert (told["result"], told["changes"]) == (False, {})
        assert "there is no secret 5a19ffff" in told["comment"]
        assert "declare it under kvm:secrets" in told["comment"]
    converge("kvm_domain.present", **fields)
    virsh("secret-undefine", UUID)
    for test in (True, False):
        told = run(test=test)("kvm_domain.running", **fields)
        assert (told["result"], told["changes"]) == (False, {})
        assert f"there is no secret volume/{disk['path']}" in told["comment"]
    # One that an earlier state of a dry run would make counts.
    dry = run(test=True)
    secret = {"name": disk["path"], "usage": "volume", "value": VALUE}
    assert dry("kvm_secret.present", **secret)["result"] is None
    assert dry("kvm_domain.running", **fields)["result"] is None


def test_a_secret_that_logs_in_is_needed_too(run, converge, guest):
    """Of a disk that QEMU reaches over the network, in either spelling of its UUID."""
    auth = {"type": "ceph", "username": "admin", "uuid": UUID.replace("-", "").upper()}
    network = {"protocol": "rbd", "name": "pool/image", "hosts": [{"name": "ceph1"}], "auth": auth}
    fields = {**guest, "disks": [{"network": network}]}
    told = run()("kvm_domain.present", **fields)
    assert f"there is no secret {auth['uuid']}" in told["comment"]
    secret = {"name": f"{PREFIX}ceph", "usage": "ceph", "uuid": UUID, "value": VALUE}
    dry = run(test=True)
    assert dry("kvm_secret.present", **secret)["result"] is None
    assert dry("kvm_domain.present", **fields)["result"] is None
    assert run()("kvm_secret.present", **secret)["result"] is True
    assert run()("kvm_domain.present", **fields)["result"] is True
    again = run()("kvm_domain.present", **fields)
    assert (again["result"], again["changes"]) == (True, {}), again
    auth = {"type": "ceph", "username": "admin", "usage": f"{PREFIX}no"}
    fields["disks"] = [{"network": {**network, "auth": auth}}]
    told = run()("kvm_domain.present", **fields)
    assert f"there is no secret ceph/{PREFIX}no" in told["comment"]
    auth["usage"] = secret["name"]
    converge("kvm_domain.present", **fields)
    assert f"<secret type='ceph' usage='{secret['name']}'/>" in virsh("dumpxml", guest["name"])


@contextmanager
def watched():
    """What the arguments and the environment of any process held meanwhile."""
    seen, over = set(), threading.Event()

    def watch():
        while not over.wait(0.2):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(path.read_bytes() + path.with_name("environ").read_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_a_passphrase_is_told_nowhere_while_it_is_used(run, modules, guest, secret, folder, caplog):
    """By qemu-img, which is ours for an image and libvirt's for a volume, and by QEMU."""
    caplog.set_level(1)
    pool = f"{PREFIX}luks"
    luks = {"format": "qcow2", "encryption": {"secret": secret}}
    disk = {"path": secret, **luks}
    raw = {"name": f"{secret}.raw", "encryption": {"secret": secret}}
    states = (
        ("kvm_image.present", {"name": secret, "size": "4MiB", **luks}),
        ("kvm_image.present", {"name": secret, "size": "8MiB", **luks}),
        ("kvm_image.present", {**raw, "size": "4MiB"}),
        ("kvm_image.present", {**raw, "size": "8MiB"}),
        ("kvm_pool.running", {"name": pool, "path": f"{folder}/vols"}),
        ("kvm_volume.present", {"name": f"{pool}/a", "capacity": "4MiB", **luks}),
        ("kvm_domain.running", {**guest, "disks": [disk]}),
    )
    with watched() as seen:
        told = [run()(function, **fields) for function, fields in states]
    assert [each["result"] for each in told] == [True] * len(states), told
    ran = b"".join(seen)
    assert b"qemu-img" in ran
    assert b"qemu-system" in ran
    documents = [virsh("dumpxml", guest["name"]), modules["kvm_domain.xml"](guest["name"])]
    documents.append(virsh("vol-dumpxml", "a", "--pool", pool))
    encoded = base64.b64encode(VALUE.encode()).decode().rstrip("=")
    for text in (ran.decode(errors="replace"), str(told), caplog.text, *documents):
        assert VALUE not in text
        assert encoded not in text
    kept = files_with((VALUE, encoded))
    assert {path.parent for path in kept} == {Path("/etc/libvirt/secrets")}, kept
    virsh("pool-destroy", pool)
