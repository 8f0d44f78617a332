"""Lists on links, values that keep others from running, and inputs that a document decides the number of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from graph.document import Document
from graph.errors import NodeError
from graph.files import Folders
from graph.result import Blocked, Items
from tests.graph.flow import FLOW
from tests.graph.stubs import Lab, Num, doc, edited, joined, link


@pytest.fixture
def lab(folders: Folders) -> Iterator[Lab]:
    """An executor with the flow's stub nodes."""
    with Lab(folders, registry=FLOW) as lab:
        yield lab


LIST = doc(
    {
        "l": ("Numbers", {"start": 1, "count": 3}),
        "add": ("Add", {"a": link("l"), "plus": 10}),
        "s": ("Show", {"a": link("add")}),
    }
)


def test_a_node_is_called_for_each_value_and_shows_them_in_order(lab: Lab) -> None:
    assert lab.run(LIST)["s"].ui == {"value": [11, 12, 13]}
    assert lab.trace.ran == ["l", "add", "s"]
    assert lab.ran(LIST) == set()


def test_the_shorter_list_repeats_its_last(lab: Lab) -> None:
    two = joined(LIST, {"m": ("Numbers", {"start": 100, "count": 2}), "add": ("Add", {"a": link("l"), "b": link("m")})})
    assert lab.run(two)["s"].ui == {"value": [101, 103, 104]}


def test_a_list_is_taken_whole_by_a_node_that_wants_lists(lab: Lab) -> None:
    whole = joined(LIST, {"t": ("Total", {"numbers": link("add")}), "s": ("Show", {"a": link("t")})})
    assert lab.run(whole)["s"].ui == {"value": [36]}
    single = joined(whole, {"l": ("Number", {"value": 5})})
    assert lab.run(single)["s"].ui == {"value": [15]}


def test_lists_in_and_lists_out(lab: Lab) -> None:
    halves = joined(
        LIST,
        {
            "h": ("HalfOfEach", {"numbers": link("add")}),
            "s": ("Show", {"a": link("h", 0)}),
            "c": ("Show", {"a": link("h", 1)}),
        },
    )
    results = lab.run(halves)
    assert results["s"].ui == {"value": [5, 6, 6]}
    assert results["c"].ui == {"value": [3]}


def test_lists_of_several_calls_become_one(lab: Lab) -> None:
    counts = joined(
        LIST, {"c": ("Numbers", {"count": 2}), "r": ("Split", {"a": link("add")}), "s": ("Show", {"a": link("r", 1)})}
    )
    assert lab.run(counts)["s"].ui == {"value": [6, 6, 7]}


def test_an_empty_list_calls_nobody(lab: Lab) -> None:
    empty = edited(LIST, "l", count=0)
    assert lab.run(empty)["s"].ui == {}
    assert lab.run(empty, targets=["add"])["add"].values == (Items(()),)
    none = joined(empty, {"t": ("Total", {"numbers": link("add")}), "s": ("Show", {"a": link("t")})})
    assert lab.run(none)["s"].ui == {"value": [0]}


def test_a_list_of_one_is_like_its_value(lab: Lab) -> None:
    assert lab.run(edited(LIST, "l", count=1))["s"].ui == {"value": [11]}


def test_each_value_may_expand(lab: Lab) -> None:
    each = joined(LIST, {"add": ("Down", {"a": link("l"), "depth": 2})})
    assert lab.run(each)["s"].ui == {"value": [3, 4, 5]}
    assert {"add.0.sum", "add.1.sum", "add.2.sum"} <= set(lab.trace.ran)
    assert set(lab.trace.places.values()) == {"add"}


def test_a_list_decides_which_branches_run(lab: Lab) -> None:
    chosen = doc(
        {
            "which": ("Numbers", {"start": 0, "count": 2}),
            "a": ("Number", {"value": 50}),
            "b": ("Number", {"value": 60}),
            "c": ("ChooseByNumber", {"which": link("which"), "a": link("a"), "b": link("b")}),
            "s": ("Show", {"a": link("c")}),
        }
    )
    assert lab.run(chosen)["s"].ui == {"value": [60, 50]}
    assert lab.ran(edited(chosen, "which", count=1)) == {"which", "c", "s"}
    lab.cache.clear()
    assert lab.ran(edited(chosen, "which", count=1)) == {"which", "c", "b", "s"}


def test_a_failure_in_a_list_names_the_node(lab: Lab) -> None:
    lab.desk.broken = True
    with pytest.raises(NodeError) as caught:
        lab.run(joined(LIST, {"add": ("Fail", {"a": link("l")})}))
    assert caught.value.node_id == "add"


