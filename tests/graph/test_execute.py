"""Which nodes run, and how a run ends."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from graph.cache import Cache
from graph.context import Cancel, Run
from graph.document import Document
from graph.errors import GraphErrors, Interrupted, NodeError
from graph.events import (
    Event,
    NodeFinished,
    NodesCached,
    NodeStarted,
    Progress,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
)
from graph.files import Folders
from graph.live import Results
from graph.result import Outputs
from tests.graph.stubs import TIMEOUT, Lab, Nodes, Num, Trace, doc, edited, link, sizeof

SUM = doc(
    {
        "1": ("Number", {"value": 3}),
        "2": ("Number", {"value": 4}),
        "3": ("Add", {"a": link("1"), "b": link("2")}),
        "4": ("Show", {"a": link("3")}),
    }
)


def test_a_workflow_runs_and_shows_its_result(lab: Lab) -> None:
    assert lab.run(SUM)["4"].ui == {"value": [7]}
    assert lab.trace.ran == ["1", "2", "3", "4"]


def test_the_same_again_runs_nothing_but_shows_the_same(lab: Lab) -> None:
    first = lab.run(SUM)
    assert lab.run(SUM) == first
    assert lab.trace.ran == []
    assert lab.trace.cached == ["1", "2", "3", "4"]
    assert lab.trace.shown == {"4": {"value": [7]}}


def test_a_changed_input_runs_what_it_reaches(lab: Lab) -> None:
    lab.run(SUM)
    assert lab.ran(edited(SUM, "2", value=5)) == {"2", "3", "4"}
    assert lab.ran(SUM) == set()


def test_a_node_that_no_target_needs_never_runs(lab: Lab) -> None:
    aside = Document({**SUM.nodes, **doc({"9": ("Add", {"a": link("1"), "plus": 9})}).nodes})
    assert lab.ran(aside) == {"1", "2", "3", "4"}


def test_any_node_can_be_the_target(lab: Lab) -> None:
    assert lab.run(SUM, targets=["3"])["3"].values == (Num(7),)
    assert lab.trace.ran == ["1", "2", "3"]


def test_node_ids_and_titles_do_not_matter(lab: Lab) -> None:
    lab.run(SUM)
    renamed = doc(
        {
            "w": ("Show", {"a": link("z")}),
            "x": ("Number", {"value": 3}),
            "y": ("Number", {"value": 4}),
            "z": ("Add", {"a": link("x"), "b": link("y")}),
        }
    )
    assert lab.ran(renamed) == set()


def test_two_workflows_share_what_they_have_in_common(lab: Lab) -> None:
    lab.run(SUM)
    other = Document({**SUM.nodes, **doc({"4": ("Write", {"a": link("3"), "name": "sum.txt"})}).nodes})
    assert lab.ran(other) == {"4"}


def test_nodes_that_are_equal_run_once(lab: Lab) -> None:
    twins = doc(
        {
            "1": ("Number", {"value": 3}),
            "2": ("Number", {"value": 3}),
            "3": ("Add", {"a": link("1"), "b": link("2")}),
            "4": ("Show", {"a": link("3")}),
            "5": ("Show", {"a": link("3")}),
        }
    )
    results = lab.run(twins)
    assert results["4"].ui == results["5"].ui == {"value": [6]}
    assert lab.trace.ran == ["1", "3", "4"]
    assert lab.trace.shown.keys() == {"4", "5"}


def test_outputs_are_told_apart_by_their_slot(lab: Lab) -> None:
    halves = doc(
        {
            "1": ("Number", {"value": 7}),
            "2": ("Split", {"a": link("1")}),
            "3": ("Show", {"a": link("2", 0)}),
            "4": ("Show", {"a": link("2", 1)}),
        }
    )
    results = lab.run(halves)
    assert [results[target].ui for target in ("3", "4")] == [{"value": [3]}, {"value": [4]}]


def test_a_replaced_file_is_noticed_under_the_same_name(lab: Lab) -> None:
    file = lab.folders.base / "models/checkpoints/a.safetensors"
    file.write_text("5")
    loading = doc({"1": ("ReadFile", {"file": "a.safetensors"}), "2": ("Show", {"a": link("1")})})
    assert lab.run(loading)["2"].ui == {"value": [5]}
    assert lab.ran(loading) == set()
    file.write_text("6")  # as many bytes, moments later
    assert lab.run(loading)["2"].ui == {"value": [6]}
    assert lab.trace.ran == ["1", "2"]


def test_a_renamed_file_is_the_same_file(lab: Lab) -> None:
    file = lab.folders.base / "models/checkpoints/a.safetensors"
    file.write_text("5")
    loading = doc({"1": ("ReadFile", {"file": "a.safetensors"}), "2": ("Show", {"a": link("1")})})
    lab.run(loading)
    file.rename(file.with_name("b.safetensors"))
    assert lab.ran(edited(loading, "1", file="b.safetensors")) == set()


def test_a_file_that_vanished_since_building_is_a_problem_of_its_node(lab: Lab) -> None:
    file = lab.folders.base / "models/checkpoints/a.safetensors"
    file.write_text("5")
    loading = doc({"1": ("ReadFile", {"file": "a.safetensors"}), "2": ("Show", {"a": link("1")})})
    graph = lab.build(loading)
    file.unlink()
    with pytest.raises(GraphErrors, match=r"node 1 \(ReadFile\): cannot read"):
        lab.executor.execute(lab.start(loading), graph)


def test_a_saved_file_that_was_deleted_is_saved_again(lab: Lab) -> None:
    saving = doc({"1": ("Number", {"value": 5}), "2": ("Write", {"a": link("1"), "name": "n.txt"})})
    lab.run(saving)
    assert lab.ran(saving) == set()
    (lab.folders.output_dir / "n.txt").unlink()
    assert lab.ran(saving) == {"2"}
    assert (lab.folders.output_dir / "n.txt").read_text() == "5"


def test_another_output_directory_gets_its_own_files(lab: Lab, folders: Folders) -> None:
    saving = doc({"1": ("Number", {"value": 5}), "2": ("Write", {"a": link("1"), "name": "n.txt"})})
    lab.run(saving)
    elsewhere = Folders.standard(folders.base, output_dir=folders.base / "elsewhere")
    with Lab(elsewhere, cache=lab.cache) as other:
        assert other.ran(saving) == {"2"}


def test_the_salt_is_part_of_every_name(lab: Lab, folders: Folders) -> None:
    lab.run(SUM)
    with Lab(folders, cache=lab.cache, salt="bf16") as other:
        assert other.ran(SUM) == {"1", "2", "3", "4"}


def test_events_come_in_order_and_end_once(lab: Lab) -> None:
    counting = doc(
        {
            "1": ("Number", {"value": 1}),
            "2": ("Count", {"a": link("1"), "to": 2}),
            "3": ("Show", {"a": link("2")}),
        }
    )
    lab.run(counting)
    kinds = [type(event) for event in lab.trace.events]
    assert kinds == [
        RunStarted,
        NodesCached,
        *(NodeStarted, NodeFinished),
        *(NodeStarted, Progress, Progress, NodeFinished),
        *(NodeStarted, NodeFinished),
        RunFinished,
    ]
    started = lab.trace.events[0]
    assert isinstance(started, RunStarted)
    assert started.nodes == ("1", "2", "3")
    steps = [event for event in lab.trace.events if isinstance(event, Progress)]
    assert [(step.done, step.total) for step in steps] == [(1, 2), (2, 2)]
    assert steps[0].preview is not None
    assert steps[0].preview() == "picture"


def test_a_sink_that_fails_does_not_break_its_run(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    def sink(event: Event) -> None:
        raise ValueError("nobody listens")

    counting = doc({"1": ("Number", {"value": 2}), "2": ("Count", {"a": link("1")}), "3": ("Show", {"a": link("2")})})
    results = lab.executor.execute(Run("deaf", counting, sink))
    assert results["3"].ui == {"value": [2]}
    assert "the event sink of run deaf failed on RunStarted" in caplog.text


FAILING = doc(
    {
        "1": ("Number", {"value": 3}),
        "2": ("Add", {"a": link("1"), "plus": 1}),
        "3": ("Fail", {"a": link("2")}),
        "4": ("Show", {"a": link("3")}),
    }
)


def test_a_failure_names_its_node_and_inputs(lab: Lab) -> None:
    lab.desk.broken = True
    with pytest.raises(NodeError) as caught:
        lab.run(FAILING)
    assert str(caught.value) == "node 3 (Fail): RuntimeError: out of paper [a=Num(value=4)]"
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert lab.trace.closing == [RunFailed("run", caught.value)]


def test_a_node_may_blame_one_input(lab: Lab) -> None:
    blaming = doc({"1": ("Number", {"value": 3}), "2": ("Blame", {"a": link("1"), "steps": 9})})
    with pytest.raises(NodeError) as caught:
        lab.run(blaming, targets=["2"])
    assert caught.value.input_name == "steps"
    assert str(caught.value).startswith("node 2 (Blame), input 'steps': is more than the schedule has")


def test_after_a_failure_the_next_run_goes_on_from_the_last_good_node(lab: Lab) -> None:
    lab.desk.broken = True
    with pytest.raises(NodeError):
        lab.run(FAILING)
    lab.desk.broken = False
    assert lab.run(FAILING)["4"].ui == {"value": [4]}
    assert lab.trace.ran == ["3", "4"]


def test_a_failure_shows_where_it_happened(lab: Lab) -> None:
    lab.desk.broken = True
    with pytest.raises(NodeError) as caught:
        lab.run(FAILING)
    shown = "".join(traceback.format_exception(caught.value))
    assert "in fail" in shown
    assert "out of paper" in shown


def test_a_node_that_exits_fails_like_any_other(lab: Lab) -> None:
    def leave() -> None:
        raise SystemExit(3)

    lab.desk.at_watch = leave
    leaving = doc({"1": ("Number", {"value": 3}), "2": ("Watch", {"a": link("1")})})
    with pytest.raises(NodeError, match="SystemExit"):
        lab.run(leaving, targets=["2"])
    assert lab.run(SUM)["4"].ui == {"value": [7]}


def test_good_targets_run_beside_a_bad_one(lab: Lab) -> None:
    half = Document({**SUM.nodes, **doc({"8": ("Add", {}), "9": ("Show", {"a": link("8")})}).nodes})
    assert lab.run(half).keys() == {"4"}
    with pytest.raises(GraphErrors, match="input 'a': is missing"):
        lab.executor.execute(lab.start(half), lab.build(half, targets=["9"]))


def test_a_value_is_let_go_when_its_last_reader_has_run(folders: Folders) -> None:
    chain = doc(
        {
            "1": ("Number", {"value": 1}),
            "2": ("Add", {"a": link("1"), "plus": 1}),
            "3": ("Watch", {"a": link("2")}),
            "4": ("Show", {"a": link("3")}),
        }
    )
    with Lab(folders, cache=Cache(0, sizeof)) as lab:
        seen: list[int] = []
        lab.desk.at_watch = lambda: seen.extend(lab.desk.alive)
        lab.run(chain)
        assert seen == [2]
        assert lab.desk.alive == []


@pytest.mark.parametrize("kind", ["Fail", "FailOnIo"])
def test_a_failure_keeps_no_values_alive(folders: Folders, kind: str) -> None:
    failing = Document({**FAILING.nodes, **doc({"3": (kind, {"a": link("2")})}).nodes})
    with Lab(folders, cache=Cache(0, sizeof)) as lab:
        lab.desk.broken = True
        with pytest.raises(NodeError) as caught:
            lab.run(failing)
        assert lab.desk.alive == []
        assert caught.value.inputs == {"a": "Num(value=4)"}


def test_eviction_cannot_break_a_run(folders: Folders) -> None:
    with Lab(folders, cache=Cache(0, sizeof)) as lab:
        assert lab.run(SUM)["4"].ui == {"value": [7]}
        assert lab.ran(SUM) == {"1", "2", "3", "4"}


def test_the_scope_wraps_every_call_in_every_lane(folders: Folders) -> None:
    inside: list[str] = []

    @contextmanager
    def scope() -> Iterator[None]:
        inside.append(threading.current_thread().name)
        yield

    with Lab(folders, scope=scope) as lab:
        lab.desk.opened.set()
        lab.run(DOOR)
        assert lab.desk.threads["1"] == threading.current_thread().name
        assert lab.desk.threads["2"].startswith("graph-io")
    assert inside == [lab.desk.threads["1"], lab.desk.threads["2"], lab.desk.threads["1"]]


DOOR = doc(
    {
        "1": ("Number", {"value": 1}),
        "2": ("Door", {"a": link("1")}),
        "3": ("Show", {"a": link("2")}),
    }
)


def test_io_is_under_way_while_the_loop_computes(lab: Lab) -> None:
    both = Document({**DOOR.nodes, **doc({"5": ("Watch", {"a": link("1")}), "6": ("Show", {"a": link("5")})}).nodes})

    def let_in() -> None:
        assert lab.desk.entered.wait(TIMEOUT)
        lab.desk.opened.set()

    lab.desk.at_watch = let_in
    lab.run(both)
    assert lab.trace.ran[:3] == ["1", "2", "5"]
    assert lab.trace.closing == [RunFinished("run")]


def test_a_younger_run_computes_while_the_older_waits_for_io(lab: Lab) -> None:
    older, younger = Trace(), Trace()
    future = lab.executor.submit(Run("older", DOOR, older))

    def check() -> None:
        assert older.closing == []
        lab.desk.opened.set()

    lab.desk.at_watch = check
    watching = doc({"1": ("Number", {"value": 2}), "2": ("Watch", {"a": link("1")}), "3": ("Show", {"a": link("2")})})
    lab.executor.execute(Run("younger", watching, younger))
    assert finish(lab, future) is None
    assert younger.ran == ["1", "2", "3"]
    assert older.ran == ["1", "2", "3"]
    assert older.closing == [RunFinished("older")]


def test_a_run_waits_for_what_another_is_making_already(lab: Lab) -> None:
    first, second = Trace(), Trace()

    def sink(event: Event) -> None:
        second(event)
        if isinstance(event, NodesCached):
            lab.desk.opened.set()

    lab.executor.submit(Run("first", DOOR, first))
    lab.executor.execute(Run("second", DOOR, sink))
    assert first.ran == ["1", "2", "3"]
    assert second.ran == []
    assert second.cached == ["1"]
    assert second.shown == {"3": {"value": [1]}}


def test_cancelling_wakes_a_loop_that_waits_for_io(lab: Lab) -> None:
    cancel = Cancel()
    canceller = cancelling(lab, cancel)
    with pytest.raises(Interrupted):
        lab.executor.execute(lab.start(DOOR, cancel))
    canceller.join()
    assert lab.trace.closing == [RunInterrupted("run", "2")]
    assert lab.ran(DOOR) == {"2", "3"}


def test_io_that_has_not_begun_is_never_begun_once_cancelled(lab: Lab) -> None:
    cancel = Cancel()
    numbers: Nodes = {f"n{i}": ("Number", {"value": i}) for i in range(6)}
    doors: Nodes = {f"d{i}": ("Door", {"a": link(f"n{i}")}) for i in range(6)}
    canceller = cancelling(lab, cancel)
    many = doc({**numbers, **doors})
    with pytest.raises(Interrupted):
        lab.executor.execute(lab.start(many, cancel), lab.build(many, targets=list(doors)))
    canceller.join()
    assert len(doors.keys() & lab.desk.threads.keys()) <= 2
    assert len(lab.trace.closing) == 1


def test_progress_is_where_a_node_stops(lab: Lab) -> None:
    cancel = Cancel()
    counting = doc({"1": ("Number", {"value": 1}), "2": ("Count", {"a": link("1"), "to": 9})})
    trace = Trace()

    def sink(event: Event) -> None:
        trace(event)
        if isinstance(event, Progress) and event.done == 4:
            cancel.set()

    with pytest.raises(Interrupted):
        lab.executor.execute(Run("run", counting, sink, cancel), lab.build(counting, targets=["2"]))
    assert len([event for event in trace.events if isinstance(event, Progress)]) == 4
    assert trace.closing == [RunInterrupted("run", "2")]


def test_cancelling_one_run_leaves_the_other_alone(lab: Lab) -> None:
    cancel, stopped = Cancel(), Trace()
    future = lab.executor.submit(Run("stopped", DOOR, stopped, cancel))
    cancel.set()
    assert lab.run(SUM)["4"].ui == {"value": [7]}
    lab.desk.opened.set()
    assert isinstance(finish(lab, future), Interrupted)
    assert stopped.closing == [RunInterrupted("stopped")]


def test_a_run_that_is_asked_to_stop_ends_if_it_only_writes(lab: Lab) -> None:
    cancel, trace = Cancel(), Trace()
    writing = doc({"1": ("Number", {"value": 1}), "2": ("Promise", {"a": link("1")})})
    future = lab.executor.submit(Run("writing", writing, trace, cancel))
    lab.run(SUM)
    cancel.ask()
    lab.desk.promised.set_result(Outputs(ui={"value": [1]}))
    assert finish(lab, future) is None
    assert trace.closing == [RunFinished("writing")]


def test_a_run_that_is_asked_to_stop_stops_if_something_is_to_be_made(lab: Lab) -> None:
    cancel, trace = Cancel(), Trace()
    future = lab.executor.submit(Run("making", DOOR, trace, cancel))
    lab.run(SUM)
    cancel.ask()
    assert cancel.is_set
    lab.desk.opened.set()
    assert isinstance(finish(lab, future), Interrupted)


def test_a_run_asked_to_stop_before_it_is_submitted_runs_nothing(lab: Lab) -> None:
    cancel = Cancel()
    cancel.ask()
    with pytest.raises(Interrupted):
        lab.executor.execute(lab.start(SUM, cancel))
    assert lab.trace.events == [RunInterrupted("run")]


def test_a_run_cancelled_beforehand_runs_nothing(lab: Lab) -> None:
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Interrupted):
        lab.executor.execute(lab.start(SUM, cancel))
    assert lab.trace.events == [RunInterrupted("run")]


@pytest.mark.skipif(os.name == "nt", reason="raises a POSIX signal")
def test_ctrl_c_handled_as_a_cancel_ends_a_wait_for_io(lab: Lab) -> None:
    cancel, handled = Cancel(), threading.Event()

    def press() -> None:
        assert lab.desk.entered.wait(TIMEOUT)
        os.kill(os.getpid(), signal.SIGINT)
        assert handled.wait(TIMEOUT)
        lab.desk.opened.set()

    def handle(*_: object) -> None:
        cancel.set()
        handled.set()

    before = signal.signal(signal.SIGINT, handle)
    finger = threading.Thread(target=press)
    try:
        finger.start()
        with pytest.raises(Interrupted):
            lab.executor.execute(lab.start(DOOR, cancel))
    finally:
        finger.join()
        signal.signal(signal.SIGINT, before)
    assert lab.trace.closing == [RunInterrupted("run", "2")]


def test_an_unhandled_ctrl_c_does_not_wait_for_io(lab: Lab) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    lab.desk.at_watch = press
    both = Document({**DOOR.nodes, **doc({"5": ("Watch", {"a": link("1")}), "6": ("Show", {"a": link("5")})}).nodes})
    with pytest.raises(KeyboardInterrupt):
        lab.run(both)
    assert lab.trace.closing == [RunInterrupted("run", "2")]
    lab.desk.at_watch = None
    lab.desk.opened.set()
    assert lab.ran(both) >= {"3", "5", "6"}


def test_an_unhandled_ctrl_c_still_closes_the_run(lab: Lab) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    lab.desk.at_watch = press
    watching = doc({"1": ("Number", {"value": 2}), "2": ("Watch", {"a": link("1")}), "3": ("Show", {"a": link("2")})})
    with pytest.raises(KeyboardInterrupt):
        lab.run(watching)
    assert lab.trace.closing == [RunInterrupted("run", "2")]
    lab.desk.at_watch = None
    assert lab.ran(watching) == {"2", "3"}


def test_serving_in_a_thread_and_closing_leaves_no_thread_behind(folders: Folders) -> None:
    before = set(threading.enumerate())
    with Lab(folders) as lab:
        lab.desk.opened.set()
        server = threading.Thread(target=lab.executor.serve)
        server.start()
        futures = [lab.executor.submit(Run(str(i), edited(DOOR, "1", value=i))) for i in range(20)]
        assert [future.result(TIMEOUT)["3"].ui["value"] for future in futures] == [[i] for i in range(20)]
    server.join(TIMEOUT)
    assert set(threading.enumerate()) == before


def test_closing_interrupts_what_is_live(folders: Folders) -> None:
    lab = Lab(folders)
    server = threading.Thread(target=lab.executor.serve)
    server.start()
    trace = Trace()
    future = lab.executor.submit(Run("run", DOOR, trace))
    assert lab.desk.entered.wait(TIMEOUT)
    lab.desk.opened.set()
    lab.executor.close()
    server.join(TIMEOUT)
    assert future.done()
    assert len(trace.closing) == 1
    with pytest.raises(RuntimeError, match="closed"):
        lab.executor.submit(Run("late", SUM))


def test_only_one_thread_may_serve(lab: Lab) -> None:
    caught: list[BaseException] = []

    def second() -> None:
        def attempt() -> None:
            try:
                lab.executor.serve()
            except RuntimeError as error:
                caught.append(error)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join(TIMEOUT)

    lab.desk.at_watch = second
    lab.run(doc({"1": ("Number", {"value": 2}), "2": ("Watch", {"a": link("1")})}), targets=["2"])
    assert str(caught[0]) == "another thread serves this executor"


def test_a_refused_document_leaves_other_runs_alone(lab: Lab) -> None:
    trace = Trace()
    future = lab.executor.submit(Run("good", SUM, trace))
    with pytest.raises(GraphErrors):
        lab.executor.execute(lab.start(doc({"1": ("Show", {})})))
    assert trace.events == []
    assert finish(lab, future) is None
    assert trace.closing == [RunFinished("good")]


def test_a_refused_document_tells_no_event(lab: Lab) -> None:
    with pytest.raises(GraphErrors):
        lab.executor.submit(lab.start(doc({"1": ("Show", {})})))
    assert lab.trace.events == []


def test_what_is_called_is_called_between_nodes_by_the_thread_that_serves(lab: Lab) -> None:
    server, called = threading.Thread(target=lab.executor.serve), Future[object]()
    server.start()
    lab.executor.call(lambda: called.set_result(threading.current_thread()))
    assert called.result(TIMEOUT) is server
    lab.executor.close()
    server.join(TIMEOUT)
    with pytest.raises(RuntimeError, match="closed"):
        lab.executor.call(lambda: None)


def cancelling(lab: Lab, cancel: Cancel) -> threading.Thread:
    """A thread that cancels once a node waits behind the door, and only then opens it."""

    def work() -> None:
        assert lab.desk.entered.wait(TIMEOUT)
        cancel.set()
        lab.desk.opened.set()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def finish(lab: Lab, future: Future[Results]) -> BaseException | None:
    """Serve in a thread until the run of `future` has ended; returns what it ended with."""
    threading.Thread(target=lab.executor.serve).start()
    return future.exception(TIMEOUT)
