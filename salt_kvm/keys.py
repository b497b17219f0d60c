"""The keys of a keyboard, by the numbers of Linux's ``input-event-codes.h``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from salt_kvm.errors import SpecError

# libvirt's limit of keys that are down at the same time.
MOST = 16
SHIFT = 42
# Each row of keys in the order of their numbers; the first key has the number before it.
_NAMES = {
    1: "esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p leftbrace rightbrace "
    "enter leftctrl a s d f g h j k l semicolon apostrophe grave leftshift backslash z x c v b n m "
    "comma dot slash rightshift kpasterisk leftalt space capslock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 "
    "numlock scrolllock kp7 kp8 kp9 kpminus kp4 kp5 kp6 kpplus kp1 kp2 kp3 kp0 kpdot",
    87: "f11 f12",
    96: "kpenter rightctrl kpslash sysrq rightalt",
    102: "home up pageup left right end down pagedown insert delete",
    113: "mute volumedown volumeup power",
    119: "pause",
    125: "leftmeta rightmeta compose",
    142: "sleep wakeup",
}
_ALIASES = {
    "ctrl": "leftctrl", "control": "leftctrl", "alt": "leftalt", "shift": "leftshift",
    "altgr": "rightalt", "meta": "leftmeta", "super": "leftmeta", "win": "leftmeta",
    "del": "delete", "ins": "insert", "escape": "esc", "return": "enter", "menu": "compose",
    "print": "sysrq", "printscreen": "sysrq", "pgup": "pageup", "pgdn": "pagedown",
    "period": "dot", "hyphen": "minus",
}  # fmt: skip
CODES = {
    name: code
    for first, names in _NAMES.items()
    for code, name in zip(count(first), names.split(), strict=False)
}
CODES |= {alias: CODES[name] for alias, name in _ALIASES.items()}

# What the keys from number 2 on print on a US keyboard; \0 are those that print nothing.
_PLAIN = "1234567890-=\0\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./"
_SHIFTED = '!@#$%^&*()_+\0\0QWERTYUIOP{}\0\0ASDFGHJKL:"~\0|ZXCVBNM<>?'
_TYPED: dict[str, list[int]] = {
    **{text: [code] for code, text in enumerate(_PLAIN, 2)},
    **{text: [SHIFT, code] for code, text in enumerate(_SHIFTED, 2)},
    " ": [CODES["space"]],
}
del _TYPED["\0"]


def combinations(keys: str | int | Iterable[str | int], codeset: str) -> list[list[int]]:
    """Return the numbers of the keys that are pressed together, for one combination after another.

    :param keys: ``ctrl-alt-delete``, several of these (a list, or with spaces between), or numbers
    :param codeset: libvirt's name of the table of the numbers; names have numbers in ``linux`` only
    :raises SpecError: naming a key that there is not
    """
    told = str(keys).split() if isinstance(keys, (str, int)) else [str(each) for each in keys]
    found = [list(_codes(each, codeset)) for each in told]
    if not found:
        raise SpecError(["no key is named; write keys like ctrl-alt-delete"])
    if any(len(codes) > MOST for codes in found):
        raise SpecError([f"{MOST} keys at most can be down at the same time; name fewer"])
    return found


def _codes(combination: str, codeset: str) -> Iterator[int]:
    for key in combination.replace("+", "-").split("-"):
        name = key.strip().lower().removeprefix("key_")
        # A digit is a key of its own, a longer number is a key's number.
        if name in CODES and codeset == "linux":
            yield CODES[name]
        elif name.isascii() and name.isdigit() and 0 < int(name) < 2**16:
            yield int(name)
        elif codeset == "linux":
            raise SpecError(
                [f"there is no key {key!r}; name keys like ctrl-alt-delete, or by number"]
            )
        else:
            raise SpecError([f"keys of codeset {codeset} are numbers, not {key!r}"])


def typed(text: str) -> list[list[int]]:
    """Return the numbers of the keys that type a text on a US keyboard, for each character.

    :raises SpecError: naming a character that no key types
    """
    text = text.replace("\r\n", "\n")
    for place, character in enumerate(text, 1):
        if character not in _TYPED:
            raise SpecError(
                [f"character {place} of the text can't be typed on a US keyboard; use ASCII only"]
            )
    return [_TYPED[character] for character in text]
