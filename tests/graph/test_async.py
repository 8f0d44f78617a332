"""Async nodes run beside each other, end in time, and fail like others."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from graph.context import Cancel
from graph.errors import Interrupted, NodeError
from graph.events import RunInterrupted
from graph.files import Folders
from tests.graph.flow import FLOW
from tests.graph.stubs import TIMEOUT, Lab, Nodes, doc, joined, link


@pytest.fixture
def lab(folders: Folders) -> Iterator[Lab]:
    """An executor with the flow's stub nodes."""
    with Lab(folders, registry=FLOW) as lab:
        yield lab


ONE = doc({"n": ("Number", {"value": 1}), "w": ("Meet", {"a": link("n"), "of": 1}), "s": ("Show", {"a": link("w")})})


def test_an_async_node_runs_and_is_then_at_hand(lab: Lab) -> None:
    assert lab.run(ONE)["s"].ui == {"value": [1]}
    assert lab.trace.ran == ["n", "w", "s"]
    assert lab.desk.threads["w"] == "graph-async"
    assert lab.ran(ONE) == set()


def test_async_nodes_wait_for_each_other(lab: Lab) -> None:
    nodes: Nodes = {f"n{i}": ("Number", {"value": i}) for i in range(10)}
    waits: Nodes = {f"w{i}": ("Meet", {"a": link(f"n{i}"), "of": 10}) for i in range(10)}
    shows: Nodes = {f"s{i}": ("Show", {"a": link(f"w{i}")}) for i in range(10)}
    results = lab.run(doc({**nodes, **waits, **shows}))
    assert [results[f"s{i}"].ui["value"] for i in range(10)] == [[i] for i in range(10)]


def test_the_values_of_a_list_wait_for_each_other_too(lab: Lab) -> None:
    listed = joined(ONE, {"n": ("Numbers", {"count": 5}), "w": ("Meet", {"a": link("n"), "of": 5})})
    assert lab.run(listed)["s"].ui == {"value": [0, 1, 2, 3, 4]}


def test_a_time_limit_ends_a_node(lab: Lab) -> None:
    with pytest.raises(NodeError, match=r"took longer than its limit of 0\.01 s"):
        lab.run(joined(ONE, {"w": ("Sleep", {"a": link("n")})}))
    assert lab.run(ONE)["s"].ui == {"value": [1]}


def test_a_failure_names_its_node(lab: Lab) -> None:
    with pytest.raises(NodeError, match=r"node w \(FailInTime\): RuntimeError: out of paper"):
        lab.run(joined(ONE, {"w": ("FailInTime", {"a": link("n")})}))
    with pytest.raises(NodeError, match="out of paper"):
        lab.run(joined(ONE, {"n": ("Numbers", {}), "w": ("FailInTime", {"a": link("n")})}))


def test_cancelling_ends_a_node_that_waits(lab: Lab) -> None:
    cancel = Cancel()

    def press() -> None:
        assert lab.desk.entered.wait(TIMEOUT)
        cancel.set()

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(Interrupted):
        lab.executor.execute(lab.start(joined(ONE, {"w": ("Wait", {"a": link("n")})}), cancel))
    finger.join()
    assert lab.trace.closing == [RunInterrupted("run", "w")]


def test_the_limit_for_all_nodes_holds_for_async_ones(folders: Folders) -> None:
    with (
        Lab(folders, registry=FLOW, node_timeout=0.01) as lab,
        pytest.raises(NodeError, match="took longer than its limit"),
    ):
        lab.run(joined(ONE, {"w": ("Wait", {"a": link("n")})}))


def test_no_thread_is_left_behind(folders: Folders) -> None:
    before = set(threading.enumerate())
    with Lab(folders, registry=FLOW) as lab:
        lab.run(ONE)
    assert set(threading.enumerate()) == before
