"""What SDXL's networks read of a picture besides its text: sizes, crops and a score (Podell et al. 2023, arXiv:2307.01952)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.revision import PictureVector, revised
from models.sinusoids import timestep_embedding

SINUSOIDS = 256  # channels for each number
SCORE, SCORE_AWAY = 6.0, 2.5  # of LAION's aesthetic predictor, where none is given: of what to draw, and what not to


@dataclass(frozen=True)
class MicroConditioning:
    """Numbers about a picture, in pixels (section 2.2 of the paper). What is None is taken from the picture that is drawn.

    width, height: of the original that a training picture was made of; crop_w, crop_h: what was cut off at its left and
    its top; target_width, target_height: what it was scaled to. score: how beautiful it is, 0..10, for the refiner.
    """

    width: int | None = None
    height: int | None = None
    crop_w: int = 0
    crop_h: int = 0
    target_width: int | None = None
    target_height: int | None = None
    score: float | None = None


NOTHING_SAID = MicroConditioning()


@dataclass(frozen=True)
class VectorRecipe:
    """How the vector is made that an SDXL network reads beside its time step. scored: the refiner's, which ends with a
    score instead of the size that was scaled to."""

    scored: bool = False

    @property
    def numbers(self) -> int:
        """How many numbers follow the text."""
        return 5 if self.scored else 6

    def width(self, pooled: int) -> int:
        """The width of the vector, with a pooled text vector of width `pooled`."""
        return pooled + SINUSOIDS * self.numbers

    def seen(self, pooled: int) -> int:
        """How many channels what CLIP sees in a picture must have, to stand in the place of a pooled text of so many."""
        return pooled

    def pooled(self, text: Tensor, pictures: Sequence[PictureVector], seed: int) -> Tensor:
        """A pooled text [1, P], or the pictures in its place."""
        return revised(pictures, seed) if pictures else text

    def __call__(self, pooled: Tensor, said: MicroConditioning, width: int, height: int, away: bool) -> Tensor:
        """pooled: [1, P], the text's; width, height: of the picture that is drawn, in pixels; away: whether the text is
        one to go away from. Gives [1, P + 256 * numbers] float32."""
        w = width if said.width is None else said.width
        h = height if said.height is None else said.height
        if self.scored:
            last: tuple[float, ...] = ((SCORE_AWAY if away else SCORE) if said.score is None else said.score,)
        else:
            target_h = h if said.target_height is None else said.target_height
            target_w = w if said.target_width is None else said.target_width
            last = (target_h, target_w)
        numbers = torch.tensor([h, w, said.crop_h, said.crop_w, *last], dtype=torch.float32)
        return torch.cat([pooled.float().cpu(), timestep_embedding(numbers, SINUSOIDS).view(1, -1)], dim=1)
