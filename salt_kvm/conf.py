"""Configuration files as text: one value is changed, everything else stays as it is.

Two syntaxes: libvirt's (https://libvirt.org/daemons.html; strings have no escapes, the first of
two assignments counts) and that of files which a shell reads, where the last one counts. Of those
only plain assignments are read; what else a shell would do there is passed over.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Setting = bool | int | str | list[Any] | None
_ASSIGNED = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=[ \t]*")
_STRING = re.compile(r'"""(.*?)"""|"([^"\n]*)"|\'([^\'\n]*)\'', re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+")
_GAP = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_WORD = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'[^'\n]*'|\\.|[^\s#;"'\\])*""", re.DOTALL)
_REST = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|$)")
_SAFE = re.compile(r"[A-Za-z0-9_./:-]*")
# A shell's command, to the end of the line that it ends on; its parts, of which '...' is as it is.
_COMMAND = re.compile(
    r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|`[^`]*`|\\.|[^\n"'`\\#]|(?<=\S)#)*(?:#[^\n]*)?(?:\n|\Z)""",
    re.DOTALL,
)
_PART = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\.|.""", re.DOTALL)
_OPENS = re.compile(
    r"(?:^|[;&|(]|\b(?:then|do|else)\b)[ \t]*(?:if|case|for|while|until|select)\b|\{[ \t]*$",
    re.MULTILINE,
)
_CLOSES = re.compile(r"\b(?:fi|esac|done)\b|^[ \t]*\}", re.MULTILINE)


class ConfError(ValueError):
    """A line that can't be read; the text says which, and tells nothing of what is in it."""


@dataclass(frozen=True)
class Entry:
    """An assignment: its key and value, where it begins and ends, and where its value does.

    What only a shell can tell is not ``clear``; a command has no key.
    """

    key: str
    value: Setting
    start: int
    end: int
    first: int
    last: int
    clear: bool = True


@dataclass(frozen=True)
class Syntax:
    """How a kind of files is read and written; of several assignments ``counts`` is the one."""

    read: Callable[[str, int], tuple[Setting, int]]
    write: Callable[[Setting], str]
    assign: str
    counts: int
    shell: bool = False


def entries(text: str, syntax: Syntax) -> list[Entry]:
    """Return the assignments of a text, in their order.

    :raises ConfError: with the number of a line that is none
    """
    found: list[Entry] = []
    at = depth = 0
    while at < len(text):
        end = _line_end(text, at)
        line = text[at:end].strip()
        if not line or line.startswith("#"):
            at = end
            continue
        entry = _entry(text, at, syntax)
        if not entry.key:
            said = text[at : entry.end]
            depth += len(_OPENS.findall(said)) - len(_CLOSES.findall(said))
        found.append(replace(entry, clear=False) if depth > 0 else entry)
        at = entry.end
    return found


def _entry(text: str, at: int, syntax: Syntax) -> Entry:
    try:
        return _assignment(text, at, syntax)
    except ConfError:
        command = _COMMAND.match(text, at) if syntax.shell else None
        if command is None:
            raise
    return Entry("", None, at, command.end(), at, at, clear=False)


def _assignment(text: str, at: int, syntax: Syntax) -> Entry:
    assigned = _ASSIGNED.match(text, at)
    if assigned is None:
        raise ConfError(f"line {_number(text, at)} is no assignment")
    try:
        value, last = syntax.read(text, assigned.end())
    except ValueError as error:
        raise ConfError(f"line {_number(text, at)}: {error}") from None
    rest = _REST.match(text, last)
    if rest is None:
        raise ConfError(f"line {_number(text, last)}: there is something behind the value")
    clear = not (syntax.shell and _expands(text[assigned.end() : last]))
    return Entry(assigned[1], value, at, rest.end(), assigned.end(), last, clear)


def _expands(word: str) -> bool:
    parts = (part for part in _PART.findall(word) if not part.startswith("'"))
    return any({*part} & {"$", "`"} for part in parts)


def values(text: str, syntax: Syntax) -> dict[str, Setting]:
    """Return the value of each key that has one."""
    read: dict[str, Setting] = {}
    for entry in entries(text, syntax)[:: 1 if syntax.counts else -1]:
        if entry.key:
            read[entry.key] = entry.value
    return read


