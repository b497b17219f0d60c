"""Configuration files are edited as text: what is not declared stays, to the byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_kvm import conf
from salt_kvm.conf import LIBVIRT, SHELL

QEMU = """# Master configuration file for the QEMU driver.

# VNC is configured to listen on 127.0.0.1 by default.
#
#vnc_listen = "0.0.0.0"

vnc_tls = 0   # not yet
#cgroup_device_acl = [
#    "/dev/null", "/dev/full",
#    "/dev/ptmx"
#]
security_driver = [ "selinux",  # first
  'apparmor' ]
#max_files = 32768
user = 'root'
"""
GUESTS = """# URIs to check for running guests
#URIS=default
ON_SHUTDOWN=suspend
SHUTDOWN_TIMEOUT="300" # seconds
"""


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("vnc_listen", "0.0.0.0", '#vnc_listen = "0.0.0.0"\n', None),
        ("vnc_tls", True, "vnc_tls = 0   # not yet", "vnc_tls = 1   # not yet"),
        ("user", "qemu", "user = 'root'", 'user = "qemu"'),
        ("security_driver", ["none"], """[ "selinux",  # first\n  'apparmor' ]""", '[ "none" ]'),
        ("max_files", 4096, "#max_files = 32768\n", "#max_files = 32768\nmax_files = 4096\n"),
        (
            "cgroup_device_acl",
            ["/dev/kvm"],
            '#    "/dev/ptmx"\n#]\n',
            '#    "/dev/ptmx"\n#]\ncgroup_device_acl = [ "/dev/kvm" ]\n',
        ),
        ("vnc_tls", None, "vnc_tls = 0   # not yet\n", ""),
        ("user", 'a"b', "user = 'root'", "user = 'a\"b'"),
    ],
)
def test_one_value_changes_and_nothing_else(
    key: str, value: Any, old: str, new: str | None
) -> None:
    wanted = QEMU.replace(old, f'{old}vnc_listen = "0.0.0.0"\n' if new is None else new)
    assert conf.edit(QEMU, {key: value}, LIBVIRT) == wanted
    assert conf.edit(wanted, {key: value}, LIBVIRT) == wanted
    seen = conf.values(wanted, LIBVIRT).get(key)
    assert conf.same(seen, value)


def test_what_is_as_declared_keeps_its_spelling() -> None:
    settings = {"user": "root", "security_driver": ["selinux", "apparmor"], "vnc_tls": False}
    assert conf.edit(QEMU, settings, LIBVIRT) == QEMU


def test_a_key_that_nothing_shows_comes_last() -> None:
    assert conf.edit("", {"a": 1}, LIBVIRT) == "a = 1\n"
    assert conf.edit("b = 2", {"a": 1}, LIBVIRT) == "b = 2\na = 1\n"


def test_of_two_assignments_the_one_that_counts() -> None:
    """libvirt's parser finds the first, a shell is left with the last."""
    assert conf.values("a = 1\na = 2\n", LIBVIRT) == {"a": 1}
    assert conf.edit("a = 1\na = 2\n", {"a": 3}, LIBVIRT) == "a = 3\na = 2\n"
    assert conf.edit("a = 1\na = 2\n", {"a": None}, LIBVIRT) == ""
    assert conf.values("A=1\nA=2\n", SHELL) == {"A": "2"}
    assert conf.edit("A=1\nA=2\n", {"A": "3"}, SHELL) == "A=1\nA=3\n"


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("ON_SHUTDOWN", "shutdown", "ON_SHUTDOWN=suspend", "ON_SHUTDOWN=shutdown"),
        ("SHUTDOWN_TIMEOUT", 60, '"300" # seconds', "60 # seconds"),
        ("URIS", "a b", "#URIS=default\n", '#URIS=default\nURIS="a b"\n'),
        ("URIS", "$a", "#URIS=default\n", "#URIS=default\nURIS='$a'\n"),
    ],
)
def test_files_of_a_shell(key: str, value: Any, old: str, new: str) -> None:
    wanted = GUESTS.replace(old, new)
    assert conf.edit(GUESTS, {key: value}, SHELL) == wanted
    assert conf.values(wanted, SHELL)[key] == str(value)


