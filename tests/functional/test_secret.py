"""Secrets of libvirt; their values are told nowhere."""

import base64
import json
import logging
import os
import re
import subprocess
from pathlib import Path

import libvirt
import pytest
import salt.loader

from .conftest import PREFIX, virsh

NAME = f"{PREFIX}secret"
VOLUME = f"/srv/{PREFIX}.qcow2"
# No other text holds this, nor does this file.
VALUE = f"hunter2-{os.getpid()}-correct-horse"
UUID = "5a170000-0000-4000-8000-{:012d}"


def stored(usage="tls"):
    """The value as libvirt has it, through another door."""
    uuid = next(line.split()[0] for line in virsh("secret-list").splitlines() if NAME in line)
    return base64.b64decode(virsh("secret-get-value", uuid).strip())


def test_life_of_a_secret(converge, modules):
    fields = {"name": NAME, "usage": "tls"}
    made = converge("kvm_secret.present", **fields, value=VALUE)
    assert set(made["changes"]) == {"definition", "value"}
    assert made["changes"]["value"] == {"old": None, "new": "(hidden)"}
    assert stored() == VALUE.encode()
    changed = converge("kvm_secret.present", **fields, value="other")
    assert changed["changes"] == {"value": {"old": "(hidden)", "new": "(hidden)"}}
    converge("kvm_secret.present", **fields, description="a key")
    assert stored() == b"other"
    info = modules["kvm_secret.info"](NAME, "tls")
    assert (info["description"], info["private"], info["has_value"]) == ("a key", False, True)
    assert modules["kvm_secret.list"]()[info["uuid"]] == f"tls/{NAME}"
    converge("kvm_secret.absent", **fields)
    assert NAME not in virsh("secret-list")


def test_a_secret_that_goes_while_all_are_listed_is_not_there(converge, modules, monkeypatch):
    converge("kvm_secret.present", name=NAME, usage="tls", value=VALUE)
    uuid = modules["kvm_secret.info"](NAME, usage="tls")["uuid"]
    listed = libvirt.virConnect.listAllSecrets

    def gone(self, *arguments):
        found = listed(self, *arguments)
        virsh("secret-undefine", uuid)
        return found

    monkeypatch.setattr(libvirt.virConnect, "listAllSecrets", gone)
    assert uuid not in modules["kvm_secret.list"]()


@pytest.mark.parametrize(
    ("usage", "name"), [("ceph", NAME), ("iscsi", NAME), ("vtpm", NAME), ("volume", VOLUME)]
)
def test_every_usage(converge, usage, name):
    converge("kvm_secret.present", name=name, usage=usage, value=VALUE)
    converge("kvm_secret.absent", name=name, usage=usage)


def test_a_value_of_bytes_and_one_in_a_file(converge, run, folder):
    fields = {"name": NAME, "usage": "ceph"}
    data = bytes(range(256))
    converge(
        "kvm_secret.present", **fields, value=base64.b64encode(data).decode(), encoding="base64"
    )
    assert stored() == data
    (folder / "value").write_text(f"{VALUE}\n")
    converge("kvm_secret.present", **fields, value_file=f"{folder}/value")
    assert stored() == VALUE.encode()
    os.mkfifo(folder / "pipe")
    told = run()("kvm_secret.present", **fields, value_file=f"{folder}/pipe")
    assert f"{folder}/pipe can't be read: it is no file" in told["comment"]
    told = run()("kvm_secret.present", **fields, value_file=f"{folder}/no")
    assert f"{folder}/no can't be read: no such file" in told["comment"]
    told = run()("kvm_secret.present", **fields, value=VALUE, encoding="base64")
    assert "the secret's value is no base64" in told["comment"]
    assert VALUE not in str(told)


def test_a_private_value_that_is_declared_anew_is_noticed(converge, run):
    fields = {"name": NAME, "usage": "tls", "private": True}
    converge("kvm_secret.present", **fields, value=VALUE)
    assert virsh("secret-get-value", uuid_of()).strip() == ""
    changed = converge("kvm_secret.present", **fields, value="other")
    assert set(changed["changes"]) == {"value"}
    kept = Path("/var/lib/salt-kvm/secrets") / uuid_of()
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert set(json.loads(kept.read_text())) == {"salt", "hash"}
    told = run()("kvm_secret.present", **{**fields, "private": False}, value=VALUE)
    assert "libvirt never changes that" in told["comment"]
    converge("kvm_secret.absent", name=NAME, usage="tls")
    assert not kept.exists()


