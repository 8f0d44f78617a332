"""Sweeps together with what is not a plain node: lazy inputs, expansions, loops, lists and blocked values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pytest

from graph.account import Account, Did
from graph.context import Run
from graph.document import DocNode, Document, Link
from graph.events import NodeFinished, NodeStarted
from graph.explain import MemoryLedger
from graph.files import Folders
from graph.result import Expand, Made, Outputs, Result
from graph.sockets import Int
from graph.spec import Raw, Registry, node
from tests.graph.flow import FLOW
from tests.graph.stubs import Ctx, Lab, Num, doc, edited, link
from tests.graph.test_sweep import shown, sweep


@node("LoopChoosing", category="stub")
def loop_choosing(ctx: Ctx, *, a: Annotated[Link, Raw()], times: Annotated[int, Int()], first: bool) -> Num | Expand:
    """In each round one of two sums is chosen, and only that is computed."""

    def turn(made: tuple[Made, ...], left: int) -> Result:
        if not left:
            return Outputs((made[0].value,))
        nodes = {
            "up": DocNode("Add", {"a": made[0], "plus": 1}),
            "far": DocNode("Add", {"a": made[0], "plus": 1000}),
            "pick": DocNode("Choose", {"first": first, "a": link("up"), "b": link("far")}),
        }
        return Expand(nodes, (link("pick"),), lambda again: turn(again, left - 1))

    return Expand({}, (a,), lambda made: turn(made, times))


@pytest.fixture
def lab(folders: Folders) -> Iterator[Lab]:
    """An executor with the flow's stub nodes, and the loop above."""
    with Lab(folders, registry=Registry([*FLOW.values(), loop_choosing])) as lab:
        yield lab


def ran(lab: Lab) -> list[tuple[str, tuple[int | None, ...]]]:
    """What was started, by the end of its id, with the place of its cell."""
    started = [event for event in lab.trace.events if isinstance(event, NodeStarted)]
    return [(event.node_id.rpartition(".")[2], event.cell.at if event.cell else ()) for event in started]


def test_a_swept_choice_computes_in_each_cell_only_the_branch_it_takes(lab: Lab) -> None:
    document = doc(
        {
            "n": ("Number", {"value": 1}),
            "near": ("Add", {"a": link("n"), "plus": 1}),
            "far": ("Add", {"a": link("n"), "plus": sweep(1000, 2000)}),
            "choose": ("Choose", {"first": sweep(True, False), "a": link("near"), "b": link("far")}),
            "save": ("Show", {"a": link("choose")}),
        }
    )
    lab.run(edited(document, "choose", first=True))
    assert shown(lab.trace) == [2, 2]
    assert [node_id for node_id, _ in ran(lab)].count("far") == 0
    lab.run(edited(document, "choose", first=sweep(True, False)))
    by_cell = {
        event.cell.at: event.ui["value"]
        for event in lab.trace.events
        if isinstance(event, NodeFinished) and event.ui and event.cell
    }
    assert by_cell == {(0, 0): [2], (0, 1): [1001], (1, 0): [2], (1, 1): [2001]}
    assert [node_id for node_id, _ in ran(lab) if node_id in ("near", "far")] == ["far", "far"]


def test_a_swept_node_expands_in_each_cell(lab: Lab) -> None:
    document = doc(
        {
            "n": ("Number", {"value": 1}),
            "t": ("Twice", {"a": link("n"), "plus": sweep(5, 6)}),
            "save": ("Show", {"a": link("t")}),
        }
    )
    lab.run(document)
    assert shown(lab.trace) == [11, 13]
    inner = [event for event in lab.trace.events if isinstance(event, NodeStarted) and event.display_id]
    assert [(event.display_id, event.cell.at if event.cell else ()) for event in inner] == [
        ("t", (0,)), ("t", (0,)), ("t", (1,)), ("t", (1,)),
    ]  # fmt: skip
    lab.run(edited(document, "t", plus=sweep(6, 7)))
    assert shown(lab.trace) == [13, 15]
    assert [node_id for node_id, _ in ran(lab)] == ["t", "first", "second", "save"]


