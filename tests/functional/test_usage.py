"""An image belongs to one guest, as its disk or as what backs its disk."""

import subprocess

import pytest

from salt_kvm.backend.usage import chain

from .conftest import PREFIX, virsh

ONE, TWO = f"{PREFIX}one", f"{PREFIX}two"


def fields(name, path, **more):
    return {"name": name, "memory": "32MiB", "disks": [{"path": str(path), **more}]}


def overlay(path, backing, format="raw"):
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", format, str(path)]
    subprocess.run(command, check=True, cwd=path.parent)


@pytest.fixture
def base(folder):
    (folder / "base.raw").write_bytes(b"\0" * 1024**2)
    return folder / "base.raw"


def refused(run, arguments, path):
    for test in (True, False):
        told = run(test=test)("kvm_domain.present", **arguments)
        assert told["result"] is False
        assert told["changes"] == {}
        assert f"{path} is in use by {ONE}; take another image" in told["comment"]
    return True


def test_a_disk_of_another_guest_is_refused(run, base):
    assert run()("kvm_domain.present", **fields(ONE, base))["result"] is True
    assert refused(run, fields(TWO, base), base)
    link = base.with_name("link.raw")
    link.symlink_to(base)
    assert refused(run, fields(TWO, link), link)


def test_a_disk_that_backs_another_guests_is_refused(run, base, folder):
    overlay(folder / "middle.qcow2", "base.raw")
    overlay(folder / "top.qcow2", str(folder / "middle.qcow2"), "qcow2")
    top = fields(ONE, folder / "top.qcow2", format="qcow2")
    assert run()("kvm_domain.present", **top)["result"] is True
    assert refused(run, fields(TWO, base), base)


def test_a_promised_guest_counts_too(run, base):
    dry = run(test=True)
    assert dry("kvm_domain.present", **fields(ONE, base))["result"] is None
    told = dry("kvm_domain.present", **fields(TWO, base))
    assert f"in use by {ONE}" in told["comment"]


def test_a_medium_may_be_shared(run):
    iso = {"memory": "32MiB", "cdrom": "/usr/lib/ipxe/ipxe.iso"}
    for name in (ONE, TWO):
        assert run()("kvm_domain.present", name=name, **iso)["result"] is True


def test_a_chain_that_loops_or_lies_ends(folder):
    command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2"]
    for name, backing in (("a", "b.qcow2"), ("b", "a.qcow2"), ("c", "/no/such")):
        target = str(folder / f"{name}.qcow2")
        subprocess.run([*command, "-b", backing, target, "1M"], check=True, cwd=folder)
    assert len(chain(str(folder / "a.qcow2"))) == 200
    assert chain(str(folder / "c.qcow2"))[-1] == "/no/such"
    (folder / "short").write_bytes(b"QFI")
    assert chain(str(folder / "short")) == [str(folder / "short")]


def test_absent_deletes_only_the_images_that_are_the_guests_own(run, converge, base, folder):
    """Its overlay goes; base, shared, read-only, another guest's and the medium stay."""
    for name in ("own", "top", "theirs"):
        overlay(folder / f"{name}.qcow2", "base.raw")
    (folder / "shared.raw").write_bytes(b"\0" * 1024**2)
    (folder / "medium.iso").write_bytes(b"\0" * 2048)
    overlay(folder / "over_top.qcow2", "top.qcow2", "qcow2")
    disks = [
        {"path": f"{folder}/own.qcow2", "format": "qcow2"},
        {"path": f"{folder}/top.qcow2", "format": "qcow2"},
        {"path": f"{folder}/shared.raw", "shareable": True},
    ]
    made = run()(
        "kvm_domain.present", name=ONE, memory="32MiB", disks=disks, cdrom=f"{folder}/medium.iso"
    )
    assert made["result"] is True, made
    # Another guest whose disk was made over this one's, out of band.
    xml = f"""<domain type='qemu'><name>{TWO}</name><memory>32768</memory><os><type>hvm</type></os>
    <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
    <source file='{folder}/over_top.qcow2'/><target dev='vda'/></disk></devices></domain>"""
    (folder / "two.xml").write_text(xml)
    virsh("define", str(folder / "two.xml"))
    changes = converge("kvm_domain.absent", name=ONE, disks="delete")["changes"]
    assert set(changes) == {"definition", f"image[{folder}/own.qcow2]"}
    left = {path.name for path in folder.iterdir()} - {"two.xml"}
    assert left == {
        "base.raw", "top.qcow2", "theirs.qcow2", "over_top.qcow2", "shared.raw", "medium.iso",
    }  # fmt: skip


def test_disks_delete_goes_with_absent_only(run):
    told = run()("kvm_domain.present", name=ONE, memory="32MiB", disks="delete")
    assert told["result"] is False
    assert "'disks: delete' goes with 'state: absent' only" in told["comment"]
