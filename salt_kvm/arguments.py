"""Whether what a caller gives is of the kinds that a function's signature names.

Salt passes on what YAML makes of the words of a command line, and what any other caller has. A host
that lacks all libraries asks this too.
"""

from __future__ import annotations

import functools
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from salt_kvm.errors import SpecError, shown

WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    Sequence: "a list",
    Iterable: "a list",
    dict: "a mapping",
    Mapping: "a mapping",
    type(None): "nothing",
}
LISTS, MAPPINGS = (list, Sequence, Iterable), (dict, Mapping)


class _OtherKind(Exception):
    """A value is not of a kind."""


def fitting(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments; where a text is wanted, a whole number is taken as its digits.

    :param function: whose annotations tell the kinds
    :param arguments: by their names
    :raises SpecError: with one sentence for each that is of another kind
    """
    kinds, fitted, problems = _kinds(function), {}, []
    for name, value in arguments.items():
        try:
            fitted[name] = fit(kinds.get(name, Any), value)
        except _OtherKind:
            problems.append(f"{name}: {told(kinds[name])} is expected, not {shown(value)}")
    if problems:
        raise SpecError(problems)
    return fitted


def plain(section: Any) -> Any:
    """Return a part of the pillar as plain data: Salt's masked containers star their scalars."""
    return json.loads(json.dumps(section, default=str))


def told(kind: Any) -> str:
    """Return a kind in words: ``a list of texts or a text``."""
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [each for each in get_args(kind) if each is not type(None)]
        return " or ".join(dict.fromkeys(told(each) for each in kinds))
    return WORDS.get(get_origin(kind) or kind, "another value")


def fit(kind: Any, value: Any) -> Any:
    """Return a value as one of a kind; what has no words is of any kind.

    :raises _OtherKind: where it is none
    """
    origin = get_origin(kind) or kind
    if origin in (Union, types.UnionType):
        return _first(get_args(kind), value)
    if origin in LISTS:
        if not isinstance(value, (list, tuple)):
            raise _OtherKind
        return [fit(each, item) for item in value for each in get_args(kind)[:1] or (Any,)]
    if origin in MAPPINGS:
        if not isinstance(value, Mapping):
            raise _OtherKind
        return value
    return _scalar(origin, value) if origin in WORDS else value


def _first(kinds: Sequence[Any], value: Any) -> Any:
    # A number is taken for a text only where nothing else fits.
    for kind in sorted(kinds, key=lambda kind: kind is str):
        try:
            return fit(kind, value)
        except _OtherKind:
            continue
    raise _OtherKind


def _scalar(kind: type, value: Any) -> Any:
    if isinstance(value, bool) and kind is not bool:
        raise _OtherKind
    if kind is str:
        return _text(value)
    if not isinstance(value, (int, float) if kind is float else kind):
        raise _OtherKind
    return value


def _text(value: Any) -> str:
    text = str(value) if isinstance(value, int) else value
    if not is_text(text):
        raise _OtherKind
    return str(text)


def is_text(value: Any) -> bool:
    """Tell whether a value is a text that can be written: half a surrogate pair can't be."""
    return isinstance(value, str) and value == value.encode(errors="ignore").decode()


@functools.cache
def _kinds(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(getattr(function, "func", function))
