"""Async tests without a plugin."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

P = ParamSpec("P")


def in_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """A test function that runs the coroutine; pytest sees the same parameters."""

    @functools.wraps(test)
    def run(*args: P.args, **named: P.kwargs) -> None:
        async def body() -> None:
            async with asyncio.timeout(300):  # what hangs, not what is slow on a busy machine
                await test(*args, **named)

        asyncio.run(body())

    return run
