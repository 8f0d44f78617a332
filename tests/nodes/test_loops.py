"""Loops, on nodes that do next to nothing: what runs in each iteration, what is kept, and what others see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from graph.cache import Cache
from graph.context import Cancel, Run
from graph.document import Document
from graph.errors import Interrupted, NodeError
from graph.events import Event, NodeFinished, NodeStarted, Progress, RunInterrupted
from graph.files import Folders
from graph.spec import Registry, collect
from graph.sweep import Sweep
from nodes import lists, logic, loops
from tests.graph.flow import FLOW
from tests.graph.stubs import Lab, Nodes, doc, edited, joined, link, sizeof

REGISTRY = Registry([*FLOW.values(), *collect(logic, lists, loops)])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An executor with these nodes."""
    with Lab(Folders.standard(tmp_path), registry=REGISTRY) as lab:
        yield lab


def shown(lab: Lab, node_id: str) -> list[object]:
    """All that a node, or what stands inside it, has shown in the last run."""
    found: list[object] = []
    for event in lab.trace.events:
        if isinstance(event, NodeFinished) and (event.display_id or event.node_id) == node_id:
            found += event.ui.get("value", [])
    return found


COUNT = doc(
    {
        "n": ("Number", {"value": 1}),
        "start": ("StartLoop", {"mode": "simple", "mode.num_iterations": 4, "initial_iteration_value": link("n")}),
        "add": ("Add", {"a": link("start", 4), "plus": 1}),
        "end": ("EndLoop", {"output_value": link("add"), "next_iteration_value": link("add")}),
        "show": ("Show", {"a": link("end")}),
    }
)


def test_a_value_goes_from_one_iteration_to_the_next(lab: Lab) -> None:
    assert lab.run(COUNT)["show"].ui == {"value": [5]}
    assert [node_id for node_id in lab.trace.ran if node_id == "end.add"] == ["end.add"] * 4
    assert lab.trace.places["end.add"] == "add"
    assert lab.trace.places["end.start"] == "start"
    assert "add" not in lab.trace.ran


def test_the_same_again_runs_nothing(lab: Lab) -> None:
    lab.run(COUNT)
    assert lab.ran(COUNT) == set()


def test_all_iterations_are_gathered_if_asked(lab: Lab) -> None:
    assert lab.run(edited(COUNT, "end", accumulate=True))["show"].ui == {"value": [2, 3, 4, 5]}


def test_a_loop_that_keeps_its_iterations_runs_only_what_is_new(lab: Lab) -> None:
    kept = edited(COUNT, "start", cache_iterations=True)
    lab.run(kept)
    assert lab.run(edited(kept, "start", **{"mode.num_iterations": 6}))["show"].ui == {"value": [7]}
    assert lab.trace.ran.count("end.add") == 3, "the last one was the last, which it is no more"
    lab.run(edited(COUNT, "start", **{"mode.num_iterations": 5}))
    assert lab.trace.ran.count("end.add") == 5, "without it every iteration runs again"


def test_numbers_and_flags_of_each_iteration(lab: Lab) -> None:
    numbered = joined(
        COUNT,
        {
            "start": (
                "StartLoop",
                {"mode": "For", "mode.start_iteration_index": 3, "mode.max_iteration": 9, "mode.step": 2},
            ),
            "add": ("Numbers", {"start": link("start", 0), "count": 1}),
            "end": ("EndLoop", {"output_value": link("add"), "accumulate": True}),
        },
    )
    assert lab.run(numbered)["show"].ui == {"value": [3, 5, 7]}


def test_once_for_each_value_of_a_list(lab: Lab) -> None:
    over = joined(
        COUNT,
        {
            "l": ("Numbers", {"start": 10, "count": 3}),
            "start": ("StartLoop", {"mode": "List", "mode.list": link("l"), "cache_iterations": True}),
            "add": ("Add", {"a": link("start", 3), "plus": 1}),
            "end": ("EndLoop", {"output_value": link("add"), "accumulate": True}),
        },
    )
    assert lab.run(over)["show"].ui == {"value": [11, 12, 13]}


def test_no_iteration_runs_nothing_of_the_loop(lab: Lab) -> None:
    none = edited(COUNT, "start", **{"mode.num_iterations": 0})
    assert lab.run(none)["show"].ui == {}
    assert "end.add" not in lab.trace.ran


def test_the_number_of_iterations_may_be_computed(lab: Lab) -> None:
    computed = joined(COUNT, {"c": ("PlainNumber", {"a": link("n")})})
    counted = edited(computed, "start", **{"mode.num_iterations": link("c")})
    assert lab.run(counted)["show"].ui == {"value": [2]}


