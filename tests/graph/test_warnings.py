"""What a node leaves out is told, by the run that makes the result and by those that find it at hand."""

from __future__ import annotations

import pytest

from graph.errors import NodeError
from graph.files import Folders
from tests.graph.stubs import Lab, doc, edited, link

HALF = ("w", "a", "of 4 only half is used")
MORE = ("v", "", "the file has more")
DOCUMENT = doc(
    {
        "n": ("Number", {"value": 4}),
        "w": ("Warn", {"a": link("n")}),
        "v": ("WarnOnIo", {"a": link("w")}),
        "s": ("Show", {"a": link("v")}),
    }
)


def test_a_warning_is_told_once_by_the_run_that_calls_the_node(folders: Folders) -> None:
    with Lab(folders) as lab:
        lab.run(DOCUMENT)
        assert lab.trace.warned == [HALF, MORE]


def test_a_result_at_hand_keeps_its_warnings(folders: Folders) -> None:
    with Lab(folders) as lab:
        lab.run(DOCUMENT)
        assert lab.ran(DOCUMENT) == set()
        assert sorted(lab.trace.warned) == sorted([HALF, MORE])
        more = edited(DOCUMENT, "s", a=link("w"))  # the io node is not asked for any more
        assert lab.ran(more) == {"s"}
        assert lab.trace.warned == [HALF]


def test_every_node_of_an_equal_result_is_told_of(folders: Folders) -> None:
    twins = doc(
        {
            **{key: (node.class_type, node.inputs) for key, node in DOCUMENT.nodes.items()},
            "w2": ("Warn", {"a": link("n")}),
            "s2": ("Show", {"a": link("w2")}),
        }
    )
    with Lab(folders) as lab:
        lab.run(twins)
        assert sorted(lab.trace.warned) == sorted([HALF, MORE, ("w2", *HALF[1:])])


def test_a_node_that_fails_still_says_what_it_left_out(folders: Folders) -> None:
    with Lab(folders) as lab:
        lab.desk.broken = True
        with pytest.raises(NodeError):
            lab.run(DOCUMENT)
        assert lab.trace.warned == [HALF]


def test_what_the_workflow_itself_has_too_much_is_told_by_the_run(folders: Folders) -> None:
    with Lab(folders) as lab:
        lab.run(edited(DOCUMENT, "n", colour="red"))
        [(node_id, input_name, message), *_] = lab.trace.warned
        assert (node_id, input_name) == ("n", "colour")
        assert "is no input of this node" in message


def test_dropped_results_take_their_warnings_with_them(folders: Folders) -> None:
    with Lab(folders) as lab:
        lab.run(DOCUMENT)
        assert len(lab.cache.telling) == 2
        lab.cache.clear()
        assert not lab.cache.telling
