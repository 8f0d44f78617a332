"""Ten thousand nodes: no recursion, nothing quadratic."""

from __future__ import annotations

import json
import sys

import pytest

from graph.document import DocNode, Document, Link, parse, write
from tests.graph.stubs import Lab, edited

N = 10_000


def chain() -> Document:
    """Each node reads the one before."""
    nodes = {"0": DocNode("Number", {"value": 1})}
    for i in range(1, N - 1):
        nodes[str(i)] = DocNode("Add", {"a": Link(str(i - 1), 0), "plus": 1})
    return Document({**nodes, "end": DocNode("Show", {"a": Link(str(N - 2), 0)})})


def fan_out() -> Document:
    """Thousands of nodes read one, and each is shown."""
    nodes = {"source": DocNode("Number", {"value": 1})}
    for i in range(N // 2):
        nodes[f"add {i}"] = DocNode("Add", {"a": Link("source", 0), "plus": i})
        nodes[f"show {i}"] = DocNode("Show", {"a": Link(f"add {i}", 0)})
    return Document(nodes)


def fan_in() -> Document:
    """A tree of sums over thousands of numbers."""
    level = [f"n{i}" for i in range(N // 2)]
    nodes = {key: DocNode("Number", {"value": i}) for i, key in enumerate(level)}
    while len(level) > 1:
        pairs = list(zip(level[::2], level[1::2], strict=False))
        for a, b in pairs:
            nodes[f"({a}"] = DocNode("Add", {"a": Link(a, 0), "b": Link(b, 0)})
        level = [f"({a}" for a, _ in pairs] + level[2 * len(pairs) :]
    return Document({**nodes, "end": DocNode("Show", {"a": Link(level[0], 0)})})


def test_a_chain_runs_and_is_then_cached(lab: Lab) -> None:
    document = chain()
    assert lab.run(document)["end"].ui == {"value": [N - 1]}
    assert len(lab.trace.ran) == N
    lab.run(document)
    assert lab.trace.ran == []
    assert len(lab.trace.cached) == N


def test_an_edit_at_the_end_of_a_chain_runs_the_end(lab: Lab) -> None:
    lab.run(chain())
    assert lab.ran(edited(chain(), str(N - 3), plus=5)) == {str(N - 3), str(N - 2), "end"}


def test_a_fan_runs_depth_first_and_is_then_cached(lab: Lab) -> None:
    document = fan_out()
    assert len(lab.run(document)) == N // 2
    assert len(lab.trace.ran) == N + 1
    assert lab.trace.ran[:3] == ["source", "add 0", "show 0"]
    lab.run(document)
    assert lab.trace.ran == []


def test_a_wide_tree_is_summed(lab: Lab) -> None:
    assert lab.run(fan_in())["end"].ui == {"value": [sum(range(N // 2))]}


def test_few_values_are_alive_while_a_tree_is_summed(lab: Lab) -> None:
    """Depth first: at most one value a level waits for its partner."""
    lab.cache.put = lambda name, outputs: None  # type: ignore[method-assign]
    most = 0
    original = lab.desk.make

    def make(value: int) -> object:
        nonlocal most
        made = original(value)
        lab.desk.made[:] = [ref for ref in lab.desk.made if ref() is not None]
        most = max(most, len(lab.desk.made))
        return made

    lab.desk.make = make  # type: ignore[method-assign, assignment]
    lab.run(fan_in())
    assert most <= 20


def test_a_cycle_of_thousands_is_named(lab: Lab) -> None:
    document = chain()
    knot = edited(Document({**document.nodes, "0": DocNode("Add", {"a": Link(str(N - 2), 0)})}), "0", plus=0)
    (problem,) = lab.build(knot).errors
    assert problem.code == "dependency_cycle"
    assert problem.received == tuple(str(i) for i in range(N - 1))


def test_thousands_of_faults_are_all_reported(lab: Lab) -> None:
    nodes = {str(i): DocNode("Nubmer", {"value": i}) for i in range(N)}
    assert len(lab.build(Document(nodes)).errors) == N


def test_reading_and_writing_are_not_recursive_either() -> None:
    document = chain()
    low = sys.getrecursionlimit()
    assert low < N
    assert parse(write(document)) == document


@pytest.mark.parametrize("size", [1_000, 20_000])
def test_one_huge_node_is_read(size: int) -> None:
    text = json.dumps({"1": {"class_type": "X", "inputs": {str(i): i for i in range(size)}}})
    assert len(parse(text).nodes["1"].inputs) == size
