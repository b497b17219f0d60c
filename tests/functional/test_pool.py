"""Pools on a real libvirtd."""

import os
import subprocess

import pytest

from .conftest import PREFIX, virsh

NAME = f"{PREFIX}pool"


def test_life_of_a_pool(converge, modules, folder):
    path = folder / "images"
    made = converge("kvm_pool.running", name=NAME, type="dir", path=str(path), autostart=True)
    assert set(made["changes"]) == {"directory", "definition", "autostart", "state"}
    (path / "data.raw").write_bytes(b"data")
    info = modules["kvm_pool.info"](NAME)
    assert (info["state"], info["path"], info["autostart"]) == ("running", str(path), True)
    assert info["capacity"] > 0
    converge("kvm_pool.stopped", name=NAME)
    converge("kvm_pool.present", name=NAME, path=f"{path}/", autostart=False)
    converge("kvm_pool.absent", name=NAME)
    assert (path / "data.raw").read_bytes() == b"data"


LEFT = {
    "a file": lambda path: path.touch(),
    "a special file": os.mkfifo,
    "a link to nowhere": lambda path: path.symlink_to(path.with_name("nowhere")),
}


@pytest.mark.parametrize("what", LEFT)
def test_a_path_that_is_no_directory_is_told_by_a_dry_run_too(run, folder, what):
    path = folder / "images"
    LEFT[what](path)
    for test in (True, False):
        told = run(test=test)("kvm_pool.running", name=NAME, path=str(path))
        assert (told["result"], told["changes"]) == (False, {})
        assert f"{path} is {what}" in told["comment"]


def test_volumes_stay_where_their_directory_cannot_go(converge, run, folder):
    """libvirt lists no pipe; the directory is removed last."""
    path = folder / "images"
    converge("kvm_pool.running", name=NAME, path=str(path))
    virsh("vol-create-as", NAME, "one.raw", "1M")
    os.mkfifo(path / "pipe")
    for test in (True, False):
        told = run(test=test)("kvm_pool.absent", name=NAME, data="delete")
        assert (told["result"], told["changes"]) == (False, {})
        assert f"pool {NAME} holds pipe, which libvirt does not list" in told["comment"]
    assert {each.name for each in path.iterdir()} == {"one.raw", "pipe"}


def test_another_path_keeps_the_uuid(converge, folder):
    converge("kvm_pool.present", name=NAME, path=str(folder / "one"))
    uuid = virsh("pool-uuid", NAME)
    changed = converge("kvm_pool.present", name=NAME, path=str(folder / "two"))
    assert changed["changes"]["target/path"] == {"old": f"{folder}/one", "new": f"{folder}/two"}
    assert virsh("pool-uuid", NAME) == uuid


def test_a_failure_takes_back_what_the_run_made(run, folder):
    """The directory is made, then libvirt refuses the definition: the path is another pool's."""
    path = str(folder / "images")
    assert run()("kvm_pool.running", name=NAME, path=path)["result"] is True
    (folder / "images").rmdir()
    failed = run()("kvm_pool.running", name=f"{PREFIX}twin", path=path)
    assert failed["result"] is False
    assert failed["changes"] == {}
    assert "Nothing was left changed" in failed["comment"]
    assert not (folder / "images").exists()
    assert f"{PREFIX}twin" not in virsh("pool-list", "--all", "--name").split()


def test_a_type_that_libvirt_lacks_names_the_package(run, modules):
    """Of these types Debian's libvirt has none, or has it in a package of its own."""
    source = {"hosts": [{"name": "g1.example"}], "name": "volume1"}
    assert "gluster" not in modules["kvm_pool.types"]()
    for test in (True, False):
        told = run(test=test)("kvm_pool.present", name=NAME, type="gluster", source=source)
        assert told["result"] is False
        assert "libvirt on this host has no pools of type gluster" in told["comment"]
        assert "libvirt-daemon-driver-storage-gluster" in told["comment"]


def test_a_pool_keeps_its_type(run, folder):
    assert run()("kvm_pool.present", name=NAME, path=str(folder))["result"] is True
    source = {"hosts": [{"name": "nfs1.example"}], "dir": "/export"}
    told = run()("kvm_pool.present", name=NAME, type="netfs", path=str(folder), source=source)
    assert f"kvm:pools:{NAME}:type: {NAME} is a pool of type dir, not netfs" in told["comment"]


def test_what_a_new_pool_needs_is_told(run, folder):
    for test in (True, False):
        told = run(test=test)("kvm_pool.running", name=NAME, path=f"{folder}/no/pool")
        assert (told["result"], told["changes"]) == (False, {})
        assert f"the directory {folder}/no is not there" in told["comment"]
    told = run()("kvm_pool.present", name=NAME, type="netfs", path=str(folder))
    for field in ("hosts", "dir"):
        assert f"kvm:pools:{NAME}:source:{field}: needed to make the pool" in told["comment"]
    told = run()("kvm_pool.present", name=NAME, path=str(folder), source={"device": "/dev/sdz"})
    assert "type: needed to make a pool that has a source" in told["comment"]


