"""Print, as JSON, the milliseconds that this package costs a minion before its first use.

``modules``: Salt's loader loads every execution module of this package. ``grain``: the import and
the call of the ``kvm`` grain. Salt itself is warm by then: one of its own modules was loaded.
"""

import ast
import json
import sys
import time
from pathlib import Path

import salt.config
import salt.loader

from salt_kvm import loader


def command(path: Path) -> str:
    """A public function of an execution module, by its name for the loader."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    called = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    module = called.get("__virtualname__", path.stem)
    return f"{module}.{next(name for name in names if not name.endswith('_'))}"


def main() -> None:
    folder = Path(loader.dirs()["modules"][0])
    commands = [command(path) for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    opts = salt.config.minion_config(sys.argv[1])
    opts["grains"] = {}
    modules = salt.loader.minion_mods(opts)
    modules["test.ping"]
    start = time.perf_counter()
    for name in commands:
        modules[name]
    loaded = time.perf_counter()
    from salt_kvm.grains import kvm

    kvm.kvm()
    done = time.perf_counter()
    print(json.dumps({"modules": 1000 * (loaded - start), "grain": 1000 * (done - loaded)}))


main()
