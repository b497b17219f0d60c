"""The keys that a text and a combination are made of."""

import string

import pytest

from salt_kvm import keys
from salt_kvm.errors import SpecError

# Linux's input-event-codes.h.
KNOWN = {
    "esc": 1, "1": 2, "0": 11, "enter": 28, "leftctrl": 29, "a": 30, "grave": 41, "leftshift": 42,
    "backslash": 43, "z": 44, "slash": 53, "kpasterisk": 55, "leftalt": 56, "space": 57, "f1": 59,
    "f10": 68, "kp7": 71, "kpdot": 83, "f11": 87, "f12": 88, "kpenter": 96, "sysrq": 99,
    "rightalt": 100, "home": 102, "delete": 111, "power": 116, "pause": 119, "leftmeta": 125,
    "compose": 127, "sleep": 142,
}  # fmt: skip


def test_keys_have_linux_numbers():
    assert {name: keys.CODES[name] for name in KNOWN} == KNOWN


def test_all_that_a_keyboard_prints_can_be_typed():
    text = "".join(sorted(set(string.printable) - set("\r\x0b\x0c")))
    made = keys.typed(text)
    assert len({tuple(codes) for codes in made}) == len(text)
    assert keys.typed('aZ1\n`|?"_ \t') == [
        [30], [42, 44], [2], [28], [41], [42, 43], [42, 53], [42, 40], [42, 12], [57], [15],
    ]  # fmt: skip
    assert keys.typed("a\r\nb") == keys.typed("a\nb")


@pytest.mark.parametrize("text", ["\r", "\x00", "\x1b", "\u00e4", "a\u2028"])
def test_nothing_else_can(text):
    with pytest.raises(SpecError, match=f"character {len(text)} of the text can't be typed"):
        keys.typed(text)


@pytest.mark.parametrize(
    ("told", "codes"),
    [
        ("ctrl-alt-delete", [[29, 56, 111]]),
        ("Ctrl+Alt+F2", [[29, 56, 60]]),
        ("KEY_LEFTMETA-r", [[125, 19]]),
        ("tab  tab enter", [[15], [15], [28]]),
        (["shift-a", 28], [[42, 30], [28]]),
        (111, [[111]]),
        ("1", [[2]]),
    ],
)
def test_combinations(told, codes):
    assert keys.combinations(told, "linux") == codes


@pytest.mark.parametrize("told", ["", [], " ", "ctrl-", "ctrl--a", 65536, -1, "a-\u0663", "no"])
def test_no_combinations(told):
    with pytest.raises(SpecError):
        keys.combinations(told, "linux")
