"""The text of a ``.vmx`` file: read as VMware reads it, and changed line by line.

The format is VMware's own, as ``lib/dict/dictll.c`` of open-vm-tools has it: a line is
``name = "value" # comment``; the quotes may be missing where the value has no blank in it; in a
value ``|22`` is the byte 0x22. All of that is about bytes; ``.encoding`` says which characters they
are. A byte that nobody asked to change stays as it is.
"""

from __future__ import annotations

import codecs
import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from salt_kvm.errors import UnmetError

HIDDEN = "(hidden)"
BOM = codecs.BOM_UTF8
# As StdIO_ReadNextLine of open-vm-tools ends a line.
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_ENTRY = re.compile(
    rb'[ \t]*(?P<key>[^ \t#=]+)[ \t]*=[ \t]*(?P<value>"(?P<quoted>[^"]*)"|(?!")[^ \t#]*)'
    rb"[ \t]*(?:#.*)?",
    re.DOTALL,
)
_COMMENT = re.compile(rb"[ \t]*(?:#.*)?", re.DOTALL)
_ESCAPED = re.compile(rb"\|([0-9A-Fa-f]{2})")
# What DictLL_MarshalLine escapes: a quote, a pipe, control characters other than the tab.
_UNSAFE = re.compile(rb'[\x00-\x08\x0a-\x1f"|\x7f]')
# What guards a guest or hands it a secret is shown to nobody unasked.
_SECRET = re.compile(r"passw|passphrase|secret|keysafe|\.key$|^encryption\.|^guestinfo\.", re.I)
_PROBE = b'a.b = "1"\xff'
# Windows' names of its code pages that Python calls otherwise.
_PAGES = re.compile(r"windows-(\d+)", re.I)


class Line(NamedTuple):
    """One line: its bytes, what ends it, and the entry on it, if there is one.

    ``key`` is in small letters; ``start`` and ``end`` are where the value stands, quotes included.
    """

    raw: bytes
    end_of_line: bytes
    key: bytes | None = None
    value: bytes = b""
    start: int = 0
    end: int = 0


def lines(data: bytes) -> list[Line]:
    """Return the lines of a text; a last one that is empty and ends with nothing is none."""
    body = data.removeprefix(BOM)
    found = [(match[1], match[2]) for match in _LINE.finditer(body) if match[0]]
    return [_line(raw, end) for raw, end in found]


def _line(raw: bytes, end_of_line: bytes) -> Line:
    match = _ENTRY.fullmatch(raw)
    if match is None:
        return Line(raw, end_of_line)
    held = match["quoted"] if match["quoted"] is not None else match["value"]
    return Line(raw, end_of_line, match["key"].lower(), _unescape(held), *match.span("value"))


def _unescape(value: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), value)


def escape(value: bytes) -> bytes:
    """Return a value as it stands between quotes."""
    return _UNSAFE.sub(lambda match: b"|%02X" % match[0][0], value)


def encoding(data: bytes) -> str | None:
    """Return Python's name of the encoding; ``None`` where the text names none.

    :raises UnmetError: for one that is not known here
    """
    if data.startswith(BOM):
        return "utf-8"
    named = next((line.value for line in lines(data) if line.key == b".encoding"), None)
    if named is None:
        return None
    name = named.decode("ascii", "replace")
    for spelling in (name, _PAGES.sub(r"cp\1", name)):
        # Python knows some that are none of a text, or not of one whose format is ASCII.
        with suppress(LookupError, ValueError):
            if _PROBE.decode(spelling, "backslashreplace").startswith(_PROBE[:-1].decode()):
                return codecs.lookup(spelling).name
    raise UnmetError(f"the encoding {name!r} is not known here; write the file in UTF-8")


