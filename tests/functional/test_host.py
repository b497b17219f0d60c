"""``kvm_host`` through Salt's loader, on this machine, with pillars as Salt hands them over."""

import json
from pathlib import Path

import pytest
import salt.client
import salt.config
import salt.loader
import salt.output
import yaml
from salt.exceptions import CommandExecutionError

ROOT = Path(__file__).parents[2]
NOWHERE = "qemu+unix:///system?socket=/nonexistent"


@pytest.fixture
def minion(tmp_path):
    """Return the maker of a masterless minion with a pillar."""

    def make(section):
        pillar = tmp_path / "pillar"
        pillar.mkdir()
        (pillar / "top.sls").write_text("base: {'*': [kvm]}\n")
        (pillar / "kvm.sls").write_text(json.dumps({"kvm": section}))
        config = tmp_path / "minion"
        config.write_text(
            f"id: host\nfile_client: local\nroot_dir: {tmp_path}\n"
            f"file_roots: {{base: [{ROOT}/states]}}\npillar_roots: {{base: [{pillar}]}}\n"
        )
        return salt.client.Caller(mopts=salt.config.minion_config(str(config)))

    return make


def test_info_with_libvirt(modules):
    info = modules["kvm_host.info"]()
    assert info["libvirt"]["reachable"] is True
    assert info["libvirt"]["hypervisor_type"] == "QEMU"
    assert info["memory"]["total"] > info["memory"]["available"] > 0
    assert info["cpu"]["logical"] >= 1


def test_info_without_libvirt_says_why(modules):
    found = modules["kvm_host.info"](connection=NOWHERE)["libvirt"]
    assert found["reachable"] is False
    assert "/nonexistent" in found["why"]
    assert found["libvirt"].count(".") == 2


def test_check(modules):
    rows = modules["kvm_host.check"]()
    assert {row["result"] for row in rows} <= {"pass", "warn", "fail"}
    assert all((row["cure"] == "") is (row["result"] == "pass") for row in rows)


def test_checks_and_capacity_are_text_on_a_terminal(modules, opts):
    for function in ("kvm_host.check", "kvm_host.capacity"):
        outputter = modules[function].__globals__["__outputter__"][function.partition(".")[2]]
        text = salt.output.out_format({"local": modules[function]()}, outputter, opts)
        assert text.startswith("local:\n  ")
        assert "{" not in text
        assert "None" not in text


def test_version_shows_both_halves(modules):
    found = modules["kvm_host.version"]()
    assert found["one_form"] is True
    assert found["faces"]["path"].endswith("kvm_host.py")
    assert Path(found["library"]["path"], "face.py").is_file()


def test_python(modules):
    found = modules["kvm_host.python"]()
    assert found["complete"] is True
    assert modules["kvm_host.python"](packages=["salt-kvm-absent"])["missing"] == [
        "salt-kvm-absent"
    ]


def test_schema_names_every_section(modules):
    text = json.dumps(modules["kvm_host.schema"]())
    assert all(f'"{name}"' in text for name in ("networks", "pools", "images", "domains", "host"))


def test_grain(opts):
    found = salt.loader.grains(opts)["kvm"]
    assert found["cpu_virtualisation"] in ("vmx", "svm", "none")
    assert isinstance(found["dev_kvm"], bool)
    assert found["versions"]["libvirt"].count(".") == 2


def test_every_fault_of_the_minions_own_pillar(minion):
    caller = minion({"domains": {"web1": {"memory": "lots"}}, "hots": {}})
    faults = caller.cmd("kvm_host.validate")
    assert len(faults) == 2
    assert any("kvm:domains:web1:memory" in fault and "lots" in fault for fault in faults)
    ran = caller.cmd("state.apply", "kvm.host")
    by_id = {ret["__id__"]: ret for ret in ran.values()}
    assert by_id["kvm-valid"]["result"] is False
    assert "did you mean 'host'" in by_id["kvm-valid"]["comment"]
    assert "kvm-host-packages" not in by_id


@pytest.mark.parametrize("kind", ["networks", "pools", "domains"])
def test_what_yaml_makes_of_a_name_is_none(modules, kind):
    (section,) = yaml.safe_load(
        f"[{{{kind}: {{on: {{}}, no: {{}}, null: {{}}, 1.10: {{}}, 5: {{}}}}}}]"
    )
    faults = [fault for fault in modules["kvm_host.validate"](section) if "is no name" in fault]
    told = [fault.partition(" is no name; YAML reads on")[0] for fault in faults]
    assert told == [f"kvm:{kind} (a key): {key}" for key in (True, False, None, 1.1)]
    with pytest.raises(CommandExecutionError, match="so write it in quotes"):
        modules["kvm_host.plan"](section)


@pytest.mark.parametrize("address", [5, True, ["qemu:///system"]])
def test_an_address_that_is_no_text(minion, address):
    caller = minion({"connection": address})
    (ret,) = caller.cmd("state.single", "kvm_host.valid", "valid").values()
    assert ret["result"] is False
    assert ret["comment"].startswith("kvm:connection: Expected 'str', not ")


def test_nothing_is_to_do_on_this_host(minion):
    caller = minion({"networks": {}})
    for test in (True, False):
        ran = caller.cmd("state.apply", "kvm.host", test=test)
        assert all(ret["result"] is True for ret in ran.values()), ran
        assert not any(ret["changes"] for ret in ran.values()), ran


def test_a_missing_library_is_predicted(run):
    ret = run(test=True)("kvm_host.libraries", name="x", packages=["salt-kvm-absent"])
    assert ret["result"] is None
    assert list(ret["changes"]) == ["salt-kvm-absent"]


def test_a_library_that_can_not_be_had(run, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    ret = run()("kvm_host.libraries", name="x", packages=["salt-kvm-absent"])
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "salt-kvm-absent" in ret["comment"]


def test_required_virtualisation(run, modules):
    cured = all(
        row["result"] == "pass"
        for row in modules["kvm_host.check"]()
        if row["name"] in ("cpu", "dev_kvm")
    )
    assert run()("kvm_host.virtualisation", name="x", required=False)["result"] is True
    ret = run()("kvm_host.virtualisation", name="x", required=True)
    assert ret["result"] is cured
    assert cured or "can't run KVM guests" in ret["comment"]
