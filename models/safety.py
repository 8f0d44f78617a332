"""The safety checker that was published with Stable Diffusion v1: does a picture look like something it knows?

A CLIP vision tower turns the picture into a vector, whose cosine with each of 17 unnamed concepts is held against
that concept's threshold. Three further concepts ask for special care: the first that is found lowers all later
thresholds by 0.01. Rando et al. 2022 (arXiv:2210.04610) took it apart; the published weights are
CompVis/stable-diffusion-safety-checker. Its weaknesses come with it: it sees squares of 224 x 224 pixels, and knows
sexual content only. As published it looks at the square middle of a picture; `check_whole` looks at all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import SafetyConfig
from models.vision import VisionTower, clip_input
from models.weights import CheckpointError

SPECIAL_CARE = 0.01
"""What is added to all scores that come after one special-care concept was found."""


MOST_SQUARES = 65
"""Of a picture at most; one that is longer than 32 times its width cannot be judged."""


@dataclass(frozen=True)
class Verdict:
    """What the checker thinks of one picture: per concept the cosine beyond its threshold, in thousandths."""

    concepts: tuple[float, ...]
    special_care: tuple[float, ...]

    @property
    def flagged(self) -> bool:
        """Whether any concept was found. Special-care concepts alone do not count."""
        return any(score > 0 for score in self.concepts)


class SafetyChecker(nn.Module):
    """Pictures -> verdicts. Attribute names are the published file's."""

    def __init__(self, config: SafetyConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = nn.ModuleDict({"vision_model": VisionTower(config)})
        self.visual_projection = nn.Linear(config.width, config.projection, bias=False)
        self.concept_embeds = nn.Parameter(torch.empty(config.concepts, config.projection))
        self.concept_embeds_weights = nn.Parameter(torch.empty(config.concepts))
        self.special_care_embeds = nn.Parameter(torch.empty(config.special_care, config.projection))
        self.special_care_embeds_weights = nn.Parameter(torch.empty(config.special_care))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, 3, S, S] from `clip_input` -> [B, D], not normalized."""
        return self.visual_projection(self.vision_model["vision_model"](x))

    def check(self, picture: Tensor) -> Verdict:
        """Judge one picture, [H, W, 3] in 0..1, which stays as it is. Raises CheckpointError on scores that are no numbers."""
        x = clip_input(picture, self.config.image_size)[None].to(self.visual_projection.weight)
        vector = F.normalize(self(x))
        care = _scores(vector, self.special_care_embeds, self.special_care_embeds_weights)
        scores = _scores(vector, self.concept_embeds, self.concept_embeds_weights)
        if not (care.isfinite().all() and scores.isfinite().all()):
            raise CheckpointError("the safety checker's weights are damaged: its scores are no numbers")
        return judge(scores, care)

    def check_whole(self, picture: Tensor, tick: Callable[[], None] = lambda: None) -> Verdict:
        """Judge one picture, [H, W, 3] in 0..1, by its middle and by squares that cover it, at its own proportions.

        Each concept's score is the highest of all. tick: called before each square. Raises CheckpointError on scores that
        are no numbers, ValueError for a picture that would take more than MOST_SQUARES.
        """
        height, width = picture.shape[:2]
        side, longer = min(height, width), max(height, width)
        count = 1 + 2 * math.ceil((longer - side) / side)  # each overlaps the next by half at least
        if count > MOST_SQUARES:
            raise ValueError(f"{width} x {height} pixels are too long and narrow to be judged")
        verdicts = []
        for i in range(count):
            tick()
            start = round(i * (longer - side) / max(1, count - 1))
            square = picture if i == count // 2 else picture.narrow(0 if height > width else 1, start, side)
            verdicts.append(self.check(square))
        return Verdict(
            tuple(max(scores) for scores in zip(*(verdict.concepts for verdict in verdicts), strict=True)),
            tuple(max(scores) for scores in zip(*(verdict.special_care for verdict in verdicts), strict=True)),
        )


def judge(concepts: Tensor, special_care: Tensor) -> Verdict:
    """The verdict on cosines less thresholds, both [N] float32. Scores count once rounded to thousandths."""
    added = 0.0
    care = []
    for score in special_care:
        care.append(_thousandths(score + added))
        if care[-1] > 0:
            added = SPECIAL_CARE
    return Verdict(tuple(_thousandths(score + added) for score in concepts), tuple(care))


def published_name(name: str) -> str:
    """The published file's name of a tensor. Files that diffusers writes with transformers 5 leave one level out."""
    inner = name.removeprefix("vision_model.")
    return name if inner == name or inner.startswith("vision_model.") else f"vision_model.{name}"


def _scores(vector: Tensor, concepts: Tensor, thresholds: Tensor) -> Tensor:
    """[N] float32 on the CPU: the cosine of a unit vector [1, D] with each concept, less the concept's threshold."""
    cosines = vector @ F.normalize(concepts).T
    return cosines[0].cpu().float() - thresholds.cpu().float()


def _thousandths(score: Tensor) -> float:
    """Rounded in float32, where the published checker rounds: at the edge that decides."""
    return round(score.round(decimals=3).item(), 3)
