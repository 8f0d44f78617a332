"""A sampler that tells of its steps by calling a function -> one that yields them, as ours do."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeAlias

import torch
from torch import Tensor

from models.steps import Step

Tell: TypeAlias = Callable[[int, Tensor, Tensor, int], None]
"""(step, the estimate of the clean latent, x before the step, how many steps)."""


class _Over(BaseException):
    """Nobody wants further steps."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a step was told with."""

    i: int
    denoised: Tensor
    x: Tensor


def stepping(solve: Callable[[Tell], Tensor], x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """The steps of `solve`, which returns the last x. It runs in a thread of its own that waits whenever nobody asks for
    the next step, so it is stopped where it stands. Raises what it raises."""
    last: _Told | None = None
    works = _Works(solve)
    try:
        for told in works.told():
            if last is not None:
                yield _step(last, told.x, sigmas)
            last = told
        last = last or _Told(max(len(sigmas) - 2, 0), works.made, x)
        yield _step(last, works.made, sigmas)
    finally:
        works.stop()


def _step(told: _Told, x: Tensor, sigmas: Tensor) -> Step:
    return Step(told.i, sigmas[min(told.i, len(sigmas) - 1)], x, told.denoised)


class _Works:
    """A function at work in a thread, which goes on when it is told to."""

    made: Tensor

    def __init__(self, solve: Callable[[Tell], Tensor]) -> None:
        self._solve = solve
        self._heard: SimpleQueue[_Told | BaseException | None] = SimpleQueue()
        self._go = threading.Semaphore(0)
        self._is_over = False
        self._inference = torch.is_inference_mode_enabled()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._work,), name="sampler", daemon=True
        )

    def told(self) -> Iterator[_Told]:
        """Each step, until the function ends."""
        self._thread.start()
        while (heard := self._heard.get()) is not None:
            if isinstance(heard, BaseException):
                raise heard
            yield heard
            self._go.release()

    def stop(self) -> None:
        """Have it end where it is."""
        self._is_over = True
        self._go.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            with torch.inference_mode(self._inference):
                self.made = self._solve(self._tell)
            self._heard.put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the steps are asked for
            self._heard.put(error)

    def _tell(self, step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        self._heard.put(_Told(int(step), denoised, x))
        self._go.acquire()
        if self._is_over:
            raise _Over