def test_what_shows_something_in_a_loop_shows_it_in_every_iteration_and_again(lab: Lab) -> None:
    showing = joined(COUNT, {"look": ("Show", {"a": link("add")})})
    lab.run(showing)
    assert shown(lab, "look") == [2, 3, 4, 5]
    assert lab.ran(showing) == set()
    assert shown(lab, "look") == [2, 3, 4, 5]
    kept = edited(showing, "start", cache_iterations=True)
    lab.run(kept)
    assert lab.ran(kept) == set()
    assert shown(lab, "look") == [2, 3, 4, 5]


def test_files_that_a_loop_wrote_are_written_again_when_they_are_gone(lab: Lab) -> None:
    writing = joined(
        edited(COUNT, "start", cache_iterations=True), {"w": ("Write", {"a": link("add"), "name": "n.txt"})}
    )
    lab.run(writing)
    (lab.folders.output_dir / "n.txt").unlink()
    assert lab.ran(writing) == {"end", "end.w"}
    assert (lab.folders.output_dir / "n.txt").exists()


NESTED = doc(
    {
        "n": ("Number", {"value": 0}),
        "outer": ("StartLoop", {"mode": "simple", "mode.num_iterations": 3, "initial_iteration_value": link("n")}),
        "inner": (
            "StartLoop",
            {
                "mode": "simple",
                "mode.num_iterations": 2,
                "parent_iteration": link("outer", 0),
                "initial_iteration_value": link("outer", 4),
            },
        ),
        "add": ("Add", {"a": link("inner", 4), "plus": 1}),
        "inner end": ("EndLoop", {"output_value": link("add"), "next_iteration_value": link("add")}),
        "outer end": ("EndLoop", {"output_value": link("inner end"), "next_iteration_value": link("inner end")}),
        "show": ("Show", {"a": link("outer end")}),
    }
)


def test_a_loop_in_a_loop(lab: Lab) -> None:
    assert lab.run(NESTED)["show"].ui == {"value": [6]}
    assert lab.trace.ran.count("outer end.inner end.add") == 6
    assert lab.trace.places["outer end.inner end.add"] == "add"
    assert lab.ran(NESTED) == set()


def test_loops_one_behind_the_other(lab: Lab) -> None:
    second = joined(
        COUNT,
        {
            "start 2": (
                "StartLoop",
                {"mode": "simple", "mode.num_iterations": 2, "initial_iteration_value": link("end")},
            ),
            "add 2": ("Add", {"a": link("start 2", 4), "plus": 10}),
            "end 2": ("EndLoop", {"output_value": link("add 2"), "next_iteration_value": link("add 2")}),
            "show": ("Show", {"a": link("end 2")}),
        },
    )
    assert lab.run(second)["show"].ui == {"value": [25]}


def test_a_lazy_branch_in_a_loop_over_a_list_runs_when_it_is_chosen(lab: Lab) -> None:
    chosen = joined(
        COUNT,
        {
            "l": ("Numbers", {"start": 0, "count": 3}),
            "start": ("StartLoop", {"mode": "List", "mode.list": link("l")}),
            "left": ("Add", {"a": link("start", 3), "plus": 10}),
            "right": ("Add", {"a": link("start", 3), "plus": 20}),
            "add": (
                "ComfySwitchNode",
                {"switch": link("start", 1), "on_true": link("left"), "on_false": link("right")},
            ),
            "end": ("EndLoop", {"output_value": link("add"), "accumulate": True}),
        },
    )
    assert lab.run(chosen)["show"].ui == {"value": [10, 21, 22]}
    assert lab.trace.ran.count("end.left") == 1
    assert lab.trace.ran.count("end.right") == 2


