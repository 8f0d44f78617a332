"""Switches and lists, on nodes that do next to nothing: what is not chosen does not run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from graph.errors import NodeError
from graph.files import Folders
from graph.spec import Registry, collect
from nodes import lists, logic
from tests.graph.flow import FLOW
from tests.graph.stubs import Lab, Nodes, doc, edited, joined, link

REGISTRY = Registry([*FLOW.values(), *collect(logic, lists)])
NUMBERS: Nodes = {f"n{i}": ("Number", {"value": i}) for i in range(4)}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An executor with these nodes."""
    with Lab(Folders.standard(tmp_path), registry=REGISTRY) as lab:
        yield lab


SWITCH = doc(
    {
        **NUMBERS,
        "s": ("ComfySwitchNode", {"switch": True, "on_true": link("n1"), "on_false": link("n2")}),
        "show": ("Show", {"a": link("s")}),
    }
)


def test_a_switch_runs_one_side(lab: Lab) -> None:
    assert lab.run(SWITCH)["show"].ui == {"value": [1]}
    assert lab.trace.ran == ["s", "n1", "show"]
    assert lab.run(edited(SWITCH, "s", switch=False))["show"].ui == {"value": [2]}
    assert lab.trace.ran == ["s", "n2", "show"]


def test_a_switch_with_nothing_on_the_chosen_side_gives_nothing_and_says_so(lab: Lab) -> None:
    alone = joined(
        SWITCH,
        {
            "s": ("ComfySwitchNode", {"switch": False, "on_true": link("n1")}),
            "show": ("Add", {"a": link("n3"), "b": link("s")}),
        },
    )
    assert lab.run(alone, targets=["show"])["show"].values[0].value == 3  # type: ignore[attr-defined]
    assert lab.trace.warned == [("s", "on_false", "nothing is connected to on_false, so nothing is passed on")]


def test_a_switch_joins_one_type_only(lab: Lab) -> None:
    assert lab.build(SWITCH).errors == ()
    wrong = joined(SWITCH, {"f": ("Numbers", {}), "c": ("OpenFile", {"file": "x.safetensors"})})
    (lab.folders.base / "models/checkpoints/x.safetensors").write_text("1")
    wrong = edited(wrong, "s", on_true=link("c"))
    (error,) = lab.build(wrong).errors
    assert (error.node_id, error.input_name, error.code) == ("s", "on_true", "return_type_mismatch")
    assert "links to OPENED" in error.message and "expected NUM" in error.message


def test_a_branch_is_chosen_by_its_name(lab: Lab) -> None:
    inputs = {"autogrow.branch0": link("n1"), "autogrow.branch1": link("n2"), "branch": "dark"}
    branch = joined(SWITCH, {"s": ("BranchNode", {**inputs, "branch_names": ("light", "dark")})})
    assert lab.run(branch)["show"].ui == {"value": [2]}
    assert lab.trace.ran == ["s", "n2", "show"]
    plain = joined(SWITCH, {"s": ("BranchNode", {**inputs, "branch": "branch0"})})
    assert lab.run(plain)["show"].ui == {"value": [1]}
    with pytest.raises(NodeError, match="expected a branch that is connected: 'branch0', 'branch1'") as caught:
        lab.run(edited(plain, "s", branch="none"))
    assert caught.value.input_name == "branch"


def test_one_of_many_is_chosen_by_its_number(lab: Lab) -> None:
    many = joined(
        SWITCH, {"s": ("SwitchOfMany", {"index": 2, "values.value0": link("n0"), "values.value2": link("n3")})}
    )
    assert lab.run(many)["show"].ui == {"value": [3]}
    assert lab.trace.ran == ["s", "n3", "show"]
    with pytest.raises(NodeError, match="nothing is connected to value1"):
        lab.run(edited(many, "s", index=1))


LIST = doc(
    {
        **NUMBERS,
        "many": ("Numbers", {"start": 10, "count": 2}),
        "l": ("CreateList", {"inputs.input0": link("n1"), "inputs.input1": link("many"), "inputs.input2": link("n3")}),
        "show": ("Show", {"a": link("l")}),
        "one": ("GetItemFromList", {"list": link("l"), "index": 1}),
        "show one": ("Show", {"a": link("one")}),
    }
)


def test_values_and_lists_become_one_list(lab: Lab) -> None:
    results = lab.run(LIST)
    assert results["show"].ui == {"value": [1, 10, 11, 3]}
    assert results["show one"].ui == {"value": [10]}
    assert lab.run(edited(LIST, "one", index=-1))["show one"].ui == {"value": [3]}


def test_a_value_that_a_list_does_not_have_blames_the_number(lab: Lab) -> None:
    with pytest.raises(NodeError, match="got 4, but the list has 4 values") as caught:
        lab.run(edited(LIST, "one", index=4))
    assert caught.value.input_name == "index"


def test_a_list_has_one_type_only(lab: Lab) -> None:
    (lab.folders.base / "models/checkpoints/x.safetensors").write_text("1")
    mixed = joined(LIST, {"c": ("OpenFile", {"file": "x.safetensors"})})
    (error,) = lab.build(edited(mixed, "l", **{"inputs.input3": link("c")})).errors
    assert error.input_name == "inputs.input3"
