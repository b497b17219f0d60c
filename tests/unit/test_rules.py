"""The rules of the code base, held by reading it: who imports whom, what is documented."""

import ast
import re
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest
from golden_cases import nested

from salt_kvm.spec.domain import Domain
from salt_kvm.spec.image import Image
from salt_kvm.spec.network import Network
from salt_kvm.spec.pillar import Pillar
from salt_kvm.spec.pool import Pool
from salt_kvm.spec.prune import Only
from salt_kvm.spec.secret import StoredSecret
from salt_kvm.spec.vmx import VmxFile
from salt_kvm.spec.volume import StorageVolume

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "salt_kvm"
# Which rooms of the library a room may look into; `errors`, `seen` and `spec` are vocabulary.
ALLOWED = {
    "errors": set(),
    "arguments": {"errors"},
    "seen": set(),
    "conf": set(),
    "picture": set(),
    "vmx": {"errors"},
    "keys": {"errors"},
    "cpio": set(),
    "loader": set(),
    "bootstrap": {"errors", "backend", "face"},
    "spec": {"errors", "spec"},
    "xml": {"errors", "seen", "spec", "xml"},
    "plan": {"errors", "seen", "conf", "spec", "xml", "plan", "vmx"},
    "backend": {
        "errors", "seen", "spec", "xml", "plan", "vmx", "backend", "picture", "cpio",
    },
    "nouns": {"errors", "seen", "spec", "xml", "plan", "backend"},
    "converge": {"errors", "seen", "spec", "plan", "backend", "nouns", "xml"},
    "actions": {
        "errors", "seen", "spec", "xml", "plan", "backend", "converge", "forecast",
        "picture", "keys", "loader", "vmx", "actions", "arguments",
    },
    "prune": {"errors", "seen", "spec", "xml", "backend", "converge"},
    "forecast": {
        "errors", "seen", "spec", "backend", "nouns", "converge", "prune", "settings",
    },
    "settings": set(),
    "output": set(),
    "resources": {"face"},
    "rendering": {"errors"},
    "face": {"errors", "arguments", "rendering", "backend"},
    "grains": {"backend"},
}  # fmt: skip
# What a bare host lacks: the one file of the backend that imports it.
LATE = {
    "libvirt": "virt/hypervisor.py",
    "libvirt_qemu": "virt/hypervisor.py",
    "pycdlib": "guests/iso.py",
}
IMPURE = {"os", "time", "subprocess", "socket", "shutil", "tempfile", "pathlib", "random", "io"}
SPECS = {
    "domain": Domain,
    "network": Network,
    "secret": StoredSecret,
    "pool": Pool,
    "image": Image,
    "volume": StorageVolume,
    "vmx": VmxFile,
}
# Nouns that are nothing of libvirt's: their faces bear their own name and take no connection.
APART = {"vmx"}
# States that are about a part of their spec; together they are about all of it.
NARROW = {"absent", "managed", "option_present", "option_absent", "nested_enabled"}
FILES = sorted(LIBRARY.rglob("*.py"))
# Loader types that lie in the library and may import Salt.
OF_SALT = "resources"
FACES = sorted(
    [
        *(ROOT / "_modules").glob("*.py"),
        *(ROOT / "_states").glob("*.py"),
        *(LIBRARY / OF_SALT).glob("*/modules/[!_]*.py"),
    ]
)


def imports(path):
    """Yield (module, is at the top level) for each import of a file."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            yield node.module, id(node) in top
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in top


# What stands below a view of the world, and what of the backend each may look into.
BELOW = {
    "system": set(),
    "virt": set(),
    "hosts": {"system"},
    "vmware": {"system"},
    "storage": {"system", "virt", "client"},
}


@pytest.mark.parametrize("floor", BELOW)
def test_the_backend_has_floors(floor):
    for path in (LIBRARY / "backend" / floor).glob("*.py"):
        inside = {m.split(".")[2] for m, _top in imports(path) if m.startswith("salt_kvm.backend.")}
        assert inside <= BELOW[floor] | {floor}, path


def room(path):
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_looks_only_into_the_rooms_it_may(path):
    own = room(path)
    if own == "__init__":
        return
    for module, _top in imports(path):
        head, _, rest = module.partition(".")
        assert head != "salt" or own == OF_SALT, f"{path} imports salt"
        if head in LATE:
            assert path == LIBRARY / "backend" / LATE[head]
            assert not _top, f"{head} must be imported where it is first needed"
        if head == "salt_kvm" and rest:
            other = rest.split(".")[0]
            assert other in ALLOWED[own] | {"__version__"}, f"{own} looks into {other}"
        if own in ("plan", "spec", "xml", "vmx"):
            assert head not in IMPURE, f"{path} is pure and imports {head}"


def test_what_prepares_a_bare_host_loads_on_one():
    """Without libvirt-python, msgspec and pycdlib, which it is to install."""
    code = """
import sys
lacking = ("libvirt", "libvirt_qemu", "msgspec", "pycdlib")
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in lacking:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Bare())
import salt_kvm.actions.host, salt_kvm.backend.world, salt_kvm.bootstrap, salt_kvm.grains.kvm
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("path", FACES, ids=lambda path: str(path.relative_to(ROOT)))
def test_faces_import_nothing_that_a_bare_host_lacks(path):
    heads = {module.split(".")[0] for module, _top in imports(path)}
    assert heads <= {"salt", "salt_kvm", "json", "sys", "os"}
    assert not any(m.startswith("salt_kvm.spec") for m, _top in imports(path))


