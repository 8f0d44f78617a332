"""From a seed to noise: the one place that decides which generator draws what, and in which order.

Everything is drawn on the CPU, so a seed gives one picture on every device. Which numbers those are is a rule: our own,
which is that of ComfyUI on a CPU, or another program's, for the pictures that it made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from models.brownian import BrownianPath, Draw, Generator
from models.philox import cuda_normal

NoiseStream = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x, sigma, sigma_next) -> standard normal noise of x's shape, on its device, for the way between the two levels []."""


def torch_cpu(seed: int) -> Draw:
    """Torch's generator on the CPU."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)


def torch_cuda(seed: int) -> Draw:
    """Torch's generator on CUDA."""
    calls = count()
    return lambda shape: cuda_normal(shape, seed, next(calls))


class StepNoise(Protocol):
    """What samplers may draw from while they take their steps."""

    def stream(self) -> NoiseStream:
        """Noise that is new at every call, whatever the levels."""

    def path(self, x: Tensor, sigmas: Tensor) -> NoiseStream:
        """Noise that belongs to the levels: the increments of one Brownian path over all of `sigmas`."""


class NoiseRule(Protocol):
    """How a seed becomes noise. Picklable."""

    @property
    def path(self) -> Generator:
        """What draws a Brownian path."""

    def initial(self, seed: int, shape: tuple[int, ...], places: Sequence[int] | None) -> Tensor:
        """The noise that sampling starts from."""

    def steps(self, seed: int) -> Draw:
        """The noise between steps, for whole batches."""


@dataclass(frozen=True)
class Together:
    """One generator for all of a batch, and another for the steps, from the seed and `ahead`."""

    start: Generator = torch_cpu
    between: Generator = torch_cpu
    ahead: int = 1

    @property
    def path(self) -> Generator:
        """That of the steps."""
        return self.between

    def initial(self, seed: int, shape: tuple[int, ...], places: Sequence[int] | None) -> Tensor:
        """One draw for the whole batch, or items one after the other, of which some are kept."""
        draw = self.start(seed)
        if places is None:
            return draw(shape)
        drawn: dict[int, Tensor] = {}
        for place in range(max(places) + 1):
            item = draw((1, *shape[1:]))
            if place in places:
                drawn[place] = item
        return torch.cat([drawn[place] for place in places])

    def steps(self, seed: int) -> Draw:
        """The same seed would draw the initial noise once more, unless another generator draws it."""
        return self.between((seed + self.ahead) % 2**64)


@dataclass(frozen=True)
class Apart:
    """A generator for each item of a batch, from the seed and its place: what it draws between steps follows on."""

    generator: Generator

    @property
    def path(self) -> Generator:
        """The same."""
        return self.generator

    def initial(self, seed: int, shape: tuple[int, ...], places: Sequence[int] | None) -> Tensor:
        """An item a seed."""
        items = range(shape[0]) if places is None else places
        return torch.cat([self.generator((seed + place) % 2**64)((1, *shape[1:])) for place in items])

    def steps(self, seed: int) -> Draw:
        """What the generators draw after the initial noise."""
        generators: list[Draw] = []

        def draw(shape: tuple[int, ...]) -> Tensor:
            while len(generators) < shape[0]:
                generators.append(_after_first(self.generator((seed + len(generators)) % 2**64)))
            return torch.cat([each((1, *shape[1:])) for each in generators[: shape[0]]])

        return draw


@dataclass(frozen=True)
class Onward:
    """One generator for all of a batch; what it draws between steps follows on."""

    generator: Generator

    @property
    def path(self) -> Generator:
        """The same."""
        return self.generator

    def initial(self, seed: int, shape: tuple[int, ...], places: Sequence[int] | None) -> Tensor:
        """Its first draw, for the whole batch."""
        return Together(self.generator).initial(seed, shape, places)

    def steps(self, seed: int) -> Draw:
        """What it draws after the initial noise."""
        return _after_first(self.generator(seed))