def edit(text: str, settings: Mapping[str, Setting], syntax: Syntax) -> str:
    """Return the text with these settings; ``None`` takes a key out.

    What is as declared keeps its spelling. A new key comes below the comment that shows it, else
    at the end.

    :raises ConfError: where only a shell can tell what a key is
    """
    for key, value in settings.items():
        held = entries(text, syntax)
        _all_clear(text, held, key)
        there = [entry for entry in held if entry.key == key]
        if value is None:
            for entry in reversed(there):
                text = text[: entry.start] + text[entry.end :]
        elif not there:
            text = _insert(text, key, value, syntax)
        elif not same(there[syntax.counts].value, value):
            entry = there[syntax.counts]
            text = text[: entry.first] + syntax.write(value) + text[entry.last :]
    return text


def _all_clear(text: str, held: list[Entry], key: str) -> None:
    assigns = re.compile(rf"(?<![\w$]){re.escape(key)}\+?=")
    for entry in held:
        if not entry.clear and assigns.search(text, entry.start, entry.end):
            raise ConfError(
                f"line {_number(text, entry.start)}: only a shell can tell what {key} is there; "
                f"write {key}= and its value, in quotes, on a line of its own"
            )


def same(seen: Setting, want: Setting) -> bool:
    """Tell whether two values are one to the reader: a truth value is a number."""
    if isinstance(seen, list) or isinstance(want, list):
        return _items(seen) == _items(want)
    return bool(_plain(seen) == _plain(want))


def shown(text: str) -> list[str]:
    """Return the keys that a file shows in a comment, as an example of an assignment."""
    return list(dict.fromkeys(re.findall(r"^#[ \t]?([A-Za-z_]\w*)[ \t]*=", text, re.MULTILINE)))


def _items(value: Setting) -> list[Any]:
    return [_plain(each) for each in (value if isinstance(value, list) else [value])]


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _insert(text: str, key: str, value: Setting, syntax: Syntax) -> str:
    line = f"{key}{syntax.assign}{syntax.write(value)}\n"
    shown = list(re.finditer(rf"^#[ \t]?{re.escape(key)}[ \t]*=.*$", text, re.MULTILINE))
    if not shown:
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}{line}"
    at = _line_end(text, shown[-1].start())
    if "[" in shown[-1][0] and "]" not in shown[-1][0]:
        at = _comment_end(text, at)
    gap = "" if text[:at].endswith("\n") else "\n"
    return f"{text[:at]}{gap}{line}{text[at:]}"


def _comment_end(text: str, at: int) -> int:
    """Return the end of a commented list that goes over several lines."""
    end = at
    while text[end : end + 1] == "#":
        closes = "]" in text[end : _line_end(text, end)]
        end = _line_end(text, end)
        if closes:
            return end
    return at


def _line_end(text: str, at: int) -> int:
    return text.find("\n", at) + 1 or len(text)


def _number(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _read_libvirt(text: str, at: int) -> tuple[Setting, int]:
    if text[at : at + 1] == "[":
        return _read_list(text, at + 1)
    found = _STRING.match(text, at)
    if found is not None:
        return next(part for part in found.groups() if part is not None), found.end()
    number = _NUMBER.match(text, at)
    if number is None:
        raise ValueError("a value is a number, a string in quotes, or a list in brackets")
    return int(number[0]), number.end()


def _read_list(text: str, at: int) -> tuple[Setting, int]:
    items: list[Setting] = []
    while True:
        gap = _GAP.match(text, at)
        at = gap.end() if gap is not None else at
        if text[at : at + 1] == "]":
            return items, at + 1
        item, at = _read_libvirt(text, at)
        items.append(item)


def _write_libvirt(value: Setting) -> str:
    if isinstance(value, list):
        return f"[ {', '.join(map(_write_libvirt, value))} ]" if value else "[]"
    if isinstance(value, str):
        return f"{_quote(value)}{value}{_quote(value)}"
    return str(int(value or 0))


def _quote(value: str) -> str:
    """Return the quotes that a string can stand in: there are no escapes."""
    return "'" if '"' in value else '"'


def _read_shell(text: str, at: int) -> tuple[Setting, int]:
    found = _WORD.match(text, at)
    end = at if found is None else found.end()
    return "".join(shlex.split(text[at:end])), end


def _write_shell(value: Setting) -> str:
    if isinstance(value, list):
        return _write_shell(" ".join(map(str, value)))
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if _SAFE.fullmatch(text):
        return text
    # As these files are written by hand: their readers are not all shells.
    return f'"{text}"' if not set(text) & set('"\\$`') else shlex.quote(text)


LIBVIRT = Syntax(_read_libvirt, _write_libvirt, " = ", 0)
SHELL = Syntax(_read_shell, _write_shell, "=", -1, shell=True)
