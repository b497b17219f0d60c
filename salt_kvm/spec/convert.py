"""From a pillar's plain data to specs, naming every fault at once with its path."""

import difflib
import functools
import typing
from collections.abc import Iterator
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from salt_kvm.errors import SpecError, shown
from salt_kvm.spec.types import END, Spec, Value, decode

S = TypeVar("S", bound=Spec)
_YAML_WORDS = {"object": "mapping", "array": "list", " | null": "", "Object": "a mapping"}


def convert(kind: type[S], value: Any, path: str) -> S:
    """Return ``value`` as a ``kind``.

    :param kind: the spec to build
    :param value: plain data as a pillar holds it
    :param path: where the value stands, for messages: ``kvm:domains:web1``
    :raises SpecError: with one sentence for each fault found
    """
    try:
        return msgspec.convert(value, kind, dec_hook=decode)
    except (msgspec.ValidationError, ValueError) as error:
        problems = list(_problems(kind, value, path)) or [f"{path}: {_plain(error)}"]
        raise SpecError(problems) from error


def _problems(kind: Any, value: Any, path: str) -> Iterator[str]:
    """The fast path stops at the first fault, so walk the type to find the others."""
    structs = _specs(kind)
    if value is None and type(None) in get_args(kind):
        return
    if structs and isinstance(value, dict):
        yield from _struct_problems(structs[0], value, path)
    elif _collection(kind, list) and isinstance(value, (list, tuple)):
        (item,) = get_args(_collection(kind, list))
        for index, element in enumerate(value):
            yield from _problems(item, element, f"{path}[{index}]")
    elif _collection(kind, dict) and isinstance(value, dict):
        key_kind, item = get_args(_collection(kind, dict))
        for key, element in value.items():
            yield from _problems(key_kind, key, f"{path} (a key)")
            yield from _problems(item, element, f"{path}:{key_text(key)}")
    else:
        yield from _own_problem(kind, value, path)


def _struct_problems(kind: type[Spec], value: dict[Any, Any], path: str) -> Iterator[str]:
    hints = _hints(kind)
    found = False
    for key, element in value.items():
        problems = (
            _problems(hints[key], element, f"{path}:{key}")
            if key in hints
            else iter([_unknown(key_text(key), list(hints), path)])
        )
        for problem in problems:
            found = True
            yield problem
    if not found:
        yield from _own_problem(kind, value, path)


@functools.cache
def _hints(kind: type[Spec]) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _own_problem(kind: Any, value: Any, path: str) -> Iterator[str]:
    try:
        msgspec.convert(value, kind, dec_hook=decode)
    except (msgspec.ValidationError, ValueError) as error:
        # Where a word may take the place of a list, the list is what was meant.
        if (meant := _collection(kind, list)) not in (None, kind):
            yield from _own_problem(meant, value, path)
            return
        said = shown(value)
        told = isinstance(value, (dict, list)) or said in str(error) or _is_secret(kind)
        yield f"{path}: {_plain(error)}" + ("" if told else f", not {said}") + _keys(kind, value)


def _keys(kind: Any, value: Any) -> str:
    """Of what has to be a mapping and is none, the keys that it would have."""
    specs = _specs(kind)
    if not specs or isinstance(value, dict):
        return ""
    return _cut(f"; its keys: {', '.join(sorted(_hints(specs[0])))}", 200)


def _is_secret(kind: Any) -> bool:
    return Value in (kind, *get_args(kind))


def key_text(key: Any) -> str:
    """Return a key or a name as it stands in a path, cut."""
    return _cut(key if isinstance(key, str) else shown(key), 300)


def _unknown(key: str, known: list[str], path: str) -> str:
    key = _cut(key, 60)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    return f"{path}: unknown key {key!r}; {hint}"


def _plain(error: Exception) -> str:
    text = str(error).split(" - at `")[0].replace("`", "'").replace(repr(END)[1:-1], "$")
    for theirs, ours in _YAML_WORDS.items():
        text = text.replace(theirs, ours)
    return _cut(text, 400)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


@functools.cache
def _specs(kind: Any) -> list[type[Spec]]:
    """The specs that a kind is, or that may stand where it does."""
    return [
        arg for arg in (kind, *get_args(kind)) if isinstance(arg, type) and issubclass(arg, Spec)
    ]


@functools.cache
def _collection(kind: Any, of: type) -> Any:
    """``list[X]`` out of ``list[X] | None``; None where there is none."""
    return next((arg for arg in (kind, *get_args(kind)) if get_origin(arg) is of), None)
