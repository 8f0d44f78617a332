"""Over random graphs: what ran is exactly what had to, and the results are those of a naive evaluator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.cache import Cache
from graph.context import Cancel
from graph.document import DocNode, Document, Link
from graph.errors import Interrupted
from graph.events import Event, NodeStarted
from graph.files import Folders
from tests.graph.stubs import Lab, Num, edited, sizeof


@st.composite
def documents(draw: st.DrawFn, max_nodes: int = 14) -> Document:
    """A random DAG of numbers, sums, halves and shows; ids in random order of appearance, literals at random."""
    nodes: dict[str, DocNode] = {"0": DocNode("Number", {"value": draw(st.integers(0, 9))})}
    for i in range(1, draw(st.integers(2, max_nodes))):
        kind = draw(st.sampled_from(("Number", "Add", "Add", "Add", "Split", "Show")))
        readable = [key for key, node in nodes.items() if node.class_type != "Show"]

        def source(readable: list[str] = readable) -> Link:
            key = draw(st.sampled_from(readable))
            return Link(key, draw(st.integers(0, 1)) if nodes[key].class_type == "Split" else 0)

        match kind:
            case "Number":
                inputs: dict[str, object] = {"value": draw(st.integers(0, 9))}
            case "Add":
                inputs = {"a": source(), "plus": draw(st.integers(0, 3))}
                if draw(st.booleans()):
                    inputs["b"] = source()
            case _:
                inputs = {"a": source()}
        nodes[str(i)] = DocNode(kind, inputs)
    nodes["last"] = DocNode("Show", {"a": source()})
    return Document(dict(draw(st.permutations(list(nodes.items())))))


def shows(document: Document) -> list[str]:
    """The targets."""
    return [key for key, node in document.nodes.items() if node.class_type == "Show"]


def evaluate(document: Document, link: Link) -> int:
    """The value of an output, worked out the plain way."""
    node = document.nodes[link.node]
    values = {
        name: evaluate(document, value) if isinstance(value, Link) else value for name, value in node.inputs.items()
    }
    match node.class_type, values:
        case "Number", {"value": int(value)}:
            return value
        case "Split", {"a": int(a)}:
            return (a // 2, a - a // 2)[link.slot]
        case _, {"a": int(a)}:
            plus, b = values.get("plus", 0), values.get("b", 0)
            assert isinstance(plus, int)
            assert isinstance(b, int)
            return a + b + plus
    raise AssertionError(node)


class Recipes:
    """Numbers for results, from all that they depend on: equal numbers mean equal results."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}

    def of(self, document: Document, keys: Iterable[str]) -> list[int]:
        """The numbers of some nodes, sorted; nodes that are equal have the same."""
        memo: dict[str, int] = {}
        return sorted(self._number(document, key, memo) for key in keys)

    def needed(self, document: Document) -> set[int]:
        """The numbers of all that the targets rest on."""
        return set(self.of(document, needed(document)))

    def _number(self, document: Document, key: str, memo: dict[str, int]) -> int:
        if key not in memo:
            node = document.nodes[key]
            defaults = {"plus": 0, "b": None} if node.class_type == "Add" else {}
            inputs = tuple(
                (self._number(document, value.node, memo), value.slot) if isinstance(value, Link) else repr(value)
                for _, value in sorted({**defaults, **node.inputs}.items())
            )
            memo[key] = self._numbers.setdefault((node.class_type, inputs), len(self._numbers))
        return memo[key]


def needed(document: Document) -> set[str]:
    """The targets and all that they rest on."""
    found: set[str] = set()
    pending = shows(document)
    while pending:
        key = pending.pop()
        if key not in found:
            found.add(key)
            pending.extend(value.node for value in document.nodes[key].inputs.values() if isinstance(value, Link))
    return found