# Debian's own, RHEL's, and what administrators add.
GRUB = r"""# If you change this file, run 'update-grub' afterwards
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`
GRUB_NEXT=`( . /etc/os-release; echo ${NAME:-Debian} ) 2>/dev/null || echo Debian`
GRUB_OTHER="$(sed 's, release .*$,,g' /etc/system-release)"
GRUB_BADRAM="0x01234567,0xfefefefe"; export GRUB_BADRAM
. /etc/default/mine  # it's more
if [ -f /etc/x ]; then
  GRUB_THEME=/x
fi
say() {
  echo "$1
SAID=no"
}
GRUB_CMDLINE_LINUX="quiet dyndbg=\"file a +p\""
export GRUB_CMDLINE_LINUX
#GRUB_TERMINAL=console
"""


def test_what_else_a_shell_does_is_passed_over() -> None:
    key, value = "GRUB_CMDLINE_LINUX", "quiet iommu=pt"
    assert conf.values(GRUB, SHELL)[key] == 'quiet dyndbg="file a +p"'
    wanted = GRUB.replace(r'"quiet dyndbg=\"file a +p\""', '"quiet iommu=pt"')
    assert conf.edit(GRUB, {key: value}, SHELL) == wanted != GRUB
    shown = GRUB.replace("TERMINAL=console\n", "TERMINAL=console\nGRUB_TERMINAL=serial\n")
    assert conf.edit(GRUB, {"GRUB_TERMINAL": "serial"}, SHELL) == shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('A="b"\nA="$A c"\n', 2),
        ("\nA=`b c`\n", 2),
        ('A=b\nA+=" c"\n', 2),
        ("A=b; export A\n", 1),
        ("if [ -f /x ]; then\n  A=b\nfi\n", 2),
        ("[ -f /x ] && A=b\n", 1),
    ],
)
def test_a_value_that_only_a_shell_can_tell_is_not_guessed(text: str, line: int) -> None:
    with pytest.raises(conf.ConfError, match=f"line {line}: only a shell can tell what A is"):
        conf.edit(text, {"A": "d"}, SHELL)
    assert conf.edit(text, {"B": "d"}, SHELL) == f"{text}B=d\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nwhat is this\n", 2), ("a = [ 1\n", 1), ('a = "open\n', 1), ("\na = 1 2\n", 2)],
)
def test_a_line_that_can_not_be_read_is_named_and_not_shown(text: str, line: int) -> None:
    with pytest.raises(conf.ConfError, match=f"line {line}\\b") as said:
        conf.edit(text, {"b": 1}, LIBVIRT)
    assert "open" not in str(said.value)


def test_what_a_file_shows() -> None:
    assert conf.shown(QEMU) == ["vnc_listen", "cgroup_device_acl", "max_files"]


KEYS = st.sampled_from(["alpha", "beta", "gamma_2"])
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\r\0'", exclude_categories=["Cs"])
)
LIBVIRT_VALUES = st.one_of(st.integers(), st.booleans(), TEXTS, st.lists(TEXTS, max_size=3))
LINES = st.lists(
    st.sampled_from(["", "# a comment", "#alpha = 1", "beta = 'x' # why", "delta = [ 1, 2 ]"])
)


@given(lines=LINES, key=KEYS, value=LIBVIRT_VALUES)
def test_set_is_got_twice_is_once_and_other_lines_stay(
    lines: list[str], key: str, value: Any
) -> None:
    text = "".join(f"{line}\n" for line in lines)
    once = conf.edit(text, {key: value}, LIBVIRT)
    assert conf.same(conf.values(once, LIBVIRT)[key], value)
    assert conf.edit(once, {key: value}, LIBVIRT) == once
    others = [line for line in once.split("\n")[:-1] if not line.startswith(f"{key} =")]
    assert others == [line for line in lines if not line.startswith(f"{key} =")]


@given(lines=LINES, value=LIBVIRT_VALUES)
def test_taking_out_undoes_putting_in(lines: list[str], value: Any) -> None:
    text = "".join(f"{line}\n" for line in lines)
    assert conf.edit(conf.edit(text, {"gamma": value}, LIBVIRT), {"gamma": None}, LIBVIRT) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r")))
def test_a_shell_reads_what_was_written(value: str) -> None:
    assert conf.values(conf.edit("", {"A": value}, SHELL), SHELL) == {"A": value}
