"""
Show a host's checks and capacity as text
=========================================

The outputter of ``kvm_host.check``, the worst first, and of ``kvm_host.capacity``, in units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

RESULTS = ("fail", "warn", "pass")
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
KIB = 1024
COLUMNS = {
    "total": "there",
    "used": "used",
    "promised": "promised",
    "defined": "if all ran",
    "allowed": "allowed",
    "left": "left",
}
Row = dict[str, Any]


def output(data: dict[str, Any], **kwargs: Any) -> str:
    """
    Return as text what ``kvm_host.check`` or ``kvm_host.capacity`` returned, or anything else.

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_host.check --out kvm_host
        salt '*' kvm_host.capacity --out kvm_host
    """
    return "\n".join("\n".join([f"{host}:", *_lines(told)]) for host, told in data.items())


def _lines(told: Any) -> Iterable[str]:
    if isinstance(told, list) and all(isinstance(row, dict) and "cure" in row for row in told):
        return _checks(told)
    if isinstance(told, dict) and {"memory", "cpu", "domains"} <= set(told):
        return _capacity(told)
    return [str(told)]


def _checks(rows: list[Row]) -> Iterator[str]:
    """Yield what is wrong, each with its cure, and what is not in a line."""
    cured: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: RESULTS.index(row["result"])):
        if row["result"] != "pass":
            yield f"  {row['result']} {row['name']}: {row['seen']}"
            first = cured.setdefault(row["cure"], row["name"])
            cure = row["cure"] if first == row["name"] else f"The cure is that of {first}."
            yield f"      {cure}"
    results = [row["result"] for row in rows]
    passed = ", ".join(row["name"] for row in rows if row["result"] == "pass")
    yield f"  pass {passed}" if passed else "  Nothing passes"
    yield "  " + ", ".join(f"{results.count(each)} {each}" for each in RESULTS) + "."


def _capacity(told: Row) -> Iterator[str]:
    """Yield the account, the guests, those that run first, and what the policy says of it."""
    accounts = {what: [say(told[what][key]) for key in COLUMNS] for what, say in SAID.items()}
    if told["cpu"]["used"] is not None:
        accounts["cpu"][1] = f"load {accounts['cpu'][1]}"
    heads = [["", *COLUMNS.values()]]
    yield from _table([*heads, *([what, *account] for what, account in accounts.items())])
    guests = sorted(told["domains"].items(), key=lambda item: (not item[1]["running"], item[0]))
    if guests:
        yield ""
        yield from _table([["guest", "", "memory", "of it used", "CPUs"], *map(_guest, guests)])
    yield ""
    for what, say in SAID.items():
        yield f"  {what}: {_policy(told[what], say, f'kvm:host:overcommit:{what}')}."


def _guest(item: tuple[str, Row]) -> list[str]:
    name, part = item
    state = "on" if part["running"] else "off"
    return [name, state, _size(part["memory"]), _size(part["memory_used"]), str(part["vcpus"])]


def _policy(account: Row, say: Any, path: str) -> str:
    if account["ratio"] is None:
        return f"no limit; {path} would be one"
    allowed = f"{path} allows {account['ratio']:g} times what is there"
    if account["left"] >= 0:
        return allowed
    over = f"{say(-account['left'])} more than that is promised"
    return f"{allowed}, and {over}: no further guest starts until some are stopped or smaller"


def _size(number: int | None) -> str:
    if number is None:
        return "-"
    value = float(number)
    for unit in UNITS:
        if abs(value) < KIB or unit == UNITS[-1]:
            break
        value /= KIB
    return f"{_number(value)} {unit}"


def _number(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}".removesuffix(".0")


def _table(rows: list[list[str]]) -> Iterator[str]:
    """Yield lines: the first column begins at the left, numbers end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join(["", first.ljust(widths[0]), *cells]).rstrip()


SAID = {"memory": _size, "cpu": _number}
