"""Files of Workstation and Fusion on this host."""

import base64
import functools
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import salt.loader

from salt_kvm import vmx
from salt_kvm.backend.vmware import vmx as machines

from .conftest import PREFIX

CORPUS = Path(__file__).parents[1] / "unit" / "vmx"
LAB = (CORPUS / "workstation-linux.vmx").read_bytes()


# rwx for the owner, r for user 1235, r-x for the group, r for others, as the kernel has it.
ENTRIES = [(1, 7, -1), (2, 4, 1235), (4, 5, -1), (16, 5, -1), (32, 4, -1)]
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in ENTRIES)


@pytest.fixture
def lab(tmp_path):
    """A machine of Workstation's."""
    path = tmp_path / "lab" / f"{PREFIX}lab.vmx"
    path.parent.mkdir()
    path.write_bytes(LAB)
    return path


@pytest.fixture
def tree(tmp_path):
    """Return what photographs the test's directory: names, modes, owners, texts, times."""

    def photograph():
        found = {}
        for path in sorted(tmp_path.rglob("*")):
            was = path.lstat()
            text = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (was.st_mode, was.st_uid, was.st_gid, was.st_mtime_ns, text)
        return found

    return photograph


def test_the_procedures_line(converge, run, lab, tree):
    before = tree()
    dry = run(test=True)("vmx.nested_enabled", name=str(lab))
    assert tree() == before
    real = converge("vmx.nested_enabled", name=str(lab))
    assert real["changes"] == dry["changes"]
    assert real["changes"]["vhv.enable"] == {"old": None, "new": "TRUE"}
    assert real["changes"]["diff"]["new"].endswith('+vhv.enable = "TRUE"')
    assert lab.read_bytes() == LAB + b'vhv.enable = "TRUE"\n'
    after = tree()
    assert run()("vmx.nested_enabled", name=str(lab))["changes"] == {}
    assert tree() == after
    converge("vmx.option_absent", name=str(lab), key="VHV.enable")
    assert lab.read_bytes() == LAB


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.vmx")), ids=lambda path: path.stem)
def test_every_text_of_the_corpus(converge, run, lab, path):
    lab.write_bytes(path.read_bytes())
    wanted = {"options": {"memsize": 8192, "a.b": "|\"'$(x)"}, "absent": ["Floppy0.present"]}
    if path.stem == "encrypted":
        real = run()("vmx.managed", name=str(lab), **wanted)
        assert (real["result"], real["changes"]) == (False, {})
        assert "encrypted as a whole" in real["comment"]
        return
    converge("vmx.managed", name=str(lab), **wanted)
    expected = {"memsize": "8192", "a.b": "|\"'$(x)", "floppy0.present": None}
    assert lab.read_bytes() == vmx.edit(path.read_bytes(), expected)


def test_owner_mode_attributes_and_link_stay(run, lab, tmp_path):
    os.chown(lab, 1234, 2345)
    lab.chmod(0o754)
    os.setxattr(lab, "trusted.note", b"mine")
    os.setxattr(lab, "system.posix_acl_access", ACL)
    attributes = {name: os.getxattr(lab, name) for name in os.listxattr(lab)}
    link = tmp_path / f"{PREFIX}link.vmx"
    link.symlink_to(lab)
    assert run()("vmx.option_present", name=str(link), key="a", value="b")["result"] is True
    found = lab.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 2345, 0o754)
    assert {name: os.getxattr(lab, name) for name in os.listxattr(lab)} == attributes
    assert {"trusted.note", "system.posix_acl_access"} <= set(attributes)
    assert link.is_symlink()
    assert vmx.get(lab.read_bytes(), "a") == "b"