def get(data: bytes, key: str) -> str | None:
    """Return the value of a key, whatever the case of its letters; ``None`` where there is none.

    :raises UnmetError: where it stands twice. VMware opens no such file, so no value is the one
    """
    found = _of(lines(data), key)
    if len(found) > 1:
        numbers = " and ".join(str(number) for number, _line in found)
        raise UnmetError(
            f"{key} stands in lines {numbers}, and VMware opens no file with a key that stands "
            "twice; vmx.set leaves one"
        )
    return _shown(found[0][1].value, _letters(data)) if found else None


def _of(held: list[Line], key: str) -> list[tuple[int, Line]]:
    wanted = key.lower().encode()
    return [(number, line) for number, line in enumerate(held, 1) if line.key == wanted]


def _letters(data: bytes) -> str:
    """The encoding to show a text in."""
    return encoding(data) or "utf-8"


def _shown(value: bytes, letters: str) -> str:
    return value.decode(letters, "backslashreplace")


def set_(data: bytes, key: str, value: str) -> bytes:
    """Return the text with a key set; see :func:`edit`."""
    return edit(data, {key: value})


def remove(data: bytes, key: str) -> bytes:
    """Return the text without a key; see :func:`edit`."""
    return edit(data, {key: None})


def edit(data: bytes, wanted: Mapping[str, str | None]) -> bytes:
    """Return the text with keys set, or removed where their value is ``None``.

    A key that is there keeps its line: its spelling, its blanks, its comment. A new one becomes
    the last line. Of one that stands twice the first line stays, since VMware takes no second one.

    :raises UnmetError: where the text can't hold that
    """
    _editable(data, wanted)
    held = lines(data)
    for key, value in wanted.items():
        held = (
            _without(held, key) if value is None else _with(held, key, _encoded(data, key, value))
        )
    bom = BOM if data.startswith(BOM) else b""
    return bom + b"".join(line.raw + line.end_of_line for line in held)


def _editable(data: bytes, wanted: Mapping[str, str | None]) -> None:
    if b"\0" in data:
        raise UnmetError("it is no text: it has a byte 0 in it; name a .vmx file")
    keys = {line.key for line in lines(data)}
    if b"encryption.data" in keys and b"config.version" not in keys:
        raise UnmetError("it is encrypted as a whole; decrypt the machine in VMware first")
    names = [key for key in wanted if key.lower() == ".encoding"]
    if names and not data.isascii() and not same(get(data, ".encoding"), wanted[names[0]]):
        raise UnmetError(
            "its .encoding can't change while it holds letters of the old one; write the file "
            "anew in the other encoding"
        )


def _encoded(data: bytes, key: str, value: str) -> bytes:
    """ASCII is the same in every encoding that VMware writes; the value may be a secret."""
    if value.isascii():
        return value.encode()
    name = encoding(data)
    if name is None:
        raise UnmetError(
            f"it has no .encoding, so that VMware would read the letters of {key} by its host's; "
            'set .encoding to "UTF-8" first'
        )
    try:
        return value.encode(name)
    except UnicodeEncodeError:
        # The cause would show the value.
        raise UnmetError(f"the value of {key} can't be written in {name}, its .encoding") from None


def _with(held: list[Line], key: str, value: bytes) -> list[Line]:
    found = _of(held, key)
    if not found:
        return _appended(held, key, value)
    number, line = found[0]
    if not same(line.value.decode("latin-1"), value.decode("latin-1")):
        raw = b'%s"%s"%s' % (line.raw[: line.start], escape(value), line.raw[line.end :])
        line = _line(raw, line.end_of_line)
    kept = [each for each in held if each.key != line.key]
    kept.insert(sum(each.key != line.key for each in held[: number - 1]), line)
    return _ended(kept, held)


def _appended(held: list[Line], key: str, value: bytes) -> list[Line]:
    """A text that ends without a line feed goes on ending without one."""
    ends = [line.end_of_line for line in held if line.end_of_line]
    end_of_line = ends[-1] if ends else b"\n"
    raw = b'%s = "%s"' % (key.encode(), escape(value))
    if held and not held[-1].end_of_line:
        return [*held[:-1], held[-1]._replace(end_of_line=end_of_line), _line(raw, b"")]
    return [*held, _line(raw, end_of_line)]


