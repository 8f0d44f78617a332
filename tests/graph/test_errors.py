"""Words for faults and values."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from graph.errors import GraphError, GraphErrors, InputError, Interrupted, NodeError, brief, listing, suggestion


class Tensor:
    """Has a shape, and must never be asked for its repr."""

    shape = (1, 4, 64, 64)

    def __repr__(self) -> str:
        raise AssertionError("this would wait for the device")


@dataclass
class Latent:
    """A value of another package."""

    socket: ClassVar[str] = "LATENT"
    samples: Tensor
    mask: Tensor | None = None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        (1 << 20_000, "an integer of 20001 bits"),
        ("x" * 100, "'" + "x" * 58 + "…"),
        (Path("a"), "'a'"),
        ([1, "a", None, 2, 3], "[1, 'a', null, 2, …]"),
        ({"a": [1]}, "{'a': [1]}"),
        ([[[1]]], "[[list of 1]]"),
        (Tensor(), "Tensor[1, 4, 64, 64]"),
        (Latent(Tensor()), "Latent(samples=Tensor[1, 4, 64, 64], mask=null)"),
        (object(), "object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_in_a_few_words(value: object, text: str) -> None:
    assert brief(value) == text


def test_brief_is_brief_and_does_not_recurse_for_ever() -> None:
    loop: list[object] = []
    loop.extend([loop, loop])
    assert brief(loop) == "[[list of 2, list of…, [list of 2, list of…]"
    assert len(brief({str(i): "x" * 1000 for i in range(100)})) <= 60


def test_long_lists_are_cut_and_counted() -> None:
    assert listing(["a", "b"]) == "'a', 'b'"
    assert listing([f"name{i}" for i in range(100)], 30) == "'name0', 'name1', 'name2', … (100 in all)"
    assert listing(["x" * 500], 10) == repr("x" * 500)


def test_suggestions_do_not_mind_case() -> None:
    assert suggestion("ksampler", ["KSampler", "VAEDecode"]) == " (did you mean 'KSampler'?)"
    assert suggestion("zzz", ["KSampler"]) == ""


def test_errors_survive_a_trip_to_another_process() -> None:
    problem = GraphError("code", "message", "1", "Type", "input", [1], "something")
    failure = NodeError("1", "Type", "message", "input", {"a": "1"}, "torch.OutOfMemoryError")
    for error in (GraphErrors([problem]), failure, InputError("a", "b"), Interrupted()):
        back = pickle.loads(pickle.dumps(error))
        assert (type(back), str(back)) == (type(error), str(error))
    assert pickle.loads(pickle.dumps(GraphErrors([problem]))).problems == (problem,)
    assert pickle.loads(pickle.dumps(failure)).kind == "torch.OutOfMemoryError"


def test_a_group_of_problems_reads_line_by_line() -> None:
    problems = [GraphError("a", "first", "1"), GraphError("b", "second")]
    assert str(GraphErrors(problems)) == "node 1: first\nsecond"
