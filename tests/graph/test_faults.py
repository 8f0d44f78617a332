"""The loop as a long-lived program: whatever goes wrong, one run fails, others go on, and nothing hangs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from graph.at_hand import AtHand
from graph.context import Run
from graph.dispatch import Dispatch
from graph.errors import Interrupted, NodeError
from graph.events import NodeStarted, RunFailed
from graph.execute import Executor
from graph.files import Folders
from graph.fingerprint import Fingerprint
from graph.live import Live
from graph.plan import Frontier
from graph.result import Items, Outputs, files_of
from tests.graph.stubs import TIMEOUT, Lab, Nodes, Num, Opened, Trace, doc, edited, joined, link

SUM = doc({"1": ("Number", {"value": 3}), "2": ("Add", {"a": link("1"), "plus": 4}), "3": ("Show", {"a": link("2")})})
PROMISE = doc({"1": ("Number", {"value": 3}), "2": ("Promise", {"a": link("1")})})


def failing_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: Callable[..., bool]) -> None:
    """Have a method of the engine itself raise the first time that `when` says so."""
    original, done = getattr(owner, name), threading.Event()

    def fail(*args: Any, **options: Any) -> Any:
        if not done.is_set() and when(*args):
            done.set()
            raise OSError("the engine's own fault")
        return original(*args, **options)

    monkeypatch.setattr(owner, name, fail)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (AtHand, "__call__"),
        (Dispatch, "start"),
        (Live, "begin"),
        (Live, "start"),
        (Live, "finish"),
        (Live, "close"),
        (Executor, "_begin"),
        (Executor, "_step"),
        (Executor, "_finish"),
        (Executor, "_settle"),
        (Executor, "_conclude"),
        (Frontier, "plan"),
        (Frontier, "ready"),
        (Frontier, "inputs"),
        (Frontier, "finish"),
    ],
)
def test_a_fault_of_the_loop_fails_one_run_and_no_other(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, owner: type, name: str
) -> None:
    failing_once(monkeypatch, owner, name, lambda *_: True)
    saving = joined(SUM, {"4": ("Write", {"a": link("2"), "name": "n.txt"})})
    with Lab(folders) as lab:
        server = threading.Thread(target=lab.executor.serve)
        server.start()
        with pytest.raises(NodeError, match="the engine failed here"):
            lab.executor.submit(Run("first", saving)).result(TIMEOUT)
        results = lab.executor.submit(Run("second", saving)).result(TIMEOUT)
        assert results["3"].ui == {"value": [7]}
        assert server.is_alive()
    server.join(TIMEOUT)
    assert "the engine's own fault" in caplog.text


def test_who_waits_for_a_run_that_fails_by_the_loops_fault_goes_on(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    door: Nodes = {"1": ("Number", {"value": 1}), "2": ("Door", {"a": link("1")}), "3": ("Show", {"a": link("2")})}
    failing_once(
        monkeypatch, Executor, "_take", lambda _, live, task, result: task.id == "2" and isinstance(result, Outputs)
    )
    with Lab(folders) as lab:
        server = threading.Thread(target=lab.executor.serve)
        server.start()
        first = lab.executor.submit(Run("first", doc(door)))
        second = lab.executor.submit(Run("second", doc(door)))
        assert lab.desk.entered.wait(TIMEOUT)
        lab.desk.opened.set()
        assert isinstance(first.exception(TIMEOUT), NodeError)
        assert second.result(TIMEOUT)["3"].ui == {"value": [1]}
    server.join(TIMEOUT)


def test_an_output_folder_that_cannot_be_read_is_no_fault(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    saving = doc({"1": ("Number", {"value": 5}), "2": ("Write", {"a": link("1"), "name": "n.txt"})})
    lab.run(saving)
    monkeypatch.setattr("os.stat", _refusing())
    assert lab.ran(saving) == {"2"}


def test_a_lookup_that_raises_fails_its_run_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    original = lab.cache.get

    def get(name: Fingerprint) -> Outputs | None:
        monkeypatch.setattr(lab.cache, "get", original)
        raise KeyError("no such page")

    monkeypatch.setattr(lab.cache, "get", get)
    with pytest.raises(NodeError, match="the engine failed here"):
        lab.run(SUM)
    assert len(lab.trace.closing) == 1
    assert lab.run(SUM)["3"].ui == {"value": [7]}


def test_a_run_with_nothing_left_to_do_ends(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Frontier, "ready", lambda frontier: None)
    with pytest.raises(NodeError, match="the engine failed here"):
        lab.run(SUM)


def test_a_loop_that_fails_on_everything_gives_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("no memory for the queue")

    monkeypatch.setattr(Executor, "_receive", broken)
    future = lab.executor.submit(Run("never", SUM))
    with pytest.raises(OSError, match="no memory for the queue"):
        lab.executor.serve()
    monkeypatch.undo()
    assert not future.done()
    lab.run(SUM)
    assert future.done()


@pytest.mark.parametrize(
    ("bring", "expected"),
    [
        (
            lambda future: future.set_exception(RuntimeError("the line is dead")),
            r"node 2 \(Promise\): RuntimeError: the",
        ),
        (lambda future: future.set_exception(NodeError("2", "Promise", "no answer")), "no answer"),
        (lambda future: future.set_result(None), "its future gave NoneType, expected Outputs"),
        (lambda future: future.cancel(), None),
    ],
)
def test_a_promise_that_is_not_kept_ends_the_run(
    lab: Lab, bring: Callable[[Future[Any]], None], expected: str | None
) -> None:
    bring(lab.desk.promised)
    with pytest.raises((NodeError, Interrupted), match=expected):
        lab.run(PROMISE)
    assert len(lab.trace.closing) == 1
    assert lab.run(SUM)["3"].ui == {"value": [7]}


def test_a_promise_that_is_kept_later(lab: Lab) -> None:
    threading.Timer(0.01, lambda: lab.desk.promised.set_result(Outputs(ui={"value": [3]}))).start()
    assert lab.run(PROMISE)["2"].ui == {"value": [3]}


WATCH = doc({"1": ("Number", {"value": 3}), "2": ("Watch", {"a": link("1")}), "3": ("Show", {"a": link("2")})})


def test_a_device_node_past_its_limit_is_asked_to_stop(folders: Folders) -> None:
    with Lab(folders, node_timeout=0.01) as lab:
        run = lab.start(WATCH)
        asked = threading.Event()
        run.cancel.waking(asked.set)

        def look() -> None:
            assert asked.wait(TIMEOUT)
            run.cancel.check()

        lab.desk.at_watch = look
        with pytest.raises(NodeError, match=r"node 2 \(Watch\): took longer than its limit of 0\.01 s"):
            lab.executor.execute(run)
        assert len(lab.trace.closing) == 1
        lab.desk.at_watch = None
        assert lab.run(SUM)["3"].ui == {"value": [7]}


def test_a_device_node_that_never_looks_fails_its_run_and_the_engine_says_that_it_is_stuck(folders: Folders) -> None:
    lost, told = threading.Event(), list[str]()

    def hear(reason: str) -> None:
        told.append(reason)
        lost.set()

    with Lab(folders, node_timeout=0.01) as lab:
        lab.executor.when_stuck(hear)
        lab.desk.at_watch = partial(wait_for, lab.desk.opened)
        server = threading.Thread(target=lab.executor.serve)
        server.start()
        trace = Trace()
        future = lab.executor.submit(Run("stuck", WATCH, trace))
        assert isinstance(future.exception(TIMEOUT), NodeError)
        assert isinstance(trace.closing[0], RunFailed)
        assert lost.wait(TIMEOUT)
        assert is_stuck(lab)
        assert told == ["node 2 (Watch) does not end, and no thread can be stopped from outside"]
        lab.desk.opened.set()
        lab.desk.at_watch = None
        assert lab.executor.submit(Run("after", SUM)).result(TIMEOUT)["3"].ui == {"value": [7]}
        assert not is_stuck(lab)
        assert len(trace.closing) == 1
        assert [event.node_id for event in trace.events if isinstance(event, NodeStarted)] == ["1", "2"]
    server.join(TIMEOUT)


def test_an_io_node_past_its_limit_fails_its_run_and_leaves_the_pool_to_others(folders: Folders) -> None:
    door: Nodes = {"1": ("Number", {"value": 1}), "2": ("Door", {"a": link("1")}), "3": ("Show", {"a": link("2")})}
    with Lab(folders, node_timeout=0.01) as lab:
        for i in range(4):  # more than the pool has threads
            with pytest.raises(NodeError, match="took longer than its limit"):
                lab.run(edited(doc(door), "1", value=i))
        saving = joined(SUM, {"4": ("Write", {"a": link("2"), "name": "n.txt"})})
        assert lab.run(saving)["4"].ui
        lab.desk.opened.set()


def wait_for(event: threading.Event) -> None:
    """Wait, and look at nothing meanwhile."""
    assert event.wait(TIMEOUT)


def is_stuck(lab: Lab) -> bool:
    """What a backend asks."""
    return lab.executor.is_stuck


def loading(lab: Lab, content: str = "5", name: str = "a.safetensors") -> Any:
    """A workflow that opens a file by a handle and reads it later."""
    (lab.folders.base / "models/checkpoints" / name).write_text(content)
    return doc(
        {
            "1": ("OpenFile", {"file": name}),
            "2": ("ReadOpened", {"opened": link("1")}),
            "3": ("Show", {"a": link("2")}),
        }
    )


def test_a_handle_on_a_renamed_file_is_made_anew(lab: Lab) -> None:
    document = loading(lab)
    lab.run(document)
    place = lab.folders.base / "models/checkpoints"
    (place / "a.safetensors").rename(place / "b.safetensors")
    renamed = edited(document, "1", file="b.safetensors")
    assert lab.ran(renamed) == set()  # what was read of it stands
    assert lab.run(edited(renamed, "2", plus=1))["3"].ui == {"value": [6]}
    assert lab.trace.ran == ["1", "2", "3"]


def test_of_two_copies_one_is_deleted(lab: Lab) -> None:
    first, second = loading(lab, name="a.safetensors"), loading(lab, name="b.safetensors")
    lab.run(first)
    assert lab.ran(second) == set()
    (lab.folders.base / "models/checkpoints/a.safetensors").unlink()
    assert lab.run(edited(second, "2", plus=1))["3"].ui == {"value": [6]}


def test_a_list_of_handles_stands_as_long_as_each_does(lab: Lab) -> None:
    path = lab.folders.base / "x"
    assert files_of(Items((Num(1), Opened(path, "id")))) == ((path, "id"),)


def test_a_file_that_changes_between_naming_and_reading_is_not_kept_under_the_wrong_name(lab: Lab) -> None:
    document = loading(lab, "5")
    file = lab.folders.base / "models/checkpoints/a.safetensors"
    lab.desk.at_watch = lambda: (file.write_text("6"), None)[1]
    assert lab.run(document)["3"].ui == {"value": [6]}
    assert [message for _, _, message in lab.trace.warned] == [
        "a file that it reads was replaced at the same time; run the workflow again"
    ]
    lab.desk.at_watch = None
    file.write_text("5")
    assert lab.run(document)["3"].ui == {"value": [5]}
    assert lab.trace.ran == ["1", "2", "3"]


def test_a_node_that_reads_at_once_is_looked_at_again_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lab.folders.base / "models/checkpoints/a.safetensors"
    file.write_text("5")
    reading = doc(
        {"1": ("ReadFile", {"file": "a.safetensors"}), "2": ("Add", {"a": link("1")}), "3": ("Show", {"a": link("2")})}
    )
    run = lab.start(reading)
    future = lab.executor.submit(run, lab.build(reading))  # named now
    file.write_text("7")
    threading.Thread(target=lab.executor.serve).start()
    assert future.result(TIMEOUT)["3"].ui == {"value": [7]}
    file.write_text("5")
    later = lab.executor.submit(Run("later", reading)).result(TIMEOUT)
    assert later["3"].ui == {"value": [5]}


def _refusing() -> Callable[..., Any]:
    original = os.stat

    def stat(path: Any, *args: Any, **options: Any) -> Any:
        if str(path).endswith("n.txt"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **options)

    return stat
