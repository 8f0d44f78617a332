"""What becomes of a node that runs out of memory, and how many values io nodes may make ahead."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from graph.cache import Cache
from graph.calls import Relief
from graph.context import Cancel, Context, Run
from graph.document import DocNode, Document, Link
from graph.errors import Interrupted, NodeError
from graph.events import Event, NodeFinished, NodeRetried, NodeStarted, RunFailed, RunInterrupted
from graph.execute import Executor
from graph.files import Folders
from graph.plan import AHEAD
from graph.result import Outputs
from graph.spec import Registry, node
from graph.thrift import Thrift


class TooMuch(Exception):
    """What a device says that has no memory left."""


class Tensor:
    """Something large, whose end a test can see."""


@dataclass
class Device:
    """A device of fake bytes: a node needs `needs[thrift]`, of which `free` are there."""

    free: int
    needs: tuple[int, ...] = (8, 8, 4, 3, 2)
    tried: list[Thrift] = field(default_factory=list)
    freed: int = 0
    made: list[weakref.ref[Tensor]] = field(default_factory=list)
    at_try: Callable[[], None] = lambda: None

    @property
    def alive(self) -> int:
        return sum(ref() is not None for ref in self.made)

    def relieve(self) -> None:
        assert not self.alive, "what the failed try held is gone before it is tried again"
        self.freed += 1


def work(ctx: Context[Device]) -> Outputs:
    device = ctx.services
    device.tried.append(ctx.thrift)
    held = [Tensor() for _ in range(3)]
    device.made.extend(map(weakref.ref, held))
    device.at_try()
    if device.needs[ctx.thrift] > device.free:
        raise TooMuch(f"needs {device.needs[ctx.thrift]}, {device.free} free")
    return Outputs()


@node("Work", category="stub", terminal=True)
def on_device(ctx: Context[Device]) -> Outputs:
    """Works on the device."""
    return work(ctx)


@node("Write", category="stub", terminal=True, lane="io")
def on_io(ctx: Context[Device]) -> Outputs:
    """Works in the pool."""
    return work(ctx)


@pytest.fixture
def device() -> Device:
    return Device(free=8)


@pytest.fixture
def executor(device: Device, folders: Folders) -> Iterator[Executor[Device]]:
    relief = Relief(lambda error: isinstance(error, TooMuch), device.relieve)
    registry = Registry([on_device, on_io])
    with Executor(device, registry, folders, Cache(2**20, lambda value: 1), relief=relief) as executor:
        yield executor


def run(executor: Executor[Device], type_: str = "Work", cancel: Cancel | None = None) -> list[Event]:
    events: list[Event] = []
    try:
        executor.execute(Run("run", Document({"1": DocNode(type_, {})}), events.append, cancel or Cancel()))
    except (NodeError, Interrupted) as ending:
        assert isinstance(events[-1], RunFailed | RunInterrupted), ending
    return events


@pytest.mark.parametrize(
    ("free", "tried"),
    [(8, Thrift.NONE), (7, Thrift.TILE), (4, Thrift.TILE), (3, Thrift.APART), (2, Thrift.STREAM)],
)
def test_a_node_is_tried_again_ever_thriftier_until_it_fits(
    executor: Executor[Device], device: Device, free: int, tried: Thrift, caplog: pytest.LogCaptureFixture
) -> None:
    device.free = free
    with caplog.at_level(logging.WARNING, "graph"):
        events = run(executor)
    steps = list(Thrift)[: tried + 1]
    assert device.tried == steps
    assert device.freed == len(steps) - 1
    assert [event.thrift for event in events if isinstance(event, NodeRetried)] == steps[1:]
    assert [type(event) for event in events].count(NodeStarted) == 1
    assert isinstance(events[-2], NodeFinished)
    assert [record.getMessage().split("again: ")[1] for record in caplog.records] == [step.words for step in steps[1:]]


def test_when_nothing_helps_it_fails_with_the_last_sizes(executor: Executor[Device], device: Device) -> None:
    device.free = 1
    events = run(executor)
    assert device.tried == list(Thrift)
    assert isinstance(failed := events[-1], RunFailed)
    assert "needs 2, 1 free" in failed.error.message and max(Thrift).words in failed.error.message
    assert not device.alive


def test_memory_that_a_second_run_finds_free_is_used(executor: Executor[Device], device: Device) -> None:
    device.free = 1
    run(executor)
    device.free, device.tried = 8, []
    assert isinstance(run(executor)[-2], NodeFinished)
    assert device.tried == [Thrift.NONE]


def test_another_failure_is_not_tried_again(executor: Executor[Device], device: Device) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    device.at_try = fail
    assert isinstance(run(executor)[-1], RunFailed)
    assert device.tried == [Thrift.NONE] and not device.freed


def test_another_failure_while_trying_again_ends_it(executor: Executor[Device], device: Device) -> None:
    def fail() -> None:
        if len(device.tried) == 2:
            raise ZeroDivisionError

    device.free, device.at_try = 1, fail
    assert isinstance(failed := run(executor)[-1], RunFailed)
    assert "ZeroDivisionError" in failed.error.message
    assert device.tried == [Thrift.NONE, Thrift.EVICT]


@pytest.mark.parametrize("moment", ["before it", "in it"])
def test_an_interrupt_ends_a_second_try(executor: Executor[Device], device: Device, moment: str) -> None:
    cancel = Cancel()

    def stop() -> None:
        if moment == "before it" or len(device.tried) == 2:
            cancel.set()
        if moment == "in it":
            cancel.check()

    device.free, device.at_try = 1, stop
    events = run(executor, cancel=cancel)
    assert isinstance(events[-1], RunInterrupted)
    assert device.tried == list(Thrift)[: 1 if moment == "before it" else 2]
    assert not device.alive


def test_a_node_of_the_pool_is_not_tried_again(executor: Executor[Device], device: Device) -> None:
    device.free = 1
    assert isinstance(run(executor, "Write")[-1], RunFailed)
    assert device.tried == [Thrift.NONE] and not device.freed, "networks belong to the loop's thread"


# --- io ahead of the device ----------------------------------------------------------------------------------------


@dataclass
class Shelf:
    """Counts the pictures in memory."""

    slow: bool = False
    made: list[weakref.ref[Picture]] = field(default_factory=list)
    most: int = 0

    def count(self) -> int:
        return sum(ref() is not None for ref in list(self.made))


class Picture:
    """A large value."""

    socket = "PICTURE"


@node("Load", category="stub", lane="io")
def load(ctx: Context[Shelf], *, name: str) -> Picture:
    """Makes a picture in the pool."""
    picture = Picture()
    ctx.services.made.append(weakref.ref(picture))
    ctx.services.most = max(ctx.services.most, ctx.services.count())
    return picture


@node("Scale", category="stub")
def scale(ctx: Context[Shelf], *, picture: Picture) -> int:
    """Reads a picture on the device."""
    if ctx.services.slow:
        time.sleep(0.002)  # long enough for the pool to read all others
    return 1


@node("Save", category="stub", terminal=True, lane="io")
def save(ctx: Context[Shelf], *, number: int, name: str) -> Outputs:
    """Writes something."""
    return Outputs()


@node("Collect", category="stub", terminal=True)
def collect(ctx: Context[Shelf], *, first: Picture, second: Picture, third: Picture, rest: int) -> Outputs:
    """Reads several."""
    return Outputs()


@pytest.mark.parametrize("slow", [False, True])
def test_a_thousand_ready_io_nodes_do_not_make_a_thousand_values_first(folders: Folders, slow: bool) -> None:
    nodes: dict[str, DocNode] = {}
    for i in range(300):
        nodes[f"load {i}"] = DocNode("Load", {"name": str(i)})
        nodes[f"scale {i}"] = DocNode("Scale", {"picture": Link(f"load {i}", 0)})
        nodes[f"save {i}"] = DocNode("Save", {"number": Link(f"scale {i}", 0), "name": str(i)})
    shelf = Shelf(slow)
    with Executor(shelf, Registry([load, scale, save]), folders, Cache(0, lambda value: 1)) as executor:
        executor.execute(Run("run", Document(nodes)))
    assert len(shelf.made) == 300
    assert shelf.most <= AHEAD + 1, "one is still held by the device node that reads it"
    assert shelf.count() == 0


def test_a_node_that_needs_more_than_may_be_made_ahead_gets_them(folders: Folders) -> None:
    nodes = {str(i): DocNode("Load", {"name": str(i)}) for i in range(3 * AHEAD)}
    for i in range(AHEAD):
        parts = {name: Link(str(3 * i + n), 0) for n, name in enumerate(("first", "second", "third"))}
        nodes[f"scale {i}"] = DocNode("Scale", {"picture": Link(str(3 * AHEAD - 1 - i), 0)})
        nodes[f"collect {i}"] = DocNode("Collect", {**parts, "rest": Link(f"scale {i}", 0)})
    shelf = Shelf()
    with Executor(shelf, Registry([load, scale, collect]), folders, Cache(0, lambda value: 1)) as executor:
        assert len(executor.execute(Run("run", Document(nodes)))) == AHEAD
    assert shelf.count() == 0
