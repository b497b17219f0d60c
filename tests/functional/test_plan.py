"""The whole pillar at a glance: ``kvm_host.plan`` and what waits for a guest's next start."""

import libvirt
import pytest
import salt.loader

from .conftest import PREFIX, ROOT, nat, virsh
from .test_osmap import grains_of

NETWORK, POOL, GUEST, SECRET = (f"{PREFIX}{n}" for n in ("net", "pool", "guest", "secret"))

# A family each, and modular daemons too.
SYSTEMS = [
    grains_of("Debian", "Debian", "12", "x86_64"),
    grains_of("RedHat", "Rocky", "9.5", "x86_64"),
    grains_of("Suse", "SUSE", "15.5", "x86_64"),
    grains_of("Arch", "Arch", None, "x86_64"),
]


@pytest.fixture
def pillar(folder):
    disks = [
        {"path": f"{folder}/a.raw"},
        {"volume": {"pool": POOL, "volume": "b.raw"}},
    ]
    told = {"cloud_init": {"hostname": "web1"}}
    guest = {"memory": "32MiB", "disks": disks, "interfaces": [{"network": NETWORK}], **told}
    return {
        "secrets": {SECRET: {"usage": "tls", "value": "secret"}},
        "networks": {NETWORK: nat()},
        "pools": {POOL: {"path": f"{folder}/pool"}},
        "volumes": {f"{POOL}/b.raw": {"capacity": "1MiB"}},
        "images": {f"{folder}/a.raw": {"size": "1MiB"}},
        "domains": {GUEST: guest},
    }


# As they are applied; what has no activity is only present.
FUNCTIONS = {
    "secret": "present",
    "network": "running",
    "pool": "running",
    "volume": "present",
    "image": "present",
    "domain": "running",
}


def apply(run, pillar):
    for noun, function in FUNCTIONS.items():
        for name, fields in pillar[f"{noun}s"].items():
            told = run()(f"kvm_{noun}.{function}", name=name, **fields)
            assert told["result"] is True, told


def test_a_plan_foretells_what_the_states_do(run, modules, pillar):
    rows = modules["kvm_host.plan"](pillar)
    assert [row["kind"] for row in rows] == list(FUNCTIONS)
    assert all(row["changes"] and row["fault"] is None for row in rows)
    dry = run(test=True)
    for row, (module, function) in zip(rows, FUNCTIONS.items(), strict=True):
        fields = pillar[f"{module}s"][row["name"]]
        told = dry(f"kvm_{module}.{function}", name=row["name"], **fields)
        assert told["changes"] == row["changes"]
    apply(run, pillar)
    assert modules["kvm_host.plan"](pillar) == []


def test_a_plan_tells_changes_faults_and_what_waits(run, modules, pillar):
    apply(run, pillar)
    pillar["domains"][GUEST] |= {"memory": "48MiB", "cpu": "Nehalem"}
    pillar["domains"][f"{PREFIX}other"] = {"memory": "32MiB", "cdrom": "/no/such.iso"}
    changed, faulty = modules["kvm_host.plan"](pillar)
    assert changed["changes"]["memory"] == {"old": "32MiB", "new": "48MiB"}
    assert "/no/such.iso is not there" in faulty["fault"]
    del pillar["domains"][f"{PREFIX}other"]
    apply(run, pillar)
    (waits,) = modules["kvm_host.plan"](pillar)
    assert waits["changes"] == {}
    assert "Waits for the next start: memory '32MiB' -> '48MiB'" in waits["comment"]
    pending = modules["kvm_domain.pending"](GUEST)
    assert pending["memory"] == {"old": "32MiB", "new": "48MiB"}
    virsh("destroy", GUEST)
    virsh("start", GUEST)
    assert modules["kvm_domain.pending"](GUEST) == {}


HOST = {
    "config": {"qemu.conf": {"max_files": 7, "vnc_password": "hidden"}},
    "guests": {"on_shutdown": "suspend"},
    "sasl": {
        "mechanisms": ["scram-sha-256"],
        "users": {f"{PREFIX}a": "hidden", f"{PREFIX}b": None},
    },
    "nested": True,
    "hugepages": {"2MiB": 1},
    "transparent_hugepages": "always",
    "kernel_arguments": [f"{PREFIX}argument"],
}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda grains: grains["os"])
def test_a_plan_foretells_the_settings_of_the_host(opts, tmp_path, system):
    """What the SLS files declare, on each family: the same states, with the same changes."""
    pillar = {"kvm": {"host": HOST}}
    own = {"cachedir": str(tmp_path / "cache"), "extension_modules": str(tmp_path / "ext")}
    options = {**opts, **own, "pillar": pillar, "grains": system, "test": True}
    minion = salt.loader.minion_mods(options, utils=salt.loader.utils(options), context={})
    states = salt.loader.states(options, minion, {}, None, context={})
    states.pack["__running__"] = {}
    kept = {"state", "fun", "__sls__", "__env__", "__id__", "order", "require", "require_in"}
    told = []
    for low in minion["state.show_low_sls"](["kvm.config", "kvm.remote", "kvm.kernel"]):
        if low["state"] == "kvm_host" and low["fun"] not in (
            "valid",
            "libraries",
            "virtualisation",
        ):
            fields = {key: value for key, value in low.items() if key not in kept}
            ret = states[f"kvm_host.{low['fun']}"](**fields)
            if ret["changes"] or ret["result"] is False:
                told.append((ret["changes"], ret["comment"]))
    assert len(told) >= 6
    rows = minion["kvm_host.plan"]()
    foretold = [(row["changes"], row["fault"] or row["comment"]) for row in rows]
    assert sorted(map(str, foretold)) == sorted(map(str, told))
    assert [row["name"] for row in rows][:2] == ["kvm:host:config", "kvm:host:guests"]
    assert "'hidden'" not in str(rows)


