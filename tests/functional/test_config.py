"""Keys of configuration files through Salt's loader, over copies of libvirt's own files.

Daemons stay as they are here: this machine's serves other tests. tests/hosts restarts one.
"""

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import salt.loader

from salt_kvm.backend import history
from salt_kvm.backend.hosts import daemons

QEMU = Path("/etc/libvirt/qemu.conf")
PASSWORD = "X-never-shown-X"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(daemons, "DUE", tmp_path / "due")
    monkeypatch.setattr(history, "FOLDER", str(tmp_path / "history"))


@pytest.fixture
def file(tmp_path):
    """A copy of the qemu.conf that libvirt brings."""
    (tmp_path / "etc").mkdir()
    copy = tmp_path / "etc" / "qemu.conf"
    shutil.copy(QEMU, copy)
    copy.chmod(0o644)
    return copy


@pytest.fixture
def config(run, file):
    """Converge dry, for real and again; return the real run."""

    def go(**settings):
        arguments = {
            "name": "x",
            "files": {"qemu.conf": settings},
            "paths": {"qemu.conf": str(file)},
            "restart": False,
        }
        before = file.read_text()
        dry = run(test=True)("kvm_host.config", **arguments)
        assert file.read_text() == before
        real = run()("kvm_host.config", **arguments)
        assert real["result"] is True, real
        assert dry["changes"] == real["changes"]
        assert dry["result"] is (None if real["changes"] else True)
        stamp = file.stat().st_mtime_ns
        for test in (True, False):
            again = run(test=test)("kvm_host.config", **arguments)
            assert (again["result"], again["changes"]) == (True, {}), again
        assert file.stat().st_mtime_ns == stamp
        return real

    return go


def test_keys_take_their_places_and_all_else_stays(config, file):
    before = file.read_text().splitlines()
    ret = config(vnc_listen="0.0.0.0", max_files=32768, vnc_tls=True, security_driver=["none"])
    assert ret["changes"] == {
        "qemu.conf:vnc_listen": {"old": None, "new": "0.0.0.0"},
        "qemu.conf:max_files": {"old": None, "new": 32768},
        "qemu.conf:vnc_tls": {"old": None, "new": True},
        "qemu.conf:security_driver": {"old": None, "new": ["none"]},
    }
    after = file.read_text().splitlines()
    added = ['vnc_listen = "0.0.0.0"', "max_files = 32768", "vnc_tls = 1"]
    added.append('security_driver = [ "none" ]')
    assert [line for line in after if line not in added] == before
    assert after[after.index(added[0]) - 1].startswith("#vnc_listen = ")
    ret = config(vnc_listen=None, max_files=4096)
    assert ret["changes"] == {
        "qemu.conf:vnc_listen": {"old": "0.0.0.0", "new": None},
        "qemu.conf:max_files": {"old": 32768, "new": 4096},
    }
    config(max_files=None, vnc_tls=None, security_driver=None)
    assert file.read_text().splitlines() == before


def test_the_file_that_was_is_kept(config, file):
    before = file.read_text()
    config(max_files=1)
    (version,) = history.versions("file", str(file))
    assert history.read("file", str(file), version) == before


def test_what_a_daemon_has_not_read_yet_is_said_in_every_run(run, file, monkeypatch):
    monkeypatch.setattr(daemons, "active", lambda name: name == "libvirtd")
    # The one of these tests runs in the foreground.
    monkeypatch.setattr(daemons, "minded", lambda name: False)
    arguments = {"files": {"qemu.conf": {"max_files": 1}}, "paths": {"qemu.conf": str(file)}}
    for test in (False, True, False):
        ret = run(test=test)("kvm_host.config", name="x", restart=False, **arguments)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert "Waits for a restart: libvirtd" in ret["comment"]
    ret = run(test=True)("kvm_host.config", name="x", **arguments)
    assert ret["changes"] == {"libvirtd": {"old": "running", "new": "restarted"}}


