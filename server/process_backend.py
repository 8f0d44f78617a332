"""A worker of its own process: begun, spoken to, and begun anew when it ends or does not answer."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import cast

from graph.bound import Graph
from graph.context import Run
from graph.document import NodeId, as_json
from graph.errors import GraphErrors, Interrupted
from graph.events import Event, NodeFinished, NodeStarted, Progress, RunStarted
from graph.live import Results
from graph.recipe import Recipe
from graph.result import Outputs
from server.backend import EngineUnavailable, Holdings, WorkerLost
from server.exchange import Exchange
from server.foreign import Hear
from server.kept_results import KeptResults
from server.links import Begin, Link
from server.threads import settled
from server.wire import Json, Message, Parcel, WireError, decoded, encoded

LEASE_SECONDS = 60.0
"""How long a process may give no sign of life before what it runs is taken from it, and it is ended."""
STARTS = 3
"""Times that a process may end before it is ready for the first time; then it never will be."""
PAUSE_SECONDS = 0.5
"""Before a process is begun anew; doubled with each one in a row that does not get ready."""
LONGEST_SECONDS = 60.0
ANSWER_SECONDS = 5.0
"""How long an answer is waited for that is only asked for to be shown."""
CLOSING_SECONDS = 4.0
AT_ONCE = 2**24
"""Bytes of results after which messages that wait no longer travel together."""

_logger = logging.getLogger(__name__)


def environment(workers: int) -> Mapping[str, str]:
    """What several processes on the CPU are begun with: each computes with its share of the processor's cores, unless the
    user has said how many threads there are to be.
    """
    threads = str(max(1, (os.cpu_count() or 1) // max(1, workers)))
    return {"OMP_NUM_THREADS": threads, **os.environ}


def _nobody(event: str, data: object, client_id: str | None) -> None:
    pass


@dataclass(slots=True, eq=False)
class _Live:
    """A run in the process."""

    run: Run
    accepted: Future[None] = field(default_factory=Future)
    results: Future[Results] = field(default_factory=Future)
    nodes: Counter[str] = field(default_factory=Counter)
    made: dict[NodeId, Outputs] = field(default_factory=dict)
    recipes: Sequence[Recipe] = ()

    def note(self, event: Event) -> None:
        match event:
            case NodeStarted(node_id=node):
                self.nodes[node] += 1
            case NodeFinished(node_id=node, cached=False):
                self.nodes[node] -= 1
            case _:
                pass

    def fail(self, error: Exception) -> None:
        for future in (self.accepted, self.results):
            if not future.done():
                future.set_exception(error)


@dataclass(slots=True, eq=False)
class _Life:
    """One process, from its beginning to its end."""

    link: Link
    outbox: SimpleQueue[Message | None] = field(default_factory=SimpleQueue)
    live: dict[str, _Live] = field(default_factory=dict)
    answers: dict[int, Future[Json]] = field(default_factory=dict)
    heard: float = field(default_factory=time.monotonic)
    words: str = ""
    held: list[Message] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def write(self) -> None:
        """Send what is in the outbox, on a thread of its own: nobody waits for a process that does not read."""
        last: Message | None = Message("")
        while last is not None:
            messages, size = [self.outbox.get()], 0
            while (last := messages[-1]) is not None and (size := size + len(last.content)) < AT_ONCE:
                try:
                    messages.append(self.outbox.get_nowait())
                except Empty:
                    break
            try:
                self.link.send([message for message in messages if message is not None])
            except (OSError, ValueError):
                return  # it has ended, which its reader tells
        self.link.close()


class ProcessBackend:
    """Runs jobs in a process of its own, over all the times that it is begun anew. `submit` and questions from any
    thread. `relay` hears what packs tell.
    """

    def __init__(
        self,
        name: str,
        begin: Begin,
        *,
        lease: float = LEASE_SECONDS,
        relay: Hear = _nobody,
        exchange: Exchange | None = None,
        resumes: str = "",
        kept: KeptResults | None = None,
    ) -> None:
        """begin: called again when the process has ended. exchange: for processes of machines with other folders. resumes:
        the run that the process probably has still, from a server before. kept: shared with those who may run a job again.
        """
        self.name = name
        self._begin = begin
        self._lease = lease
        self._relay = relay
        self._exchange = exchange
        self._resumes = resumes
        self._kept = kept or KeptResults()
        self._claiming = threading.Lock()
        self._lock = threading.Lock()
        self._life: _Life | None = None
        self._ready: Future[None] = Future()
        self._was_ready = False
        self._failures = 0
        self._closed = threading.Event()
        self._holdings = Holdings()
        self._numbers = count(time.monotonic_ns())  # nothing that a server before asked for is taken for an answer
        self._thread = threading.Thread(target=self._serve, name=f"worker {name}", daemon=True)

    @property
    def resumes(self) -> str:
        return self._resumes

    @property
    def process_id(self) -> int | None:
        """Of the process that is there now."""
        life = self._life
        return None if life is None else life.link.process_id

    def when_dead(self, tell: Callable[[str], None]) -> None:
        """Never: a process that ends is begun anew."""

    def start(self) -> None:
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        ready = self._ready
        return ready.done() and not ready.cancelled() and ready.exception() is None

    async def ready(self) -> None:
        while not self.is_ready:
            ready = self._ready
            await settled(ready)
            ready.result()

    def submit(self, run: Run, targets: Sequence[str], graph: Graph | None = None) -> Future[Results]:
        """Returns once the process has taken the run."""
        live = _Live(run)
        live.results.set_running_or_notify_cancel()
        document = run.document
        body = {
            "id": run.id,
            "document": as_json(document),
            "problems": [encoded(problem) for problem in document.problems],
            "targets": list(targets),
            "extra": run.extra,
        }
        given: Mapping[NodeId, Outputs] = {}
        if (share := run.share) is not None:
            part = [share.slice.source, share.slice.number, share.slice.of] if share.slice is not None else None
            body["share"] = {"targets": list(share.targets), "handed": sorted(share.handed), "slice": part}
            given = share.given
        with self._lock:
            if (life := self._life) is None or not self.is_ready:
                raise WorkerLost(f"worker {self.name} has just ended")
        if self._goes_on(life, live):
            run.cancel.waking(lambda: life.outbox.put(_stopping(run)))
            live.accepted.result()
            return live.results
        if self._exchange is not None and (far := life.link.far) is not None:
            try:
                self._exchange.send(far, run, targets)
            except OSError as error:
                raise WorkerLost(f"worker {self.name} cannot be given its files: {error}") from error
        with self._lock:
            if self._life is not life:
                raise WorkerLost(f"worker {self.name} has just ended")
            life.live[run.id] = live
        for node_id, outputs in given.items():
            for parcel in outputs.values:
                if isinstance(parcel, Parcel):
                    life.outbox.put(Message("given", [run.id, node_id], parcel.content))
        for name, content in self._kept.of(run.id):
            life.outbox.put(Message("known", name, content))
        life.outbox.put(Message("run", body))
        run.cancel.waking(lambda: life.outbox.put(_stopping(run)))
        live.accepted.result()
        return live.results

    def _goes_on(self, life: _Life, live: _Live) -> bool:
        """Whether the process has the run already, and what it has said of it is taken. What else it has is cancelled."""
        with self._claiming:
            resumed, held = self._resumes, list(life.held)
            self._resumes = ""
            life.held.clear()
            if resumed and resumed != live.run.id:
                life.outbox.put(Message("cancel", resumed))
            if not resumed or resumed != live.run.id:
                return False
            life.live[resumed] = live
            for message in held:
                self._take(life, message)
            return True

    def refresh(self) -> bool:
        return bool(self._ask("refresh", [], None))

    def free(self, unload_models: bool, free_memory: bool) -> None:
        self._ask("free", [unload_models, free_memory], None)

    def holdings(self) -> Holdings:
        return self._holdings

    def close(self) -> None:
        self._closed.set()
        life = self._life
        if life is not None:
            for live in list(life.live.values()):
                live.run.cancel.set()
            life.outbox.put(None)
            try:
                life.link.wait(CLOSING_SECONDS)
            except TimeoutError:
                life.link.kill()
        if self._thread.is_alive():
            self._thread.join()

    def _ask(self, kind: str, arguments: list[Json], patience: float | None) -> Json:
        """The answer of the process; nothing if it ends meanwhile, or takes longer than `patience` seconds."""
        number, answer = next(self._numbers), Future[Json]()
        with self._lock:
            if (life := self._life) is None or not self.is_ready:
                return None
            life.answers[number] = answer
        life.outbox.put(Message(kind, [number, *arguments] if arguments else number))
        try:
            return answer.result(patience)
        except TimeoutError:
            return None
        finally:
            life.answers.pop(number, None)

    def _serve(self) -> None:
        """Keep a process going until `close`."""
        while not self._closed.is_set():
            try:
                life = self._life = _Life(self._begin())
                self._resumes = life.link.resumes
            except OSError as error:
                self._note_failure(f"worker {self.name} cannot be begun: {error}")
            else:
                writing = threading.Thread(target=life.write, name=f"to worker {self.name}", daemon=True)
                writing.start()
                watching = threading.Thread(target=self._watch, args=(life,), name="lease", daemon=True)
                watching.start()
                self._listen(life)
                self._lost(life)
                for thread in (writing, watching):
                    thread.join()
                life.link.release()
            pause = min(PAUSE_SECONDS * 2 ** max(0, self._failures - 1), LONGEST_SECONDS) if self._failures else 0.0
            self._closed.wait(pause)

    def _listen(self, life: _Life) -> None:
        try:
            while (message := life.link.receive()) is not None:
                life.heard = time.monotonic()
                self._hear(life, message)
        except (WireError, OSError) as error:
            life.words = life.words or str(error)
        except Exception as error:
            _logger.exception("what worker %s sent could not be taken", self.name)
            life.words = life.words or f"{type(error).__name__}: {error}"

    def _watch(self, life: _Life) -> None:
        """End a process that gives no sign of life."""
        while not life.ended.wait(min(1.0, self._lease / 4)):
            if self.is_ready and time.monotonic() - life.heard > self._lease and not life.link.is_over:
                life.words = f"it gave no sign of life for {self._lease:g} s"
                life.link.kill()
                return

    def _lost(self, life: _Life) -> None:
        """A process has ended: what it ran is to be run again."""
        life.ended.set()
        life.outbox.put(None)
        life.link.kill()
        status = life.link.wait()
        was_ready = self.is_ready
        with self._lock:
            self._life = None
            if was_ready:
                self._ready = Future()
            ended = f"worker {self.name} has ended: {life.words or status}"
        self._holdings, self._resumes = Holdings(), ""
        if not self._closed.is_set():
            if was_ready:
                self._failures = 1
                _logger.error("%s; it is begun anew", ended)
            else:
                self._note_failure(ended)
        for answer in list(life.answers.values()):
            if not answer.done():
                answer.set_result(None)
        for live in list(life.live.values()):
            live.fail(WorkerLost(ended, [node for node, times in live.nodes.items() if times > 0]))

    def _note_failure(self, words: str) -> None:
        self._failures += 1
        _logger.error("%s", words)
        if not self._was_ready and self._failures >= STARTS:
            self._give_up(words)

    def _give_up(self, words: str) -> None:
        if not self._ready.done():
            self._ready.set_exception(EngineUnavailable(words))
        self._closed.set()

    def _hear(self, life: _Life, message: Message) -> None:
        """What is said of a run that a server before has begun waits until this one asks for the run."""
        if life.link.resumes and _run_of(message) == life.link.resumes:
            with self._claiming:
                if self._resumes:
                    life.held.append(message)
                    return
        self._take(life, message)

    def _take(self, life: _Life, message: Message) -> None:
        match message.kind, message.body:
            case "event", [event, has_preview]:
                self._tell(life, decoded(event), has_preview)
            case "alive", dict() as held:
                self._holdings = _holdings(held)
            case "ready", held:
                self._holdings = _holdings(held)
                self._failures, self._was_ready = 0, True
                self._ready.set_result(None)
            case "unavailable", reason:
                life.words = str(reason)
                if not self._was_ready:
                    self._give_up(f"worker {self.name}: {reason}")
            case "dying", reason:
                life.words = str(reason)
            case "answer", [number, value] if (answer := life.answers.get(number)) is not None:
                answer.set_result(value)
            case "made", [id_, node_id] if (live := life.live.get(id_)) is not None:
                live.made[node_id] = Outputs((Parcel(message.content),))
            case "recipes", [id_, recipes] if (live := life.live.get(id_)) is not None:
                live.recipes = decoded(recipes)
            case "kept", [id_, name] if id_ in life.live:
                self._kept.keep(id_, name, message.content)
            case "relayed", [event, data, client_id]:
                self._relay(event, data, client_id)
            case kind, {"id": id_} as body if (live := life.live.get(id_)) is not None:
                self._settle(life, live, kind, body)
            case _:
                pass

    def _settle(self, life: _Life, live: _Live, kind: str, body: dict[str, Json]) -> None:
        """A run was taken, or has ended."""
        if kind == "accepted":
            live.accepted.set_result(None)
            return
        del life.live[live.run.id]
        self._kept.forget(live.run.id)
        match kind, body:
            case "refused", {"problems": problems}:
                live.accepted.set_exception(GraphErrors(decoded(problems)))
            case "ended", {"how": "done"}:
                live.results.set_result(live.made)
            case "ended", {"how": "interrupted"}:
                live.results.set_exception(Interrupted())
            case "ended", {"how": "failed", "error": error}:
                live.results.set_exception(decoded(error))
            case _:
                live.fail(RuntimeError(f"worker {self.name} failed: {body.get('reason', kind)}"))

    def _tell(self, life: _Life, event: Event, has_preview: bool) -> None:
        live = life.live.get(event.run_id)
        if live is None:
            return
        live.note(event)
        match event:
            case Progress() if has_preview:
                event = replace(event, preview=partial(self._preview, event.run_id))
            case NodeFinished(ui=ui) if ui and self._exchange is not None and (far := life.link.far) is not None:
                event = self._exchange.bring(far, event)
            case RunStarted():
                event = replace(event, recipes=partial(self._recipes, live))
            case _:
                pass
        live.run.tell(event)

    def _preview(self, run_id: str) -> bytes | None:
        """The picture of what a run is at, made there if somebody looks here."""
        shown = self._ask("preview", [run_id], ANSWER_SECONDS)
        return bytes.fromhex(shown) if isinstance(shown, str) else None

    def _recipes(self, live: _Live, parts: bool) -> Iterable[Recipe]:
        """What named a run's results; a part of a run tells it at its end."""
        if live.run.share is not None:
            return live.recipes
        return cast(Iterable[Recipe], decoded(self._ask("recipes", [live.run.id, parts], None)) or ())


def _stopping(run: Run) -> Message:
    """How the process is told that a run is to stop."""
    return Message("cancel" if run.cancel.is_set else "ask", run.id)


def _run_of(message: Message) -> str | None:
    """The run that a message is about."""
    match message.kind, message.body:
        case "event", [{"run_id": str(id_)}, _]:
            return id_
        case "made" | "kept" | "recipes", [str(id_), _]:
            return id_
        case "accepted" | "refused" | "broken" | "ended", {"id": str(id_)}:
            return id_
        case _:
            return None


def _holdings(held: Json) -> Holdings:
    return Holdings() if held is None else Holdings(decoded(held["devices"]), held["gauges"], held["files"])