def test_a_private_secret_that_somebody_else_made_is_set_once(converge, folder):
    usage = f"<usage type='tls'><name>{NAME}</name></usage>"
    (folder / "secret.xml").write_text(f"<secret private='yes'>{usage}</secret>")
    virsh("secret-define", str(folder / "secret.xml"))
    made = converge("kvm_secret.present", name=NAME, usage="tls", value=VALUE)
    assert set(made["changes"]) == {"value"}


def uuid_of():
    return next(line.split()[0] for line in virsh("secret-list").splitlines() if NAME in line)


def test_what_can_not_be_is_told(run):
    wanted = UUID.format(os.getpid())
    assert run()("kvm_secret.present", name=NAME, usage="tls", value=VALUE)["result"] is True
    for fields, told in (
        ({"name": NAME}, f"kvm:secrets:{NAME}:usage: needed"),
        ({"name": f"a/{NAME}", "usage": "ceph"}, "has no slash in its name"),
        ({"name": NAME, "usage": "volume"}, "is known by the volume's path"),
        ({"name": NAME, "usage": "tls", "uuid": wanted}, f"has uuid '{uuid_of()}' and '{wanted}'"),
        ({"name": NAME, "usage": "tls", "value": "a", "value_file": "/b"}, "declare either"),
    ):
        for test in (True, False):
            refused = run(test=test)("kvm_secret.present", **fields)
            assert (refused["result"], refused["changes"]) == (False, {})
            assert told in refused["comment"]


@pytest.mark.parametrize("wrong", [4711.5, True, 4711])
def test_a_wrong_value_is_not_told(run, modules, wrong):
    told = run()("kvm_secret.present", name=NAME, usage="tls", value=wrong)
    assert "a secret's value is text; write it in quotes" in told["comment"]
    assert str(wrong) not in told["comment"]
    section = {"secrets": {NAME: {"usage": "tls", "value": wrong}}}
    (problem,) = modules["kvm_host.validate"](section)
    assert str(wrong) not in problem


@pytest.fixture
def looked_up(opts, modules, libvirtd, folder):
    """Return the maker of runs that have a pillar and an SDB."""
    (folder / "sdb.yaml").write_text(f"key: {VALUE}\n")
    more = {"vault": {"driver": "yaml", "files": [f"{folder}/sdb.yaml"]}}

    def make(pillar, *, test=False):
        options = {**opts, **more, "test": test, "pillar": pillar}
        minion = salt.loader.minion_mods(options, context={})
        states = salt.loader.states(options, minion, {}, None, context={})
        states.pack["__running__"] = {}
        return states, minion

    return make


@pytest.mark.parametrize("where", ["sdb://vault/key", "pillar://" + NAME])
def test_a_value_is_looked_up(looked_up, where):
    pillar = {"kvm": {"secrets": {NAME: {"usage": "tls", "value": "sdb://vault/key"}}}}
    fields = {"name": NAME, "usage": "tls", "value": where}
    states, minion = looked_up(pillar, test=True)
    foretold = states["kvm_secret.present"](**fields)
    assert minion["kvm_host.plan"]()[0]["changes"] == foretold["changes"]
    states, minion = looked_up(pillar)
    made = states["kvm_secret.present"](**fields)
    assert made["result"] is True, made["comment"]
    assert made["changes"] == foretold["changes"]
    assert stored() == VALUE.encode()
    assert minion["kvm_host.plan"]() == []
    for missing in ("sdb://vault/no", "sdb://none/key", "pillar://no"):
        told = states["kvm_secret.present"](**{**fields, "value": missing})
        assert told["result"] is False
        assert "gives no value" in told["comment"]
    assert stored() == VALUE.encode()


