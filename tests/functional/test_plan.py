"""The whole pillar at a glance: ``kvm_host.plan`` and what waits for a guest's next start."""

import libvirt
import pytest

from .conftest import PREFIX, nat, virsh

NETWORK, POOL, GUEST, SECRET = (f"{PREFIX}{n}" for n in ("net", "pool", "guest", "secret"))


@pytest.fixture
def pillar(folder):
    disks = [
        {"path": f"{folder}/a.raw"},
        {"volume": {"pool": POOL, "volume": "b.raw"}},
    ]
    guest = {"memory": "32MiB", "disks": disks, "interfaces": [{"network": NETWORK}]}
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


def test_a_plan_is_shown_as_text(opts, modules, pillar):
    import salt.output

    rows = modules["kvm_host.plan"](pillar)
    text = salt.output.out_format({"local": rows}, "kvm_plan", opts)
    assert f"+ network {NETWORK}" in text
    assert "6 made." in text
    assert "Everything is as declared." in salt.output.out_format({"local": []}, "kvm_plan", opts)


def test_a_plan_of_a_wrong_pillar_tells_every_fault(modules):
    from salt.exceptions import CommandExecutionError

    with pytest.raises(CommandExecutionError, match="imagse"):
        modules["kvm_host.plan"]({"imagse": {}})
