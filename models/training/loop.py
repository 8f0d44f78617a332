"""A training loop whose every step is a pure function of (weights, step number): on a CPU a resumed run is bit-equal.

A lesson draws its data and its noise from the step number alone; what the optimizer and the average of the weights
remember is saved with the weights, every few minutes and at the end.

On a CPU a batch is cut into shards, each computed by one thread from end to end. That is as fast as splitting every
operation over the cores, does not stall when another program takes a core, and gives the same bits on any number of
cores. On a GPU a step is recorded once and replayed, while other processes draw for the steps to come.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module

from models.training.replay import Ahead, Drawn, Replay

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHARDS = 2 if DEVICE.type == "cpu" else 1
CAREFUL = 0.2  # share of the learning rate that careful layers have


@dataclass(frozen=True)
class Lesson:
    """What the steps of a training learn from.

    draw: step and shard number, both from 0 -> the shard's random numbers and pictures. A pure function that can be
    pickled. loss: those on DEVICE -> the shard's mean loss, with its gradient path; on a GPU it may not wait for it.
    """

    draw: Callable[[int, int], Drawn]
    loss: Callable[..., Tensor]

    def __call__(self, step: int, shard: int) -> Tensor:
        """The loss of a shard."""
        return self.loss(*(torch.from_numpy(part).to(DEVICE) for part in self.draw(step, shard)))


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn. Warm-up is linear, the decay a half cosine to a hundredth."""

    iterations: int
    batch: int
    learning_rate: float
    warmup: int = 100
    ema: float = 0.0  # decay of the averaged weights; 0 keeps none

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / self.iterations)
        return self.learning_rate * warm * (0.01 + 0.99 * cosine)


@dataclass(frozen=True)
class Pace:
    """When to stop and write. Seconds are of wall clock."""

    save_every: float = 180.0
    log_every: int = 50  # steps
    budget: float = math.inf  # stop, resumable, after so long


class Training:
    """A network, its optimizer, its averaged weights and the number of steps taken; kept in one file."""

    def __init__(self, network: nn.Module, schedule: Schedule, file: Path, careful: tuple[str, ...] = ()) -> None:
        """`careful`: beginnings of the names of layers that learn at CAREFUL times the rate."""
        self.network = network.to(DEVICE)
        self.schedule = schedule
        self.file = file
        self.step = 0
        self.seconds = 0.0
        named = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
        self._weights = [weight for _, weight in named]
        groups = [
            {"params": [weight for name, weight in named if name.startswith(careful) == slow]} for slow in (False, True)
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        self._threads = ThreadPoolExecutor(SHARDS, initializer=torch.set_num_threads, initargs=(1,))
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()} if schedule.ema else {}

    @property
    def finished(self) -> bool:
        """Whether every step of the schedule was taken."""
        return self.step >= self.schedule.iterations

    def resume(self) -> bool:
        """Continue from the file if it is there."""
        if not self.file.exists():
            return False
        state = torch.load(self.file, weights_only=True, map_location=DEVICE)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]
        self._rewind_log()
        return True

    def save(self) -> None:
        """Write everything a resumed run needs, atomically."""
        unfinished = self.file.with_suffix(".partial")
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, unfinished)
        unfinished.replace(self.file)

    def run(self, lesson: Lesson, pace: Pace, review: Callable[[], None] = lambda: None) -> None:
        """Take steps until the schedule or the budget ends; `review` is called after each save."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if DEVICE.type == "cpu" or self.finished:
            with undivided():
                self._run(lambda: self.descend(lesson), pace, review)
        else:
            ahead = Ahead(lesson.draw, self.step)
            replay = Replay(lesson.loss, self._weights, lesson.draw(self.step, 0))
            try:
                self._run(lambda: self._follow(*replay(ahead.take())), pace, review)
            finally:
                ahead.close()

    def descend(self, lesson: Lesson) -> Tensor:
        """Take one step; returns its loss."""
        shards = list(self._threads.map(partial(self._gradients, lesson), range(SHARDS)))
        gradients = [torch.stack(parts).mean(0) for parts in zip(*(each for _, each in shards), strict=True)]
        return self._follow(torch.stack([value for value, _ in shards]).mean(), gradients)

    def _follow(self, value: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        for group, share in zip(self.optimizer.param_groups, (1.0, CAREFUL), strict=True):
            group["lr"] = share * self.schedule.rate(self.step)
        nn.utils.clip_grad_norm_(self._weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.average:
            decay = min(self.schedule.ema, (1 + self.step) / (10 + self.step))  # a young average forgets faster
            present = self.network.state_dict()
            torch._foreach_lerp_(list(self.average.values()), [present[name] for name in self.average], 1 - decay)
        return value

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights where they are kept, otherwise the present ones."""
        return self.average or self.network.state_dict()

    def _run(self, step: Callable[[], Tensor], pace: Pace, review: Callable[[], None]) -> None:
        started = saved = last = time.monotonic()
        recent: list[Tensor] = []
        while not self.finished and time.monotonic() - started < pace.budget:
            recent.append(step())
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.step % pace.log_every == 0 or self.finished:
                self._log(float(torch.stack(recent).mean()))
                recent.clear()
            if now - saved > pace.save_every and not self.finished:
                self.save()
                review()
                saved = last = time.monotonic()
        self.save()
        review()

    def _gradients(self, lesson: Lesson, shard: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        value = lesson(self.step, shard)
        return value.detach(), torch.autograd.grad(value, self._weights)

    def _log(self, loss: float) -> None:
        path = self.file.with_suffix(".csv")
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["step", "seconds", "rate", "loss"])
            writer.writerow([self.step, round(self.seconds, 1), self.schedule.rate(self.step - 1), loss])

    def _rewind_log(self) -> None:
        """Drop the rows of steps that were taken after the last save, and will be taken again."""
        path = self.file.with_suffix(".csv")
        if path.exists():
            head, *rows = path.read_text().splitlines()
            kept = [row for row in rows if int(row.split(",")[0]) <= self.step]
            path.write_text("\n".join([head, *kept, ""]))


@contextmanager
def undivided() -> Iterator[None]:
    """No operation is split over threads, for the while: what runs beside it are whole shards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def mixed_precision(network: nn.Module) -> AbstractContextManager[object]:
    """bfloat16 where the processor multiplies it, which is several times as fast there; elsewhere float32.

    On a GPU the network has rounded weights meanwhile, and is to be given what has their type: under autocast, which leaves
    normalizations in float32, a step of the autoencoder takes a quarter longer.
    """
    if place_of(network).type == "cpu":
        return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())
    return _reparametrize_module(network, {name: weight.bfloat16() for name, weight in network.named_parameters()})


def place_of(network: nn.Module) -> torch.device:
    """The device that a network is on."""
    return next(network.parameters()).device


def type_of(network: nn.Module) -> torch.dtype:
    """The type that a network's weights have at the moment."""
    return next(network.parameters()).dtype


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Independent normal numbers."""
    return rng.standard_normal(shape, np.float32)
