"""The end of a log, what is added to it, and what of it is shown."""

import random
import re

import pytest

from salt_kvm.backend.guests import conditions, console
from salt_kvm.errors import ObserveError


def rotated(folder, files):
    """Write a log and, behind it, those that it was rotated to; return the path."""
    path = folder / "serial.log"
    for number, text in enumerate(files, -1):
        (folder / ("serial.log" if number < 0 else f"serial.log.{number}")).write_bytes(text)
    return str(path)


@pytest.mark.parametrize("block", [1, 7, 64, 65536])
def test_the_last_lines_are_those_of_the_whole_log(tmp_path, monkeypatch, block):
    """Wherever it was rotated, also in the middle of a line, and however it is read."""
    monkeypatch.setattr(console, "BLOCK", block)
    draw = random.Random(block)
    for case in range(30):
        folder = tmp_path / str(case)
        folder.mkdir()
        lines = [
            f"line {number} {'x' * draw.randrange(20)}" for number in range(draw.randrange(40))
        ]
        whole = "".join(f"{line}\n" for line in lines).removesuffix(draw.choice(["", "\n"]))
        data = whole.encode()
        ends = sorted(draw.randrange(len(data) + 1) for _ in range(draw.randrange(4)))
        parts = [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
        path = rotated(folder, parts[::-1])
        for count in (1, 2, 5, 39, 100):
            assert console.tail(path, count) == lines[-count:], (case, count)


def test_of_a_giant_only_the_end_is_read(tmp_path, monkeypatch):
    path = tmp_path / "giant"
    with path.open("wb") as file:
        file.truncate(2**40)
        file.seek(0, 2)
        file.write(b"\none\ntwo\n")
    assert console.tail(str(path), 2) == ["one", "two"]
    monkeypatch.setattr(console, "LARGEST", 200_000)
    assert console.tail(str(path), 9)[-2:] == ["one", "two"]


def test_a_log_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ObserveError, match="no such file or directory"):
        console.tail(str(tmp_path / "none"), 5)


def test_what_is_added_is_followed_through_a_rotation(tmp_path):
    log, old = tmp_path / "a.log", tmp_path / "a.log.0"
    added = console.follow(str(log))
    assert [next(added), next(added)] == [b"", b""]
    log.write_bytes(b"one")
    assert next(added) == b"one"
    with log.open("ab") as file:
        file.write(b" two")
    assert next(added) == b" two"
    with log.open("ab") as file:
        file.write(b" three")
    log.rename(old)
    log.write_bytes(b"four")
    assert [next(added), next(added), next(added)] == [b" three", b"four", b""]
    log.unlink()
    assert next(added) == b""
    added.close()


def test_what_is_added_is_followed_through_an_emptying(tmp_path):
    """As virtlogd empties a log that is not appended to, at a guest's start."""
    log = tmp_path / "a.log"
    log.write_bytes(b"a long one before")
    added = console.follow(str(log))
    next(added)
    log.write_bytes(b"anew")
    assert [next(added), next(added)] == [b"anew", b""]
    added.close()


def test_a_pattern_is_found_in_all_that_was_printed_at_once(tmp_path, monkeypatch):
    """A guest may print more within a second than is kept for the next look."""
    log = tmp_path / "a.log"
    log.write_bytes(b"")
    monkeypatch.setattr(conditions, "_on", lambda world, name: None)
    goal = conditions.Goal("console", 5, pattern=re.compile("login:"), log=str(log))
    looks = conditions.CONDITIONS["console"](None, "web1", goal)
    assert next(looks) is None
    log.write_bytes(b"web1 login: \n" + b"x" * 2 * conditions.LONGEST_MATCH)
    assert next(looks) == {"line": "web1 login: "}
    looks.close()


def test_what_was_there_is_not_what_is_added(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"before")
    added = console.follow(str(log))
    assert next(added) == b""
    with log.open("ab") as file:
        file.write(b"after")
    assert next(added) == b"after"
    added.close()


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]2;title\x1b\\text", "text"),
        (b"\x1bP1;2q...\x1b\\text", "text"),
        (b"\x1bctext\x1b(B\x1b7", "text"),
        (b"a\tb\r\nc\x00\x08\x7f", "a\tb\nc"),
        ("\u009b31mC1".encode(), "31mC1"),
        ("Gr\u00fc\u00dfe".encode(), "Gr\u00fc\u00dfe"),
        (b"half \xc3", "half \ufffd"),
        (b"\x1b", ""),
    ],
)
def test_what_commands_a_terminal_is_taken_out(printed, shown):
    assert console.plain(printed) == shown
