"""Every execution function with arguments of every kind: one sentence, and never a traceback."""

import ast
import datetime
import inspect
from contextlib import suppress
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from .conftest import PREFIX

FACES = sorted(Path(__file__).parents[2].glob("_modules/*.py"))
KINDS = [
    5, -1, 1.5, True, False, None, [], ["a"], [5], [None], {}, {"a": 1}, {5: 5}, "", "a b", "5",
    datetime.date(2026, 1, 1), b"x", "\ud800", "x" * 5000,
]  # fmt: skip
# What is needed to come as far as the other arguments; nothing of it is there.
NEEDED = {"path": "/none/a.vmx", "target": "/none/b", "format": "raw", "condition": "address"}
WAITS = {"timeout": 1, "host": {"host": "127.0.0.1", "port": 1, "timeout": 1}}


def functions():
    for face in FACES:
        tree = ast.parse(face.read_text())
        aliases = {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and node.targets[0].id == "__func_alias__":
                aliases = ast.literal_eval(node.value)
        module = "kvm_domain" if face.stem.startswith("kvm_domain_") else face.stem
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{module}.{aliases.get(node.name, node.name)}"


@pytest.mark.parametrize("function", sorted(functions()))
def test_any_argument(modules, function):
    taken = inspect.signature(modules[function]).parameters.values()
    named = [each for each in taken if each.kind is not each.VAR_KEYWORD]
    base = {
        each.name: NEEDED.get(each.name, f"{PREFIX}none")
        for each in named
        if each.default is each.empty
    }
    base |= {name: value for name, value in WAITS.items() if name in {each.name for each in named}}
    for each in named:
        for kind in KINDS:
            # What would be done: a host of this name waited for, the store pruned.
            if (each.name, str(kind)) in {("host", "5"), ("remove", "True")}:
                continue
            with suppress(CommandExecutionError):
                modules[function](**{**base, each.name: kind})
