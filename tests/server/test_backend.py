"""An engine whose loop has died, or that is stuck in a node, is not ready, and says so once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from graph.build import Graph
from graph.cache import Cache
from graph.context import Run
from graph.document import Document, parse
from graph.errors import GraphError, GraphErrors
from graph.execute import Executor
from graph.files import Folders
from graph.spec import Registry
from server.backend import Engine, EngineUnavailable, LocalBackend
from tests.server.stub_nodes import specs

TIMEOUT = 30.0


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A backend without node types."""
    folders = Folders.standard(tmp_path)

    def factory() -> Engine:
        registry = Registry([])
        return Engine(Executor(None, registry, folders, Cache(0, lambda value: 0)), registry)

    return LocalBackend(factory, folders)


def told_by(backend: LocalBackend) -> tuple[list[str], threading.Event]:
    """What the backend says when it is dead."""
    told: list[str] = []
    heard = threading.Event()

    def hear(reason: str) -> None:
        told.append(reason)
        heard.set()

    backend.when_dead(hear)
    return told, heard


def ready(backend: LocalBackend) -> bool:
    """What the server asks."""
    return backend.is_ready


def started(backend: LocalBackend) -> Engine:
    """The engine, once it is there."""
    backend.start()
    return asyncio.run(backend.engine())


def test_an_engine_that_runs_is_ready_and_says_nothing(backend: LocalBackend) -> None:
    told, _ = told_by(backend)
    assert not ready(backend)
    started(backend)
    assert ready(backend)
    backend.close()
    assert told == []


def test_a_loop_that_dies_is_not_ready_and_says_why(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(executor: object) -> None:
        raise MemoryError("nothing is left")

    monkeypatch.setattr(Executor, "_receive", broken)
    told, heard = told_by(backend)
    backend.start()
    assert heard.wait(TIMEOUT)
    assert told == ["the engine's loop has died of MemoryError: nothing is left"]
    assert not ready(backend)
    assert "the engine's loop has died" in caplog.text
    with pytest.raises(EngineUnavailable, match="has died"):
        backend.submit(Run("late", Document({})), [])
    backend.close()


def test_a_stuck_engine_is_not_ready(backend: LocalBackend) -> None:
    told, heard = told_by(backend)
    engine = started(backend)
    engine.executor._dispatch.is_stuck = True
    assert not ready(backend)
    engine.executor._dispatch._tell_stuck("node 3 does not end")
    assert heard.wait(TIMEOUT)
    assert told == ["node 3 does not end"]
    backend.close()


def test_a_job_that_is_read_again_is_held_to_what_is_asked_of_one_that_is_submitted(tmp_path: Path) -> None:
    """Files may have been replaced meanwhile: what is wrong with it is told before any node runs."""
    folders = Folders.standard(tmp_path)

    def refused(graph: Graph) -> list[GraphError]:
        return [GraphError("families_differ", "they do not fit each other", node_id) for node_id in graph.targets]

    def factory() -> Engine:
        registry = Registry(specs(folders))
        executor = Executor(None, registry, folders, Cache(0, lambda value: 0))
        return Engine(executor, registry, rules=[refused])

    backend = LocalBackend(factory, folders)
    started(backend)
    document = parse('{"1": {"class_type": "Value", "inputs": {"value": 3}}}')
    with pytest.raises(GraphErrors, match="do not fit"):
        backend.submit(Run("run", document), ["1"])
    backend.close()
