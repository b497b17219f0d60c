"""The text of a .vmx file: what is not asked for stays byte for byte."""

import re
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from salt_kvm import vmx
from salt_kvm.backend.vmware import esxi
from salt_kvm.errors import UnmetError
from salt_kvm.loader import dirs
from salt_kvm.plan import vmx as planner
from salt_kvm.seen import VmxSeen
from salt_kvm.spec.convert import convert
from salt_kvm.spec.vmx import VmxFile, file_path, target
from salt_kvm.xml.merge import Difference

# How long a text takes says more of the machine than of the code.
unhurried = settings(deadline=None)
CORPUS = sorted((Path(__file__).parent / "vmx").glob("*.vmx"))
OPEN = [path for path in CORPUS if path.stem != "encrypted"]
KEYS = ["vhv.enable", "VHV.Enable", "memsize", "MEMSIZE", "displayName", "annotation", "new.key"]

keys = st.sampled_from(KEYS) | st.from_regex(r"[A-Za-z0-9.:_]{1,12}", fullmatch=True).filter(
    lambda key: key.lower() not in (".encoding", "encryption.data")
)
ascii_values = st.text(st.characters(max_codepoint=127, min_codepoint=1), max_size=30)
blanks = st.text(" \t", max_size=2)
ends = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def entries(draw):
    """A line as VMware may have written it, or somebody by hand."""
    key = draw(keys)
    value = vmx.escape(draw(ascii_values).encode()).decode()
    comment = draw(st.sampled_from(["", " # said", "#"]))
    return f'{draw(blanks)}{key}{draw(blanks)}={draw(blanks)}"{value}"{draw(blanks)}{comment}'


@st.composite
def texts(draw):
    """A whole text: entries, comments, blank lines and rubbish, with or without a last line end."""
    other = st.sampled_from(["", "   ", "# a comment", "no entry", 'open = "', "=", "a b = c"])
    held = draw(st.lists(entries() | other, max_size=8))
    end = draw(ends)
    text = end.join(line.encode() for line in held)
    data = text + (end if draw(st.booleans()) else b"")
    return (vmx.BOM if draw(st.booleans()) else b"") + data


data = texts() | st.sampled_from([path.read_bytes() for path in OPEN])


def others(text, key):
    """The bytes of all lines but those of a key."""
    return [line.raw for line in vmx.lines(text) if line.key != key.lower().encode()]


@unhurried
@given(data, keys, ascii_values)
def test_what_is_set_is_got(text, key, value):
    assert vmx.same(vmx.get(vmx.set_(text, key, value), key), value)


@unhurried
@given(data, keys, ascii_values)
@example(b'\nvhv.enable=""', "vhv.enable", "")
def test_other_lines_stay_byte_for_byte(text, key, value):
    for new in (vmx.set_(text, key, value), vmx.remove(text, key)):
        assert others(new, key) == others(text, key)
        assert new.startswith(vmx.BOM) == text.startswith(vmx.BOM)
        # An empty last line is its line end.
        if vmx.lines(new) and vmx.lines(new)[-1].raw:
            assert new.endswith((b"\n", b"\r")) == (
                text.endswith((b"\n", b"\r")) or not vmx.lines(text)
            )


@unhurried
@given(data, keys, ascii_values)
def test_to_set_twice_is_to_set_once(text, key, value):
    once = vmx.set_(text, key, value)
    assert vmx.set_(once, key, value) == once


@unhurried
@given(data, keys, ascii_values)
def test_to_remove_undoes_to_set(text, key, value):
    assume(others(text, key) == [line.raw for line in vmx.lines(text)])
    assert vmx.remove(vmx.set_(text, key, value), key) == text


@pytest.mark.parametrize("path", OPEN, ids=lambda path: path.stem)
@unhurried
@given(value=ascii_values)
def test_to_set_back_undoes_to_set(path, value):
    """But for quotes that were missing, and of a key that stood twice the other line."""
    text = path.read_bytes()
    found = [line for line in vmx.lines(text) if line.key not in (None, b".encoding")]
    names = [line.key for line in found]
    for line in found:
        key = line.key.decode()
        quoted = line.raw[line.start : line.end] == b'"%s"' % vmx.escape(line.value)
        if quoted and names.count(line.key) == 1 and line.value.isascii():
            new = vmx.set_(text, key, value)
            assert vmx.set_(new, key, line.value.decode()) == text


