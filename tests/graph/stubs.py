"""Nodes that do next to nothing, and a bench to run them on that says which of them ran."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeAlias

from graph.build import Graph, Rule, build
from graph.cache import Cache
from graph.context import Cancel, Context, Run
from graph.document import DocNode, Document, Link
from graph.errors import InputError
from graph.events import (
    Event,
    NodeFinished,
    NodesCached,
    NodeStarted,
    NodeWarned,
    RunFailed,
    RunFinished,
    RunInterrupted,
)
from graph.execute import Executor
from graph.files import FileRef, Folders
from graph.live import Results
from graph.result import Outputs, Pending
from graph.sockets import Choice, File, Float, Int, Text, Toggle
from graph.spec import Each, Registry, node
from graph.sweep import Gathered

TIMEOUT = 30.0
"""Seconds after which a test gives up; none waits this long unless it fails."""


@dataclass(frozen=True)
class Num:
    """The value that stub nodes pass on; an object, so that a test can see it die."""

    socket: ClassVar[str] = "NUM"
    value: int


class Pair(NamedTuple):
    """Two outputs."""

    low: Num
    high: Num


@dataclass
class Desk:
    """The services of stub nodes: a door that holds them up, and what a test wants to do or see meanwhile."""

    folders: Folders
    opened: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    threads: dict[str, str] = field(default_factory=dict)
    broken: bool = False
    met: list[int] = field(default_factory=list)
    promised: Future[Any] = field(default_factory=Future)
    at_watch: Callable[[], None] | None = None
    made: list[weakref.ref[Num]] = field(default_factory=list)

    @property
    def alive(self) -> list[int]:
        """The numbers made here that something still holds."""
        return [num.value for ref in self.made if (num := ref()) is not None]

    def make(self, value: int) -> Num:
        """A number that is watched."""
        num = Num(value)
        self.made.append(weakref.ref(num))
        return num

    def sign(self, node_id: str) -> None:
        """Note which thread `node_id` runs on."""
        self.threads[node_id] = threading.current_thread().name


Ctx = Context[Desk]


@node("Number", category="stub")
def number(ctx: Ctx, *, value: Annotated[int, Int(0, 1_000_000)] = 0) -> Num:
    """A number."""
    ctx.services.sign(ctx.node_id)
    return ctx.services.make(value)


@node("Add", category="stub")
def add(ctx: Ctx, *, a: Num, b: Num | None = None, plus: Annotated[int | None, Int(0, 1_000_000)] = 0) -> Num:
    """A sum."""
    return ctx.services.make(a.value + (b.value if b else 0) + (plus or 0))


@node("Split", category="stub")
def split(ctx: Ctx, *, a: Num) -> Pair:
    """Two halves, as far as integers have them."""
    return Pair(Num(a.value // 2), Num(a.value - a.value // 2))


@node("Show", category="stub", terminal=True)
def show(ctx: Ctx, *, a: Num) -> Outputs:
    """A number, for people."""
    return Outputs(ui={"value": [a.value]})


@node("Write", category="stub", terminal=True, lane="io")
def write_file(ctx: Ctx, *, a: Num, name: str) -> Outputs:
    """A number, in a file."""
    (ctx.services.folders.output_dir / name).write_text(str(a.value))
    return Outputs(ui={"files": [{"filename": name, "subfolder": "", "type": "output"}]})


@node("ReadFile", category="stub")
def read_file(ctx: Ctx, *, file: Annotated[FileRef, File("checkpoints")]) -> Num:
    """The number that a file holds."""
    return Num(int(file.path.read_text()))


@node("Fail", category="stub")
def fail(ctx: Ctx, *, a: Num) -> Num:
    """The same number, unless the desk is broken."""
    if ctx.services.broken:
        raise RuntimeError("out of paper")
    return a


@node("FailOnIo", category="stub", lane="io")
def fail_on_io(ctx: Ctx, *, a: Num) -> Num:
    """Fails on the io lane, while handling another failure."""
    kept = a
    try:
        raise KeyError(kept.value)
    except KeyError as error:
        raise RuntimeError("out of paper") from error


@node("Blame", category="stub")
def blame(ctx: Ctx, *, a: Num, steps: Annotated[int | None, Int()] = 3) -> Num:
    """Always finds fault with one input."""
    raise InputError("steps", "is more than the schedule has")


@node("Count", category="stub")
def count(ctx: Ctx, *, a: Num, to: Annotated[int | None, Int()] = 3) -> Num:
    """Reports each step."""
    for i in range(to or 0):
        ctx.progress(i + 1, to or 0, preview=lambda: "picture")
    return a


@node("Door", category="stub", lane="io")
def door(ctx: Ctx, *, a: Num) -> Num:
    """Waits on the io lane until the desk opens."""
    ctx.services.sign(ctx.node_id)
    ctx.services.entered.set()
    assert ctx.services.opened.wait(TIMEOUT)
    ctx.check()
    return a


@node("Watch", category="stub")
def watch(ctx: Ctx, *, a: Num) -> Num:
    """Lets the test look around while the run is under way."""
    if ctx.services.at_watch:
        ctx.services.at_watch()
    return a


@node("Promise", category="stub", terminal=True)
def promise(ctx: Ctx, *, a: Num) -> Outputs:
    """A result that the test brings, or whatever else it makes of the promise."""
    return Pending(ctx.services.promised)  # type: ignore[return-value]


@dataclass(frozen=True)
class Opened:
    """A file that was opened, and stands only while it is there."""

    socket: ClassVar[str] = "OPENED"
    path: Path
    identity: str

    @property
    def files(self) -> tuple[tuple[Path, str], ...]:
        """What the engine asks."""
        return ((self.path, self.identity),)


@node("OpenFile", category="stub")
def open_file(ctx: Ctx, *, file: Annotated[FileRef, File("checkpoints")]) -> Opened:
    """A handle on a file, which is read by others."""
    if ctx.services.at_watch:
        ctx.services.at_watch()
    return Opened(file.path, ctx.services.folders.identity(file.path))


@node("ReadOpened", category="stub")
def read_opened(ctx: Ctx, *, opened: Opened, plus: Annotated[int | None, Int()] = 0) -> Num:
    """The number that an opened file holds."""
    return Num(int(opened.path.read_text()) + (plus or 0))


@node("Warn", category="stub")
def warn(ctx: Ctx, *, a: Num) -> Num:
    """Leaves something out, says so twice, and fails with a broken desk."""
    for _ in range(2):
        ctx.warn(f"of {a.value} only half is used", "a")
    if ctx.services.broken:
        raise RuntimeError("out of paper")
    return a


@node("WarnOnIo", category="stub", lane="io")
def warn_on_io(ctx: Ctx, *, a: Num) -> Num:
    """Leaves something out, on the io lane."""
    ctx.warn("the file has more")
    return a


@node("Widgets", category="stub", terminal=True)
def widgets(
    ctx: Ctx,
    *,
    whole: Annotated[int, Int(1, 100)],
    real: Annotated[float, Float(0.0, 1.0)],
    text: Annotated[str, Text()],
    on: Annotated[bool, Toggle()],
    mode: Annotated[str, Choice(("euler", "heun"))],
    file: Annotated[FileRef, File("checkpoints")],
    a: Num,
    spare: Annotated[int | None, Int(0, 9)] = 7,
) -> Outputs:
    """One input of each kind."""
    return Outputs(ui={"given": [whole, real, text, on, mode, file.name, spare]})


@node("Digits", category="stub")
def digits(ctx: Ctx, *, a: Num, base: Annotated[int | None, Int(2, 16)] = 10) -> Num:
    """How long a number is when it is written."""
    return Num(len(f"{a.value:b}") if base == 2 else len(str(a.value)))


@node("Sheet", category="stub", terminal=True)
def sheet(
    ctx: Ctx, *, a: Annotated[Gathered[Num], Each(digits)], base: Annotated[int | None, Int(2, 16)] = 10
) -> Outputs:
    """All cells of a sweep, as they were gathered."""
    return Outputs(ui={"axes": a.axes, "places": a.places, "values": [value.value for value in a.values]})


REGISTRY = Registry(
    [
        number,
        add,
        split,
        show,
        write_file,
        read_file,
        fail,
        fail_on_io,
        blame,
        count,
        door,
        watch,
        promise,
        open_file,
        read_opened,
        warn,
        warn_on_io,
        widgets,
        digits,
        sheet,
    ]
)


Nodes: TypeAlias = Mapping[str, tuple[str, Mapping[str, object]]]


def doc(nodes: Nodes) -> Document:
    """A document, written short: {id: (type, inputs)}."""
    return Document({key: DocNode(class_type, inputs) for key, (class_type, inputs) in nodes.items()})


def link(node_id: str, slot: int = 0) -> Link:
    """An output of another node."""
    return Link(node_id, slot)


def joined(document: Document, nodes: Nodes) -> Document:
    """The document with further nodes, or others in their place."""
    return Document({**document.nodes, **doc(nodes).nodes})


def edited(document: Document, node_id: str, **inputs: object) -> Document:
    """The document with other inputs on one node."""
    old = document.nodes[node_id]
    return Document({**document.nodes, node_id: DocNode(old.class_type, {**old.inputs, **inputs}, old.meta)})


class Trace:
    """An event sink that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def ran(self) -> list[str]:
        """The nodes that ran, in the order they were started."""
        return [event.node_id for event in self.events if isinstance(event, NodeStarted)]

    @property
    def cached(self) -> list[str]:
        """The nodes that were announced as needing no run."""
        return [node_id for event in self.events if isinstance(event, NodesCached) for node_id in event.nodes]

    @property
    def warned(self) -> list[tuple[str, str, str]]:
        """What nodes left out: the node, the input, and the sentence."""
        told = [event for event in self.events if isinstance(event, NodeWarned)]
        return [(event.node_id, event.warning.input_name, event.warning.message) for event in told]

    @property
    def places(self) -> dict[str, str]:
        """Which node of the document stands for each that ran, where it is not the node itself."""
        started = [event for event in self.events if isinstance(event, NodeStarted)]
        return {event.node_id: event.display_id for event in started if event.display_id}

    @property
    def shown(self) -> dict[str, object]:
        """What nodes gave to show."""
        return {event.node_id: event.ui for event in self.events if isinstance(event, NodeFinished) and event.ui}

    @property
    def closing(self) -> list[Event]:
        """The events that say how a run ended: always one."""
        return [event for event in self.events if isinstance(event, RunFinished | RunFailed | RunInterrupted)]