def _after_first(draw: Draw) -> Draw:
    """Draws of one shape, without the first."""
    passed = False

    def following(shape: tuple[int, ...]) -> Tensor:
        nonlocal passed
        if not passed:
            draw(shape)
            passed = True
        return draw(shape)

    return following


OURS = Together()
RULES: Mapping[str, NoiseRule] = MappingProxyType(
    {
        "ComfyUI on a CPU": OURS,
        "ComfyUI on NVIDIA": Together(between=torch_cuda, ahead=0),
        "A1111 on a GPU or by NV": Apart(torch_cuda),
        "A1111 by CPU": Apart(torch_cpu),
        "diffusers on CUDA": Onward(torch_cuda),
        "diffusers on a CPU": Onward(torch_cpu),
    }
)
"""Whose noise a seed stands for. A1111's setting is called random number generator source."""


@dataclass(frozen=True)
class BatchPart:
    """Some items of a batch, apart from the others: `first` and those that follow, of a batch of `whole`. places: those of
    all its items, where it has some; see `Noise.initial`.
    """

    first: int
    whole: int
    places: tuple[int, ...] | None = None

    def shape(self, own: Sequence[int]) -> tuple[int, ...]:
        """The shape of the whole batch, from that of these items."""
        return self.whole, *own[1:]

    def of(self, drawn: Tensor, count: int) -> Tensor:
        """What belongs to these items, of what was drawn for the whole batch."""
        return drawn[self.first : self.first + count]


@dataclass(frozen=True)
class Noise:
    """The noise of one seed (0 to 2**64 - 1). Blank, it adds none to begin with; what samplers add stays the seed's.

    With a `part` it is drawn for the whole batch, and is what the items of that part get of it.
    """

    socket: ClassVar[str] = "NOISE"
    seed: int
    blank: bool = False
    rule: NoiseRule = field(default=OURS)
    part: BatchPart | None = None

    def initial(self, shape: tuple[int, ...], places: Sequence[int] | None = None) -> Tensor:
        """The noise that sampling starts from. [B, 4, h, w] float32 on the CPU.

        places: for each item its place in a batch that is drawn one after the other. By our rule that is the same noise
        where an item has a multiple of 16 numbers; torch draws 16 at a time, so for others (sides such as 520) it is not.
        """
        if self.blank:
            return torch.zeros(shape)
        if (part := self.part) is None:
            return self.rule.initial(self.seed, shape, places)
        return part.of(self.rule.initial(self.seed, part.shape(shape), part.places), shape[0])

    def upon(self, samples: Tensor, places: Sequence[int] | None = None) -> Tensor:
        """The noise for these latents, [B, 4, h, w]."""
        return self.initial(tuple(samples.shape), places)

    def stream(self) -> NoiseStream:
        """The noise that samplers add between steps."""
        draw, part = self.rule.steps(self.seed), self.part
        if part is None:
            return lambda x, sigma, sigma_next: draw(tuple(x.shape)).to(x)
        return lambda x, sigma, sigma_next: part.of(draw(part.shape(x.shape)), len(x)).to(x)

    def path(self, x: Tensor, sigmas: Tensor) -> NoiseStream:
        """The increments of the seed's Brownian path in sigma, each over the root of its length.

        More or fewer steps draw from the same path, so that their pictures are alike. x: [B, C, H, W]; sigmas: all levels
        that will be asked for lie between the highest and the lowest above 0 of these.
        """
        positive = sigmas[sigmas > 0]
        low, high = float(positive.min()), float(positive.max())
        part = self.part
        shape = tuple(x.shape) if part is None else part.shape(x.shape)
        path = BrownianPath(shape, low, high, self.seed, self.rule.path)

        def increment(x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
            difference = path(float(sigma), float(sigma_next))
            if part is not None:
                difference = part.of(difference, len(x))
            return (difference / float((sigma_next - sigma).abs().sqrt())).to(x)

        return increment
