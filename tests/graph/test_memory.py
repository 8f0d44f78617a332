"""What becomes of a node that runs out of memory, and how many values io nodes may make ahead."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from graph.cache import Cache
from graph.calls import Relief
from graph.context import Cancel, Context, Run
from graph.document import DocNode, Document
from graph.errors import Interrupted, NodeError
from graph.events import Event, NodeFinished, NodeRetried, NodeStarted, RunFailed, RunInterrupted
from graph.execute import Executor
from graph.files import Folders
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
    needs: tuple[int, ...] = (8, 8, 4, 2)
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
    [(8, Thrift.NONE), (7, Thrift.TILE), (4, Thrift.TILE), (3, Thrift.APART), (2, Thrift.APART)],
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
    assert "needs 2, 1 free" in failed.error.message and Thrift.APART.words in failed.error.message
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