def test_no_value_goes_into_a_rendered_sls(opts, libvirtd):
    guest = {
        "graphics": [{"type": "vnc", "password": VALUE}],
        "cloud_init": {"user_data": {"password": VALUE}},
    }
    pillar = {"kvm": {"secrets": {NAME: {"usage": "tls", "value": VALUE}}}}
    pillar["kvm"]["domains"] = {NAME: guest}
    grains = salt.loader.grains(opts)
    minion = salt.loader.minion_mods({**opts, "grains": grains, "pillar": pillar}, context={})
    for kind in ("secret", "domain"):
        low = minion["state.show_low_sls"](f"kvm.{kind}", pillar=pillar)
        (told,) = [each for each in low if each["state"] == f"kvm_{kind}"]
        assert (told["name"], told["pillar"]) == (NAME, f"kvm:{kind}s")
        assert VALUE not in json.dumps(low)


def test_a_value_is_told_nowhere(run, converge, modules, caplog, monkeypatch, tmp_path):
    """Neither while it is set, changed, refused and removed, nor afterwards."""
    started = []
    popen = subprocess.Popen.__init__

    def watched(self, command, *arguments, **keywords):
        started.append(str(command))
        return popen(self, command, *arguments, **keywords)

    monkeypatch.setattr(subprocess.Popen, "__init__", watched)
    caplog.set_level(logging.DEBUG - 9)
    fields = {"name": NAME, "usage": "volume"}
    told = []
    for name, private in ((VOLUME, False), (f"{VOLUME}.private", True)):
        fields = {"name": name, "usage": "volume", "private": private}
        for test in (True, False):
            told.append(run(test=test)("kvm_secret.present", **fields, value=VALUE))
        told.append(run()("kvm_secret.present", **fields, value=f"{VALUE}-2"))
        told.append(run()("kvm_secret.present", **fields, value=VALUE, uuid=UUID.format(1)))
        told.append(run()("kvm_secret.present", **fields, value=VALUE, typo=VALUE[:0]))
        told.append(modules["kvm_secret.info"](name, "volume"))
        told.append(modules["kvm_secret.plan"](name, usage="volume", value=VALUE))
    told.append(modules["kvm_secret.list"]())
    assert [each["result"] for each in told[:5]] == [None, True, True, False, False]
    encoded = (VALUE, base64.b64encode(VALUE.encode()).decode().rstrip("="))
    documents = [virsh("secret-dumpxml", uuid) for uuid in modules["kvm_secret.list"]()]
    for text in (str(told), caplog.text, "\n".join(documents), "\n".join(started)):
        assert not any(form in text for form in encoded)
    kept = files_with(encoded)
    assert {path.parent for path in kept} == {Path("/etc/libvirt/secrets")}
    assert [path for path in kept if path.stat().st_mode & 0o077] == []
    for name in (VOLUME, f"{VOLUME}.private"):
        converge("kvm_secret.absent", name=name, usage="volume")
    assert files_with(encoded) == []


def files_with(forms):
    """The files that hold a value, where libvirt, Salt and this project keep any."""
    pattern = re.compile("|".join(forms).encode())
    tops = ("/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/lib/salt-kvm", "/var/log",
            "/run/lock/salt-kvm", "/tmp", "/var/tmp", "/dev/shm")  # fmt: skip
    found = []
    # Other folders come and go meanwhile, which this walk does not mind.
    for folder, _folders, names in (step for top in tops for step in os.walk(top)):
        for path in (Path(folder, name) for name in names):
            try:
                own = path.is_file() and path.stat().st_size < 2**20 and "/pytest-" not in str(path)
                if own and pattern.search(path.read_bytes()):
                    found.append(path)
            except OSError:
                continue
    return found


def test_what_holds_a_value_shows_itself_to_nobody(run):
    from salt_kvm.plan.secret import SecretSeen
    from salt_kvm.plan.steps import SetSecret
    from salt_kvm.seen import Hidden
    from salt_kvm.spec.convert import convert
    from salt_kvm.spec.secret import StoredSecret

    want = convert(StoredSecret, {"usage": "tls", "value": VALUE}, "kvm:secrets:a")
    value = Hidden(VALUE.encode())
    for each in (want, want.value, value, SecretSeen("tls/a", None, value)):
        assert VALUE not in f"{each} {each!r}"
    step = SetSecret(kind="secret", name="tls/a", value=value)
    assert VALUE not in f"{step} {step.sentence(done=True)}"