def test_what_somebody_writes_meanwhile_stays(run, lab, monkeypatch):
    """Between the look and the moment when the new text takes the place of the old one."""
    theirs, copy = LAB + b'annotation = "theirs"\n', machines._copy

    def meanwhile(source, target, data):
        copy(source, target, data)
        lab.write_bytes(theirs)

    monkeypatch.setattr(machines, "_copy", meanwhile)
    ret = run()("vmx.option_present", name=str(lab), key="a", value=1)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "was changed by somebody else" in ret["comment"]
    assert lab.read_bytes() == theirs
    assert list(lab.parent.iterdir()) == [lab]


def test_a_text_is_on_the_disk_before_it_has_the_files_name(run, lab, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def synced(handle):
        fsync(handle)
        done.append(os.readlink(f"/proc/self/fd/{handle}"))

    def replaced(source, target):
        replace(source, target)
        done.append((str(source), str(target)))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    run()("vmx.option_present", name=str(lab), key="a", value=1)
    (move,) = (each for each in done if each[1] == str(lab))
    before, after = done[: done.index(move)], done[done.index(move) :]
    assert move[0] in before
    assert str(lab.parent) in after


def test_a_backup_has_the_date_in_its_name(run, lab):
    real = run()("vmx.option_present", name=str(lab), key="a", value=1, backup=True)
    (kept,) = lab.parent.glob("*.bak")
    assert kept.read_bytes() == LAB
    assert kept.name.startswith(f"{lab.name}.{time.strftime('%Y')}")
    assert str(kept) in real["comment"]
    run()("vmx.option_present", name=str(lab), key="a", value=1, backup=True)
    assert list(lab.parent.glob("*.bak")) == [kept]


def test_a_running_machine_is_refused_or_waits(run, lab, tree):
    locks = Path(f"{lab}.lck")
    locks.mkdir()
    assert run()("vmx.option_present", name=str(lab), key="a", value="b")["changes"]
    (locks / "M12345.lck").write_text("held")
    before = tree()
    for test in (True, False):
        refused = run(test=test)("vmx.nested_enabled", name=str(lab))
        assert (refused["result"], refused["changes"]) == (False, {})
        assert "is powered on" in refused["comment"]
        assert "powered_on: write" in refused["comment"]
    assert tree() == before
    waits = "Waits for the machine's next power cycle: vhv.enable None -> 'TRUE'"
    real = run()("vmx.nested_enabled", name=str(lab), powered_on="write")
    assert real["changes"]
    assert waits in real["comment"]
    for test in (True, False):
        again = run(test=test)("vmx.nested_enabled", name=str(lab))
        assert (again["result"], again["changes"]) == (True, {})
        assert waits in again["comment"]
    (locks / "M12345.lck").rename(locks / "M54321.lck")
    assert "Waits" not in run()("vmx.nested_enabled", name=str(lab))["comment"]


def vmware_host(name, card):
    """What VMware calls a Linux host in a lock: a hash of its name, and a card's address."""
    spread = functools.reduce(lambda sofar, byte: sofar * 33 + byte, name.encode(), 5381)
    return base64.b64encode(struct.pack("<I6s2x", spread % 2**32, card), b"+-").decode()


@pytest.fixture
def own_host():
    shown = subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout
    cards = {link["ifname"]: link.get("address") for link in json.loads(shown)}
    first = next((cards[f"eth{n}"] for n in range(8) if f"eth{n}" in cards), "00:" * 5 + "00")
    return vmware_host(os.uname().nodename, bytes.fromhex(first.replace(":", "")))


def began(process):
    """When a process began, in the kernel's ticks."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]


def ended():
    """The number of a process that is gone."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    return gone.pid


# What a lock says of its process, and whether it counts.
LOCKS = {
    "of a process that runs": (lambda: f"{os.getpid()}-{began(os.getpid())}(vmware-vmx) 1 X", True),
    "of a process without a time": (lambda: f"{os.getpid()}-0 1 X", True),
    "of a process that is gone": (lambda: f"{ended()}-77(vmware-vmx) 1 X", False),
    "of one whose number is another's": (lambda: f"{os.getpid()}-77(vmware-vmx) 1 X", False),
    "of an older VMware": (lambda: f"{ended()} 1 X", False),
    "of no kind that is known": (lambda: f"{ended()}-77 1 Z", True),
}


def lock(lab, text, name="M12345.lck"):
    """Lock a file as VMware does."""
    path = Path(f"{lab}.lck") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(f"{text} 77 lc=123".encode().ljust(512, b"\0"))
    return path


@pytest.mark.parametrize("kind", LOCKS)
def test_a_lock_that_a_crash_left_is_of_no_account(run, modules, lab, own_host, kind):
    said, counts = LOCKS[kind]
    path = lock(lab, f"{own_host} {said()}")
    (row,) = modules["vmx.find"]([str(lab.parent)])
    assert row["powered_on"] is counts
    ret = run()("vmx.option_present", name=str(lab), key="a", value="b")
    assert ret["result"] is not counts
    assert (f"powered on ({path})" in ret["comment"]) is counts
    assert ("a lock that is left of a crash" in ret["comment"]) is counts


def test_a_lock_of_another_host_counts(run, lab, own_host):
    """Whether its process runs there can't be told from here."""
    for host in (vmware_host("elsewhere", b"abcdef"), f"uuid={own_host}", "?"):
        path = lock(lab, f"{host} {ended()}-77(vmware-vmx) 1 X")
        ret = run()("vmx.option_present", name=str(lab), key="a", value="b")
        assert str(path) in ret["comment"]
    lock(lab, f"{own_host} {ended()}-77(vmware-vmx) 1 X", "M23456.lck")
    ret = run()("vmx.option_present", name=str(lab), key="a", value="b")
    assert f"({path})" in ret["comment"], "one of two counts"


def test_a_lock_beside_a_link_counts(run, lab, tmp_path, own_host):
    """That is where VMware puts it, if the machine was opened by the link."""
    link = tmp_path / f"{PREFIX}link.vmx"
    link.symlink_to(lab)
    for where in (link, lab):
        path = lock(where, f"{own_host} {os.getpid()}-0 1 X")
        ret = run()("vmx.option_present", name=str(link), key="a", value="b")
        assert str(path) in ret["comment"]
        path.unlink()
    assert run()("vmx.option_present", name=str(link), key="a", value="b")["result"] is True


def test_no_connection_to_libvirt(run, lab, monkeypatch):
    def refuse(*_arguments):
        raise AssertionError("libvirt was asked")

    monkeypatch.setattr("salt_kvm.backend.virt.hypervisor.Hypervisor.__init__", refuse)
    assert run()("vmx.nested_enabled", name=str(lab))["result"] is True


def test_functions(modules, run, lab, tmp_path):
    path = str(lab)
    assert modules["vmx.get"](path, "MEMSIZE") == "4096"
    assert modules["vmx.get"](path, "none") is None
    assert modules["vmx.set"](path, "memsize", 8192) is True
    assert modules["vmx.set"](path, "memsize", 8192) is False
    assert modules["vmx.remove"](path, "annotation") is True
    assert modules["vmx.remove"](path, "annotation") is False
    told = modules["vmx.info"](path)
    assert told["options"]["memsize"] == "8192"
    assert told["options"]["RemoteDisplay.vnc.password"] == "(hidden)"
    assert (told["encoding"], told["line_ends"], told["powered_on"]) == ("utf-8", ["LF"], False)
    plan = modules["vmx.plan"](path, nested=True)
    assert plan["steps"] == [f"write {path}"]
    (found,) = modules["vmx.find"]([str(tmp_path)])
    assert found == {"path": path, "name": "Labor für alles", "powered_on": False}
    assert modules["vmx.find"]([str(tmp_path)], depth=0) == []
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(modules["vmx.find"]([str(tmp_path)])) == 1
    assert len(modules["vmx.find"](str(tmp_path))) == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "/etc/passwd", "key": "a", "value": "b"}, "'path' is needed"),
        ({"name": "/nowhere/a.vmx", "key": "a", "value": "b"}, "/nowhere/a.vmx is not there"),
        ({"key": "a b", "value": "b"}, "key: Expected 'str' matching"),
        ({"key": "a"}, "declare 'key' and 'value'"),
        ({"key": "a", "value": 1.5}, "value: Expected"),
        ({"key": "a", "value": "x\0"}, "value: Expected"),
        ({"key": "a", "value": "b", "host": "-oProxyCommand=x"}, "is no host"),
        ({"key": "a", "value": "b", "host": {"host": "a", "prot": 1}}, "did you mean 'port'?"),
        ({"key": "a", "value": "b", "options": {"A": "c"}}, "'a' is declared twice"),
        ({"kye": "a", "value": "b"}, "did you mean 'key'?"),
    ],
)
def test_bad_input_is_told(run, lab, fields, said):
    real = run()("vmx.option_present", **{"name": str(lab), **fields})
    assert (real["result"], real["changes"]) == (False, {})
    assert said in real["comment"]
    assert lab.read_bytes() == LAB


