"""Users of SASL, who then log in to a real libvirtd, or don't."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import salt.loader

from salt_kvm.backend.hosts import sasl

from .conftest import PREFIX
from .daemon import Daemon

USER = f"{PREFIX}alice"
# No other text holds these.
FIRST, SECOND = (f"open sesame {os.getpid()} {n} ä|\"'$" for n in "ab")


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """What /etc/sasl2 is elsewhere, with a database of its own."""
    if shutil.which("saslpasswd2") is None:
        pytest.skip("saslpasswd2 is not installed; tools/test installs it")
    folder = tmp_path_factory.mktemp("sasl2")
    text = f"mech_list: scram-sha-256\nsasldb_path: {folder}/passwd.db\n"
    (folder / "libvirt.conf").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SASL_CONF_PATH", str(folder))
        yield folder


@pytest.fixture(scope="module")
def daemon(configured, tmp_path_factory, libvirtd):
    """A libvirtd that lets in by SASL only."""
    root = tmp_path_factory.mktemp("libvirtd")
    os.chmod(root, 0o755)
    made = Daemon(root, 'auth_unix_rw = "sasl"')
    try:
        made.start(made.socket.exists)
        yield made
    finally:
        made.close()


@pytest.fixture
def enters(daemon, tmp_path):
    """Tell whether libvirtd lets a user in with a password."""

    def go(password, user=USER):
        file = tmp_path / "auth.conf"
        credentials = f"[credentials-c]\nauthname={user}\npassword={password}\n"
        file.write_text(f"{credentials}\n[auth-libvirt-default]\ncredentials=c\n")
        uri = f"{daemon.uri}&authfile={file}"
        command = ["timeout", "300", "virsh", "-q", "-c", uri, "list", "--all"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0 or "authentication failed" in done.stderr, done.stderr
        return done.returncode == 0

    return go


def test_life_of_a_user(converge, run, enters):
    assert not enters(FIRST)
    made = converge("kvm_host.sasl_user", name=USER, password=FIRST)
    assert made["changes"] == {"user": {"old": None, "new": "present"}}
    assert enters(FIRST)
    assert not enters(SECOND)
    changed = converge("kvm_host.sasl_user", name=USER, password=SECOND)
    assert changed["changes"] == {"password": {"old": "(hidden)", "new": "(hidden)"}}
    assert enters(SECOND)
    assert not enters(FIRST)
    assert run()("kvm_host.sasl_user", name=USER)["changes"] == {}
    gone = converge("kvm_host.sasl_user_absent", name=USER)
    assert gone["changes"] == {"user": {"old": "present", "new": None}}
    assert not enters(SECOND)
    ret = run()("kvm_host.sasl_user", name=USER)
    assert ret["result"] is False
    assert "add a password" in ret["comment"]


def test_what_somebody_else_has_set_is_seen(converge, configured):
    for password, differs in ((FIRST, False), (SECOND, True)):
        subprocess.run(
            ["saslpasswd2", "-p", "-c", "-a", "libvirt", USER], input=password.encode(), check=True
        )
        ran = converge("kvm_host.sasl_user", name=USER, password=FIRST)
        assert bool(ran["changes"]) is differs
    converge("kvm_host.sasl_user_absent", name=USER)


@pytest.mark.parametrize("where", ["plain", "sdb", "pillar"])
def test_a_password_is_shown_nowhere(opts, modules, configured, folder, where, caplog, monkeypatch):
    (folder / "sdb.yaml").write_text(json.dumps({"key": FIRST}))
    more = {"vault": {"driver": "yaml", "files": [f"{folder}/sdb.yaml"]}}
    if where == "pillar":
        users = {USER: "sdb://vault/key"}
        more["pillar"] = {"kvm": {"host": {"sasl": {"mechanisms": ["a"], "users": users}}}}
    given = {"plain": {"password": FIRST}, "sdb": {"password": "sdb://vault/key"}, "pillar": {}}
    seen = []
    popen = subprocess.Popen

    def watched(command, *arguments, **options):
        seen.append(command)
        return popen(command, *arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", watched)
    modules = salt.loader.minion_mods({**opts, **more})
    for test in (True, False):
        states = salt.loader.states({**opts, **more, "test": test}, modules, {}, None, context={})
        ret = states["kvm_host.sasl_user"](name=USER, **given[where])
        assert ret["changes"] == {"user": {"old": None, "new": "present"}}, ret
        assert FIRST not in json.dumps(ret, ensure_ascii=False) + caplog.text
    assert ret["result"] is True
    assert FIRST not in str(seen)
    assert any("saslpasswd2" in command for command in seen)
    states["kvm_host.sasl_user_absent"](name=USER)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "-a"}, "is no user's name"),
        ({"name": "a b"}, "is no user's name"),
        ({"name": "a@realm"}, "is no user's name"),
        ({"name": USER, "password": "two-words\nlines"}, "no control characters"),
        ({"name": USER, "password": "two-words" * 200}, "1 to 1024 bytes"),
        ({"name": USER, "password": 7}, "write it in quotes"),
        ({"name": USER, "password": "sdb://none/key"}, "sdb://none/key gives no value"),
    ],
)
def test_what_is_wrong_is_named(run, configured, fields, said):
    ret = run()("kvm_host.sasl_user", **fields)
    assert ret["result"] is False
    assert said in ret["comment"]
    assert "two-words" not in str(ret)


def test_a_host_without_sasl(run, configured, monkeypatch, tmp_path):
    checker = tmp_path / "sasl_check.py"
    checker.write_text(sasl.CHECKER.read_text().replace("libsasl2.so", "libsasl9.so"))
    monkeypatch.setattr(sasl, "CHECKER", checker)
    ret = run()("kvm_host.sasl_user", name=USER, password=FIRST)
    assert ret["result"] is False
    assert "apply kvm.remote" in ret["comment"]


def test_a_database_that_can_not_be_written(run, configured):
    (configured / "passwd.db").unlink(missing_ok=True)
    (configured / "passwd.db").mkdir()
    try:
        ret = run()("kvm_host.sasl_user", name=USER, password=FIRST)
        assert ret["result"] is False
        assert FIRST not in str(ret)
        assert "Traceback" not in str(ret)
    finally:
        (configured / "passwd.db").rmdir()


def test_the_checker_needs_no_library_of_ours(configured):
    """It runs in a bare Python, so that nothing of Salt's slows or disturbs it."""
    command = [sys.executable, "-I", "-S", str(sasl.CHECKER), "libvirt", USER]
    done = subprocess.run(command, capture_output=True, text=True, check=True, input="")
    assert done.stdout.strip() == str(sasl.NO_USER)
