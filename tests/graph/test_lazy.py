"""What a node does not ask for is not computed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from graph.cache import Cache
from graph.errors import NodeError
from graph.files import Folders
from tests.graph.flow import FLOW
from tests.graph.stubs import Lab, Nodes, doc, edited, link, sizeof

BRANCHES: Nodes = {
    "1": ("Number", {"value": 1}),
    "2": ("Number", {"value": 2}),
    "left": ("Add", {"a": link("1"), "plus": 10}),
    "right": ("Add", {"a": link("2"), "plus": 10}),
}
CHOICE_SHOWS = ("Show", {"a": link("choose")})
CHOICE = doc(
    {
        **BRANCHES,
        "choose": ("Choose", {"first": True, "a": link("left"), "b": link("right")}),
        "show": CHOICE_SHOWS,
    }
)


@pytest.fixture
def lab(folders: Folders) -> Iterator[Lab]:
    """An executor with the flow's stub nodes."""
    with Lab(folders, registry=FLOW) as lab:
        yield lab


def test_only_the_branch_that_is_taken_runs(lab: Lab) -> None:
    assert lab.run(CHOICE)["show"].ui == {"value": [11]}
    assert lab.trace.ran == ["choose", "1", "left", "show"]
    assert lab.run(edited(CHOICE, "choose", first=False))["show"].ui == {"value": [12]}
    assert lab.trace.ran == ["choose", "2", "right", "show"]


def test_a_branch_that_may_still_run_is_not_told_as_cached(lab: Lab) -> None:
    lab.run(CHOICE)
    assert lab.trace.cached == []
    lab.run(CHOICE)
    assert set(lab.trace.cached) == set(CHOICE.nodes)


def test_back_and_forth_runs_nothing_again(lab: Lab) -> None:
    other = edited(CHOICE, "choose", first=False)
    lab.run(CHOICE)
    lab.run(other)
    assert lab.ran(CHOICE) == set()
    assert lab.ran(other) == set()


def test_an_edit_in_the_branch_that_is_not_taken_runs_nothing(lab: Lab) -> None:
    lab.run(CHOICE)
    assert lab.ran(edited(CHOICE, "right", plus=11)) == set()
    assert lab.ran(edited(CHOICE, "2", value=3)) == set()
    assert lab.ran(edited(CHOICE, "left", plus=11)) == {"left", "choose", "show"}


def test_edits_in_the_branch_that_is_not_taken_do_not_hide_those_in_the_other(lab: Lab) -> None:
    right = edited(CHOICE, "choose", first=False)
    lab.run(CHOICE)
    lab.run(right)
    changed = edited(CHOICE, "right", plus=11)
    assert lab.ran(changed) == set()
    assert lab.run(edited(changed, "choose", first=False))["show"].ui == {"value": [13]}
    assert lab.trace.ran == ["choose", "right", "show"]
    assert lab.ran(right) == set()


def test_whether_a_branch_is_there_is_part_of_what_a_choice_reads(lab: Lab) -> None:
    lab.run(CHOICE)
    without = doc({**BRANCHES, "choose": ("Choose", {"first": True, "a": link("left")}), "show": CHOICE_SHOWS})
    assert lab.ran(without) == {"choose", "show"}


def test_a_choice_by_what_another_asks_for_is_read_again(lab: Lab) -> None:
    """Where what is asked for first decides what is asked for then."""
    chain = doc(
        {
            "0": ("Number", {"value": 0}),
            "1": ("Number", {"value": 1}),
            "2": ("Number", {"value": 2}),
            "ask": ("AskOnward", {"which": link("0"), "a": link("1"), "b": link("2")}),
            "show": ("Show", {"a": link("ask")}),
        }
    )
    assert lab.run(chain)["show"].ui == {"value": [2]}
    assert lab.ran(edited(chain, "1", value=7)) == set()
    assert lab.run(edited(chain, "0", value=5))["show"].ui == {"value": [1]}
    assert lab.run(edited(edited(chain, "0", value=5), "1", value=7))["show"].ui == {"value": [7]}
    assert lab.ran(edited(chain, "1", value=9)) == set()


def test_equal_choices_keep_their_own_names(lab: Lab) -> None:
    """Two that read the same and differ in what they did not ask for: what follows each is found again."""
    two = doc(
        {
            **BRANCHES,
            "x": ("Choose", {"first": True, "a": link("left"), "b": link("right")}),
            "y": ("Choose", {"first": True, "a": link("left"), "b": link("2")}),
            "show": ("Show", {"a": link("x")}),
            "sum": ("Add", {"a": link("y"), "plus": 1}),
            "show too": ("Show", {"a": link("sum")}),
        }
    )
    lab.run(two)
    assert lab.ran(two) == set()
    assert lab.ran(edited(two, "right", plus=12)) == set()