@unhurried
@given(texts())
def test_lines_make_up_the_text(text):
    joined = b"".join(line.raw + line.end_of_line for line in vmx.lines(text))
    assert joined == text.removeprefix(vmx.BOM)


@pytest.mark.parametrize("path", OPEN, ids=lambda path: path.stem)
def test_the_procedures_line(path):
    """``sed -i '$ avhv.enable = "TRUE"'``, but once, and where VMware sees it."""
    text = path.read_bytes()
    new = vmx.set_(text, "vhv.enable", "TRUE")
    assert vmx.get(new, "VHV.ENABLE") == "TRUE"
    if vmx.get(text, "vhv.enable") is None:
        end = b"\r\n" if b"\r\n" in text else b"\n"
        last = b'vhv.enable = "TRUE"'
        assert new == (text + last + end if text.endswith(end) else text + end + last)
    assert vmx.set_(new, "vhv.enable", "TRUE") == new


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        (b'a = "b"', "a", "b"),
        (b'  a\t=\t"b c" # d "e"', "A", "b c"),
        (b"a=b#c", "a", "b"),
        (b"a =", "a", ""),
        (b"a = # c", "a", ""),
        (b'a = "|22|7c|0A|zz|"', "a", '"|\n|zz|'),
        (b'a = "x # y = z"', "a", "x # y = z"),
    ],
)
def test_a_line_is_read_as_vmware_reads_it(line, key, value):
    """The grammar that open-vm-tools has above ``DictLL_UnmarshalLine``."""
    assert vmx.get(line, key) == value


@pytest.mark.parametrize(
    "line", [b'a = "b', b'a = "b" c', b"a = b c", b"a b = c", b"= c", b"a", b"#a=b"]
)
def test_a_line_that_vmware_does_not_take_is_no_entry(line):
    assert [each.key for each in vmx.lines(line)] == [None]


def test_a_value_is_written_as_vmware_writes_it():
    """What ``DictLL_MarshalLine`` escapes, in capital hexadecimal digits; the tab it leaves."""
    assert vmx.set_(b"", "a", 'say "x|y"\n\x7f\té'.replace("é", "")) == (
        b'a = "say |22x|7Cy|22|0A|7F\t"\n'
    )


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("workstation-linux", "Labor für alles"),
        ("workstation-windows", "Büro \u2013 alt"),
        ("workstation-gbk", "虚拟机 一"),
        ("fusion", "Über \u2013 テスト"),
        ("bom", "mit Marke: ä"),
    ],
)
def test_letters_are_those_of_the_encoding(stem, name):
    text = (Path(__file__).parent / "vmx" / f"{stem}.vmx").read_bytes()
    assert vmx.get(text, "displayname") == name
    new = vmx.set_(text, "annotation", f"{name}!")
    assert vmx.get(new, "annotation") == f"{name}!"
    assert vmx.set_(vmx.set_(text, "displayName", "x"), "displayName", name) == text


@unhurried
@given(st.text(st.characters(blacklist_categories=["Cs"], min_codepoint=1), max_size=20))
def test_any_letters_in_a_text_of_utf_8(value):
    text = b'.encoding = "UTF-8"\na = "b"\n'
    assert vmx.get(vmx.set_(text, "a", value), "a") == value or vmx.same("b", value)


