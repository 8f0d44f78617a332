"""What the program says of workflows and their runs has its Chinese: every warning, blame and fault, read from the source."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest

import nodes

SOURCE = Path(nodes.__file__).parent.parent
# by the name of what is called, where its sentences stand among the arguments, and under which names
SENTENCE: dict[str, tuple[int | str, ...]] = {
    "warn": (0,),
    "NodeWarning": (0,),
    "InputError": (1,),
    "CheckpointError": (0,),
    "UnpickleError": (0,),
    "GGUFError": (0,),
    "LoopError": (0,),
    "opened": (4,),
    "GraphError": (1, "message"),
    "ValueRefused": (1, 2, "message"),
    "_refusal": (0,),
    "_warn": (1,),
    "Sweep": ("fault",),
    "File": ("when_empty",),
    "_fault": (2,),
}
# calls whose sentence is made elsewhere, as their source has it, and why nothing is lost
PASSED_ON = {
    "str(error)": "another error's own words, which are read where it is raised",
    "error.message": "the same error at another input",
    "message": "ctx.warn itself, which is read where it is called",
    "lacking": "`opened` itself, which is read where it is called",
    "warning.message": "a pack's own words",
    "words.partition(': ')[2]": "a pack's own words",
    "problem.message": "a problem of the document, told as a warning",
    "told(reason)": "a pack's own words",
    "note": "notes on prompts and adapters, which stand in the table by their own patterns",
    "_objection(link, graph)": "one of two sentences of a function beside it, which stand in the table",
    "str(problem)": "a problem with its place, which is told elsewhere by itself",
    "sweep.fault": "what is wrong with a sweep, which is read where it is found",
    "refused.expected": "another refusal's own words, which are read where it is raised",
    "self._expected": "a kind of number and its bounds: see COMPOSED",
    "wanted": "the name of a type",
    "_complaint(last)": "one of two sentences of a function beside it, which stand in the table",
}
COMPOSED = {  # the source has them in parts
    *(f"{kind} of at least {{low}}" for kind in ("an integer", "a number")),
    *(f"{kind} of at most {{high}}" for kind in ("an integer", "a number")),
    *(f"{kind} from {{low}} to {{high}}" for kind in ("an integer", "a number")),
    *(f"the {kind} {{name}} is not in {{folder}}" for kind in ("model", "VAE", "LoRA")),
    "node {id}, input {name}: {what}",
    'got {value} as __seeds__, expected an object such as {"from": 1, "count": 8}, with a count of at least 1',
    "has {count} values on the axis {axis}, but {other} of node {node} has {known}; what is on one axis is taken in step",
    "makes this a sweep of {cells} combinations, {nodes} nodes in all, and at most {most} nodes may be",
}
TABLE: dict[str, str] = json.loads((SOURCE / "nodes/locales/zh.json").read_text("utf-8"))["sentences"]
PLACE = re.compile(r"\{\w*\}")


def bare(pattern: str) -> str:
    """A pattern without the names of its places; places side by side are one, and so is a size."""
    return re.sub(r"\{\}(x?\{\})+", "{}", PLACE.sub("{}", pattern))


def sentences(node: ast.expr, known: dict[str, list[ast.expr]]) -> list[str]:
    """All that an expression may say, with `{}` for each place; [] where that is not written there.

    known: what is assigned to names around it.
    """
    match node:
        case ast.Constant(str(text)):
            return [text]
        case ast.JoinedStr(parts):
            return ["".join(each) for each in product(*(_part(part) for part in parts))]
        case ast.BinOp(left, ast.Add(), right):
            return [a + b for a, b in product(sentences(left, known), sentences(right, known))]
        case ast.IfExp(_, yes, no):
            return sentences(yes, known) + sentences(no, known)
        case ast.Name(name) if name in known:
            return [text for value in known[name] for text in sentences(value, {})]
    return []


def _part(part: ast.expr) -> list[str]:
    if isinstance(part, ast.FormattedValue):
        return sentences(part.value, {}) if isinstance(part.value, ast.IfExp) else ["{}"]
    return [str(part.value)] if isinstance(part, ast.Constant) else []


def said(tree: ast.AST) -> Iterator[tuple[ast.expr, list[str]]]:
    """Every sentence that is told to a user: its source, and what it may say."""
    for scope in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))]:
        known: dict[str, list[ast.expr]] = {}
        inner = list(_of(scope))
        for node in inner:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                known.setdefault(node.targets[0].id, []).append(node.value)
        for node in inner:
            for told in _told(node) if isinstance(node, ast.Call) else ():
                yield told, sentences(told, known)


def _told(call: ast.Call) -> Iterator[ast.expr]:
    """The sentences among the arguments of a call."""
    name = _name(call.func)
    if name == "append" and "notes" in ast.unparse(call.func):
        yield call.args[0]
    places = SENTENCE.get(name, ())
    yield from (arg for at, arg in enumerate(call.args) if at in places)
    yield from (keyword.value for keyword in call.keywords if keyword.arg in places)


def _of(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function or module, without those of functions in it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _of(child)


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def trees() -> Sequence[tuple[str, ast.AST]]:
    files = [
        path for package in ("nodes", "models", "graph", "server") for path in sorted((SOURCE / package).rglob("*.py"))
    ]
    return [(path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text("utf-8"))) for path in files]


@pytest.fixture(scope="module")
def read() -> Sequence[tuple[str, ast.AST]]:
    return trees()


def test_every_warning_and_blame_has_its_chinese(read: Sequence[tuple[str, ast.AST]]) -> None:
    patterns = {bare(pattern) for pattern in TABLE}
    lost = [
        f"{name}:{source.lineno} {text or ast.unparse(source)}"
        for name, tree in read
        for source, found in said(tree)
        for text in found or ([] if ast.unparse(source) in PASSED_ON else [""])
        if bare(text) not in patterns
    ]
    assert lost == []


def test_no_pattern_is_left_over(read: Sequence[tuple[str, ast.AST]]) -> None:
    written = "\n".join(
        bare(text)
        for _, tree in read
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.IfExp)
        for text in sentences(node, {})
    )
    written += "\n".join(bare(text) for _, tree in read for _, found in said(tree) for text in found)
    assert [
        pattern for pattern in TABLE if pattern not in COMPOSED and bare(pattern).removeprefix("{}") not in written
    ] == []


def test_translations_keep_what_they_are_about() -> None:
    for pattern, chinese in TABLE.items():
        assert set(PLACE.findall(chinese)) == set(PLACE.findall(pattern)), pattern
        assert re.search("[\u4e00-\u9fff，：；（]", chinese), pattern
        assert "{}" not in pattern and len(PLACE.findall(pattern)) == len(set(PLACE.findall(pattern))), pattern


def test_a_sentence_without_its_pattern_is_found() -> None:
    tree = ast.parse(
        'def f(ctx, a):\n what = f"x {a}" if a else "y"\n ctx.warn(what)\n'
        ' raise InputError("n", f"is {a}" + (", and bad" if a else ""))'
    )
    assert [found for _, found in said(tree)] == [["x {}", "y"], ["is {}, and bad", "is {}"]]