def functions(path):
    tree = ast.parse(path.read_text())
    return [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def states_of(noun):
    return functions(ROOT / "_states" / f"{noun if noun in APART else f'kvm_{noun}'}.py")


PUBLIC = [(path, node) for path in FACES for node in functions(path)]


def module(path):
    """Return the name that Salt knows a loader file by; several files may have one."""
    found = re.search(r'^__virtualname__ = "(\w+)"$', path.read_text(), re.MULTILINE)
    return path.stem if found is None else found[1]


def named(case):
    return f"{case[0].parent.name}/{case[0].stem}.{case[1].name}"


@pytest.mark.parametrize("case", PUBLIC, ids=named)
def test_public_function_has_an_example(case):
    path, node = case
    text = ast.get_docstring(node) or ""
    if path.parent.name.endswith("modules"):
        called = node.name.rstrip("_")
        assert "CLI Example:" in text
        example = rf"^\s+salt(-call)? .*\b{module(path)}\.{called}\b"
        assert re.search(example, text, re.MULTILINE)
    else:
        assert ".. code-block:: yaml" in text
        assert f"{path.stem}.{node.name}" in text


@pytest.mark.parametrize("case", PUBLIC, ids=named)
def test_every_argument_is_documented(case):
    _path, node = case
    text = ast.get_docstring(node) or ""
    if "arguments as in" in " ".join(text.split()):
        return
    for argument in node.args.args:
        assert re.search(rf":param (\w+ )?{argument.arg}:", text), argument.arg


@pytest.mark.parametrize("case", PUBLIC, ids=named)
def test_face_function_is_one_call(case):
    _path, node = case
    assert len([line for line in node.body if not isinstance(line, ast.Expr)]) <= 2


@pytest.mark.parametrize("case", PUBLIC, ids=named)
def test_state_function_is_marked(case):
    """Unmarked, a function of sixty parameters costs Salt more than a domain costs the engine."""
    path, node = case
    marks = [ast.unparse(decorator) for decorator in node.decorator_list]
    assert marks == (["face.state_function"] if path.parent.name == "_states" else [])


@pytest.mark.parametrize("noun", SPECS)
def test_state_signature_is_the_spec(noun):
    fields = [field for field in SPECS[noun].__struct_fields__ if field != "state"]
    told = set()
    for node in states_of(noun):
        if node.name == "mod_watch":
            continue
        arguments = [argument.arg for argument in node.args.args]
        assert arguments[0] == "name"
        if noun not in APART:
            assert arguments.pop() == "connection"
        if node.name == "only":
            assert {*arguments[1:], "state"} == set(Only.__struct_fields__)
            continue
        told |= set(arguments[1:])
        if node.name in NARROW:
            assert arguments[1:] == [field for field in fields if field in arguments]
        else:
            assert arguments[1:] == fields
    assert told == set(fields)


@pytest.mark.parametrize("noun", SPECS)
def test_state_functions_are_the_states_of_the_spec(noun):
    states = typing.get_type_hints(SPECS[noun])["state"]
    names = {node.name for node in states_of(noun)}
    assert names - {"mod_watch", "only"} == set(typing.get_args(states))


@pytest.mark.parametrize("noun", SPECS)
def test_the_sls_of_a_noun_knows_its_states(noun):
    text = (ROOT / "states" / "kvm" / f"{noun}.sls").read_text()
    for state in typing.get_args(typing.get_type_hints(SPECS[noun])["state"]):
        assert f'"{state}"' in text, state


def test_every_noun_has_its_file_on_each_floor():
    for noun in SPECS:
        for floor in ("spec", "plan", "actions"):
            assert (LIBRARY / floor / f"{noun}.py").is_file()
        assert (ROOT / "states" / "kvm" / f"{noun}.sls").is_file()


@pytest.mark.parametrize("noun", SPECS)
def test_state_functions_take_a_wrong_argument_to_tell_it(noun):
    """Salt drops the whole run, and names no state, for an argument that a function lacks."""
    for node in states_of(noun):
        assert node.args.kwarg is not None, node.name
        assert node.args.kwarg.arg == "unknown"


def unions(hint):
    """Yield the members of each union in a type, at any depth."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        yield typing.get_args(hint)
    for inner in typing.get_args(hint):
        yield from unions(inner)


def is_patterned(hint):
    metas = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
    return any(getattr(meta, "pattern", None) for meta in metas)


def test_no_union_has_a_patterned_text_and_a_collection():
    """msgspec 0.22 writes over memory that is not its own for a type like that."""
    for spec in nested(Pillar):
        for field, hint in typing.get_type_hints(spec, include_extras=True).items():
            for members in unions(hint):
                kinds = {typing.get_origin(each) or each for each in members}
                both = any(map(is_patterned, members)) and kinds & {list, dict, set, tuple}
                assert not both, f"{spec.__name__}.{field}"


def test_patterns_of_specs_match_to_the_end():
    """A ``$`` alone lets a newline pass, so that ``types.matching`` makes every pattern."""
    for path in (LIBRARY / "spec").glob("*.py"):
        assert "Meta(pattern" not in path.read_text() or path.name == "types.py", path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_are_parsed_in_one_place(path):
    """A fragment of the user's has a fault of its own; all else is libvirt's."""
    if path not in (LIBRARY / "xml" / "document.py", LIBRARY / "xml" / "intent.py"):
        assert not re.search(r"ET\.(fromstring|XML|parse)\b", path.read_text())