def loaded(opts, pillar, tmp_path):
    own = {"cachedir": str(tmp_path / "cache"), "extension_modules": str(tmp_path / "ext")}
    options = {**opts, **own, "pillar": pillar}
    options["grains"] = salt.loader.grains(options)
    return salt.loader.minion_mods(options, utils=salt.loader.utils(options), context={})


def test_the_pillar_and_its_sls(opts, lab, tmp_path):
    other = lab.with_name(f"{PREFIX}other.vmx")
    other.write_bytes(LAB)
    section = {
        str(lab): {"nested": True},
        "an other": {"path": str(other), "key": "a", "value": "b", "state": "option_present"},
    }
    pillar = {"kvm": {"vmx": section}}
    minion = loaded(opts, pillar, tmp_path)
    plan = {row["name"]: row["changes"] for row in minion["kvm_host.plan"]()}
    told = minion["state.sls"]("kvm.vmx", pillar=pillar)
    ran = {each["name"]: each for tag, each in told.items() if tag.startswith("vmx_")}
    assert {name: each["changes"] for name, each in ran.items()} == plan
    assert all(each["result"] is True for each in told.values())
    assert vmx.get(lab.read_bytes(), "vhv.enable") == "TRUE"
    assert vmx.get(other.read_bytes(), "a") == "b"
    assert minion["kvm_host.plan"]() == []


