"""
Show a plan as text
===================

The outputter of ``kvm_host.plan``: what would be made, changed, removed, and what can't be. With
``--out kvm_plan`` also that of ``plan`` and ``pending`` of a noun: a table of what was and will be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MARKS = {"made": "+", "changed": "~", "removed": "-", "waits": ".", "can't be": "!"}
# The entries of a change that make or remove the whole of an object.
WHOLE = ("definition", "image", "volume")
Row = dict[str, Any]


def output(data: dict[str, Any], **kwargs: Any) -> str:
    """
    Return rows of ``kvm_host.plan``, or a plan of one object, as text; anything else as it is.

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_host.plan --out kvm_plan
        salt '*' kvm_domain.pending web1 --out kvm_plan
    """
    return "\n".join(_host(host, rows) for host, rows in data.items())


def _host(host: str, rows: list[Row] | Any) -> str:
    if isinstance(rows, dict):
        return "\n".join([f"{host}:", *_object(rows)])
    if not isinstance(rows, list):
        return f"{host}:\n{rows}"
    kinds = [_kind(row) for row in rows]
    lines = [line for row in rows for line in _lines(row, _kind(row))]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in MARKS if kind in kinds)
    return "\n".join([f"{host}:", *lines, f"  {counts or 'Everything is as declared'}."])


def _kind(row: Row) -> str:
    if row["fault"]:
        return "can't be"
    if not row["changes"]:
        return "waits"
    whole = next((row["changes"][key] for key in WHOLE if key in row["changes"]), None)
    if whole is None or None not in whole.values():
        return "changed"
    return "made" if whole["old"] is None else "removed"


def _lines(row: Row, kind: str) -> Iterator[str]:
    yield f"  {MARKS[kind]} {row['kind']} {row['name']}"
    if kind in ("can't be", "waits"):
        yield f"      {row['fault'] or row['comment']}"
    for path, change in row["changes"].items():
        if isinstance(change["new"], dict) and change["old"] is None:
            yield from (f"      {leaf}: {value}" for leaf, value in change["new"].items())
        else:
            yield f"      {path}: {change['old']} -> {change['new']}"


def _object(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of one object's plan: its steps, its changes, and what waits."""
    if "steps" not in plan:
        plan = {"waiting": plan}
    yield from (f"  {step}" for step in plan.get("steps", []))
    rows = [
        (mark, path, *map(_said, (change["old"], change["new"])))
        for mark, part in (("~", "changes"), (".", "waiting"))
        for path, change in plan.get(part, {}).items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        mark, path, old, new = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"    {mark} {path}  {old} -> {new}".rstrip()
    if not rows:
        yield "  Everything is as declared."


def _said(value: Any) -> str:
    """Return a value as a cell: an element by its leaves, nothing as a dash."""
    if isinstance(value, dict):
        return ", ".join(f"{leaf}: {each}" for leaf, each in value.items())
    return "-" if value is None else str(value)