def downstream(document: Document, start: str) -> set[str]:
    """A node and all that read it, directly or not."""
    found = {start}
    while True:
        reading = {
            key
            for key, node in document.nodes.items()
            if any(isinstance(value, Link) and value.node in found for value in node.inputs.values())
        }
        if reading <= found:
            return found
        found |= reading


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Directories that all examples share: these nodes touch no files."""
    return Folders.standard(tmp_path_factory.mktemp("base"))


def ui_of(document: Document) -> Mapping[str, object]:
    """What the targets should show."""
    return {key: {"value": [evaluate(document, Link(key, 0))]} for key in shows(document)}


@given(documents())
def test_results_are_those_of_a_naive_evaluator(anywhere: Folders, document: Document) -> None:
    with Lab(anywhere) as lab:
        results = lab.run(document)
        assert {key: outputs.ui for key, outputs in results.items()} == ui_of(document)
        assert set(lab.trace.shown) == set(shows(document))


@given(documents())
def test_each_different_result_that_is_needed_is_made_once(anywhere: Folders, document: Document) -> None:
    recipes = Recipes()
    with Lab(anywhere) as lab:
        lab.run(document)
        assert recipes.of(document, lab.trace.ran) == sorted(recipes.needed(document))
        assert set(lab.trace.ran) <= needed(document)
        lab.run(document)
        assert lab.trace.ran == []
        assert set(lab.trace.cached) == needed(document)


@given(documents(), st.data())
def test_after_an_edit_exactly_what_it_reaches_runs_again(
    anywhere: Folders, document: Document, data: st.DataObject
) -> None:
    """Exactly: what was never made before, once each, and nothing else."""
    recipes, known = Recipes(), set[int]()
    with Lab(anywhere) as lab:
        for _ in range(4):
            lab.run(document)
            assert recipes.of(document, lab.trace.ran) == sorted(recipes.needed(document) - known)
            known |= recipes.needed(document)
            literals = [key for key, node in document.nodes.items() if node.class_type in ("Number", "Add")]
            key = data.draw(st.sampled_from(literals))
            name = "value" if document.nodes[key].class_type == "Number" else "plus"
            document = edited(document, key, **{name: data.draw(st.integers(0, 12))})


@given(documents(), st.data())
def test_a_new_literal_runs_its_node_and_all_downstream_that_is_needed(
    anywhere: Folders, document: Document, data: st.DataObject
) -> None:
    numbers = [key for key, node in document.nodes.items() if node.class_type == "Number"]
    for i, key in enumerate(numbers):  # all different, so that no two nodes are equal by chance
        document = edited(document, key, value=100 * (i + 1))
    for i, key in enumerate(key for key, node in document.nodes.items() if node.class_type == "Add"):
        document = edited(document, key, plus=i)
    changed = data.draw(st.sampled_from(numbers))
    with Lab(anywhere) as lab:
        lab.run(document)
        assert lab.ran(edited(document, changed, value=77_777)) <= downstream(document, changed) & needed(document)
        recipes, edit = Recipes(), edited(document, changed, value=77_777)
        expected = recipes.of(edit, downstream(document, changed) & needed(document))
        assert recipes.of(edit, lab.trace.ran) == sorted(set(expected))


@given(documents())
def test_other_ids_and_another_order_run_nothing(anywhere: Folders, document: Document) -> None:
    renamed = {key: f"node {i}" for i, key in enumerate(reversed(list(document.nodes)))}
    other = Document(
        {
            renamed[key]: DocNode(
                node.class_type,
                {n: Link(renamed[v.node], v.slot) if isinstance(v, Link) else v for n, v in node.inputs.items()},
                {"title": key},
            )
            for key, node in document.nodes.items()
        }
    )
    with Lab(anywhere) as lab:
        lab.run(document)
        lab.run(other)
        assert lab.trace.ran == []


@given(documents(), st.integers(0, 3000))
def test_whatever_the_cache_forgets_the_results_are_right(anywhere: Folders, document: Document, budget: int) -> None:
    with Lab(anywhere, cache=Cache(budget, sizeof)) as lab:
        for _ in range(2):
            results = lab.run(document)
            assert {key: outputs.ui for key, outputs in results.items()} == ui_of(document)
            made = Recipes().of(document, lab.trace.ran)
            assert len(made) == len(set(made))
            assert lab.cache.used_bytes <= budget


@given(documents())
def test_values_are_gone_once_a_run_that_caches_nothing_is_over(anywhere: Folders, document: Document) -> None:
    with Lab(anywhere, cache=Cache(0, sizeof)) as lab:
        lab.run(document)
        assert lab.desk.alive == []


@settings(max_examples=40)
@given(documents(), st.integers(0, 8))
def test_a_run_stopped_anywhere_is_taken_up_where_it_stopped(anywhere: Folders, document: Document, after: int) -> None:
    with Lab(anywhere) as lab:
        cancel = Cancel()
        run = lab.start(document, cancel)
        trace = lab.trace

        def sink(event: Event) -> None:
            trace(event)
            if isinstance(event, NodeStarted) and len(trace.ran) > after:
                cancel.set()

        try:
            lab.executor.execute(replace(run, emit=sink))
        except Interrupted:
            done = trace.ran[:-1]
        else:
            done = trace.ran
        results = lab.run(document)
        assert {key: outputs.ui for key, outputs in results.items()} == ui_of(document)
        recipes = Recipes()
        assert recipes.of(document, [*done, *lab.trace.ran]) == sorted(recipes.needed(document))


def test_the_naive_evaluator_is_not_too_naive() -> None:
    document = Document({"1": DocNode("Number", {"value": 5}), "2": DocNode("Split", {"a": Link("1", 0)})})
    assert [evaluate(document, Link("2", slot)) for slot in (0, 1)] == [2, 3]
    assert Num(2) == Num(2)