@pytest.mark.parametrize(
    ("text", "key", "value", "said"),
    [
        (b'.encoding = "windows-1252"\n', "a", "虚", "can't be written in cp1252"),
        (b'.encoding = "klingon"\n', "a", "虚", "the encoding 'klingon' is not known"),
        *(
            (b'.encoding = "%s"\n' % name, "a", "é", "is not known here")
            for name in (b"hex", b"undefined", b"idna", b"utf-16", b"a|00", b"")
        ),
        (b'a = "b"\n', "a", "é", "it has no .encoding"),
        (b"\0", "a", "b", "it is no text"),
        (b'encryption.data = "x"\n', "a", "b", "it is encrypted as a whole"),
        (
            '.encoding = "UTF-8"\na = "é"\n'.encode(),
            ".encoding",
            "GBK",
            "its .encoding can't change",
        ),
    ],
)
def test_what_a_text_can_not_hold_is_refused(text, key, value, said):
    with pytest.raises(UnmetError, match=re.escape(said)):
        vmx.set_(text, key, value)


def test_a_key_that_stands_twice():
    """VMware opens no such file: hashicorp/vagrant#2597, for two that differ in case."""
    text = (Path(__file__).parent / "vmx" / "twice.vmx").read_bytes()
    with pytest.raises(UnmetError, match="stands in lines 2 and 4"):
        vmx.get(text, "msg.autoAnswer")
    new = vmx.set_(text, "MSG.AUTOANSWER", "TRUE")
    assert new == text.replace(b'msg.autoAnswer = "TRUE"\n', b"")
    assert b"utoanswer" not in vmx.remove(text, "msg.autoanswer").lower()
    told = vmx.info(text)
    assert (told["twice"], told["malformed"]) == (["msg.autoanswer"], [5, 6])


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_is_secret_is_shown_to_nobody(path):
    text = path.read_bytes()
    secrets = [line.value for line in vmx.lines(text) if b"kept-from-others" in line.value]
    assert "kept-from-others" not in str(vmx.info(text))
    if path.stem == "encrypted":
        return
    for key in ("RemoteDisplay.vnc.password", "guestinfo.userdata"):
        new = vmx.set_(text, key, "another-kept-from-others")
        told = f"{vmx.diff(text, new, 'x')} {vmx.changes(text, new, {key: 1})}"
        assert "kept-from-others" not in told
        assert vmx.HIDDEN in told
    assert secrets or path.stem not in ("esxi", "workstation-linux")


def test_a_difference_reads_like_diffs():
    text = b'a = "1"\nb = "2"\nc = "3"\n'
    new = vmx.edit(text, {"b": "4", "d": "5"})
    assert vmx.diff(text, new, "/x.vmx").splitlines() == [
        "--- /x.vmx",
        "+++ /x.vmx",
        "@@ -1,3 +1,4 @@",
        ' a = "1"',
        '-b = "2"',
        '+b = "4"',
        ' c = "3"',
        '+d = "5"',
    ]


def test_a_long_text_is_read_as_seldom_as_a_short_one(monkeypatch):
    """Once for each line would be minutes for the largest that is read."""
    read = []
    whole = vmx.lines
    monkeypatch.setattr(vmx, "lines", lambda data: read.append(1) or whole(data))

    def reads(text):
        read.clear()
        new = vmx.set_(text, "c.d", "e")
        assert vmx.diff(text, new, "x").endswith('+c.d = "e"')
        assert vmx.info(new)["options"]["c.d"] == "e"
        return len(read)

    assert reads(b"".join(b'a.%d = "b"\n' % n for n in range(500))) == reads(b'a = "b"\n')


def fields(**more):
    return convert(VmxFile, {"path": "/a/a.vmx", **more}, "kvm:vmx:a")


def steps(text, session=None, machines=(), seen=None, **more):
    here = VmxSeen("/a/a.vmx", "/a/a.vmx", text, lambda: session, lambda: machines, **(seen or {}))
    return list(planner.plan("a", fields(**more), here))


ESXI = (Path(__file__).parent / "vmx" / "esxi.vmx").read_bytes()


def test_a_plan_writes_once_and_reloads_what_is_registered():
    write, reload = steps(
        ESXI, machines=(12,), host="esxi1", nested=True, options={"memSize": 8192}
    )
    assert write.text == vmx.edit(ESXI, {"memSize": "8192", "vhv.enable": "TRUE"})
    assert set(write.changes) == {"vhv.enable", "memSize", "diff"}
    assert (reload.number, reload.changes) == (12, {})
    assert steps(write.text, machines=(12,), host="esxi1", nested=True) == []


