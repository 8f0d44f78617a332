"""What counts for the name of a result, and what does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from graph.build import BoundNode, Graph
from graph.document import Link
from graph.files import FileRef, Folders
from graph.fingerprint import Fingerprint, fingerprints
from graph.identity import FileIdentity
from graph.spec import NodeSpec
from tests.graph.stubs import REGISTRY


class _ByName(FileIdentity):
    """Files whose content is their name."""

    def __call__(self, path: Path) -> str:
        return f"content of {path.name}"


def folders(output: str = "/out") -> Folders:
    return Folders(Path("/base"), {}, Path("/in"), Path(output), Path("/temp"), _ByName())


def name(spec: NodeSpec, salt: str = "", destination: str = "/out", **inputs: object) -> Fingerprint:
    """The fingerprint of one node that reads nothing, whatever its inputs are called."""
    graph = Graph({"1": BoundNode("1", spec, inputs)}, ("1",), ("1",))
    return fingerprints(graph, folders(destination), salt)["1"]


NUMBER, SHOW = REGISTRY["Number"], REGISTRY["Show"]


def test_values_that_python_calls_equal_have_names_of_their_own() -> None:
    file = FileRef("input", "1", Path("1"))
    values = [
        1,
        1.0,
        True,
        "1",
        "true",
        None,
        "",
        0,
        0.0,
        -0.0,
        False,
        (1,),
        ("value", 1),
        {"a": 1},
        file,
        "content of 1",
    ]
    names = [name(NUMBER, value=value) for value in values]
    for (a, first), (b, second) in combinations(zip(values, names, strict=True), 2):
        assert first != second, f"{a!r} and {b!r}"


def test_equal_inputs_have_equal_names_in_any_order() -> None:
    assert name(NUMBER, a=1, b="x") == name(NUMBER, b="x", a=1)
    assert name(NUMBER, a={"x": 1, "y": 2}) == name(NUMBER, a={"y": 2, "x": 1})


def test_which_input_has_a_value_counts() -> None:
    assert name(NUMBER, a=1, b=2) != name(NUMBER, a=2, b=1)


def test_type_and_salt_count_and_the_destination_only_for_what_writes() -> None:
    other = replace(NUMBER, type="Other")
    assert name(NUMBER, value=1) != name(other, value=1)
    assert name(NUMBER, "fp16", value=1) != name(NUMBER, "fp32", value=1)
    assert name(NUMBER, destination="/a", value=1) == name(NUMBER, destination="/b", value=1)
    assert name(SHOW, destination="/a", value=1) != name(SHOW, destination="/b", value=1)


def test_a_file_counts_by_content() -> None:
    here, there = (FileRef("input", "x", Path(place) / "cat.png") for place in ("here", "there"))
    other = FileRef("input", "x", Path("here/dog.png"))
    assert name(NUMBER, file=here) == name(NUMBER, file=there)
    assert name(NUMBER, file=here) != name(NUMBER, file=other)


def test_freshness_counts() -> None:
    tick = iter(range(10))
    fresh = replace(NUMBER, freshness=lambda node_id, inputs, folders: next(tick))
    assert name(fresh, value=1) != name(fresh, value=1)
    stale = replace(NUMBER, freshness=lambda node_id, inputs, folders: [node_id, inputs["value"]])
    assert name(stale, value=1) == name(stale, value=1)


def test_what_is_upstream_counts_and_through_which_output() -> None:
    def chained(value: int, slot: int, id_: str = "1") -> Fingerprint:
        first = BoundNode(id_, NUMBER, {"value": value})
        second = BoundNode("2", SHOW, {"a": Link(id_, slot)})
        return fingerprints(Graph({id_: first, "2": second}, (id_, "2"), ("2",)), folders())["2"]

    assert chained(1, 0) == chained(1, 0, id_="x")
    assert len({chained(1, 0), chained(2, 0), chained(1, 1)}) == 3


def test_nan_has_no_name() -> None:
    with pytest.raises(ValueError, match="JSON"):
        name(NUMBER, value=float("nan"))
