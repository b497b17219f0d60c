"""What is typed for a guest, as its kernel hears it, and what it prints, as its log has it."""

import time
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from waiting import wait_for

from . import rfb, talking
from .conftest import PREFIX, virsh

NAME = f"{PREFIX}talks"
PRINTABLE = "".join(map(chr, range(32, 127))).replace("<", "").replace(">", "")


@pytest.fixture
def up(run, talks):
    """A guest that is up; return what reads its log."""
    made = run()("kvm_domain.running", **talks)
    assert made["result"] is True, made["comment"]
    log = Path(talks["serial"][0]["log"])
    wait_for(lambda: "guest up" in log.read_text(), "the guest")
    return log.read_text


def test_a_guest_hears_its_keyboard(up, modules):
    assert modules["kvm_domain.type_text"](NAME, f"{PRINTABLE}\n") == len(PRINTABLE) + 1
    wait_for(lambda: f"typed <{PRINTABLE.strip()}>" in up(), "all that a keyboard has")
    long = "double letters aa bb 0011, and a line that is longer than QEMU's queue of keys " * 4
    modules["kvm_domain.type_text"](NAME, f"{long.strip()}\n")
    wait_for(lambda: f"typed <{long.strip()}>" in up(), "a long line")
    assert modules["kvm_domain.send_key"](NAME, "h shift-i 3 enter") is True
    wait_for(lambda: "typed <hI3>" in up(), "single keys")
    assert modules["kvm_domain.send_key"](NAME, ["KEY_O", 37, 28]) is True
    wait_for(lambda: "typed <ok>" in up(), "keys by other names")
    assert modules["kvm_domain.send_key"](NAME, [35, 0x17, 28], codeset="xt") is True
    wait_for(lambda: "typed <hi>" in up(), "keys of another table")
    modules["kvm_domain.send_key"](NAME, "ctrl-alt-delete", holdtime=50)
    wait_for(lambda: up().count("guest up") == 2, "the guest, which starts anew")


@pytest.mark.parametrize(
    ("function", "arguments", "told"),
    [
        ("send_key", {"keys": "ctrl-alt-del-nonsense"}, "there is no key 'nonsense'"),
        ("send_key", {"keys": ""}, "no key is named"),
        ("send_key", {"keys": "a", "codeset": "dvorak"}, "'dvorak' is no codeset; known are linux"),
        ("send_key", {"keys": "a", "codeset": "usb"}, "keys of codeset usb are numbers, not 'a'"),
        ("send_key", {"keys": "a", "holdtime": "long"}, "holdtime: 'long' is no number from 1 to"),
        ("send_key", {"keys": "a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q"}, "16 keys at most"),
        ("send_key", {"keys": 99999999}, "there is no key '99999999'"),
        ("send_key", {"keys": "a"}, f"domain {NAME} is off; start it"),
        ("type_text", {"text": "Gr\u00fc\u00dfe"}, "character 3 of the text can't be typed"),
        ("type_text", {"text": "\x00"}, "character 1 of the text can't be typed"),
        ("type_text", {"text": "a" * 4097}, "4096 characters at most"),
        ("type_text", {"text": "sdb://no/such"}, "sdb://no/such gives no value"),
        ("type_text", {"text": "a"}, f"domain {NAME} is off; start it"),
        ("set_graphics_password", {"password": "a"}, f"domain {NAME} is off; start it"),
        ("console_log", {"lines": 0}, "lines: 0 is no number from 1 to"),
        ("console_log", {"lines": True}, "lines: True is no number from 1 to"),
        ("console_log", {"serial": 3}, "has 1 serial ports, and none of number 3"),
        ("console_log", {}, "serial.log: no such file or directory"),
    ],
)
def test_what_can_not_be_done_is_told(run, modules, talks, function, arguments, told):
    run()("kvm_domain.present", **talks)
    with pytest.raises(CommandExecutionError) as refused:
        modules[f"kvm_domain.{function}"](NAME, **arguments)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("send_key", ["a"]),
        ("type_text", ["a"]),
        ("set_graphics_password", ["a"]),
        ("console_log", []),
    ],
)
def test_a_guest_that_is_not_there_is_told(modules, function, arguments):
    with pytest.raises(CommandExecutionError, match="there is no domain"):
        modules[f"kvm_domain.{function}"](NAME, *arguments)


