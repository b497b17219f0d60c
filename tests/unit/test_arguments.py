"""What Salt's command line makes of words, and what another caller may give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from salt_kvm.arguments import fitting
from salt_kvm.errors import SpecError


def action(
    world: object,
    name: str = "",
    depth: int = 4,
    force: bool = False,
    wait: float = 1.0,
    path: str | None = None,
    folders: list[str] | str | None = None,
    fields: Mapping[str, Any] | None = None,
    reveal: Callable[[Any], Any] | None = None,
    anything: Any = None,
) -> None:
    """Stand for one that an execution function calls."""


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        ("name", 1.5, "name: a text is expected, not 1.5"),
        ("name", None, "name: a text is expected, not None"),
        ("name", True, "name: a text is expected, not True"),
        ("name", "\ud800", r"name: a text is expected, not '\ud800'"),
        ("depth", "4", "depth: a whole number is expected, not '4'"),
        ("depth", True, "depth: a whole number is expected, not True"),
        ("force", 1, "force: true or false is expected, not 1"),
        ("wait", "1", "wait: a number is expected, not '1'"),
        ("path", ["/a"], "path: a text is expected, not ['/a']"),
        ("folders", 1.5, "folders: a list or a text is expected, not 1.5"),
        ("folders", [None], "folders: a list or a text is expected, not [None]"),
        ("fields", [], "fields: a mapping is expected, not []"),
        ("name", "x" * 99 + "\ud800", f"name: a text is expected, not '{'x' * 56}..."),
    ],
)
def test_another_kind(argument: str, value: Any, told: str) -> None:
    with pytest.raises(SpecError) as raised:
        fitting(action, {argument: value})
    assert raised.value.problems == [told]


def test_every_one_is_told() -> None:
    with pytest.raises(SpecError) as raised:
        fitting(action, {"name": [], "depth": {}, "force": False})
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize(
    ("argument", "value", "taken"),
    [
        ("name", 42, "42"),
        ("name", "ü", "ü"),
        ("path", None, None),
        ("folders", "/a", "/a"),
        ("folders", 5, "5"),
        ("folders", ("/a", 5), ["/a", "5"]),
        ("wait", 2, 2),
        ("fields", {5: []}, {5: []}),
        ("reveal", str, str),
        ("anything", [1], [1]),
        ("unknown", 5, 5),
    ],
)
def test_a_kind_that_fits(argument: str, value: Any, taken: Any) -> None:
    assert fitting(action, {argument: value}) == {argument: taken}


def test_a_function_that_has_arguments_already() -> None:
    assert fitting(partial(action, depth=1), {"name": 5}) == {"name": "5"}
