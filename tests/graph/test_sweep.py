"""Several values for one input: which cells there are, in which order, and which nodes run for them."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from graph.cache import Cache
from graph.context import Cancel
from graph.document import Document, parse, write
from graph.errors import Interrupted, NodeError
from graph.events import Event, NodeFinished, NodesCached, NodeStarted, RunFailed, RunStarted
from graph.files import Folders
from graph.fingerprint import fingerprints
from graph.multiply import multiply
from graph.plan import WRITING, Frontier
from graph.result import Outputs
from graph.scope import Scope
from graph.sweep import Sweep
from tests.graph.stubs import TIMEOUT, Lab, Nodes, Num, Trace, doc, edited, link, sizeof


def sweep(*values: object, axis: str = "") -> object:
    """Several values, as a document has them."""
    raw = {"__sweep__": list(values), **({"axis": axis} if axis else {})}
    return parse(json.dumps({"1": {"class_type": "x", "inputs": {"y": raw}}})).nodes["1"].inputs["y"]


def grid(first: object, second: object, third: object) -> Document:
    """Like a picture: what is loaded, what is written for it, what is sampled, what is saved."""
    nodes: Nodes = {
        "load": ("Number", {"value": first}),
        "text": ("Add", {"a": link("load"), "plus": second}),
        "fixed": ("Number", {"value": 5}),
        "sample": ("Add", {"a": link("text"), "b": link("fixed"), "plus": third}),
        "save": ("Show", {"a": link("sample")}),
    }
    return doc(nodes)


def ran(trace: Trace) -> list[tuple[str, tuple[int | None, ...]]]:
    """What was started, with its place."""
    return [
        (event.node_id, event.cell.at if event.cell else ()) for event in trace.events if isinstance(event, NodeStarted)
    ]


def shown(trace: Trace, node_id: str = "save") -> list[object]:
    """What a node gave to show, in the order in which it was told."""
    told = (event for event in trace.events if isinstance(event, NodeFinished) and event.node_id == node_id)
    return [event.ui["value"][0] for event in told if event.ui]


def test_axes_multiply_and_cells_share_what_they_can(lab: Lab) -> None:
    lab.run(grid(sweep(100, 200), sweep(10, 20, 30), sweep(1, 2)))
    times: dict[str, int] = {}
    for node_id, _ in ran(lab.trace):
        times[node_id] = times.get(node_id, 0) + 1
    assert times == {"load": 2, "text": 6, "fixed": 1, "sample": 12, "save": 12}


def test_the_axis_nearest_the_sources_varies_slowest(lab: Lab) -> None:
    lab.run(grid(sweep(100, 200), sweep(10, 20), sweep(1, 2)))
    expected = [100 + 10 + 1, 112, 121, 122, 211, 212, 221, 222]
    assert shown(lab.trace) == [value + 5 for value in expected]
    (started,) = [event for event in lab.trace.events if isinstance(event, RunStarted)]
    assert [axis.inputs for axis in started.axes] == [(("load", "value"),), (("text", "plus"),), (("sample", "plus"),)]
    assert started.nodes == ("load", "text", "fixed", "sample", "save")
    assert [at for node_id, at in ran(lab.trace) if node_id == "text"] == [
        (0, 0, None), (0, 1, None), (1, 0, None), (1, 1, None),
    ]  # fmt: skip


def test_inputs_on_one_axis_go_in_step(lab: Lab) -> None:
    lab.run(grid(sweep(100, 200, axis="both"), 10, sweep(1, 2, axis="both")))
    assert shown(lab.trace) == [116, 217]


def test_seeds_are_counted(lab: Lab) -> None:
    text = '{"1": {"class_type": "Number", "inputs": {"value": {"__seeds__": {"from": 7, "count": 3}}}}, '
    text += '"2": {"class_type": "Show", "inputs": {"a": ["1", 0]}}}'
    document = parse(text)
    lab.run(document)
    assert shown(lab.trace, "2") == [7, 8, 9]
    assert parse(write(document)) == document


def test_equal_values_run_once(lab: Lab) -> None:
    lab.run(grid(100, sweep(10, 10), sweep(1, 2)))
    assert [node_id for node_id, _ in ran(lab.trace)].count("text") == 1
    assert [node_id for node_id, _ in ran(lab.trace)].count("save") == 2
    assert sorted(map(str, shown(lab.trace))) == ["116", "116", "117", "117"]


def test_a_sweep_runs_only_the_cells_that_were_not_made_before(lab: Lab) -> None:
    lab.run(grid(100, 20, 2))
    lab.run(grid(100, sweep(10, 20), sweep(1, 2)))
    assert [node_id for node_id, _ in ran(lab.trace)].count("sample") == 3
    assert ("save", (1, 1)) not in ran(lab.trace)
    (cached,) = [event for event in lab.trace.events if isinstance(event, NodesCached)]
    assert set(cached.nodes) == {"load", "fixed"}
    assert {node_id: [cell.at for cell in cells] for node_id, cells in cached.cells.items()} == {
        "text": [(1, None)],
        "sample": [(1, 1)],
        "save": [(1, 1)],
    }
    assert lab.ran(grid(100, sweep(10, 20), sweep(1, 2))) == set()


def test_every_cell_has_its_own_plain_workflow(lab: Lab) -> None:
    document = grid(sweep(100, 200), 10, sweep(1, 2))
    graph, cells = multiply(lab.build(document))
    assert cells is not None
    (node_id,) = [key for key, cell in cells.cells.items() if cell.at == (1, 0) and cells.written(key) == "save"]
    assert graph.nodes[node_id].id == node_id
    assert cells.document(node_id, document) == grid(200, 10, 1)
    assert cells.document("fixed", document) == document


def test_a_sheet_runs_once_for_all_cells_each_passed_through_its_own_node(lab: Lab) -> None:
    document = grid(sweep(1, 1000), 0, sweep(0, 5, 99))
    document = Document({**document.nodes, **doc({"sheet": ("Sheet", {"a": link("sample"), "base": 10})}).nodes})
    lab.run(document, ["sheet"])
    assert lab.trace.shown == {
        "sheet": {
            "axes": (("value", ("1", "1000")), ("plus", ("0", "5", "99"))),
            "places": ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)),
            "values": [1, 2, 3, 4, 4, 4],
        }
    }
    assert [at for node_id, at in ran(lab.trace) if node_id == "sheet"][-1] == (None, None)
    lab.run(edited(document, "load", value=sweep(1, 1000, 1)), ["sheet"])
    assert [node_id for node_id, _ in ran(lab.trace)] == ["sheet"], "new labels, but no new value"


def test_a_sheet_without_a_sweep_has_one_cell(lab: Lab) -> None:
    document = doc({"1": ("Number", {"value": 12}), "2": ("Sheet", {"a": link("1")})})
    lab.run(document)
    assert lab.trace.shown == {"2": {"axes": (), "places": ((),), "values": [2]}}
    assert lab.ran(document) == set()


def test_a_sheet_is_drawn_for_each_of_its_own_values(lab: Lab) -> None:
    document = doc({"1": ("Number", {"value": sweep(8, 9)}), "2": ("Sheet", {"a": link("1"), "base": sweep(2, 10)})})
    lab.run(document)
    drawn = [event for event in lab.trace.events if isinstance(event, NodeFinished) and event.ui]
    assert [(event.cell.words if event.cell else "", event.ui["values"]) for event in drawn] == [
        ("base 2", [4, 4]),
        ("base 10", [1, 1]),
    ]


def test_a_failure_names_the_node_that_was_written_and_the_values(lab: Lab) -> None:
    lab.desk.broken = True
    document = doc(
        {"1": ("Number", {"value": sweep(1, 2)}), "2": ("Fail", {"a": link("1")}), "3": ("Show", {"a": link("2")})}
    )
    with pytest.raises(NodeError) as caught:
        lab.run(document)
    assert str(caught.value).startswith("node 2 (Fail): RuntimeError: out of paper (at value 1)")
    (failed,) = lab.trace.closing
    assert isinstance(failed, RunFailed) and failed.error.node_id == "2"


def test_cancelling_keeps_the_cells_that_are_finished(lab: Lab) -> None:
    document = grid(100, 10, sweep(1, 2, 3))
    cancel = Cancel()
    run = lab.start(document, cancel)

    def stop_after_two(event: object) -> None:
        lab.trace(event)  # type: ignore[arg-type]
        if len(shown(lab.trace)) == 2:
            cancel.set()

    with pytest.raises(Interrupted):
        lab.executor.execute(replace(run, emit=stop_after_two))
    assert shown(lab.trace) == [116, 117]
    lab.run(document)
    assert [at for node_id, at in ran(lab.trace) if node_id in ("sample", "save")] == [(2,), (2,)]


def test_values_are_let_go_of_as_the_cells_are_done(folders: Folders) -> None:
    with Lab(folders, cache=Cache(0, sizeof)) as lab:
        most = 0

        def look() -> None:
            nonlocal most
            most = max(most, len(lab.desk.alive))

        lab.desk.at_watch = look
        nodes: Nodes = {
            "1": ("Number", {"value": sweep(*range(100))}),
            "2": ("Watch", {"a": link("1")}),
            "3": ("Show", {"a": link("2")}),
        }
        lab.run(doc(nodes))
    assert most <= 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, "x"], "input 'plus': value 2 of 2: got 'x', expected an integer from 0 to 1000000"),
        ([1, 2, -3], "input 'plus': value 3 of 3: got -3, expected an integer from 0 to 1000000"),
        ([], "input 'plus': got [] as __sweep__, expected a list of at least one value"),
        ([["1", 0]], "input 'plus': value 1 of 1: is a link, expected a value"),
        (
            [{"__sweep__": [1]}],
            "input 'plus': value 1 of 1: got {'__sweep__': [1]}, expected an integer from 0 to 1000000",
        ),
    ],
)
def test_each_value_is_checked_like_a_single_one(lab: Lab, given: list[object], message: str) -> None:
    graph = lab.build(grid(1, sweep(*given), 1))
    assert [str(problem) for problem in graph.errors] == [f"node text (Add), {message}"]
    assert graph.blocked == ("save",)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"__sweep__": 5}, "got 5 as __sweep__, expected a list of at least one value"),
        ({"__sweep__": [1], "axis": 3}, "got 3 as axis, expected a name"),
        ({"__sweep__": [1], "step": 3}, "got 'step' beside the values, expected axis at most"),
        ({"__seeds__": {"from": 1, "count": 0}}, "with a count of at least 1"),
        ({"__seeds__": {"from": 1, "count": 10**9}}, "got 1000000000 values, expected at most 20000"),
        ({"__seeds__": {"from": 1}, "__sweep__": [1]}, "got both __sweep__ and __seeds__, expected one of them"),
    ],
)
def test_what_is_no_sweep_is_said(lab: Lab, raw: object, message: str) -> None:
    document = parse(json.dumps({"1": {"class_type": "Number", "inputs": {"value": raw}}}))
    (problem,) = lab.build(document, ["1"]).errors
    assert (problem.node_id, problem.input_name) == ("1", "value")
    assert message in problem.message
    assert parse(write(document)) == document


def test_inputs_on_one_axis_need_equally_many_values(lab: Lab) -> None:
    graph = lab.build(grid(sweep(1, 2, axis="both"), 10, sweep(1, 2, 3, axis="both")))
    (problem,) = graph.errors
    expected = "has 3 values on the axis 'both', but 'value' of node load has 2"
    assert str(problem).startswith(f"node sample (Add), input 'plus': {expected}")
    assert graph.targets == ()


def test_a_sweep_is_bounded(lab: Lab) -> None:
    hundred = sweep(*range(100))
    (problem,) = lab.build(grid(hundred, hundred, hundred)).errors
    assert problem.node_id == "load"
    assert problem.message.startswith(
        "makes this a sweep of 1000000 combinations, 2010101 nodes in all, and at most 20000"
    )
    assert not lab.build(grid(hundred, sweep(*range(50)), 1)).errors


def test_a_node_may_have_the_id_of_a_copy(lab: Lab) -> None:
    document = doc(
        {
            "1": ("Number", {"value": sweep(1, 2)}),
            "1[1]": ("Number", {"value": 40}),
            "2": ("Add", {"a": link("1"), "b": link("1[1]")}),
            "3": ("Show", {"a": link("2")}),
        }
    )
    lab.run(document)
    assert shown(lab.trace, "3") == [41, 42]


def test_sweeps_are_read_as_they_are_written() -> None:
    raw = {"__sweep__": [1, {"__value__": ["4", 0]}], "axis": "a"}
    document = parse(json.dumps({"1": {"class_type": "Number", "inputs": {"value": raw}}}))
    given = document.nodes["1"].inputs["value"]
    assert isinstance(given, Sweep)
    assert given.values == (1, ("4", 0))
    assert json.loads(write(document))["1"]["inputs"]["value"] == raw


def test_the_editors_workflow_has_the_values_of_the_cell_or_is_left_out(lab: Lab) -> None:
    document = grid(sweep(100, 200), 10, sweep(1, 2, axis="last"))
    _, cells = multiply(lab.build(document))
    assert cells is not None
    (node_id,) = [key for key, cell in cells.cells.items() if cell.at == (1, 0) and cells.written(key) == "save"]
    nodes = [
        {"id": "load", "widgets_values": [{"__sweep__": [100, 200]}, "fixed"]},
        {"id": "sample", "widgets_values": {"plus": {"__sweep__": [1, 2], "axis": "last"}}},
        {"id": "fixed", "widgets_values": [5]},
    ]
    kept = cells.extra(node_id, document, {"workflow": {"nodes": nodes, "version": 1}, "other": 1})
    assert kept == {
        "other": 1,
        "workflow": {
            "version": 1,
            "nodes": [
                {"id": "load", "widgets_values": [200, "fixed"]},
                {"id": "sample", "widgets_values": {"plus": 1}},
                {"id": "fixed", "widgets_values": [5]},
            ],
        },
    }
    assert cells.extra(node_id, document, {"workflow": {"nodes": nodes[1:]}, "other": 1}) == {"other": 1}
    assert cells.extra("fixed", document, {"workflow": 1}) == {"workflow": 1}


def test_a_cell_is_done_with_before_the_next_whichever_file_was_read_first(lab: Lab) -> None:
    """Three io nodes have come back in any order before the loop gets to what reads them."""
    lab.desk.opened.set()
    doors = 0
    back = threading.Event()

    def look(event: Event) -> None:
        nonlocal doors
        lab.trace(event)
        if isinstance(event, NodeFinished) and event.node_id == "load":
            doors += 1
            if doors == 3:
                back.set()

    lab.desk.at_watch = lambda: assert_set(back)
    nodes: Nodes = {
        "first": ("Watch", {"a": link("number")}),
        "number": ("Number", {"value": 1}),
        "seen": ("Show", {"a": link("first")}),
        "value": ("Number", {"value": sweep(10, 20, 30)}),
        "load": ("Door", {"a": link("value")}),
        "sample": ("Add", {"a": link("load"), "plus": sweep(1, 2)}),
        "decode": ("Add", {"a": link("sample"), "plus": 100}),
        "save": ("Show", {"a": link("decode")}),
    }
    document = doc(nodes)
    lab.executor.execute(replace(lab.start(document), emit=look), lab.build(document, ["save", "seen"]))
    assert shown(lab.trace) == [111, 112, 121, 122, 131, 132]
    order = [(node_id, at[0]) for node_id, at in ran(lab.trace) if node_id in ("sample", "decode", "save")]
    assert [file for _, file in order] == sorted(file for _, file in order if file is not None)


def assert_set(event: threading.Event) -> None:
    assert event.wait(TIMEOUT)


def test_a_slow_disk_holds_up_the_device(lab: Lab) -> None:
    """Nothing is written yet, and the frontier hands out no more than some cells."""
    nodes: Nodes = {
        "1": ("Number", {"value": sweep(*range(60))}),
        "2": ("Write", {"a": link("1"), "name": "number"}),
    }
    graph, _ = multiply(lab.build(doc(nodes)))
    frontier = Frontier(Scope(graph.nodes, fingerprints(graph, lab.folders)), graph.targets, lambda node, name: None)
    frontier.plan()
    handed: list[str] = []
    while (task := frontier.ready()) is not None:
        handed.append(task.node.spec.type)
        if task.node.spec.type == "Number":
            frontier.finish(task, Outputs((Num(1),)))
    assert (handed.count("Write"), handed.count("Number")) == (WRITING, WRITING + 1)
