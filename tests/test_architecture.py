"""The rules of ARCHITECTURE.md that a program can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
OURS = ("graph", "models", "nodes", "server")
PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
SOURCES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))
TABLED = sorted([*SOURCES, *(ROOT / "workflows").rglob("*.py")])
CONSTANT = {  # what a module may call to make a value of its own; besides, classes of ours, which are frozen
    *("TypeVar", "ParamSpec", "NewType", "getLogger", "AppKey"),
    *("frozenset", "MappingProxyType", "tuple", "range", "compile", "maketrans", "JSONDecoder", "JSONEncoder"),
    *("log", "sqrt", "tensor", "device", "Path"),
}
STATEFUL = {  # module-level values that can be changed, and why there is no other way
    "models/unpickle.py:_ALLOW_LIST_LOCK": "guards a list that torch keeps for the whole process",
}
FOREIGN = "nodes/packs/"  # where other people's code calls, and is called, with names that nobody here knows
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
ONLY_FOR_FUNCTIONS = 60  # lines; a function past this has a second idea in it


def test_packages_import_only_downwards() -> None:
    allowed = _import_table()
    wrong = [
        f"{_name(path)} imports {imported}"
        for path in SOURCES
        for imported in _imports(path)
        if imported.split(".")[0] not in allowed[_name(path).split(".")[0]]
    ]
    assert not wrong


def test_the_table_of_imports_promises_nothing_that_is_not_used() -> None:
    unused = {
        package: names
        - {imported.split(".")[0] for path in SOURCES if _package(path) == package for imported in _imports(path)}
        for package, names in _import_table(with_stdlib=False).items()
    }
    assert not {package: names for package, names in unused.items() if names - {package}}


def test_imports_form_no_cycle_even_inside_functions() -> None:
    modules = {_name(path) for path in SOURCES}
    edges = ((_name(path), imported) for path in SOURCES for imported in _imports(path) if imported in modules)
    graph = nx.DiGraph(edges)
    assert nx.is_directed_acyclic_graph(graph), nx.find_cycle(graph)


def test_sqlite_is_spoken_in_one_file_only() -> None:
    speakers = [_name(path) for path in SOURCES if "sqlite3.connect(" in path.read_text("utf-8")]
    assert len(speakers) <= 1, speakers


def test_the_list_of_files_says_what_they_say() -> None:
    folder, wrong, listed = ROOT, [], set()
    for line in PAGE.split("## Files")[1].split("\n## ")[0].splitlines():
        if heading := re.match(r"\*\*`([\w/]+)/`\*\*", line):
            folder = ROOT / heading[1]
        elif row := re.match(r"\| `(\w+\.py)` \| (.*) \|$", line):
            said = ast.get_docstring(ast.parse((folder / row[1]).read_text("utf-8"))) or ""
            wrong += [row[1]] if said.splitlines()[:1] != [row[2]] else []
            listed.add(folder / row[1])
    assert wrong == []
    assert [_name(path) for path in TABLED if path.name != "__init__.py" and path not in listed] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_no_state_and_hides_no_error(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    faults = [f"line {node.lineno}: {what}" for node, what in _faults(tree, str(path.relative_to(ROOT)))]
    assert not faults


@pytest.mark.parametrize(
    "source",
    [
        *("SEEN = []", "SEEN = OrderedDict()", "SEEN: dict[str, int] = defaultdict(int)", "LOCK = threading.Lock()"),
        *("def f():\n    global seen", "try:\n    f()\nexcept:\n    g()", "def f(x=[]): ...", "def f(**options): ..."),
    ],
)
def test_what_must_not_be_is_found(source: str) -> None:
    assert list(_faults(ast.parse(source), "graph/x.py"))


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


def _faults(tree: ast.Module, place: str) -> Iterator[tuple[ast.stmt | ast.expr | ast.ExceptHandler, str]]:
    ours = {item.name for item in tree.body if isinstance(item, ast.ClassDef | ast.FunctionDef)}
    for item in ast.walk(tree):
        if isinstance(item, ast.ImportFrom) and (item.module or "").split(".")[0] in OURS:
            ours.update(alias.asname or alias.name for alias in item.names)
    for item in tree.body:
        value = item.value if isinstance(item, ast.Assign | ast.AnnAssign) else None
        made = isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] not in CONSTANT | ours
        names = [ast.unparse(target) for target in getattr(item, "targets", [getattr(item, "target", None)]) if target]
        if (isinstance(value, MUTABLE) or made) and f"{place}:{names[0]}" not in STATEFUL:
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
            if (rest := node.args.kwarg) and not (_is_passed_on_whole(node, rest) or place.startswith(FOREIGN)):
                yield node, "arguments without names"


def _is_passed_on_whole(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, rest: ast.arg) -> bool:
    """Whether `rest` are the typed arguments of a function that is called, or those of calling an object."""
    typed = rest.annotation is not None and ast.unparse(rest.annotation).endswith(".kwargs")
    return typed or getattr(node, "name", "") == "__call__"


def _import_table(with_stdlib: bool = True) -> dict[str, set[str]]:
    """What ARCHITECTURE.md's table lets each package import; every package may import itself."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.split("| package | may import |")[1], re.MULTILINE)
    table = {package: {package} for package in OURS}
    for package, names in rows:
        if package in table:
            table[package] |= {name.strip(" `") for name in names.split(",")} - {"stdlib"}
            table[package] |= set(sys.stdlib_module_names) if with_stdlib else set()
    return table


def _package(path: Path) -> str:
    return _name(path).split(".")[0]


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


def test_commands_that_serve_nothing_do_not_load_the_server() -> None:
    """aiohttp takes a twentieth of the start of `main.py run`."""
    modules = "server.commands, server.console, server.foreign, server.ledger, server.options, server.workflow_files"
    code = f"import sys, {modules}; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
