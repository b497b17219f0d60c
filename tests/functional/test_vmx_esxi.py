"""Files of an ESXi host, over a real sshd; ``esxi.py`` says what of ESXi stands in there."""

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from salt_kvm import vmx
from waiting import wait_for

from .conftest import PREFIX, ROOT
from .esxi import UUID, EsxiHost

TEXT = (Path(__file__).parents[1] / "unit" / "vmx" / "esxi.vmx").read_bytes()
SET = TEXT + b'vhv.enable = "TRUE"\n'
NAME = f"{PREFIX}centos7"
LIST, STATE = "vmsvc/getallvms", "vmsvc/power.getstate 12"

HOSTILE = [
    "two words",
    "it's",
    'say "hi"',
    "a;touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "a|b&c>d<e",
    "-rf",
    "*",
    "back\\slash",
    "$HOME",
    "~",
    "ü虚",
    "a'\"'b",
    "#a !b {c,d} [e]",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    host = EsxiHost(tmp_path_factory.mktemp("esxi"), PREFIX)
    try:
        yield host
    finally:
        host.close()


@pytest.fixture
def esxi(server):
    """The host with no machine on it."""
    yield server
    if server.daemon.poll() is not None:
        server.start()
    server.machines.clear()
    server.register()
    server.asked()
    for name in ("stubborn", "dawdle", "reloading"):
        (server.root / "var" / name).unlink(missing_ok=True)
    server.hook("")
    for path in sorted(server.there(f"/vmfs/volumes/{UUID}").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def names(esxi, path):
    return sorted(each.name for each in esxi.there(path).parent.iterdir())


def test_the_procedures_line(converge, run, esxi):
    path = esxi.machine(12, NAME, TEXT)
    os.chown(esxi.there(path), 12, 34)
    esxi.there(path).chmod(0o755)
    dry = run(test=True)("vmx.nested_enabled", name=path, host=esxi.fields)
    assert dry["result"] is None
    assert esxi.there(path).read_bytes() == TEXT
    assert esxi.asked() == [LIST, STATE]
    real = run()("vmx.nested_enabled", name=path, host=esxi.fields)
    assert (real["result"], real["changes"]) == (True, dry["changes"])
    assert esxi.there(path).read_bytes() == SET
    found = esxi.there(path).stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12, 34, 0o755)
    asked = esxi.asked()
    assert asked[-1] == "vmsvc/reload 12"
    assert set(asked[:-1]) == {LIST, STATE}
    for test in (True, False):
        again = run(test=test)("vmx.nested_enabled", name=path, host=esxi.fields)
        assert (again["result"], again["changes"]) == (True, {})
    assert esxi.asked() == []
    converge("vmx.option_absent", name=path, host=esxi.fields, key="vhv.enable")
    assert esxi.there(path).read_bytes() == TEXT
    assert names(esxi, path) == [f"{NAME}.vmx"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_a_name_whatever_is_in_it(run, modules, esxi, name):
    whole = f"{name}{PREFIX}" if name != "-rf" else f"-rf{PREFIX}"
    path = esxi.machine(12, "any", TEXT, file=f"{whole}/{name}.vmx")
    before = sorted(esxi.root.rglob("*"))
    real = run()("vmx.managed", name=path, host=esxi.fields, nested=True)
    assert real["result"] is True, real["comment"]
    assert esxi.there(path).read_bytes() == SET
    assert set(esxi.root.rglob("*")) - set(before) <= {esxi.root / "var/asked"}
    told = modules["vmx.info"](path, host=esxi.fields)
    assert (told["machines"], told["powered_on"]) == ([12], False)
    (found,) = modules["vmx.find"](host=esxi.fields, volumes=True)
    assert found["path"] == path


def test_a_value_is_a_value_whatever_is_in_it(converge, modules, esxi):
    path = esxi.machine(12, NAME, TEXT)
    value = "'\"; $(touch /pwned) `touch /pwned` \\ | é\n--"
    converge("vmx.option_present", name=path, host=esxi.fields, key="annotation", value=value)
    assert modules["vmx.get"](path, "annotation", host=esxi.fields) == value
    assert not (esxi.root / "pwned").exists()


def test_find(modules, esxi):
    """A note of several lines, one of which looks like a machine's."""
    web = esxi.machine(1, "web server 1", TEXT, file="web 1/web server 1.vmx", power="on")
    note = "a [note]\n2 is more than 1\n\n"
    esxi.machine(22, "db", TEXT, note=note)
    lone = esxi.machine(None, "lone", TEXT)
    strange = esxi.machine(None, "x", TEXT, file="a\nb/c.vmx")
    found = modules["vmx.find"](host=esxi.fields)
    assert [(row["number"], row["name"], row["powered_on"]) for row in found] == [
        (1, "web server 1", True),
        (22, "db", False),
    ]
    assert found[0]["path"] == web
    assert (found[1]["guest"], found[1]["version"]) == ("centos7_64Guest", "vmx-13")
    more = modules["vmx.find"](host=esxi.fields, volumes=True)[2:]
    real = [path.replace("datastore1", UUID) for path in (strange, lone)]
    assert sorted(row["path"] for row in more) == sorted(real)
    assert modules["vmx.find"](host=esxi.fields, volumes=True, depth=1) == found
    with pytest.raises(Exception, match="is no absolute path"):
        modules["vmx.info"](strange, host=esxi.fields)


@pytest.mark.parametrize(
    "spelling", ["[datastore1] {0}/{0}.vmx", f"/vmfs/volumes/{UUID}/{{0}}/{{0}}.vmx"]
)
def test_a_machine_is_known_by_each_path_of_its_file(run, esxi, spelling):
    esxi.machine(12, NAME, TEXT, power="on")
    real = run()("vmx.nested_enabled", name=spelling.format(NAME), host=esxi.fields)
    assert real["result"] is False
    assert "is powered on" in real["comment"]


@pytest.mark.parametrize("power", ["on", "suspended"])
def test_a_running_machine_is_refused_or_waits(run, esxi, power):
    path = esxi.machine(12, NAME, TEXT, power=power)
    for test in (True, False):
        refused = run(test=test)("vmx.nested_enabled", name=path, host=esxi.fields)
        assert (refused["result"], refused["changes"]) == (False, {})
        assert "shut the machine down, or set powered_on: write" in refused["comment"]
    assert esxi.there(path).read_bytes() == TEXT
    go = {"name": path, "host": esxi.fields, "powered_on": "write"}
    real = run()("vmx.nested_enabled", **go)
    assert esxi.there(path).read_bytes() == SET
    assert not any("reload" in asked for asked in esxi.asked())
    for told in (
        real,
        run()("vmx.nested_enabled", **go),
        run(test=True)("vmx.nested_enabled", **go),
    ):
        assert (
            "Waits for the machine's next power cycle: vhv.enable None -> 'TRUE'" in told["comment"]
        )
    esxi.power(12, "on", since="2024-06-01T10:00:00Z")
    assert "Waits" not in run()("vmx.nested_enabled", **go)["comment"]


def test_a_machine_that_is_not_registered(converge, run, esxi):
    path = esxi.machine(None, NAME, TEXT)
    converge("vmx.nested_enabled", name=path, host=esxi.fields)
    assert set(esxi.asked()) == {LIST}
    Path(f"{esxi.there(path)}.lck").touch()
    refused = run()("vmx.option_present", name=path, host=esxi.fields, key="a", value="b")
    assert f"is powered on (on another host: {path}.lck)" in refused["comment"]


def test_a_reload_that_fails_takes_the_text_back(run, esxi):
    path = esxi.machine(12, NAME, TEXT)
    (esxi.root / "var/stubborn").touch()
    real = run()("vmx.nested_enabled", name=path, host=esxi.fields, backup=True)
    assert (real["result"], real["changes"]) == (False, {})
    assert "Failed to reload: busy" in real["comment"]
    assert esxi.there(path).read_bytes() == TEXT


def test_a_backup(run, esxi):
    path = esxi.machine(12, NAME, TEXT)
    real = run()("vmx.nested_enabled", name=path, host=esxi.fields, backup=True)
    (kept,) = esxi.there(path).parent.glob("*.bak")
    assert kept.read_bytes() == TEXT
    assert kept.name in real["comment"]


def test_one_connection_serves_many_files_and_ends_with_the_process(esxi):
    paths = [esxi.machine(number, f"{PREFIX}{number}", TEXT) for number in range(5)]
    before = esxi.connections()
    ran = writer(esxi, paths)
    assert ran.communicate()[0].split() == ["None"] * 5
    assert esxi.connections() == before + 1
    assert not list(Path("/run/salt-kvm/ssh").glob(f"{ran.pid}-*"))
    assert all(vmx.get(esxi.there(path).read_bytes(), "a.one") == "1" for path in paths)
    assert stat.S_IMODE(Path("/run/salt-kvm/ssh").stat().st_mode) == 0o700


WRITER = """
import json, sys
from salt_kvm import converge
from salt_kvm.backend.world import World
host, key, *paths = json.loads(sys.argv[1])
world = World("test:///default")
for path in paths:
    fields = {"host": host, "options": {key: "1"}}
    try:
        print(converge.run(world, "vmx", path, fields).failure, flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""


def writer(esxi, paths, key="a.one"):
    """Another process that sets a key."""
    asked = json.dumps([esxi.fields, key, *paths])
    command = [sys.executable, "-c", WRITER, asked]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def slow(esxi, what="/bin/busybox sleep 30"):
    """Let the host dawdle once where the new text is whole and not in its place yet."""
    (esxi.root / "var/slept").unlink(missing_ok=True)
    esxi.hook(f"sync() {{ [ -e /var/slept ] || {{ : > /var/slept; {what}; }}; }}\n")


def test_a_killed_run_leaves_the_file_whole(run, esxi):
    path = esxi.machine(12, NAME, TEXT)
    slow(esxi, "/bin/busybox sleep 15")
    killed = writer(esxi, [path])
    wait_for((esxi.root / "var/slept").exists, "the writer")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert esxi.there(path).read_bytes() in (TEXT, TEXT + b'a.one = "1"\n')
    wait_for(lambda: len(names(esxi, path)) == 1, lambda: names(esxi, path))
    esxi.asked()
    real = run()("vmx.option_present", name=path, host=esxi.fields, key="a.one", value="1")
    assert real["result"] is True
    assert esxi.there(path).read_bytes() == TEXT + b'a.one = "1"\n'
    assert names(esxi, path) == [f"{NAME}.vmx"]
    assert esxi.asked()[-1] == "vmsvc/reload 12"


def test_a_text_that_arrives_in_part_is_dropped(esxi):
    """More than a pipe holds: the rest is with sshd when that is killed."""
    large = (b"# " + b"a" * 5000 + b"\n") * 100
    path = esxi.machine(12, NAME, large)
    began = esxi.root / "var/slept"
    began.unlink(missing_ok=True)
    doze = "[ $# -gt 0 ] || { : > /var/slept; /bin/busybox sleep 15; }"
    esxi.hook(f'cat() {{ {doze}; /bin/busybox cat "$@"; }}\n')
    cut = writer(esxi, [path])
    wait_for(began.exists, "the writer")
    esxi.unplug(programs=False)
    cut.communicate()
    wait_for(lambda: len(names(esxi, path)) == 1, lambda: names(esxi, path))
    assert esxi.there(path).read_bytes() == large


def test_a_run_that_is_killed_before_the_reload(run, esxi):
    path = esxi.machine(12, NAME, TEXT)
    (esxi.root / "var/dawdle").touch()
    killed = writer(esxi, [path])
    wait_for((esxi.root / "var/reloading").exists, "the reload")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (esxi.root / "var/dawdle").unlink()
    assert esxi.there(path).read_bytes() == TEXT + b'a.one = "1"\n'
    esxi.asked()
    go = {"name": path, "host": esxi.fields, "key": "a.one", "value": "1"}
    foretold = run(test=True)("vmx.option_present", **go)
    assert foretold["changes"] == {"reload": {"old": None, "new": "12"}}
    assert run()("vmx.option_present", **go)["changes"] == foretold["changes"]
    assert esxi.asked()[-1] == "vmsvc/reload 12"
    assert run()("vmx.option_present", **go)["changes"] == {}


def test_a_host_that_is_unplugged_midway(run, esxi):
    path = esxi.machine(12, NAME, TEXT)
    slow(esxi, "/bin/busybox sleep 1000")
    cut = writer(esxi, [path])
    wait_for((esxi.root / "var/slept").exists, "the writer")
    esxi.unplug()
    said = cut.communicate()[0]
    assert "nothing answers there; start SSH on it" in said
    assert esxi.there(path).read_bytes() == TEXT
    esxi.start()
    real = run()("vmx.option_present", name=path, host=esxi.fields, key="a.one", value="1")
    assert real["result"] is True, real["comment"]
    assert names(esxi, path) == [f"{NAME}.vmx"]
    assert esxi.asked()[-1] == "vmsvc/reload 12"


def test_two_runs_at_once_both_count(esxi):
    path = esxi.machine(12, NAME, TEXT)
    both = [writer(esxi, [path], key) for key in ("a.one", "a.two")]
    assert [each.communicate()[0] for each in both] == ["None\n", "None\n"]
    text = esxi.there(path).read_bytes()
    assert (vmx.get(text, "a.one"), vmx.get(text, "a.two")) == ("1", "1")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (f"echo >> /vmfs/volumes/{UUID}/{NAME}/{NAME}.vmx", "was changed by somebody else"),
        (f"rm /vmfs/volumes/{UUID}/{NAME}/{NAME}.vmx", "went away while this run"),
    ],
)
def test_a_file_that_changes_under_the_run(run, esxi, what, said):
    path = esxi.machine(12, NAME, TEXT)
    slow(esxi, what)
    real = run()("vmx.option_present", name=path, host=esxi.fields, key="a", value="b", backup=True)
    assert (real["result"], real["changes"]) == (False, {})
    assert said in real["comment"]
    assert set(names(esxi, path)) <= {f"{NAME}.vmx"}


def test_a_full_datastore_and_a_read_only_one(run, esxi):
    place = esxi.there(f"/vmfs/volumes/{UUID}/small")
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], check=True)
    try:
        path = esxi.machine(12, NAME, TEXT, file=f"small/{NAME}.vmx")
        (place / "rest").write_bytes(b"x" * 8192)
        go = {"name": path, "host": esxi.fields, "key": "a"}
        real = run()("vmx.option_present", value="b" * 4000, **go)
        assert "no space left on device; free some space in the datastore" in real["comment"]
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        for backup in (True, False):
            real = run()("vmx.option_present", value="b", backup=backup, **go)
            assert "read-only file system; mount the datastore writable" in real["comment"]
        assert esxi.there(path).read_bytes() == TEXT
        assert names(esxi, path) == sorted([f"{NAME}.vmx", "rest"])
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


FAULTS = [
    ({"port": 1}, "nothing answers there; start SSH on it, or correct the port"),
    ({"host": "no-such-host.invalid"}, "its name is not known; correct it"),
    ({"known_hosts": "empty"}, "its host key is not known; add it to known_hosts"),
    ({"known_hosts": "other"}, "its host key is not the one that is known"),
    ({"identity_file": "other_key"}, "it refuses the key"),
    ({"identity_file": "/nowhere"}, "it refuses the key"),
]


@pytest.mark.parametrize(("fields", "said"), FAULTS, ids=[str(fault[0]) for fault in FAULTS])
def test_a_host_that_can_not_be_used(run, modules, esxi, fields, said):
    path = esxi.machine(12, NAME, TEXT)
    esxi.know("other", "other_key")
    (esxi.folder / "empty").touch()
    here = {
        key: str(esxi.folder / each) if key[-1] in "se" else each for key, each in fields.items()
    }
    host = {**esxi.fields, **here}
    for test in (True, False):
        real = run(test=test)("vmx.nested_enabled", name=path, host=host)
        assert (real["result"], real["changes"]) == (False, {})
        assert said in real["comment"]
        assert "\n" not in real["comment"]
    with pytest.raises(Exception, match=said):
        modules["vmx.find"](host=host)


def test_nobody_is_asked_for_a_passphrase(esxi):
    """Also where there is a terminal to ask on, as of `salt-call`."""
    key = esxi.folder / "shut_key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "hush hush", "-f", str(key)]
    subprocess.run(command, check=True)
    with (esxi.folder / "authorized_keys").open("a") as file:
        file.write(esxi.public("shut_key"))
    fields = {**esxi.fields, "identity_file": str(key)}
    code = f"from salt_kvm.backend.vmware import esxi; esxi.registered(esxi.Esxi(**{fields!r}))"
    line = shlex.join([sys.executable, "-c", code])
    ran = subprocess.run(
        ["timeout", "60", "script", "-qec", line, "/dev/null"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "it refuses the key" in ran.stdout
    assert "passphrase" not in ran.stdout


def test_files_that_are_none(run, esxi):
    esxi.machine(12, NAME, TEXT)
    folder = esxi.there(f"/vmfs/volumes/{UUID}/{NAME}")
    (folder / "link.vmx").symlink_to(f"{NAME}.vmx")
    (folder / "dir.vmx").mkdir()
    (folder / "large.vmx").write_bytes(b"a" * 5 * 1024**2)
    said = {
        "link": "is a link; name the file",
        "dir": "is no file",
        "large": "is too large for a .vmx file",
        "none": "is not there; correct the path",
    }
    for name, what in said.items():
        path = f"[datastore1] {NAME}/{name}.vmx"
        real = run()("vmx.nested_enabled", name=path, host=esxi.fields)
        assert real["result"] is False
        assert what in real["comment"]


def test_a_host_that_is_no_esxi(run, esxi):
    path = esxi.machine(12, NAME, TEXT)
    vim = esxi.root / "bin/vim-cmd"
    vim.rename(f"{vim}.away")
    try:
        real = run()("vmx.nested_enabled", name=path, host=esxi.fields)
    finally:
        Path(f"{vim}.away").rename(vim)
    assert "see that it is an ESXi host and that its hostd runs" in real["comment"]
    assert esxi.there(path).read_bytes() == TEXT