def test_a_luks_volume_takes_its_passphrase_from_a_secret(converge, run, folder):
    """What is written through LUKS is not on the disk; without the secret nothing is made."""
    pool, uuid = f"{PREFIX}luks", UUID.format(os.getpid())
    assert run()("kvm_pool.running", name=pool, path=f"{folder}/vols")["result"] is True
    fields = {"name": f"{pool}/a.qcow2", "format": "qcow2", "capacity": "4MiB"}
    fields["encryption"] = {"secret": uuid}
    told = run()("kvm_volume.present", **fields)
    assert (told["result"], told["changes"]) == (False, {})
    assert f"there is no secret {uuid}; declare it under kvm:secrets" in told["comment"]
    converge("kvm_secret.present", name=f"{VOLUME}.luks", usage="volume", uuid=uuid, value=VALUE)
    converge("kvm_volume.present", **fields)
    assert "encryption format='luks'" in virsh("vol-dumpxml", "a.qcow2", "--pool", pool)
    data = (folder / "vols" / "a.qcow2").read_bytes()
    assert b"LUKS" in data
    assert VALUE.encode() not in data


@pytest.mark.parametrize("format", ["qcow2", "raw"])
def test_a_luks_volume_is_as_declared_when_libvirt_has_forgotten_its_secret(
    converge, run, folder, format
):
    """As it does when it looks at the pool anew: the volume rests, grows and shrinks."""
    pool, name = f"{PREFIX}luks", f"{VOLUME}.luks"
    assert run()("kvm_pool.running", name=pool, path=f"{folder}/vols")["result"] is True
    assert run()("kvm_secret.present", name=name, usage="volume", value=VALUE)["result"] is True
    fields = {"name": f"{pool}/a", "format": format, "encryption": {"secret": name}}
    converge("kvm_volume.present", **fields, capacity="4MiB")
    virsh("pool-refresh", pool)
    assert name not in virsh("vol-dumpxml", "a", "--pool", pool)
    assert run()("kvm_volume.present", **fields, capacity="4MiB")["changes"] == {}
    converge("kvm_volume.present", **fields, capacity="8MiB")
    converge("kvm_volume.present", **fields, capacity="6MiB", shrink=True)
    plain = {"name": f"{pool}/b", "format": format, "capacity": "1MiB"}
    assert run()("kvm_volume.present", **plain)["result"] is True
    told = run()("kvm_volume.present", **plain, encryption={"secret": name})
    assert "has target/encryption None" in told["comment"]


def test_a_whole_run_logs_no_value(opts, libvirtd, folder, caplog):
    """From the rendered SLS to the return, at Salt's finest level; the pillar names an SDB."""
    (folder / "sdb.yaml").write_text(f"key: {VALUE}\n")
    vault = {"vault": {"driver": "yaml", "files": [f"{folder}/sdb.yaml"]}}
    pillar = {"kvm": {"secrets": {NAME: {"usage": "tls", "value": "sdb://vault/key"}}}}
    cache = {"cachedir": str(folder / "cache"), "extension_modules": str(folder / "ext")}
    options = {**opts, **vault, **cache, "pillar": pillar, "grains": salt.loader.grains(opts)}
    minion = salt.loader.minion_mods(options, utils=salt.loader.utils(options), context={})
    caplog.set_level(1)
    ran = minion["state.sls"]("kvm.secret", pillar=pillar)
    (told,) = (each for tag, each in ran.items() if tag.startswith("kvm_secret"))
    assert (told["result"], set(told["changes"])) == (True, {"definition", "value"}), told
    assert stored() == VALUE.encode()
    assert "kvm:secrets" in caplog.text
    assert VALUE not in caplog.text + json.dumps(told)
    holders = [path for path in folder.rglob("*") if path.is_file()]
    assert [p for p in holders if VALUE.encode() in p.read_bytes()] == [folder / "sdb.yaml"]