def test_a_lazy_branch_in_a_loop_over_a_list_in_a_swept_graph(lab: Lab) -> None:
    swept = joined(
        COUNT,
        {
            "l": ("Numbers", {"start": 0, "count": 3}),
            "start": ("StartLoop", {"mode": "List", "mode.list": link("l"), "cache_iterations": True}),
            "left": ("Add", {"a": link("start", 3), "plus": Sweep({}, (10, 20))}),
            "right": ("Add", {"a": link("start", 3), "plus": 100}),
            "add": (
                "ComfySwitchNode",
                {"switch": link("start", 1), "on_true": link("left"), "on_false": link("right")},
            ),
            "end": ("EndLoop", {"output_value": link("add"), "accumulate": True}),
            "look": ("Show", {"a": link("add")}),
        },
    )
    lab.run(swept)
    shows = [
        (e.cell.at if e.cell else None, list(e.ui["value"]))
        for e in lab.trace.events
        if isinstance(e, NodeFinished) and e.display_id == "look"
    ]
    told = [((0,), [10]), ((0,), [101]), ((0,), [102]), ((1,), [20]), ((1,), [101]), ((1,), [102])]
    assert sorted(shows) == told
    started = [
        (e.display_id, e.cell.at if e.cell else None)
        for e in lab.trace.events
        if isinstance(e, NodeStarted) and e.display_id
    ]
    assert started.count(("left", (0,))) == started.count(("left", (1,))) == 1
    assert sum(display == "right" for display, _ in started) == 2, "what no axis changes runs once an iteration"
    assert lab.ran(swept) == set()
    lab.run(edited(swept, "left", plus=Sweep({}, (10, 30))))
    again = [
        (e.display_id or e.node_id, e.cell.at if e.cell else None)
        for e in lab.trace.events
        if isinstance(e, NodeStarted)
    ]
    assert {display for display, _ in again} == {"end", "left", "add", "look", "show"}, "the other branch stays"
    assert {cell for display, cell in again if display in ("left", "show")} == {(1,)}, "and so does the other cell"


def test_ten_thousand_iterations_leave_nothing_behind(tmp_path: Path) -> None:
    with Lab(Folders.standard(tmp_path), registry=REGISTRY, cache=Cache(0, sizeof)) as lab:
        most, ids = 0, set[str]()

        def look(event: Event) -> None:
            nonlocal most
            if isinstance(event, NodeStarted):
                ids.add(event.node_id)
                if event.node_id == "end.add":
                    lab.desk.made[:] = [ref for ref in lab.desk.made if ref() is not None]
                    most = max(most, len(lab.desk.made))

        many = edited(COUNT, "start", **{"mode.num_iterations": 10_000})
        results = lab.executor.execute(Run("run", many, look))
        assert results["show"].ui == {"value": [10_001]}
        assert ids == {"n", "end", "end.start", "end.add", "show"}
        assert most <= 4


def test_a_loop_is_stopped_between_its_iterations(lab: Lab) -> None:
    cancel, rounds = Cancel(), 0

    def stop(event: Event) -> None:
        nonlocal rounds
        lab.trace(event)
        if isinstance(event, NodeStarted) and event.node_id == "end.add":
            rounds += 1
            if rounds == 3:
                cancel.set()

    with pytest.raises(Interrupted):
        lab.executor.execute(Run("run", COUNT, stop, cancel))
    assert rounds == 3
    assert isinstance(lab.trace.events[-1], RunInterrupted)


def test_a_failure_in_an_iteration_says_at_which_node(lab: Lab) -> None:
    lab.desk.broken = True
    failing = joined(COUNT, {"add": ("Fail", {"a": link("start", 4)})})
    with pytest.raises(NodeError, match="out of paper") as caught:
        lab.run(failing)
    assert caught.value.node_id == "end.add"
    assert lab.trace.closing[0].display_id == "add"  # type: ignore[union-attr]


def test_how_far_a_loop_is_is_told_at_its_end(lab: Lab) -> None:
    lab.run(COUNT)
    told = [(event.done, event.total) for event in lab.trace.events if isinstance(event, Progress)]
    assert told == [(i, 4) for i in range(5)]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"end": ("EndLoop", {"output_value": link("n")})}, "no Start Loop leads here"),
        (
            {
                "other": ("StartLoop", {"mode": "simple", "mode.num_iterations": 2}),
                "add": ("Add", {"a": link("start", 4), "b": link("other", 4)}),
            },
            "the Start Loops node start and node other both lead here",
        ),
    ],
)
def test_a_loop_without_one_beginning_is_refused_in_words(lab: Lab, nodes: Nodes, message: str) -> None:
    with pytest.raises(NodeError, match=message) as caught:
        lab.run(joined(COUNT, nodes))
    assert caught.value.node_id == "end"


def test_the_helpers_that_other_programs_put_into_loops(lab: Lab) -> None:
    helpers = Document(
        doc(
            {
                "n": ("Number", {"value": 1}),
                "p": ("LoopProgress", {"start_id": "n", "position": 2, "total": 5}),
                "r": ("LoopResult", {"close_id": "x", "output0": link("n"), "output1": link("p")}),
            }
        ).nodes
    )
    assert lab.build(helpers).problems == ()
    assert lab.ran(helpers) == {"n", "p", "r"}
    assert [(e.node_id, e.done, e.total) for e in lab.trace.events if isinstance(e, Progress)] == [("n", 2, 5)]