def test_a_machine_that_is_on_is_refused_or_waits():
    with pytest.raises(UnmetError, match="is powered on"):
        steps(ESXI, session="1", nested=True)
    (write,) = steps(ESXI, session="1", nested=True, powered_on="write")
    assert steps(write.text, session="1", nested=True) == []
    due = {"waiting": {"vhv.enable": None}, "waits_for": "1"}
    (wait,) = steps(write.text, session="1", nested=True, seen=due)
    assert wait == Difference("vhv.enable", None, "TRUE")
    assert steps(write.text, session="2", nested=True, seen=due) == []


def test_a_suspended_machine_is_refused():
    text = vmx.set_(ESXI, "checkpoint.vmState", "centos7.vmss")
    with pytest.raises(UnmetError, match="is suspended"):
        steps(text, nested=True)
    assert steps(text, nested=True, powered_on="write")


def test_old_virtual_hardware_can_not_nest():
    with pytest.raises(UnmetError, match=r"version 8, and vhv\.enable needs 9"):
        steps(vmx.set_(ESXI, "virtualHW.version", "8"), nested=True)


def test_a_reload_that_did_not_happen_is_made_up_for():
    text = vmx.set_(ESXI, "vhv.enable", "TRUE")
    (reload,) = steps(text, machines=(3,), host="esxi1", nested=True, seen={"unloaded": True})
    assert reload.changes == {"reload": {"old": None, "new": "3"}}


def test_not_nested_is_vmwares_default():
    assert steps(ESXI, nested=False) == []
    (write,) = steps(vmx.set_(ESXI, "vhv.enable", "TRUE"), nested=False)
    assert vmx.get(write.text, "vhv.enable") == "FALSE"


@pytest.mark.parametrize("name", ["web", "web [old]", "[prod] web", "a [b] c [d]", "a b"])
@pytest.mark.parametrize("note", ["", "   see [x] y.vmx"])
def test_a_registered_machine_has_any_name(monkeypatch, name, note):
    row = f"12     {name}   [ds 1] web [1]/web.vmx   centos7_64Guest   vmx-13{note}\n"
    monkeypatch.setattr(esxi, "_vim", lambda host, asked: f"Vmid   Name   File\n{row}")
    (found,) = esxi.registered(target("esxi1"))
    told = (found["number"], found["name"], found["path"])
    assert told == (12, name, "/vmfs/volumes/ds 1/web [1]/web.vmx")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("esxi1", ("esxi1", "root", None)),
        ("admin@esxi1.example:2222", ("esxi1.example", "admin", 2222)),
        ("root@[fe80::1]:22", ("fe80::1", "root", 22)),
        ("admin@corp@esxi1", ("esxi1", "admin@corp", None)),
    ],
)
def test_targets(text, told):
    host = target(text)
    assert (host.host, host.user, host.port) == told


@pytest.mark.parametrize(
    "text",
    ["", "-oProxyCommand=x", "root@-x", "a b", "host:0", "host:70000", "a:b:c", "$(x)", "-l@h"],
)
def test_what_is_no_target(text):
    with pytest.raises(ValueError, match="is no host"):
        target(text)


def test_paths():
    assert file_path("[SSD 1] web 1/web 1.vmx") == "/vmfs/volumes/SSD 1/web 1/web 1.vmx"
    assert file_path("/a//b.VMX") == "/a/b.VMX"
    for bad in ("a.vmx", "/etc/passwd", "/a/../b.vmx", "/a\nb.vmx", "[a/b] c.vmx", "[a] /c.vmx"):
        with pytest.raises(ValueError, match=r"vmx|path"):
            file_path(bad)


def test_salt_finds_what_resources_can_do_beside_a_parent_of_the_modules():
    """``_resource_type_module_dirs`` of Salt's loader; a checkout's own modules lie elsewhere."""
    found = dirs()
    assert any((Path(each).parent / "resources/esxi/modules").is_dir() for each in found["modules"])
    assert [Path(each, "esxi/__init__.py").is_file() for each in found["resources"]] == [True]
