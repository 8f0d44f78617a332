"""What a picture shows, from its pixels alone: a network that learned to see on drawn scenes and knows no caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.training.loop import place_of
from models.training.scenes import Relation, Scene
from models.training.vae import VIEW, shrunk
from models.training.world import COLOURS, KINDS, SIZE, Place, Season, Style, Time, Weather

MOST = 3  # things of a kind
KIND_NAMES = tuple(KINDS)
WHOLE: tuple[tuple[str, ...], ...] = (  # what is asked of a whole picture, one answer of each
    tuple(Place),
    tuple(Time),
    tuple(Weather),
    ("none", *Season),
    tuple(Style),
    ("none", "small", "big"),
)
ANSWERS = sum(len(options) for options in WHOLE) + len(KINDS) * (MOST + 1 + len(COLOURS) + 2)


@dataclass(frozen=True)
class Finding:
    """What is to be seen. `things`: (colour, kind, how many) from left to right; trees have no colour."""

    place: str
    time: str
    weather: str
    season: str | None
    style: str
    things: tuple[tuple[str | None, str, int], ...]
    relation: str | None  # of the first to the second, as `Relation`, where there are two kinds
    side: str | None  # of one thing alone: "left", "right" or neither
    size: str | None  # of one thing alone: "small", "big" or neither


class Detector(nn.Module):
    """Pictures -> numbers for each possible answer."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 6 * width)
        layers: list[nn.Module] = []
        channels = 3
        for out in widths:
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.GroupNorm(1, out), nn.ReLU()]
            layers += [nn.Conv2d(out, out, 3, padding=1), nn.GroupNorm(1, out), nn.ReLU()]
            channels = out
        self.see = nn.Sequential(*layers, nn.Flatten())
        self.answer = nn.Sequential(nn.Linear(16 * channels, 256), nn.ReLU(), nn.Linear(256, ANSWERS))

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 [B, 64, 64, 3] -> [B, ANSWERS]."""
        answers: Tensor = self.answer(self.see(pictures.movedim(-1, 1).float() / 127.5 - 1))
        return answers


@dataclass(frozen=True)
class Truth:
    """The right answers about scenes, as tensors."""

    whole: Tensor  # [B, questions] int64
    counts: Tensor  # [B, kinds] int64
    colours: Tensor  # [B, kinds] int64, -1 where there is none
    middles: Tensor  # [B, kinds, 2], in -1..1


def truth(scenes: Sequence[Scene]) -> Truth:
    """What a detector should answer."""
    whole, counts = [], torch.zeros(len(scenes), len(KINDS), dtype=torch.long)
    colours, middles = torch.full_like(counts, -1), torch.zeros(len(scenes), len(KINDS), 2)
    for row, one in enumerate(scenes):
        told = (one.place, one.time, one.weather, one.season or "none", one.style, one.size or "none")
        whole.append([options.index(answer) for options, answer in zip(WHOLE, told, strict=True)])
        for thing in one.things:
            kind = KIND_NAMES.index(thing.kind)
            counts[row, kind] += 1
            colours[row, kind] = COLOURS.index(thing.colour) if thing.colour else -1
            middles[row, kind] += torch.tensor([thing.x, thing.y]) / (SIZE / 2) - 1
    return Truth(torch.tensor(whole), counts, colours, middles / counts.clamp(min=1)[..., None])


def loss(answers: Tensor, wanted: Truth) -> Tensor:
    """How wrong the answers are."""
    *whole, counts, colours, middles = parts(answers)
    value = sum(F.cross_entropy(part, wanted.whole[:, i]) for i, part in enumerate(whole))
    value = value + 4 * F.cross_entropy(counts.flatten(0, 1), wanted.counts.flatten())
    value = value + F.cross_entropy(colours.flatten(0, 1), wanted.colours.flatten(), ignore_index=-1)
    there = (wanted.counts > 0).float()
    apart = F.smooth_l1_loss(middles, wanted.middles, reduction="none").mean(-1)
    return value + 10 * (apart * there).sum() / there.sum()  # errors far below 1 matter


def parts(answers: Tensor) -> Iterator[Tensor]:
    """The answers by question: each of WHOLE, then of all kinds the number, the colour, the middle."""
    widths = [*(len(options) for options in WHOLE), *(len(KINDS) * n for n in (MOST + 1, len(COLOURS), 2))]
    for i, part in enumerate(answers.split(widths, 1)):
        yield part if i < len(WHOLE) else part.unflatten(1, (len(KINDS), -1))


def load_detector(file: Path) -> Detector:
    """The detector of a file. Raises ValueError on a file of something else, FileNotFoundError without one."""
    detector = Detector()
    try:
        detector.load_state_dict({name: value.float() for name, value in load_file(file).items()})
    except (SafetensorError, RuntimeError) as problem:
        raise ValueError(f"{file} is no detector of the drawn world") from problem
    return detector.eval().requires_grad_(False)


@torch.no_grad()
def detect(detector: Detector, pictures: NDArray[np.uint8]) -> list[Finding]:
    """Look at pictures, [B, S, S, 3] with S 64 times a power of two, or a divisor of 64."""
    enlarged = pictures.repeat(max(1, VIEW // pictures.shape[1]), 1).repeat(max(1, VIEW // pictures.shape[2]), 2)
    views = torch.from_numpy(shrunk(enlarged))
    return findings(torch.cat([detector(part.to(place_of(detector))).cpu() for part in views.split(64)]))


def findings(answers: Tensor) -> list[Finding]:
    """What the likeliest answers say. answers: [B, ANSWERS]"""
    *whole, counts, colours, middles = (part.numpy() for part in parts(answers))
    return [
        _finding([options[int(part[i].argmax())] for options, part in zip(WHOLE, whole, strict=True)],
                 counts[i].argmax(-1), colours[i].argmax(-1), middles[i])
        for i in range(len(answers))
    ]  # fmt: skip


def _finding(
    whole: Sequence[str], counts: NDArray[np.int64], colours: NDArray[np.int64], middles: NDArray[np.float32]
) -> Finding:
    place, time, weather, season, style, size = whole
    seen = sorted((int(i) for i in np.nonzero(counts)[0]), key=lambda i: float(middles[i, 0]))
    relation = side = None
    if len(seen) == 2:
        apart = middles[seen[1]] - middles[seen[0]]
        relation = Relation.LEFT.value
        if abs(apart[1]) > abs(apart[0]) or apart[0] < 20 / (SIZE / 2):
            relation = Relation.ABOVE.value
            seen.sort(key=lambda i: float(middles[i, 1]))
    elif len(seen) == 1 and counts[seen[0]] == 1:
        x = float(middles[seen[0], 0])
        side = "left" if x < -0.25 else "right" if x > 0.25 else None
    things = tuple(
        (COLOURS[colours[i]] if KINDS[KIND_NAMES[i]].coloured else None, KIND_NAMES[i], int(counts[i])) for i in seen
    )
    return Finding(
        place, time, weather, None if season == "none" else season, style, things, relation, side,
        None if size == "none" else size,
    )  # fmt: skip
