"""Pools on a real libvirtd."""

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
