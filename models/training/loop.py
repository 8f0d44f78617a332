"""A training loop whose every step is a pure function of (weights, step number), so that a resumed run is bit-equal.

The loss draws its data and its noise from the step number alone; what the optimizer and the average of the weights
remember is saved with the weights, every few minutes and at the end.

A batch is cut into shards, each computed by one thread from end to end. That is as fast as splitting every operation
over the cores, does not stall when another program takes a core, and gives the same bits on any number of cores.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

Loss = Callable[[int, int], Tensor]
"""Step and shard number, both from 0 -> the shard's mean loss, with its gradient path. Random numbers are drawn on the
CPU, so that they are the same on every machine."""

SHARDS = 2
CAREFUL = 0.2  # share of the learning rate that careful layers have
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


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

    def run(self, loss: Loss, pace: Pace, review: Callable[[], None] = lambda: None) -> None:
        """Take steps until the schedule or the budget ends; `review` is called after each save."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with undivided():
            self._run(loss, pace, review)

    def descend(self, loss: Loss) -> float:
        """Take one step; returns its loss."""
        for group, share in zip(self.optimizer.param_groups, (1.0, CAREFUL), strict=True):
            group["lr"] = share * self.schedule.rate(self.step)
        shards = list(self._threads.map(partial(self._gradients, loss), range(SHARDS)))
        for weight, *parts in zip(self._weights, *(gradients for _, gradients in shards), strict=True):
            weight.grad = torch.stack(parts).mean(0)
        nn.utils.clip_grad_norm_(self._weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(self.schedule.ema, (1 + self.step) / (10 + self.step))  # a young average forgets faster
        for name, weight in self.network.state_dict().items() if self.average else ():
            self.average[name].lerp_(weight, 1 - decay)
        return sum(value for value, _ in shards) / SHARDS

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights where they are kept, otherwise the present ones."""
        return self.average or self.network.state_dict()

    def _run(self, loss: Loss, pace: Pace, review: Callable[[], None]) -> None:
        started = saved = last = time.monotonic()
        recent: list[float] = []
        while not self.finished and time.monotonic() - started < pace.budget:
            recent.append(self.descend(loss))
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.step % pace.log_every == 0 or self.finished:
                self._log(sum(recent) / len(recent))
                recent.clear()
            if now - saved > pace.save_every and not self.finished:
                self.save()
                review()
                saved = last = time.monotonic()
        self.save()
        review()

    def _gradients(self, loss: Loss, shard: int) -> tuple[float, tuple[Tensor, ...]]:
        value = loss(self.step, shard)
        return float(value.detach()), torch.autograd.grad(value, self._weights)

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


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the processor multiplies it, which is several times as fast there; elsewhere float32."""
    native = device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


def place_of(network: nn.Module) -> torch.device:
    """The device that a network is on."""
    return next(network.parameters()).device


def stream(*key: int) -> torch.Generator:
    """The random stream that belongs to a key, such as (seed, step)."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
