"""Gives the memory of models back when no job has run for a while."""

from __future__ import annotations

import asyncio
import logging

from server.crew import Crew

LONGEST_LOOK_SECONDS = 15.0

_logger = logging.getLogger(__name__)


async def unload_when_idle(crew: Crew, seconds: float) -> None:
    """Whenever no job has run for so long, have the workers let go of weights, and say what they held. Results stay: what
    has not changed is not computed again."""
    while True:
        await asyncio.sleep(min(seconds / 4, LONGEST_LOOK_SECONDS))
        if crew.rest < seconds:
            continue
        held = crew.holdings()
        weights, results = (int(sum(one.gauges.get(what, 0) for one in held)) for what in ("weights", "results"))
        if weights:
            files = ", ".join(sorted({name for one in held for name in one.files}))
            _logger.info(
                "no job for %.0f s: %.2f GiB of weights leave memory (%s); %.2f GiB of results stay",
                crew.rest, weights / 2**30, files, results / 2**30,
            )  # fmt: skip
            crew.free(unload_models=True, free_memory=False)
