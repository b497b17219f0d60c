"""An image belongs to one guest, as its disk or as what backs its disk."""

import subprocess

import pytest

from salt_kvm.backend.storage.usage import chain

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


def test_a_device_of_another_guest_is_refused(run, base):
    command = ["losetup", "--find", "--show", str(base)]
    device = subprocess.check_output(command, text=True).strip()
    try:
        disks = [{"block": device}]
        assert run()("kvm_domain.present", name=ONE, memory="32MiB", disks=disks)["result"] is True
        told = run()("kvm_domain.present", name=TWO, memory="32MiB", disks=disks)
        assert told["result"] is False
        assert f"{device} is in use by {ONE}; take another device" in told["comment"]
        shared = [{"block": device, "shareable": True}]
        for name in (ONE, TWO):
            made = run()("kvm_domain.present", name=name, memory="32MiB", disks=shared)
            assert made["result"] is True, made["comment"]
    finally:
        virsh("undefine", ONE)
        virsh("undefine", TWO)
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.parametrize(
    ("first", "second", "url"),
    [
        (
            {"protocol": "rbd", "name": "vms/a", "hosts": [{"name": "m2"}, {"name": "m1"}]},
            {"protocol": "rbd", "name": "vms/a", "hosts": [{"name": "m1"}, {"name": "m2"}]},
            "rbd://m1,m2/vms/a",
        ),
        (
            {"protocol": "nbd", "hosts": [{"name": "s1", "port": 10809}]},
            {"protocol": "nbd", "hosts": [{"name": "s1"}]},
            "nbd://s1:10809/",
        ),
    ],
    ids=["rbd", "nbd"],
)
def test_what_a_server_has_of_another_guest_is_refused(run, folder, first, second, url):
    def disk(network, **more):
        return {"memory": "32MiB", "disks": [{"network": network, **more}]}

    assert run()("kvm_domain.present", name=ONE, **disk(first))["result"] is True
    for test in (True, False):
        told = run(test=test)("kvm_domain.present", name=TWO, **disk(second))
        assert told["result"] is False
        assert f"{url} is in use by {ONE}; take another" in told["comment"]
    other = {**second, "name": "vms/b"}
    assert run()("kvm_domain.present", name=TWO, **disk(other))["result"] is True
    virsh("undefine", TWO)
    shared = run()("kvm_domain.present", name=ONE, **disk(first, shareable=True))
    assert shared["result"] is True, shared["comment"]
    made = run()("kvm_domain.present", name=TWO, **disk(second, shareable=True))
    assert made["result"] is True, made["comment"]


def test_what_a_device_holds_stands_on_its_base(run, folder, base):
    """An image on a block device, as on a logical volume."""
    overlay(folder / "top.qcow2", str(base))
    command = ["losetup", "--find", "--show", str(folder / "top.qcow2")]
    device = subprocess.check_output(command, text=True).strip()
    try:
        disks = [{"block": device, "format": "qcow2"}]
        assert run()("kvm_domain.present", name=ONE, memory="32MiB", disks=disks)["result"] is True
        # The name alone does not tell any more.
        (folder / "top.qcow2").unlink()
        assert refused(run, fields(TWO, base), base)
        told = run()("kvm_image.absent", name=str(base))
        assert told["result"] is False
        assert base.exists()
    finally:
        virsh("undefine", ONE)
        virsh("undefine", TWO)
        subprocess.run(["losetup", "--detach", device], check=True)


def test_the_data_of_an_image_that_keeps_them_apart_are_in_use(run, folder):
    image, data = folder / "image.qcow2", folder / "data.raw"
    make = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={data}", str(image), "1M"]
    subprocess.run(make, check=True)
    xml = f"""<domain type='qemu'><name>{ONE}</name><memory>32768</memory><os><type>hvm</type></os>
    <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
    <source file='{image}'/><target dev='vda'/></disk></devices></domain>"""
    (folder / "one.xml").write_text(xml)
    virsh("define", str(folder / "one.xml"))
    assert refused(run, fields(TWO, data), data)
    told = run()("kvm_image.absent", name=str(data))
    assert told["result"] is False
    assert data.exists()


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


def test_what_an_image_stands_on_or_a_guest_has_only_now_stays(run, converge, folder):
    """A clone that no guest has yet, a medium, and a disk that was plugged in by hand."""
    for name in ("stood_on", "medium", "plugged", "base", "own"):
        (folder / f"{name}.raw").write_bytes(b"\0" * 1024**2)
    overlay(folder / "clone.qcow2", "stood_on.raw")
    overlay(folder / "own.qcow2", str(folder / "own.raw"))
    names = ("stood_on", "medium", "plugged", "own")
    disks = [{"path": f"{folder}/{name}.raw"} for name in names]
    disks.append({"path": f"{folder}/own.qcow2", "format": "qcow2"})
    made = run()("kvm_domain.present", name=ONE, memory="32MiB", disks=disks)
    assert made["result"] is True, made
    other = {"name": TWO, "memory": "32MiB", "cdrom": f"{folder}/medium.raw"}
    assert run()("kvm_domain.running", **other)["result"] is True
    plug = ["attach-disk", TWO, f"{folder}/plugged.raw", "vdz", "--live"]
    assert "attached" in virsh(*plug)
    try:
        changes = converge("kvm_domain.absent", name=ONE, disks="delete")["changes"]
    finally:
        virsh("destroy", TWO)
    own = {f"image[{folder}/own.raw]", f"image[{folder}/own.qcow2]"}
    assert set(changes) == {"definition", *own}


def test_disks_delete_goes_with_absent_only(run):
    told = run()("kvm_domain.present", name=ONE, memory="32MiB", disks="delete")
    assert told["result"] is False
    assert "'disks: delete' goes with 'state: absent' only" in told["comment"]