def test_a_computed_number_may_decide(lab: Lab) -> None:
    chosen = doc(
        {
            **BRANCHES,
            "which": ("Number", {"value": 0}),
            "choose": ("ChooseByNumber", {"which": link("which"), "a": link("left"), "b": link("right")}),
            "show": ("Show", {"a": link("choose")}),
        }
    )
    assert lab.run(chosen)["show"].ui == {"value": [12]}
    assert "left" not in lab.trace.ran
    assert lab.ran(edited(chosen, "which", value=7)) == {"which", "choose", "1", "left", "show"}


def test_an_async_node_may_choose(lab: Lab) -> None:
    chosen = edited(CHOICE, "choose")
    chosen = doc(
        {
            **{k: (n.class_type, n.inputs) for k, n in chosen.nodes.items()},
            "choose": ("ChooseInTime", chosen.nodes["choose"].inputs),
        }
    )
    assert lab.run(chosen)["show"].ui == {"value": [11]}
    assert set(lab.trace.ran) == {"1", "left", "choose", "show"}


def test_one_of_many_runs_alone(lab: Lab) -> None:
    numbers: Nodes = {f"n{i}": ("Number", {"value": i}) for i in range(20)}
    branches = {f"branches.b{i}": link(f"n{i}") for i in range(20)}
    many = doc(
        {**numbers, "choose": ("ChooseOfMany", {"which": "b7", **branches}), "show": ("Show", {"a": link("choose")})}
    )
    assert lab.run(many)["show"].ui == {"value": [7]}
    assert lab.trace.ran == ["choose", "n7", "show"]


def test_what_the_other_branch_shares_runs_once(lab: Lab) -> None:
    shared = edited(CHOICE, "right", a=link("1"), plus=20)
    lab.run(
        doc({**{k: (n.class_type, n.inputs) for k, n in shared.nodes.items()}, "too": ("Show", {"a": link("right")})})
    )
    assert sorted(lab.trace.ran) == sorted(["1", "right", "too", "choose", "left", "show"])


def test_a_choice_behind_a_choice(lab: Lab) -> None:
    nested = doc(
        {
            **{k: (n.class_type, n.inputs) for k, n in CHOICE.nodes.items()},
            "last": ("Choose", {"first": False, "a": link("right"), "b": link("choose")}),
            "show": ("Show", {"a": link("last")}),
        }
    )
    assert lab.run(nested)["show"].ui == {"value": [11]}
    assert lab.trace.ran == ["last", "choose", "1", "left", "show"]


def test_a_choice_that_is_not_connected_blames_its_input(lab: Lab) -> None:
    alone = doc(
        {**BRANCHES, "choose": ("Choose", {"first": False, "a": link("left")}), "show": ("Show", {"a": link("choose")})}
    )
    with pytest.raises(NodeError, match="is not connected") as caught:
        lab.run(alone)
    assert caught.value.input_name == "b"


def test_branches_of_another_type_are_refused(lab: Lab) -> None:
    file = lab.folders.base / "models/checkpoints/a.safetensors"
    file.write_text("5")
    mixed = doc(
        {
            "n": ("Number", {"value": 1}),
            "switch": ("Choose", {"first": True, "a": link("n"), "b": link("n")}),
            "widgets": (
                "Widgets",
                {
                    "whole": link("switch"),
                    "real": 0.5,
                    "text": "",
                    "on": True,
                    "mode": "euler",
                    "file": "a.safetensors",
                    "a": link("switch"),
                },
            ),
        }
    )
    (error,) = lab.build(mixed).errors
    assert error.input_name == "whole"
    assert "links to NUM" in error.message


def test_a_lazy_value_survives_a_cache_that_keeps_nothing(folders: Folders) -> None:
    with Lab(folders, registry=FLOW, cache=Cache(0, sizeof)) as lab:
        twice = doc(
            {
                **{k: (n.class_type, n.inputs) for k, n in CHOICE.nodes.items()},
                "sum": ("Add", {"a": link("1"), "b": link("choose")}),
                "show": ("Show", {"a": link("sum")}),
            }
        )
        assert lab.run(twice)["show"].ui == {"value": [12]}
        assert sorted(lab.trace.ran) == sorted(["1", "choose", "left", "sum", "show"])
        assert lab.desk.alive == []
