"""A node may put a graph in its place: what runs in it, what it is called, and what is cached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from graph.build import Graph
from graph.cache import Cache
from graph.errors import GraphError, NodeError
from graph.events import NodeFinished, NodeStarted, RunFailed
from graph.files import Folders
from tests.graph.flow import FLOW
from tests.graph.stubs import Lab, doc, edited, joined, link, sizeof

TWICE = doc(
    {
        "n": ("Number", {"value": 1}),
        "t": ("Twice", {"a": link("n"), "plus": 5}),
        "show": ("Show", {"a": link("t")}),
    }
)


@pytest.fixture
def lab(folders: Folders) -> Iterator[Lab]:
    """An executor with the flow's stub nodes."""
    with Lab(folders, registry=FLOW) as lab:
        yield lab


def test_what_a_node_expands_to_runs_in_its_place(lab: Lab) -> None:
    assert lab.run(TWICE)["show"].ui == {"value": [11]}
    assert lab.trace.ran == ["t", "n", "t.first", "t.second", "show"]


def test_the_visible_node_stands_for_the_inner_ones(lab: Lab) -> None:
    lab.run(TWICE)
    assert lab.trace.places == {"t.first": "t", "t.second": "t"}
    assert [event.node_id for event in lab.trace.events if isinstance(event, NodeFinished)][-2:] == ["t", "show"]


def test_an_expanded_result_is_at_hand_like_others(lab: Lab) -> None:
    lab.run(TWICE)
    assert lab.ran(TWICE) == set()
    assert lab.trace.cached == ["n", "t", "show"]


def test_inner_results_are_shared_by_how_they_are_made(lab: Lab) -> None:
    lab.run(TWICE)
    outside = doc(
        {"x": ("Number", {"value": 1}), "y": ("Add", {"a": link("x"), "plus": 5}), "z": ("Show", {"a": link("y")})}
    )
    assert lab.ran(outside) == {"z"}
    assert lab.ran(edited(TWICE, "t", plus=6)) == {"t", "t.first", "t.second", "show"}


def test_expansions_inside_expansions(lab: Lab) -> None:
    deep = doc(
        {"n": ("Number", {"value": 1}), "d": ("Down", {"a": link("n"), "depth": 3}), "s": ("Show", {"a": link("d")})}
    )
    assert lab.run(deep)["s"].ui == {"value": [4]}
    assert lab.trace.ran[:4] == ["n", "d", "d.sum", "d.down"]
    assert set(lab.trace.places.values()) == {"d"}
    assert lab.ran(edited(deep, "d", depth=4)) >= {"d", "s"}


def test_a_thousand_levels_are_no_deeper_on_the_stack(lab: Lab) -> None:
    deep = doc(
        {"n": ("Number", {"value": 1}), "d": ("Down", {"a": link("n"), "depth": 1500}), "s": ("Show", {"a": link("d")})}
    )
    assert lab.run(deep)["s"].ui == {"value": [1501]}


REPEAT = doc(
    {
        "n": ("Number", {"value": 1}),
        "r": ("Repeat", {"a": link("n"), "times": 4, "show": False}),
        "s": ("Show", {"a": link("r")}),
    }
)


def test_a_node_may_expand_again_and_again(lab: Lab) -> None:
    assert lab.run(REPEAT)["s"].ui == {"value": [5]}
    assert lab.trace.ran == ["r", "n", *["r.sum"] * 4, "s"]
    assert lab.ran(REPEAT) == set()


def test_a_longer_loop_finds_the_rounds_of_a_shorter_one(lab: Lab) -> None:
    lab.run(REPEAT)
    assert lab.run(edited(REPEAT, "r", times=6))["s"].ui == {"value": [7]}
    assert lab.trace.ran == ["r", "r.sum", "r.sum", "s"]


def test_what_shows_something_inside_runs_each_time(lab: Lab) -> None:
    assert lab.run(edited(REPEAT, "r", show=True))["s"].ui == {"value": [5]}
    shown = [
        event.ui for event in lab.trace.events if isinstance(event, NodeFinished) and event.display_id and event.ui
    ]
    assert shown == [{"value": [i]} for i in (2, 3, 4, 5)]


def shown_inside(lab: Lab) -> list[tuple[str, str, object]]:
    """What nodes of expansions showed in the last run: their ids, the visible nodes, and what."""
    ended = (event for event in lab.trace.events if isinstance(event, NodeFinished))
    return [(event.node_id, event.display_id, event.ui["value"][0]) for event in ended if event.display_id and event.ui]


def test_what_shows_something_inside_is_at_hand_like_others_and_told_again(lab: Lab) -> None:
    showing = edited(REPEAT, "r", show=True)
    lab.run(showing)
    told = [("r.show", "r", i) for i in (2, 3, 4, 5)]
    assert shown_inside(lab) == told
    assert lab.ran(showing) == set()
    assert shown_inside(lab) == told
    longer = joined(showing, {"s": ("Add", {"a": link("r"), "plus": 1}), "t": ("Show", {"a": link("s")})})
    assert lab.ran(longer) == {"s", "t"}
    assert shown_inside(lab) == told
    twins = joined(showing, {"r2": ("Repeat", showing.nodes["r"].inputs), "s2": ("Add", {"a": link("r2"), "plus": 7})})
    assert lab.ran(joined(twins, {"t": ("Show", {"a": link("s2")})})) == {"s2", "t"}
    assert shown_inside(lab) == [*told, *((f"r2.{inner[2:]}", "r2", i) for inner, _, i in told)]