def test_a_plan_without_the_sls_files_has_their_defaults(opts, tmp_path):
    options = {**opts, "file_roots": {"base": [str(tmp_path)]}, "extension_modules": str(tmp_path)}
    options |= {"cachedir": str(tmp_path / "cache"), "module_dirs": [f"{ROOT}/_modules"]}
    minion = salt.loader.minion_mods(options, utils=salt.loader.utils(options), context={})
    (row,) = minion["kvm_host.plan"]({"host": {"kernel_arguments": [f"{PREFIX}a"]}})
    assert (row["kind"], row["name"]) == ("kernel_arguments", "kvm:host:kernel_arguments")
    assert row["changes"] or row["fault"]


def test_a_plan_reads_in_bulk(modules, run, monkeypatch):
    """One list and one document for each guest, whatever their number; no look-up by name."""
    names = [f"{PREFIX}{number}" for number in range(20)]
    for name in names:
        run()("kvm_domain.present", name=name, memory="32MiB")
    calls = []
    for name in ("virDomainLookupByName", "virDomainGetAutostart", "virDomainGetXMLDesc"):
        call = getattr(libvirt.libvirtmod, name)
        monkeypatch.setattr(
            libvirt.libvirtmod, name, lambda *a, n=name, c=call: (calls.append(n), c(*a))[1]
        )
    section = {name: {"memory": "32MiB", "state": "present"} for name in names}
    assert modules["kvm_host.plan"]({"domains": section}) == []
    assert set(calls) == {"virDomainGetXMLDesc"}


def test_a_plan_reads_volumes_in_bulk(modules, run, folder, monkeypatch):
    """One list of each pool, and a document of each volume that is declared."""
    pool = {"path": f"{folder}/pool"}
    assert run()("kvm_pool.running", name=POOL, **pool)["result"] is True
    for number in range(30):
        (folder / "pool" / f"{number}.raw").write_bytes(b"\0" * 4096)
    virsh("pool-refresh", POOL)
    section = {f"{POOL}/{number}.raw": {"capacity": 4096} for number in range(20)}
    calls = []
    for name in dir(libvirt.libvirtmod):
        if name.startswith("virStorage"):
            call = getattr(libvirt.libvirtmod, name)
            monkeypatch.setattr(
                libvirt.libvirtmod, name, lambda *a, n=name, c=call: (calls.append(n), c(*a))[1]
            )
    assert modules["kvm_host.plan"]({"volumes": section}) == []
    assert calls.count("virStoragePoolListAllVolumes") == 1
    assert calls.count("virStorageVolGetXMLDesc") == 20
    assert "virStorageVolLookupByName" not in calls
    section |= {f"{POOL}/new.raw": {"capacity": "1MiB"}, f"{POOL}/1.raw": {"capacity": "8KiB"}}
    rows = modules["kvm_host.plan"]({"volumes": section})
    assert {row["name"] for row in rows} == {f"{POOL}/new.raw", f"{POOL}/1.raw"}
    missing = {"volumes": {f"{PREFIX}no/a.raw": {"capacity": "1MiB"}}}
    (row,) = modules["kvm_host.plan"](missing)
    assert f"there is no pool '{PREFIX}no'" in row["fault"]


def test_a_plan_is_shown_as_text(opts, modules, pillar):
    import salt.output

    rows = modules["kvm_host.plan"](pillar)
    text = salt.output.out_format({"local": rows}, "kvm_plan", opts)
    assert f"+ network {NETWORK}" in text
    assert "6 made." in text
    assert "Everything is as declared." in salt.output.out_format({"local": []}, "kvm_plan", opts)


def test_a_guests_plan_and_what_is_pending_are_a_table(opts, modules, run, pillar):
    import salt.output

    def shown(data):
        return salt.output.out_format({"local": data}, "kvm_plan", opts).splitlines()

    apply(run, pillar)
    fields = {**pillar["domains"][GUEST], "memory": "48MiB", "title": "new"}
    text = shown(modules["kvm_domain.plan"](GUEST, **fields))
    assert f"  define domain {GUEST}" in text
    assert any(line.split() == ["~", "memory", "32MiB", "->", "48MiB"] for line in text)
    assert any(line.split() == [".", "memory", "32MiB", "->", "48MiB"] for line in text)
    run()("kvm_domain.running", name=GUEST, **fields)
    text = shown(modules["kvm_domain.pending"](GUEST))
    assert any(line.split() == [".", "memory", "32MiB", "->", "48MiB"] for line in text)
    # The arrows stand below each other.
    assert len({line.index(" -> ") for line in text if " -> " in line}) == 1
    assert shown({})[1:] == ["  Everything is as declared."]


def test_a_plan_of_a_wrong_pillar_tells_every_fault(modules):
    from salt.exceptions import CommandExecutionError

    with pytest.raises(CommandExecutionError, match="imagse"):
        modules["kvm_host.plan"]({"imagse": {}})