def sizeof(value: object) -> int:
    """What a stub value is said to weigh, in bytes."""
    return 100


class Lab:
    """An executor with the stub nodes. `trace` is that of the latest run."""

    def __init__(
        self,
        folders: Folders,
        *,
        cache: Cache | None = None,
        scope: Callable[[], AbstractContextManager[object]] = nullcontext,
        salt: str = "",
        registry: Registry = REGISTRY,
        rules: Sequence[Rule] = (),
        node_timeout: float | None = None,
    ) -> None:
        self.folders = folders
        self.desk = Desk(folders)
        self.cache = cache or Cache(2**25, sizeof)
        self.registry = registry
        self.executor = Executor(
            *(self.desk, registry, folders, self.cache),
            scope=scope,
            salt=salt,
            rules=rules,
            node_timeout=node_timeout,
            grace=0.0,
        )
        self.trace = Trace()

    def build(self, document: Document, targets: Sequence[str] | None = None) -> Graph:
        """What becomes of a document here."""
        return build(document, self.registry, self.folders, targets)

    def start(self, document: Document, cancel: Cancel | None = None, run_id: str = "run") -> Run:
        """A run with a trace of its own."""
        self.trace = Trace()
        return Run(run_id, document, self.trace, cancel or Cancel())

    def run(self, document: Document, targets: Sequence[str] | None = None) -> Results:
        """Execute a document; `trace` then tells how it went."""
        return self.executor.execute(self.start(document), self.build(document, targets))

    def ran(self, document: Document, targets: Sequence[str] | None = None) -> set[str]:
        """Execute a document, and say which nodes ran."""
        self.run(document, targets)
        return set(self.trace.ran)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.desk.opened.set()
        self.executor.close()