def test_the_end_of_a_log_is_read_across_its_rotation(modules, up, talks):
    """virtlogd's own rotation, at its own size of 2 MiB."""
    log = Path(talks["serial"][0]["log"])
    rotated = log.with_name("serial.log.0")
    talking.say(NAME, "seq 1000000 1240000; echo the last o'n'e", up)
    wait_for(lambda: rotated.exists() and "the last one" in up(), "the rotation")
    old, new = rotated.read_text().split("\n"), up().split("\n")
    joined = "\n".join([*old[:-1], old[-1] + new[0], *new[1:-1]])
    plain = joined.replace("\r", "").split("\n")
    for lines in (1, 5, len(new), len(new) + 1000, 100_000):
        told = modules["kvm_domain.console_log"](NAME, lines=lines).split("\n")
        assert told == plain[-lines:]


def test_what_a_guest_prints_does_not_command_a_terminal(modules, up):
    odd = r"\033[2J\033]0;title\007a \033[1;31mred\033[0m\033c\b\tword\n"
    talking.say(NAME, f"printf '{odd}'; echo e'n'd", up)
    wait_for(lambda: "end" in up(), "the line")
    told = modules["kvm_domain.console_log"](NAME, lines=2)
    assert told == "a red\tword\nend"


def test_a_log_has_a_place_of_its_own(converge, talks, modules):
    log = Path(f"/var/log/libvirt/qemu/{NAME}-serial0.log")
    try:
        converge("kvm_domain.running", **{**talks, "serial": [{"log": True}]})
        wait_for(lambda: "guest up" in modules["kvm_domain.console_log"](NAME), "the guest")
        assert "guest up" in log.read_text()
        assert log.stat().st_mode & 0o077 == 0
    finally:
        log.unlink(missing_ok=True)
    virsh("destroy", NAME)
    converge("kvm_domain.present", **{**talks, "serial": [{"log": False}]})
    with pytest.raises(CommandExecutionError, match=r"declare serial: \[\{log: true\}\]"):
        modules["kvm_domain.console_log"](NAME)


def test_a_password_is_lent_for_a_while(run, modules, talks, caplog):
    set_password = modules["kvm_domain.set_graphics_password"]
    assert run()("kvm_domain.running", **talks)["result"] is True
    port = modules["kvm_domain.vnc"](NAME)["port"]
    told = set_password(NAME, "l3nt", expires=3600)
    assert told["consoles"] == ["vnc"]
    assert told["valid_to"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3000))
    assert rfb.lets_in(port, "l3nt")
    assert set_password(NAME, "l3nt", expires="2001-01-01") == {
        "consoles": ["vnc"],
        "valid_to": "2001-01-01T00:00:00",
    }
    assert not rfb.lets_in(port, "l3nt")
    assert set_password(NAME, "l3nt", kind="vnc")["valid_to"] == "never"
    assert rfb.lets_in(port, "l3nt")
    assert "passwd='first'" in virsh("dumpxml", "--inactive", "--security-info", NAME)
    # The state makes it what is declared.
    changed = run()("kvm_domain.running", **talks)["changes"]
    assert list(changed) == ["live/devices/graphics/@passwd"]
    assert rfb.lets_in(port, "first")
    for wrong in ("n1nechars", "l3\nt", 12345678):
        with pytest.raises(CommandExecutionError) as refused:
            set_password(NAME, wrong)
        assert str(wrong) not in str(refused.value)
        assert "password: a" in str(refused.value)
    with pytest.raises(CommandExecutionError, match="expires: 'soon' is no time"):
        set_password(NAME, "l3nt", expires="soon")
    with pytest.raises(CommandExecutionError, match="has no spice console"):
        set_password(NAME, "l3nt", kind="spice")
    assert "l3nt" not in caplog.text


def test_a_password_is_for_a_console_that_was_started_with_one(run, modules, guest):
    run()("kvm_domain.running", **guest)
    with pytest.raises(CommandExecutionError, match="was started without a password"):
        modules["kvm_domain.set_graphics_password"](guest["name"], "a")