def test_a_value_that_is_looked_up_is_shown_nowhere(opts, lab, tmp_path, caplog):
    """Whatever its key is called: where a value is kept says that it is a secret."""
    secret = f"kept-in-a-vault-{os.getpid()}"
    (tmp_path / "sdb.yaml").write_text(f"key: {secret}\n")
    vault = {"vault": {"driver": "yaml", "files": [f"{tmp_path}/sdb.yaml"]}}
    options = {"annotation": "sdb://vault/key", "memsize": 8192}
    section = {str(lab): {"options": options, "key": "a.b", "value": "sdb://vault/key"}}
    pillar = {"kvm": {"vmx": section}}
    minion = loaded({**opts, **vault}, pillar, tmp_path)
    caplog.set_level(1)
    (row,) = minion["kvm_host.plan"]()
    dry = minion["state.sls"]("kvm.vmx", pillar=pillar, test=True)
    real = minion["state.sls"]("kvm.vmx", pillar=pillar)
    (told,) = (each for tag, each in real.items() if tag.startswith("vmx_"))
    (foretold,) = (each for tag, each in dry.items() if tag.startswith("vmx_"))
    assert told["result"] is True, told
    assert told["changes"] == foretold["changes"] == row["changes"]
    assert told["changes"]["a.b"] == {"old": None, "new": "(hidden)"}
    assert told["changes"]["memsize"]["new"] == "8192"
    assert "a.b = (hidden)" in told["changes"]["diff"]["new"]
    for key in ("a.b", "annotation"):
        assert vmx.get(lab.read_bytes(), key) == secret
    assert minion["kvm_host.plan"]() == []
    assert minion["vmx.set"](str(lab), "a.b", "sdb://vault/key") is False
    assert minion["vmx.set"](str(lab), "c.d", "sdb://vault/key") is True
    assert minion["vmx.plan"](str(lab), options={"c.d": "sdb://vault/key"})["changes"] == {}
    assert secret not in caplog.text + str([row, dry, real])
    before = lab.read_bytes()
    missing = {"kvm": {"vmx": {str(lab): {"options": {"a.b": "sdb://vault/no"}}}}}
    (row,) = loaded({**opts, **vault}, missing, tmp_path)["kvm_host.plan"]()
    assert "sdb://vault/no gives no value" in row["fault"]
    assert lab.read_bytes() == before


