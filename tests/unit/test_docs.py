"""What the documents name is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "pillar.example"]
SUFFIXES = {"md", "py", "sls", "lck"}


def functions():
    """Return the names of the public functions of each module, execution and state together."""
    found = {}
    for path in [*ROOT.glob("_modules/*.py"), *ROOT.glob("_states/*.py")]:
        text = path.read_text()
        virtual = re.search(r'^__virtualname__ = "(\w+)"', text, re.MULTILINE)
        names = found.setdefault(virtual[1] if virtual else path.stem, set())
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                names.add(node.name.rstrip("_"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_function_that_a_page_names_is_there(page):
    known = functions()
    named = re.findall(r"\b(kvm_\w+|vmx)\.([a-z_]+)", page.read_text())
    unknown = {f"{module}.{name}" for module, name in named if name not in known[module]}
    assert {each for each in unknown if each.split(".")[1] not in SUFFIXES} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, part = target.partition("#")
        if ":" in path:
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if part:
            heads = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert part in slugs, target
