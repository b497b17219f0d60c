"""The data side of tools/converge."""

import importlib.util
import json
import struct
import zlib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("converge_tool", ROOT / "tools/converge.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOG = """\
INFO Loading fresh modules for state activity
INFO Running state [default] at time 10:52:01.044699
INFO Executing state kvm_network.running for [default]
INFO Made the following changes:
'state' changed from 'off' to 'running'

INFO Completed state [default] at time 10:52:01.124085 (duration_in_ms=79.386)
INFO Executing state pkg.installed for [kvm-host-packages]
INFO Executing command dpkg-query in directory '/root'
INFO {'ipxe': {'new': '1.0'}}
INFO Loading fresh modules for state activity
INFO Completed state [kvm-host-packages] at time 10:52:01.124085 (duration_in_ms=9123.4)
INFO Executing state kvm_domain.running for [web1]
ERROR the file /opt/x.iso is not there
INFO Completed state [web1] at time 10:52:01.124085 (duration_in_ms=3.4)
INFO Executing state kvm_host.valid for [kvm-valid]
INFO As declared.
INFO Completed state [kvm-valid] at time 10:52:01.124085 (duration_in_ms=3.4)
"""


def test_progress_is_one_line_for_each_state(tool):
    assert "".join(tool.progress(LOG.splitlines())).splitlines() == [
        "  kvm_network.running default ... changes",
        "  pkg.installed kvm-host-packages ... changes, 9 s",
        "  kvm_domain.running web1 ... failed",
        "  kvm_host.valid kvm-valid ... checked",
    ]


def test_progress_tells_of_a_state_before_it_ends(tool):
    pieces = tool.progress(iter(["INFO Executing state pkg.installed for [tools]"]))
    assert next(pieces) == "  pkg.installed tools ..."


def returned(tmp_path, *states):
    data = {
        f"{module}_|-id_|-{name}_|-running": {
            "result": result,
            "changes": changes,
            "comment": comment,
            "__run_num__": number,
        }
        for number, (module, name, result, changes, comment) in enumerate(states)
    }
    (tmp_path / "result.json").write_text(json.dumps({"local": data}))
    return tmp_path


WAITS = "Waits for the next start: a 1 -> 2."
CHANGE = {"state": {"old": "off", "new": "running"}}


@pytest.mark.parametrize(
    ("states", "code", "printed"),
    [
        (
            [("kvm_pool", "p", True, {}, "As declared.")],
            0,
            ["Nothing changed: this machine is as declared."],
        ),
        (
            [
                ("kvm_pool", "p", True, CHANGE, "Started pool p."),
                ("pkg", "tools", True, {"x": 1}, "3 packages\nwere installed."),
            ],
            0,
            ["Made:", "  Started pool p.", "  pkg tools: 3 packages were installed."],
        ),
        (
            [("kvm_domain", "w1", True, {}, f"As declared. {WAITS}")],
            0,
            ["Not in effect yet:", f"  kvm_domain w1: As declared. {WAITS}"],
        ),
        (
            [("kvm_pool", "p", None, CHANGE, "Would start pool p.")],
            0,
            ["Dry run, nothing was changed:", "  Would start pool p."],
        ),
        (
            [
                ("kvm_pool", "p", True, CHANGE, "Started pool p."),
                ("kvm_image", "/i", False, {}, "no space"),
            ],
            1,
            ["Made:", "  Started pool p.", "Failed:", "  kvm_image /i: no space"],
        ),
    ],
)
def test_summary(tool, tmp_path, capsys, states, code, printed):
    assert tool.summary(returned(tmp_path, *states), dry=True) == code
    assert capsys.readouterr().out.splitlines() == printed


def test_summary_of_a_pillar_that_does_not_compile(tool, tmp_path, capsys):
    (tmp_path / "result.json").write_text(json.dumps({"local": ["Rendering SLS failed"]}))
    assert tool.summary(tmp_path, dry=False) == 1
    log = f"  The whole log is {tmp_path}/console.log."
    assert capsys.readouterr().out.splitlines() == ["Failed:", "  Rendering SLS failed", log]


def test_summary_of_a_salt_call_that_died(tool, tmp_path, capsys):
    (tmp_path / "console.log").write_text("salt-call: error: no such option: --nonsense\n")
    assert tool.summary(tmp_path, dry=False) == 1
    printed = capsys.readouterr().out
    assert "salt-call gave no result" in printed
    assert "no such option: --nonsense" in printed


def load(folder):
    return {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.sls")}


def test_stand_in_for_an_iso_that_is_not_there(tool, tmp_path):
    source, target = tmp_path / "pillar", tmp_path / "out"
    target.mkdir()
    there = tmp_path / "there.iso"
    there.touch()
    domains = {"a": {"cdrom": "/nowhere.iso"}, "b": {"cdrom": str(there)}, "c": {}}
    source.write_text(yaml.safe_dump({"kvm": {"domains": domains}}))
    [note] = tool.pillar(source, target, ("ipxe", "/ipxe.iso"))
    assert note.startswith("/nowhere.iso is not there: a boots /ipxe.iso instead.")
    laid = load(target)
    assert laid["top"] == {"base": {"*": ["kvm", "stand_in"]}}
    assert laid["kvm"] == {"kvm": {"domains": domains}}
    overlay = {"host": {"extra_packages": ["ipxe"]}, "domains": {"a": {"cdrom": "/ipxe.iso"}}}
    assert laid["stand_in"] == {"kvm": overlay}
    assert tool.pillar(source, target, None) == []
    assert set(load(target)) == {"top", "kvm"}


@pytest.mark.parametrize(
    "text",
    [
        *("", "kvm:\n", "kvm:\n  domains:\n", "kvm: []\n", "[]\n", "kvm:\n\t- x\n"),
        *("{% if x %}\n", "kvm: {domains: [a]}\n", "kvm: {domains: {a: null}}\n"),
        "kvm: {domains: {a: {cdrom: [x]}}}\n",
    ],
)
def test_what_is_wrong_with_a_pillar_is_salts_to_say(tool, tmp_path, text):
    source, target = tmp_path / "mine.sls", tmp_path / "laid"
    target.mkdir()
    source.write_text(text)
    assert tool.pillar(source, target, ("ipxe", "/ipxe.iso")) == []
    assert (target / "kvm.sls").read_text() == text


def test_stand_in_serves_the_example(tool, tmp_path):
    notes = tool.pillar(ROOT / "pillar.example", tmp_path, ("ipxe", "/ipxe.iso"))
    missing = not Path("/opt/CentOS-7-x86_64.iso").exists()
    assert len(notes) == missing


@pytest.mark.parametrize("pixel", [0, 7])
@pytest.mark.parametrize(("colour", "depth"), [(2, 3), (6, 4)])
def test_black(tool, pixel, colour, depth):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data))

    rows = (b"\1" + bytes(4 * depth)) + (b"\2" + bytes(4 * depth - 1) + bytes([pixel]))
    header = struct.pack(">IIBBBBB", 4, 2, 8, colour, 0, 0, 0)
    packed = zlib.compress(rows)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    png += chunk(b"IDAT", packed[:5]) + chunk(b"IDAT", packed[5:]) + chunk(b"IEND", b"")
    assert tool._black(png) is (pixel == 0)