def test_permissions_of_a_directory_are_set_and_kept(converge, folder):
    path = folder / "images"
    fields = {"path": str(path), "permissions": {"owner": "nobody", "mode": "0701"}}
    converge("kvm_pool.present", name=NAME, **fields)
    assert (path.stat().st_uid, oct(path.stat().st_mode)[-4:]) == (65534, "0701")
    converge("kvm_pool.running", name=NAME, **fields)
    path.chmod(0o755)
    virsh("pool-refresh", NAME)
    changed = converge("kvm_pool.running", name=NAME, **fields)
    assert changed["changes"]["directory/mode"] == {"old": "0755", "new": "0701"}
    assert "Waits" not in changed["comment"]
    told = run_unknown_user(converge)
    assert "there is no user 'nosuchuser' on this host" in told


def run_unknown_user(converge):
    permissions = {"owner": "nosuchuser"}
    with pytest.raises(AssertionError) as told:
        converge("kvm_pool.present", name=NAME, permissions=permissions)
    return str(told.value)


def test_a_pool_that_a_running_guest_uses_is_not_stopped(run, converge, folder, guest):
    """By path, by volume, and where only the backing file is the pool's."""
    pool = folder / "pool"
    fields = {"name": NAME, "path": str(pool)}
    assert run()("kvm_pool.running", **fields)["result"] is True
    virsh("vol-create-as", NAME, "base.raw", "1M")
    top = folder / "top.qcow2"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", f"{pool}/base.raw", "-F", "raw"]
    subprocess.run([*command, str(top)], check=True)
    for disk in (
        {"path": f"{pool}/base.raw"},
        {"volume": {"pool": NAME, "volume": "base.raw"}},
        {"path": str(top), "format": "qcow2"},
    ):
        made = run()("kvm_domain.running", **{**guest, "disks": [disk]})
        assert made["result"] is True, made["comment"]
        for state in ("stopped", "absent"):
            for test in (True, False):
                told = run(test=test)(f"kvm_pool.{state}", name=NAME)
                assert told["result"] is False
                assert told["changes"] == {}
                assert f"pool {NAME} is in use by {guest['name']}" in told["comment"]
        moved = {**fields, "path": str(folder / "moved"), "restart": True}
        told = run()("kvm_pool.running", **moved)
        assert "is in use by" in told["comment"]
        virsh("destroy", guest["name"])
    changed = converge("kvm_pool.running", **moved)
    assert "live/target/path" in changed["changes"]
    assert "Waits" not in changed["comment"]
    converge("kvm_pool.absent", name=NAME)


def test_absent_keeps_the_data_unless_told(run, converge, folder, guest):
    pool = folder / "pool"
    assert run()("kvm_pool.running", name=NAME, path=str(pool))["result"] is True
    virsh("vol-create-as", NAME, "one.raw", "1M")
    virsh("vol-create-as", NAME, "two.raw", "1M")
    told = run()("kvm_pool.absent", name=NAME, data="delete_empty")
    assert f"pool {NAME} holds one.raw, two.raw" in told["comment"]
    disks = [{"volume": {"pool": NAME, "volume": "two.raw"}}]
    assert run()("kvm_domain.present", **{**guest, "disks": disks})["result"] is True
    told = run()("kvm_pool.absent", name=NAME, data="delete")
    assert f"volume {NAME}/two.raw is in use by {guest['name']}" in told["comment"]
    assert {path.name for path in pool.iterdir()} == {"one.raw", "two.raw"}
    virsh("undefine", guest["name"])
    converge("kvm_pool.stopped", name=NAME)
    told = run()("kvm_pool.absent", name=NAME, data="delete")
    assert "can't be seen while it is off" in told["comment"]
    converge("kvm_pool.running", name=NAME)
    gone = converge("kvm_pool.absent", name=NAME, data="delete")
    assert {"volume[one.raw]", "volume[two.raw]", "data"} <= set(gone["changes"])
    assert not pool.exists()


def test_a_watch_looks_anew_at_what_a_pool_holds(run, folder, guest):
    """As Salt calls it when what the state watches has changed; a restart is asked for."""
    pool = folder / "pool"
    fields = {"name": NAME, "path": str(pool)}
    watch = {**fields, "sfun": "running"}
    assert run()("kvm_pool.running", **fields)["result"] is True
    (pool / "new.raw").write_bytes(b"0" * 1024)
    assert "new.raw" not in virsh("vol-list", NAME)
    told = [run(test=test)("kvm_pool.mod_watch", **watch) for test in (True, False)]
    assert [each["result"] for each in told] == [None, True]
    assert told[0]["changes"] == told[1]["changes"] != {}
    assert "new.raw" in virsh("vol-list", NAME)
    told = run()("kvm_pool.mod_watch", **{**watch, "sfun": "present"})
    assert (told["result"], told["changes"]) == (True, {})
    told = run()("kvm_pool.mod_watch", **watch, restart=True)
    assert told["changes"] == {"state": {"old": "running", "new": "restarted"}}
    made = run()("kvm_domain.running", **{**guest, "disks": [{"path": f"{pool}/new.raw"}]})
    assert made["result"] is True, made["comment"]
    told = run()("kvm_pool.mod_watch", **watch, restart=True)
    assert (told["result"], told["changes"]) == (False, {})
    assert f"pool {NAME} is in use by {guest['name']}" in told["comment"]
    assert run()("kvm_pool.mod_watch", **watch)["result"] is True
