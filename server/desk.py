"""Threads for the database: the event loop never waits for a disk, and requests that come together share one commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from server.threads import Closing, submitted

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")

TOGETHER = 64
"""Requests that share a commit at most."""


class Kept(Protocol):
    """What a desk looks after."""

    def together(self, durable: bool) -> AbstractContextManager[None]:
        """What is done within is committed at once, or not at all."""

    def close(self) -> None: ...


S = TypeVar("S", bound=Kept)

_WRONG = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What no waiting helps with: it is what was asked that is at fault."""
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")


class StoreUnavailable(Exception):
    """The database cannot be read or written now; the message says why, for clients to read."""


@contextmanager
def reached() -> Iterator[None]:
    """Turns what SQLite has against a file into StoreUnavailable."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(_reason(error)) from error


@dataclass(slots=True, eq=False)
class _Request(Generic[S]):
    """One call, and who waits for what it gives."""

    work: Callable[[S], Any]
    durable: bool
    answer: asyncio.Future[Any]
    given: Any = None
    error: Exception | None = None

    def do(self, store: S) -> None:
        """Raises only what SQLite has against it, which concerns all that are done together."""
        self.given = self.error = None
        try:
            self.given = self.work(store)
        except _WRONG as error:
            self.error = error
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001  whoever asked gets it
            self.error = error

    def tell(self) -> None:
        """On the event loop."""
        if self.answer.done():  # nobody waits any more
            return
        if self.error is None:
            self.answer.set_result(self.given)
        elif isinstance(self.error, sqlite3.Error) and not isinstance(self.error, _WRONG):
            unavailable = StoreUnavailable(_reason(self.error))
            unavailable.__cause__ = self.error
            self.answer.set_exception(unavailable)
        else:
            self.answer.set_exception(self.error)


class Desk(Generic[S]):
    """A Store or a Reader, asked by one thread at a time. `await desk(Store.set, …)` calls a method in its own.

    What it writes is on disk when it returns. Requests that come while the disk is busy are done together, and wait for
    one commit instead of one each. Some stand until there is an answer, and are tried with all others.
    """

    def __init__(self, open_: Callable[[Path], S], path: Path) -> None:
        """Raises Newer, or StoreUnavailable."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._requests: deque[_Request[S]] = deque()
        self._standing: list[_Request[S]] = []
        self._called = False
        self._closed = False
        self._turn = threading.Lock()
        with reached():
            self._store = self._pool.submit(open_, path).result()

    async def __call__(self, method: Callable[Concatenate[S, P], T], *args: P.args, **named: P.kwargs) -> T:
        """What `method` returns. Raises StoreUnavailable where the file or another program is in the way."""
        return await self._ask(lambda store: method(store, *args, **named), durable=True)

    async def lightly(self, method: Callable[Concatenate[S, P], T], *args: P.args, **named: P.kwargs) -> T:
        """The same for what nobody is promised: a power cut may undo it, the end of the process does not."""
        return await self._ask(lambda store: method(store, *args, **named), durable=False)

    def first(self, method: Callable[[S], T | None]) -> asyncio.Future[T]:
        """What `method` gives, once it gives anything: it is called after whatever is asked from now on, in the same
        transaction, and nothing is written for its sake alone. A disk that does not answer is no answer.
        """
        request = _Request[S](method, False, asyncio.get_running_loop().create_future())
        self._standing.append(request)
        return request.answer

    async def look(self) -> None:
        """Have those tried that stand, and wait until all is told that was found so far. Raises StoreUnavailable."""
        await self._ask(lambda store: None, durable=False)

    async def after(
        self, pool: ThreadPoolExecutor, prepare: Callable[[], A], method: Callable[[S, A], T]
    ) -> tuple[A, T]:
        """What `prepare` gives, called in one of the pool's threads, and what `method` makes of it: in the same thread,
        unless another is at work here.

        The event loop is woken once, when both are done. Raises what either raises, and StoreUnavailable.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[A, T]] = loop.create_future()

        def begin() -> None:
            try:
                prepared = prepare()
                self._put(_Request[S](lambda store: (prepared, method(store, prepared)), True, answer))
            except Exception as error:  # noqa: BLE001  whoever asked gets it
                with suppress(RuntimeError):  # nobody waits any more
                    loop.call_soon_threadsafe(_fail, answer, error)
                return
            self._serve(loop)

        submitted(pool, begin)
        return await answer

    async def _ask(self, work: Callable[[S], T], durable: bool) -> T:
        loop = asyncio.get_running_loop()
        request = _Request[S](work, durable, loop.create_future())
        self._put(request)
        if not self._called:
            self._called = True
            submitted(self._pool, self._come, loop)
        return await request.answer

    def _put(self, request: _Request[S]) -> None:
        """Have a request wait. Called on any thread. Raises Closing once the file is closed."""
        if self._closed:
            raise Closing
        self._requests.append(request)

    def close(self) -> None:
        """Finish what was asked and close the file."""
        self._closed = True
        self._pool.shutdown()
        with self._turn:
            self._store.close()
            for request in self._requests:  # which came in the last moment
                request.error = Closing()
                with suppress(RuntimeError):  # nobody waits any more
                    request.answer.get_loop().call_soon_threadsafe(request.tell)
            self._requests.clear()

    def _come(self, loop: asyncio.AbstractEventLoop) -> None:
        """Who asks from now on calls again, and may find that it is done."""
        self._called = False
        self._serve(loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what has been asked for so far, unless another thread does: that one looks once more when it has ended."""
        while self._requests and self._turn.acquire(blocking=False):
            try:
                while self._requests:
                    requests = [self._requests.popleft() for _ in range(min(TOGETHER, len(self._requests)))]
                    answered = self._do_all(requests)
                    with suppress(RuntimeError):  # nobody waits any more
                        loop.call_soon_threadsafe(_tell, [*requests, *answered])
            finally:
                self._turn.release()

    def _do_all(self, requests: list[_Request[S]]) -> list[_Request[S]]:
        """Do them at once, or each alone; those that stood until now and have an answer."""
        try:
            return self._do(requests)
        except sqlite3.Error as error:
            if (
                len(requests) > 1 and getattr(error, "sqlite_errorname", "") not in _BUSY
            ):  # one that has no room undoes the others too
                return [answered for request in requests for answered in self._do_alone(request)]
            for request in requests:
                request.error = error
            return []

    def _do(self, requests: list[_Request[S]]) -> list[_Request[S]]:
        standing = list(self._standing)
        with self._store.together(any(request.durable for request in requests)):
            for request in (*requests, *standing):
                request.do(self._store)
        answered = [request for request in standing if request.given is not None or request.error is not None]
        for request in answered:
            self._standing.remove(request)
        return answered

    def _do_alone(self, request: _Request[S]) -> list[_Request[S]]:
        try:
            return self._do([request])
        except sqlite3.Error as error:
            request.error = error
            return []


def _tell(requests: list[Any]) -> None:
    for request in requests:
        request.tell()


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():  # else nobody waits any more
        answer.set_exception(error)


def _reason(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorname", ""):
        case "SQLITE_FULL":
            return "the disk is full: the queue cannot be written"
        case "SQLITE_BUSY" | "SQLITE_LOCKED":
            return "another program holds the queue's database locked"
        case "SQLITE_READONLY" | "SQLITE_CANTOPEN" | "SQLITE_PERM":
            return "the queue's database cannot be written: check the permissions of the base directory"
        case "SQLITE_CORRUPT" | "SQLITE_NOTADB":
            return "the queue's database is damaged; after a restart with --set-database-aside there is a new one"
        case _:
            return "the queue's database does not answer"
