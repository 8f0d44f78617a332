"""Work that is too long for the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Closing(Exception):
    """The server stops: what is asked of it now is not done any more."""

    def __init__(self) -> None:
        super().__init__("the server stops")


def submitted(pool: Executor, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> Future[T]:
    """Have `function` called in one of the pool's threads. Raises Closing once the pool takes nothing more."""
    try:
        return pool.submit(function, *args, **named)
    except RuntimeError as error:
        raise Closing from error


async def in_thread(pool: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """What `function` returns, called in one of the pool's threads. Raises what it raises, and Closing as above.

    `asyncio.wrap_future` does the same by two futures that watch each other.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def call() -> None:
        if answer.cancelled():  # nobody waits any more
            return
        try:
            tell = partial(_give, answer, function(*args, **named))
        except BaseException as error:  # noqa: BLE001  whoever waits gets it
            tell = partial(_fail, answer, error)
        with contextlib.suppress(RuntimeError):  # the same, since the event loop is closed
            loop.call_soon_threadsafe(tell)

    def drop(asked: Future[None]) -> None:
        """A pool that is closed runs nothing more, also of what waits."""
        if asked.cancelled():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(answer.cancel)

    submitted(pool, call).add_done_callback(drop)
    return await answer


def _give(answer: asyncio.Future[T], given: T) -> None:
    if not answer.done():
        answer.set_result(given)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


async def settled(future: Future[Any]) -> None:
    """Wait until a future of other threads has ended, which nobody's waiting changes.

    Unlike asyncio's own way it may end after the event loop has: nobody is told then.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(told.set)

    future.add_done_callback(tell)
    await told.wait()


async def begun_in_thread(pool: Executor, begin: Callable[[], Future[T]]) -> T:
    """What becomes of the future that `begin` gives, called in one of the pool's threads. The event loop is woken once.

    Raises what either raises, and Closing as above.
    """
    outcome: Future[T] = Future()

    def tell(begun: Future[T]) -> None:
        if (error := begun.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(begun.result())

    def call() -> None:
        try:
            begin().add_done_callback(tell)
        except BaseException as error:  # noqa: BLE001  whoever waits gets it
            outcome.set_exception(error)

    submitted(pool, call)
    await settled(outcome)
    return outcome.result()