def test_what_a_daemon_owes_ends_with_its_process(run, file, tmp_path, monkeypatch):
    """One that is started later reads the file as it is then."""
    arguments = {"paths": {"qemu.conf": str(file)}, "restart": False}
    monkeypatch.setattr(daemons, "RUN", tmp_path)
    monkeypatch.setattr(daemons, "SYSTEMD", tmp_path / "none")

    def owed(number):
        files = {"qemu.conf": {"max_files": number}}
        assert run()("kvm_host.config", name="x", files=files, **arguments)["result"] is True
        return daemons.due()

    assert owed(1) == frozenset()
    again = {"files": {"qemu.conf": {"max_files": 2}}, **arguments}
    shutil.copy(shutil.which("sleep"), tmp_path / "libvirtd")
    stand_in = subprocess.Popen([tmp_path / "libvirtd", "600"])
    try:
        (tmp_path / "libvirtd.pid").write_text(f"{stand_in.pid}\n")
        assert owed(2) == {"libvirtd"}
        ret = run()("kvm_host.config", name="x", **{**again, "restart": True})
        assert (ret["result"], ret["changes"]) == (True, {}), "it is not ours to restart"
        assert "Waits for a restart: libvirtd 'in the foreground" in ret["comment"]
        assert stand_in.poll() is None
    finally:
        stand_in.kill()
        stand_in.wait()
    assert daemons.due() == frozenset()


def test_a_password_is_shown_nowhere_and_closes_the_file(opts, modules, file, caplog):
    pillar = {"kvm": {"host": {"config": {"qemu.conf": {"vnc_password": PASSWORD}}}}}
    for test in (True, False):
        options = {**opts, "test": test, "pillar": pillar}
        states = salt.loader.states(options, modules, {}, None, context={})
        paths = {"qemu.conf": str(file)}
        ret = states["kvm_host.config"](name="x", paths=paths, restart=False)
        assert ret["changes"] == {"qemu.conf:vnc_password": {"old": None, "new": "(hidden)"}}
        assert PASSWORD not in json.dumps(ret) + caplog.text
    assert f'vnc_password = "{PASSWORD}"' in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_value_that_is_looked_up_is_shown_nowhere(opts, file, folder, caplog):
    """Whatever its key is called; and what is written is the value."""
    (folder / "sdb.yaml").write_text(f"key: {PASSWORD}\n")
    vault = {"vault": {"driver": "yaml", "files": [f"{folder}/sdb.yaml"]}}
    files = {"qemu.conf": {"spice_sasl_dir": "sdb://vault/key", "max_files": 7}}
    modules = salt.loader.minion_mods({**opts, **vault})
    for test in (True, False):
        states = salt.loader.states({**opts, **vault, "test": test}, modules, {}, None, context={})
        paths = {"qemu.conf": str(file)}
        ret = states["kvm_host.config"](name="x", files=files, paths=paths, restart=False)
        assert ret["changes"]["qemu.conf:spice_sasl_dir"] == {"old": None, "new": "(hidden)"}
        assert PASSWORD not in json.dumps(ret) + caplog.text
    assert f'spice_sasl_dir = "{PASSWORD}"' in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"qemu.conf": {"vnc_lisen": "::"}}, "did you mean vnc_listen"),
        ({"qemuu.conf": {"vnc_listen": "::"}}, "files"),
        ({"qemu.conf": {"vnc_listen": {"a": 1}}}, "files:qemu.conf:vnc_listen"),
        ({"qemu.conf": {"vnc_listen": "a\"b'c"}}, "both kinds of quotes"),
        ({"qemu.conf": {"vnc listen": "a"}}, "vnc listen"),
        ({"libvirt-guests": {"ON_BOOT": ["a"]}}, "can't be a list"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_written(run, file, files, said):
    before = file.read_text()
    ret = run()("kvm_host.config", name="x", files=files, paths={"qemu.conf": str(file)})
    assert ret["result"] is False
    assert said in ret["comment"]
    assert file.read_text() == before


def test_a_file_that_can_not_be_read_is_named_with_its_line(run, file):
    file.write_text("vnc_tls = 0\nwhat\n")
    arguments = {"files": {"qemu.conf": {"vnc_tls": 1}}, "paths": {"qemu.conf": str(file)}}
    ret = run()("kvm_host.config", name="x", **arguments)
    assert ret["result"] is False
    assert f"{file}: line 2 is no assignment; correct it" in ret["comment"]


def test_a_host_without_libvirt_yet(run, tmp_path):
    arguments = {"files": {"qemu.conf": {"vnc_tls": 1}}}
    arguments["paths"] = {"qemu.conf": str(tmp_path / "no" / "qemu.conf")}
    ret = run()("kvm_host.config", name="x", restart=False, **arguments)
    assert ret["result"] is False
    assert "apply kvm.host, which installs libvirt" in ret["comment"]
