"""Work that is too long for the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(pool: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """What `function` returns, called in one of the pool's threads."""
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: function(*args, **named))