def _without(held: list[Line], key: str) -> list[Line]:
    wanted = key.lower().encode()
    return _ended([line for line in held if line.key != wanted], held)


def _ended(kept: list[Line], before: list[Line]) -> list[Line]:
    """Let the last line end as the last one did; an empty one is none without its end."""
    if kept and kept[-1].raw and not before[-1].end_of_line:
        return [*kept[:-1], kept[-1]._replace(end_of_line=b"")]
    return kept


def same(one: str | None, other: str | None) -> bool:
    """Tell whether two values are one: ``true`` is ``TRUE`` to VMware, and ``false`` ``FALSE``."""
    if one is None or other is None or one == other:
        return one == other
    return one.lower() == other.lower() and one.lower() in ("true", "false")


def changes(
    old: bytes, new: bytes, keys: Iterable[str], hidden: Collection[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Return what keys were and what they are; a secret is hidden, a key that stood twice told.

    :param hidden: keys that are secret too, in small letters
    """
    told = {}
    for key in keys:
        before, after = ([line.value for _, line in _of(lines(data), key)] for data in (old, new))
        if before != after:
            shut = secret(key, hidden)
            told[key] = (_all(before, old, shut=shut), _all(after, new, shut=shut))
    return told


def _all(values: list[bytes], data: bytes, *, shut: bool) -> str | None:
    shown = [HIDDEN if shut else _shown(value, _letters(data)) for value in values]
    return ", ".join(shown) if shown else None


def secret(key: str, hidden: Collection[str] = ()) -> bool:
    """Tell whether the value of a key is to be shown to nobody unasked."""
    return key.lower() in hidden or _SECRET.search(key) is not None


def diff(old: bytes, new: bytes, name: str, hidden: Collection[str] = ()) -> str:
    """Return what differs between two texts, as ``diff -u`` writes it, without secrets."""
    texts = [(_letters(data), lines(data)) for data in (old, new)]
    shown = {
        _shown(line.raw, each): _open(line, each, hidden) for each, held in texts for line in held
    }
    before, after = ([_shown(line.raw, letters) for line in held] for letters, held in texts)
    told = difflib.unified_diff(before, after, name, name, n=1, lineterm="")
    return "\n".join(line[:1] + shown.get(line[1:], line[1:]) for line in told)


def _open(line: Line, letters: str, hidden: Collection[str]) -> str:
    """A line without what is secret in it."""
    if line.key is not None and secret(line.key.decode("latin-1"), hidden):
        return _shown(line.raw[: line.start], letters) + HIDDEN
    return _shown(line.raw, letters)


def info(data: bytes) -> dict[str, Any]:
    """Return the entries of a text by key, and what VMware would not take of it."""
    held = lines(data)
    entries = {line.key.decode("latin-1"): line for line in reversed(held) if line.key is not None}
    counts = Counter(line.key for line in held if line.key is not None)
    letters = _letters(data)
    return {
        "encoding": encoding(data),
        "line_ends": sorted({_ENDS[line.end_of_line] for line in held if line.end_of_line}),
        "options": {
            _name(line): HIDDEN if secret(key) else _shown(line.value, letters)
            for key, line in reversed(entries.items())
        },
        "twice": sorted(key.decode("latin-1") for key, count in counts.items() if count > 1),
        "malformed": [
            number
            for number, line in enumerate(held, 1)
            if line.key is None and not _COMMENT.fullmatch(line.raw)
        ],
    }


_ENDS = {b"\r\n": "CRLF", b"\n": "LF", b"\r": "CR"}


def _name(line: Line) -> str:
    """The key as it is spelled."""
    return line.raw[: line.start].split(b"=")[0].strip(b" \t").decode("latin-1")