@pytest.mark.parametrize("section", [{}, {"lab": {"path": "/a/a.vmx", "nested": True}}])
def test_it_is_part_of_the_whole_where_it_is_declared(opts, tmp_path, section):
    pillar = {"kvm": {"vmx": section}}
    minion = loaded(opts, pillar, tmp_path)
    (alone,) = [
        each["fun"]
        for each in minion["state.show_low_sls"]("kvm.vmx", pillar=pillar)
        if each["__sls__"] == "kvm.vmx"
    ]
    assert alone == ("managed" if section else "nop")
    whole = minion["state.show_low_sls"]("kvm", pillar=pillar)
    assert [each["fun"] for each in whole if each["state"] == "vmx"] == ["managed"] * len(section)


WRITER = """
import os, sys
from salt_kvm import converge
from salt_kvm.backend.world import World
path, key, slow = sys.argv[1:]
real = os.replace
def replace(source, target):
    if slow and str(target).endswith(".vmx"):
        print("now", flush=True)
        sys.stdin.readline()
    real(source, target)
os.replace = replace
print("begun", flush=True)
ran = converge.run(World("test:///default"), "vmx", path, {"options": {key: "1"}})
print(ran.failure, flush=True)
"""


def writer(path, key, slow=""):
    """Another process that sets a key; a slow one says `now` and waits before the last moment."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WRITER, str(path), key, slow]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def test_two_runs_at_once_both_count(lab):
    first = writer(lab, "a.one", "slow")
    assert [first.stdout.readline() for _ in range(2)] == ["begun\n", "now\n"]
    second = writer(lab, "a.two")
    assert second.stdout.readline() == "begun\n"
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(5)
    assert first.communicate("\n")[0] == second.communicate()[0] == "None\n"
    text = lab.read_bytes()
    assert (vmx.get(text, "a.one"), vmx.get(text, "a.two")) == ("1", "1")


def test_a_killed_run_leaves_the_file_whole(run, lab):
    killed = writer(lab, "a.one", "slow")
    assert [killed.stdout.readline() for _ in range(2)] == ["begun\n", "now\n"]
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert lab.read_bytes() == LAB
    assert len(list(lab.parent.iterdir())) == 2
    assert run()("vmx.option_present", name=str(lab), key="a.one", value="1")["result"] is True
    assert list(lab.parent.iterdir()) == [lab]


def test_a_full_disk_and_a_read_only_one(run, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], check=True)
    try:
        path = place / f"{PREFIX}lab.vmx"
        path.write_bytes(LAB)
        (place / "rest").write_bytes(b"x" * 8192)
        real = run()("vmx.option_present", name=str(path), key="a", value="b" * 4000)
        assert real["result"] is False
        assert "no space left on device; free some space" in real["comment"]
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        real = run()("vmx.option_present", name=str(path), key="a", value="b", backup=True)
        assert "read-only file system; mount it writable" in real["comment"]
        assert path.read_bytes() == LAB
        assert sorted(each.name for each in place.iterdir()) == sorted([path.name, "rest"])
    finally:
        subprocess.run(["umount", str(place)], check=True)
