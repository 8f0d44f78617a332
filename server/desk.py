"""Threads for the database: the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Closing(Protocol):
    """What a desk looks after."""

    def close(self) -> None: ...


S = TypeVar("S", bound=Closing)


class StoreUnavailable(Exception):
    """The database cannot be read or written now; the message says why, for clients to read."""


class Desk(Generic[S]):
    """A Store or a Reader with one thread to itself. `await desk(Store.take)` calls a method there."""

    def __init__(self, open_: Callable[[Path], S], path: Path) -> None:
        """Raises Newer, or StoreUnavailable."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            self._store = self._pool.submit(open_, path).result()
        except sqlite3.Error as error:
            raise StoreUnavailable(_reason(error)) from error

    async def __call__(self, method: Callable[Concatenate[S, P], T], *args: P.args, **named: P.kwargs) -> T:
        """What `method` returns. Raises StoreUnavailable for whatever SQLite has against it."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, lambda: method(self._store, *args, **named))
        except sqlite3.Error as error:
            raise StoreUnavailable(_reason(error)) from error

    def close(self) -> None:
        """Finish what was asked and close the file."""
        self._pool.submit(self._store.close).result()
        self._pool.shutdown()


def _reason(error: sqlite3.Error) -> str:
    match error.sqlite_errorname if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) else "":
        case "SQLITE_FULL":
            return "the disk is full: the queue cannot be written"
        case "SQLITE_BUSY" | "SQLITE_LOCKED":
            return "another program holds the queue's database locked"
        case "SQLITE_READONLY" | "SQLITE_CANTOPEN" | "SQLITE_PERM":
            return "the queue's database cannot be written: check the permissions of the base directory"
        case "SQLITE_CORRUPT" | "SQLITE_NOTADB":
            return "the queue's database is damaged"
        case _:
            return "the queue's database does not answer"
