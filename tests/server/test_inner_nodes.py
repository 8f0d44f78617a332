"""What stands in a loop or another expansion, as clients are told of it: by its own id, beside the visible node."""

from __future__ import annotations

import json
from typing import Any

from graph.errors import NodeError
from graph.events import Event, NodeFinished, NodeStarted, NodeWarned, Progress, RunFailed, RunStarted
from graph.result import NodeWarning
from graph.sweep import Axis, Cell
from server.redact import Redactor
from server.transcript import Message, Transcript

ROUNDS = 1_000


def transcript() -> Transcript:
    """Of a run of a loop: node 9 ends it, node 5 shows something in it."""
    return Transcript("p", {"9": "EndLoop", "5": "SaveImage"}, Redactor({}))


def told(transcript: Transcript, *events: Event) -> list[Message]:
    """The messages for some events."""
    return [it for event in events for it in transcript.apply(event, 0.0) if isinstance(it, Message)]


def finished(number: int, cell: Cell | None = None) -> NodeFinished:
    """One iteration of the node that shows."""
    ui = {"images": [{"filename": f"{number}.png", "subfolder": "", "type": "output"}]}
    return NodeFinished("p", "9.5", ui, cell=cell, display_id="5")


def names(outputs: dict[str, Any]) -> list[str]:
    return [entry["filename"] for entry in outputs["images"]]


def test_messages_name_the_visible_node_beside_the_inner_one() -> None:
    run = transcript()
    started, progress, shown = told(
        run, NodeStarted("p", "9.5", display_id="5"), Progress("p", "9.5", 1, 2, display_id="5"), finished(0)
    )
    assert (started.data["node"], started.data["display_node"]) == ("9.5", "5")
    assert progress.data["node"] == "9.5"
    assert (shown.data["node"], shown.data["display_node"], shown.data["merge"]) == ("9.5", "5", True)
    state = json.loads(run.progress_state())["data"]["nodes"]["9.5"]
    assert (state["display_node_id"], state["real_node_id"], state["parent_node_id"]) == ("5", "9.5", "5")


def test_the_history_has_what_every_iteration_showed_and_no_more_ids_than_nodes() -> None:
    run = transcript()
    for number in range(ROUNDS):
        told(run, NodeStarted("p", "9.5", display_id="5"), finished(number))
    assert set(run.nodes) == {"9.5"}
    assert run.executed == []
    assert run.messages == []
    outcome = run.outcome()
    assert names(json.loads(outcome.outputs)["5"]) == [f"{number}.png" for number in range(ROUNDS)]
    assert set(json.loads(outcome.meta)) == {"5"}


def test_a_failure_and_a_warning_blame_the_visible_node() -> None:
    run = transcript()
    (warned,) = told(run, NodeWarned("p", "9.5", NodeWarning("half is used", "images"), display_id="5"))
    assert (warned.data["node_id"], warned.data["node_type"]) == ("5", "SaveImage")
    told(run, RunFailed("p", NodeError("9.5", "SaveImage", "the disk is full"), display_id="5"))
    assert run.error is not None
    assert (run.error["node_id"], run.error["exception_message"]) == ("5", "the disk is full")


def test_in_a_sweep_each_cell_keeps_all_that_its_iterations_showed() -> None:
    run = transcript()
    axis = Axis("cfg", (("3", "cfg"),), ("2", "4"))
    told(run, RunStarted("p", ("9", "5"), (axis,), {"9": 2, "5": 2}))
    for place in (1, 0):
        for number in range(2):
            told(run, finished(10 * place + number, Cell(f"5[{place}]", (place,), "cfg")))
    assert names(json.loads(run.outcome().outputs)["5"]) == ["0.png", "1.png", "10.png", "11.png"]
