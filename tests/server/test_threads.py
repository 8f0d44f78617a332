"""Work in threads: whoever waits for it hears how it ended, also when the pool is closed before its turn comes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.threads import Closing, in_thread
from tests.server.loop import in_loop


def refused() -> None:
    raise ValueError("no")


@in_loop
async def test_what_is_returned_and_what_is_raised() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert await in_thread(pool, divmod, 7, 4) == (1, 3)
        with pytest.raises(ValueError, match="no"):
            await in_thread(pool, refused)
    with pytest.raises(Closing):
        await in_thread(pool, refused)


@in_loop
async def test_who_waits_for_a_pool_that_is_closed_does_not_wait_for_ever() -> None:
    pool, begun, held = ThreadPoolExecutor(1), threading.Event(), threading.Event()

    def hold() -> str:
        begun.set()
        assert held.wait(20)
        return "done"

    first = asyncio.ensure_future(in_thread(pool, hold))
    second = asyncio.ensure_future(in_thread(pool, refused))
    await asyncio.to_thread(begun.wait, 20)
    pool.shutdown(wait=False, cancel_futures=True)
    held.set()
    assert await asyncio.wait_for(first, 20) == "done"
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(second, 20)