def blocking(message: str = "", above: int = 2) -> Document:
    return joined(
        LIST,
        {
            "b": ("Block", {"a": link("l"), "above": above, "message": message}),
            "add": ("Add", {"a": link("b"), "plus": 10}),
        },
    )


def test_a_blocked_value_keeps_only_its_own_readers_from_running(lab: Lab) -> None:
    assert lab.run(blocking())["s"].ui == {"value": [11, 12]}
    assert lab.trace.warned == []


def test_what_is_blocked_altogether_does_not_run(lab: Lab) -> None:
    none = joined(blocking(above=0), {"l": ("Number", {"value": 5}), "other": ("Show", {"a": link("l")})})
    results = lab.run(none)
    assert results["other"].ui == {"value": [5]}
    assert results["s"].ui == {}
    assert lab.trace.ran == ["l", "b", "other"]
    assert lab.run(none, targets=["add"])["add"].values == (Blocked(),)


def test_the_reason_is_told_once_at_the_first_reader(lab: Lab) -> None:
    lab.run(blocking("the picture is dark"))
    assert lab.trace.warned == [("add", "", "was kept from running: the picture is dark")]


def test_a_blocked_value_in_a_list_blocks_who_takes_it_whole(lab: Lab) -> None:
    whole = joined(blocking(), {"t": ("Total", {"numbers": link("b")}), "s": ("Show", {"a": link("t")})})
    assert lab.run(whole)["s"].ui == {}
    assert "t" not in lab.trace.ran


GROUP = doc(
    {
        "n": ("Number", {"value": 1}),
        "m": ("Number", {"value": 2}),
        "g": ("Gather", {"items.item0": link("n"), "items.item1": link("m")}),
        "s": ("Show", {"a": link("g")}),
    }
)


def test_a_group_takes_as_many_as_are_linked(lab: Lab) -> None:
    assert lab.run(GROUP)["s"].ui == {"value": [3]}
    more = joined(
        GROUP, {"g": ("Gather", {"items.item0": link("n"), "items.item1": link("m"), "items.item3": link("m")})}
    )
    assert lab.run(more)["s"].ui == {"value": [5]}
    assert lab.trace.ran == ["g", "s"]


def test_a_group_says_what_is_missing_and_what_is_too_much(lab: Lab) -> None:
    (error,) = lab.build(joined(GROUP, {"g": ("Gather", {"items.item1": link("n")})})).errors
    assert error.input_name == "items.item0"
    assert error.code == "required_input_missing"
    (warning,) = lab.build(
        joined(GROUP, {"g": ("Gather", {"items.item0": link("n"), "items.item9": link("n")})})
    ).warnings
    assert warning.input_name == "items.item9"


def test_the_members_of_a_group_may_be_lists(lab: Lab) -> None:
    lists = joined(GROUP, {"m": ("Numbers", {"start": 10, "count": 2})})
    assert lab.run(lists)["s"].ui == {"value": [11, 12]}


CASES = doc(
    {
        "n": ("Number", {"value": 5}),
        "c": ("Calculate", {"how": "times", "how.times": 3, "a": link("n")}),
        "s": ("Show", {"a": link("c")}),
    }
)


def test_a_choice_brings_its_own_inputs(lab: Lab) -> None:
    assert lab.run(CASES)["s"].ui == {"value": [15]}
    plus = joined(CASES, {"c": ("Calculate", {"how": "plus", "how.plus": 3, "how.also": link("n"), "a": link("n")})})
    assert lab.run(plus)["s"].ui == {"value": [13]}


def test_inputs_of_another_choice_are_told_and_those_of_this_one_are_asked_for(lab: Lab) -> None:
    graph = lab.build(joined(CASES, {"c": ("Calculate", {"how": "plus", "how.times": 3, "a": link("n")})}))
    assert [(error.input_name, error.code) for error in graph.errors] == [("how.plus", "required_input_missing")]
    graph = lab.build(edited(CASES, "c", **{"how.times": 30}))
    assert [(error.input_name, error.code) for error in graph.errors] == [("how.times", "value_bigger_than_max")]
    graph = lab.build(edited(CASES, "c", how="minus"))
    assert ("how", "value_not_in_list") in [(error.input_name, error.code) for error in graph.errors]


def test_a_choice_of_inputs_cannot_be_linked(lab: Lab) -> None:
    graph = lab.build(edited(CASES, "c", how=link("n")))
    assert any(error.input_name == "how" for error in graph.errors)


def test_numbers_of_a_list_are_values_like_others(lab: Lab) -> None:
    assert lab.run(LIST, targets=["l"])["l"].values == (Items((Num(1), Num(2), Num(3))),)