def test_what_equal_expansions_show_is_shown_at_each(lab: Lab) -> None:
    two = joined(edited(REPEAT, "r", show=True), {"r2": ("Repeat", edited(REPEAT, "r", show=True).nodes["r"].inputs)})
    lab.run(joined(two, {"s2": ("Add", {"a": link("r2"), "plus": 7}), "t": ("Show", {"a": link("s2")})}))
    assert [told[1] for told in shown_inside(lab)].count("r2") == 4


def test_what_shows_something_deep_inside_is_told_again(lab: Lab) -> None:
    """A node that expands to one that expands and shows, with a plain one behind it."""
    deep = doc(
        {
            "n": ("Number", {"value": 1}),
            "w": ("Wrapped", {"a": link("n"), "times": 2}),
            "choose": ("Choose", {"first": True, "a": link("w")}),
            "s": ("Show", {"a": link("choose")}),
        }
    )
    lab.run(deep)
    told = [("w.inner.show", "w", 2), ("w.inner.show", "w", 3)]
    assert shown_inside(lab) == told
    assert lab.ran(deep) == set()
    again = joined(deep, {"choose": ("Choose", {"first": True, "a": link("w"), "b": link("n")})})
    assert lab.ran(again) == {"choose", "s"}
    assert shown_inside(lab) == told


def test_files_that_were_written_inside_and_are_gone_are_written_again(lab: Lab) -> None:
    writing = doc({"n": ("Number", {"value": 1}), "k": ("Keep", {"a": link("n")}), "s": ("Show", {"a": link("k")})})
    lab.run(writing)
    assert lab.ran(writing) == set()
    (lab.folders.output_dir / "kept.txt").unlink()
    more = joined(writing, {"sum": ("Add", {"a": link("k"), "plus": 1}), "s": ("Show", {"a": link("sum")})})
    assert lab.ran(more) == {"k", "k.write", "sum", "s"}
    assert (lab.folders.output_dir / "kept.txt").read_text() == "1"


def test_ten_thousand_rounds_leave_nothing_behind(folders: Folders) -> None:
    with Lab(folders, registry=FLOW, cache=Cache(0, sizeof)) as lab:
        rounds = 10_000
        longest = 0
        alive = 0

        def look(event: object) -> None:
            nonlocal longest, alive
            if isinstance(event, NodeStarted):
                longest = max(longest, len(event.node_id))
                if event.node_id == "r.sum":
                    lab.desk.made[:] = [ref for ref in lab.desk.made if ref() is not None]
                    alive = max(alive, len(lab.desk.made))

        run = lab.start(edited(REPEAT, "r", times=rounds))
        results = lab.executor.execute(type(run)(run.id, run.document, look, run.cancel))
        assert results["s"].ui == {"value": [rounds + 1]}
        assert longest == len("r.sum")
        assert alive <= 3


def test_a_link_to_a_node_around_it(lab: Lab) -> None:
    around = doc(
        {
            "n": ("Number", {"value": 7}),
            "o": ("Around", {"outer": "n"}),
            "s": ("Show", {"a": link("o")}),
            "t": ("Show", {"a": link("n")}),
        }
    )
    assert lab.run(around)["s"].ui == {"value": [7]}
    assert lab.trace.ran.count("n") == 1


def test_a_cycle_made_on_the_way_is_the_fault_of_who_expanded(lab: Lab) -> None:
    knot = doc(
        {
            "n": ("Number", {"value": 7}),
            "o": ("Around", {"outer": "after", "a": link("n")}),
            "after": ("Add", {"a": link("o")}),
            "s": ("Show", {"a": link("after")}),
        }
    )
    with pytest.raises(NodeError, match="waits for this node itself") as caught:
        lab.run(knot)
    assert caught.value.node_id == "o"
    assert lab.run(TWICE)["show"].ui == {"value": [11]}


def test_an_expansion_that_cannot_run_is_the_fault_of_who_expanded(lab: Lab) -> None:
    lost = doc({"o": ("Around", {"outer": "nowhere"}), "s": ("Show", {"a": link("o")})})
    with pytest.raises(NodeError, match=r"node sum \(Add\), input 'a': links to node 'nowhere'") as caught:
        lab.run(lost)
    assert caught.value.node_id == "o"


def test_a_failure_inside_says_where_it_shows(lab: Lab) -> None:
    lab.desk.broken = True
    failing = joined(TWICE, {"f": ("Fail", {"a": link("t")}), "show": ("Show", {"a": link("f")})})
    with pytest.raises(NodeError):
        lab.run(failing)
    (closing,) = lab.trace.closing
    assert isinstance(closing, RunFailed)
    assert closing.display_id == ""


def test_rules_hold_inside_too(folders: Folders) -> None:
    def no_shows(graph: Graph) -> Iterable[GraphError]:
        for node_id in graph.order:
            if graph.nodes[node_id].spec.type == "Show" and node_id == "show":
                yield GraphError("forbidden", "nobody may look", node_id, "Show")

    with Lab(folders, registry=FLOW, rules=[no_shows]) as lab:
        assert lab.run(REPEAT)["s"].ui == {"value": [5]}
        with pytest.raises(NodeError, match="nobody may look") as caught:
            lab.run(edited(REPEAT, "r", show=True))
        assert caught.value.node_id == "r"


def test_nodes_that_are_not_idempotent_run_for_each_that_stands_for_them(lab: Lab) -> None:
    twins = doc(
        {
            "a": ("Unique", {"value": 1}),
            "b": ("Unique", {"value": 1}),
            "sum": ("Add", {"a": link("a"), "b": link("b")}),
            "s": ("Show", {"a": link("sum")}),
        }
    )
    assert lab.ran(twins) == {"a", "b", "sum", "s"}
    assert lab.ran(twins) == set()
