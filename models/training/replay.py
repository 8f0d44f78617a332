"""Keeping a GPU busy: a step is recorded once and replayed, and other processes draw for the steps to come."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from functools import cache
from threading import Thread
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

Drawn = tuple[NDArray[Any], ...]
"""What a step needs that is random or a picture."""

AHEAD = 24  # steps that are drawn for before they are taken
WARM_UP = 3  # steps before the recording, in which libraries choose what they use


@cache
def workers() -> Executor:
    """A process for each core, as long as this one lives."""
    cores = len(os.sched_getaffinity(0))
    return ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _watch_parent)


def _watch_parent() -> None:
    """End with the process that this one works for, also when that was killed."""

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


class Ahead:
    """What is drawn, step after step, by `workers` that are some steps ahead."""

    def __init__(self, draw: Callable[[int, int], Drawn], first: int) -> None:
        self._draw = draw
        self._next = first
        self._coming: deque[Future[Drawn]] = deque()

    def take(self) -> Drawn:
        """What belongs to the next step."""
        while len(self._coming) <= AHEAD:
            self._coming.append(workers().submit(self._draw, self._next, 0))
            self._next += 1
        return self._coming.popleft().result()

    def close(self) -> None:
        """Let go of what nobody will take."""
        for each in self._coming:
            each.cancel()


class Replay:
    """A loss and its gradients as one CUDA graph, for inputs of one shape."""

    def __init__(self, loss: Callable[..., Tensor], weights: Sequence[Tensor], example: Drawn) -> None:
        self._inputs = [torch.from_numpy(part).cuda() for part in example]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                torch.autograd.grad(loss(*self._inputs), weights)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        self._gradients = [torch.zeros_like(weight) for weight in weights]  # laid out in memory as the weights are
        with torch.cuda.graph(self._graph):
            value = loss(*self._inputs)
            torch._foreach_copy_(self._gradients, torch.autograd.grad(value, weights))
            self._value = value.detach()

    def __call__(self, drawn: Drawn) -> tuple[Tensor, Sequence[Tensor]]:
        """The loss of what was drawn, and the gradients, which the next call overwrites."""
        for held, part in zip(self._inputs, drawn, strict=True):
            held.copy_(torch.from_numpy(part))
        self._graph.replay()
        return self._value.clone(), self._gradients
