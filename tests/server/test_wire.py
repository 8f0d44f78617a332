"""What travels between processes arrives as it was sent, and what is no message is told as that."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from graph.errors import GraphError, NodeError, Severity
from graph.events import (
    Event,
    NodeFinished,
    NodeRetried,
    NodesCached,
    NodeStarted,
    NodeWarned,
    Progress,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
)
from graph.recipe import Recipe
from graph.result import NodeWarning
from graph.sweep import Axis, Cell
from graph.thrift import Thrift
from server.wire import LONGEST, Channel, Message, WireError, decoded, encoded

CELL = Cell("3@1", (1, None), "cfg 4")
EVENTS: list[Event] = [
    RunStarted("r", ("1", "3"), (Axis("cfg", (("3", "cfg"),), ("2", "4")),), {"3": 2}),
    NodesCached("r", ("1",), {"3": (CELL,)}),
    NodeStarted("r", "3", CELL, "1"),
    Progress("r", "3", 1, 20.5, None, CELL),
    NodeRetried("r", "3", Thrift.TILE, "no room", CELL),
    NodeWarned("r", "3", NodeWarning("half of it is left out", "image"), "1"),
    NodeFinished("r", "3", {"images": ({"filename": "ä.png", "!": 1},)}, 0.25, False, CELL, 2**40),
    RunFailed("r", NodeError("3", "KSampler", "broke", "model", {"seed": "1"}, "torch.OutOfMemoryError")),
    RunInterrupted("r", "3"),
    RunFinished("r"),
]


def through(*messages: tuple[str, Any]) -> list[Message | None]:
    """What arrives of `messages`, and the end."""
    pipe = io.BytesIO()
    for kind, body in messages:
        Channel(io.BytesIO(), pipe).send(kind, body)
    channel = Channel(io.BytesIO(pipe.getvalue()), io.BytesIO())
    return [channel.receive() for _ in range(len(messages) + 1)]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_arrives_as_it_was_told(event: Event) -> None:
    [message, end] = through(("event", encoded(event)))
    assert message is not None
    assert end is None
    back = decoded(message.body)
    if isinstance(event, RunFailed):  # errors are not compared by what they say
        assert (str(back.error), back.error.kind) == (str(event.error), event.error.kind)
    else:
        assert back == event


def test_there_is_no_kind_of_event_that_cannot_travel() -> None:
    assert {type(event) for event in EVENTS} == set(Event.__args__)


def test_errors_and_recipes_keep_all_that_they_say() -> None:
    problem = GraphError("code", "message", "1", "T", "input", [1, {"a": math.inf}], "ten", Severity.WARNING)
    recipe = Recipe(
        "3@1", "3", "T", "name", "c", "s", "e", {"a": ("value", "1", "d"), "b": ("link", "1", 0, "n")}, cell=CELL
    )
    back = decoded(encoded([problem, recipe]))
    assert back == (
        GraphError("code", "message", "1", "T", "input", (1, {"a": math.inf}), "ten", Severity.WARNING),
        recipe,
    )
    assert back[0].severity is Severity.WARNING


def test_functions_and_strangers_stay_at_home() -> None:
    event = Progress("r", "3", 1, 2, preview=lambda: pytest.fail("nobody asked for it"))
    assert decoded(encoded(event)) == Progress("r", "3", 1, 2)
    assert decoded(encoded(Path("a"))) == "'a'"


@pytest.mark.parametrize(
    "value", [{"!": "Path", "value": "/"}, {"!": "NodeStarted", "no": 1}, {"!": []}, {"!": "Thrift", "value": 99}]
)
def test_only_the_few_known_classes_are_made(value: Any) -> None:
    with pytest.raises(WireError, match="what came is no"):
        decoded(value)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\0",
        struct.pack("<I", 10) + b"[]",
        struct.pack("<I", LONGEST + 1),
        struct.pack("<I", 2) + b"[]",
        b"\4\0\0\0null",
    ],
)
def test_what_is_no_message_is_told(bytes_: bytes) -> None:
    with pytest.raises(WireError):
        Channel(io.BytesIO(bytes_), io.BytesIO()).receive()
