"""The rules of ARCHITECTURE.md that a program can check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
OURS = ("graph", "models", "nodes", "server")
NEVER = {
    "graph": {"torch", "numpy", "PIL", "aiohttp", "models", "nodes", "server"},
    "models": {"graph", "nodes", "server", "aiohttp"},
    "nodes": {"server", "aiohttp"},
    "server": {"models", "nodes", "torch", "numpy"},
}
SOURCES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
ONLY_FOR_FUNCTIONS = 60  # lines; a function past this has a second idea in it


def test_packages_import_only_downwards() -> None:
    wrong = [
        f"{_name(path)} imports {imported}"
        for path in SOURCES
        for imported in _imports(path)
        if imported.split(".")[0] in NEVER[_name(path).split(".")[0]]
    ]
    assert not wrong


def test_imports_form_no_cycle_even_inside_functions() -> None:
    modules = {_name(path) for path in SOURCES}
    edges = ((_name(path), imported) for path in SOURCES for imported in _imports(path) if imported in modules)
    graph = nx.DiGraph(edges)
    assert nx.is_directed_acyclic_graph(graph), nx.find_cycle(graph)


def test_sqlite_is_spoken_in_one_file_only() -> None:
    speakers = [_name(path) for path in SOURCES if "sqlite3.connect(" in path.read_text("utf-8")]
    assert len(speakers) <= 1, speakers


def test_the_list_of_files_says_what_they_say() -> None:
    folder, wrong = ROOT, []
    for line in (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("## Files")[1].split("\n## ")[0].splitlines():
        if heading := re.match(r"\*\*`([\w/]+)/`\*\*", line):
            folder = ROOT / heading[1]
        elif row := re.match(r"\| `(\w+\.py)` \| (.*) \|$", line):
            said = ast.get_docstring(ast.parse((folder / row[1]).read_text("utf-8"))) or ""
            wrong += [row[1]] if said.splitlines()[:1] != [row[2]] else []
    assert wrong == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_no_state_and_hides_no_error(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    faults = [f"line {node.lineno}: {what}" for node, what in _faults(tree)]
    assert not faults


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_documented_and_functions_short(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    faults = [] if ast.get_docstring(tree) or not path.read_text("utf-8") else ["the module has no docstring"]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if node.end_lineno - node.lineno > ONLY_FOR_FUNCTIONS:
                faults.append(f"{node.name} has {node.end_lineno - node.lineno} lines")
    for item in tree.body:
        if isinstance(item, ast.ClassDef | ast.FunctionDef) and not item.name.startswith("_"):
            documented = ast.get_docstring(item) or any(_is_node(decorator) for decorator in item.decorator_list)
            if not documented:
                faults.append(f"{item.name} has no docstring")
    assert not faults


def _faults(tree: ast.Module) -> Iterator[tuple[ast.stmt | ast.expr | ast.ExceptHandler, str]]:
    for item in tree.body:
        value = item.value if isinstance(item, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, MUTABLE):
            yield item, "a module-level value that can be changed"
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield node, "global"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node, "a bare except"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for default in [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]:
                if isinstance(default, MUTABLE):
                    yield default, "a mutable default"


def _is_node(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "node"


def _imports(path: Path) -> set[str]:
    """Every module that `path` imports anywhere, as far as `from` names it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