def test_a_list_is_mapped_over_in_each_cell(lab: Lab) -> None:
    document = doc(
        {
            "list": ("Numbers", {"start": sweep(0, 10), "count": 3}),
            "add": ("Add", {"a": link("list"), "plus": sweep(1, 2)}),
            "sum": ("Total", {"numbers": link("add")}),
            "save": ("Show", {"a": link("sum")}),
        }
    )
    lab.run(document)
    assert shown(lab.trace) == [6, 9, 36, 39]
    assert [node_id for node_id, _ in ran(lab)].count("list") == 2


def test_a_blocked_cell_leaves_the_others_alone(lab: Lab) -> None:
    document = doc(
        {
            "n": ("Number", {"value": sweep(1, 50, 2)}),
            "block": ("Block", {"a": link("n"), "above": 10, "message": "too much"}),
            "save": ("Show", {"a": link("block")}),
        }
    )
    lab.run(document)
    assert shown(lab.trace) == [1, 2]


def loop_over_list() -> Document:
    return doc(
        {
            "list": ("Numbers", {"start": sweep(0, 10), "count": 2}),
            "loop": ("LoopChoosing", {"a": link("list"), "times": 2, "first": sweep(True, False)}),
            "sum": ("Total", {"numbers": link("loop")}),
            "save": ("Show", {"a": link("sum")}),
        }
    )


def test_a_lazy_input_inside_a_loop_over_a_list_in_a_swept_graph(lab: Lab) -> None:
    document = loop_over_list()
    lab.run(document)
    assert shown(lab.trace) == [5, 4001, 25, 4021]
    branches = [(node_id, at) for node_id, at in ran(lab) if node_id in ("up", "far")]
    expected = {(0, 0): "up", (0, 1): "far", (1, 0): "up", (1, 1): "far"}
    assert {at: node_id for node_id, at in branches} == expected
    assert len(branches) == 8, "two rounds in each cell, a branch in each round"
    assert lab.ran(document) == set()
    lab.run(edited(document, "list", start=sweep(10, 20)))
    assert shown(lab.trace) == [25, 4021, 45, 4041]
    assert {at for node_id, at in ran(lab) if node_id in ("up", "far")} == {(1, 0), (1, 1)}


def test_a_longer_loop_in_a_swept_graph_goes_on_where_the_shorter_one_was(lab: Lab) -> None:
    lab.run(loop_over_list())
    lab.run(edited(loop_over_list(), "loop", times=3))
    branches = [at for node_id, at in ran(lab) if node_id in ("up", "far")]
    assert sorted(branches, key=str) == [(0, 0), (0, 1), (1, 0), (1, 1)], "one more round in each cell"


def test_what_expands_in_a_sweep_is_explained_as_the_node_that_was_written(lab: Lab) -> None:
    ledger = MemoryLedger()
    for times in (2, 3):
        heard = Account()
        lab.executor.execute(Run("run", document := edited(loop_over_list(), "loop", times=times), heard))
        explained = heard.explain(ledger)
    assert {one.node for one in explained} == set(document.nodes)
    loops = [one for one in explained if one.node == "loop"]
    assert [(one.did, one.words) for one in loops] == [(Did.RAN, "ran: times is 3 now, and was 2")] * 4
    assert {one.did for one in explained if one.node == "list"} == {Did.NOT_NEEDED}


def test_what_shows_itself_inside_a_swept_loop_names_its_cell(lab: Lab) -> None:
    document = doc(
        {
            "n": ("Number", {"value": sweep(1, 100)}),
            "repeat": ("Repeat", {"a": link("n"), "times": 2, "show": True}),
            "save": ("Show", {"a": link("repeat")}),
        }
    )
    lab.run(document)
    told = [event for event in lab.trace.events if isinstance(event, NodeFinished) and event.ui]
    inside = [(event.display_id, event.cell.at if event.cell else (), event.ui["value"]) for event in told]
    assert [entry for entry in inside if entry[0]] == [
        ("repeat", (0,), [2]),
        ("repeat", (0,), [3]),
        ("repeat", (1,), [101]),
        ("repeat", (1,), [102]),
    ]
