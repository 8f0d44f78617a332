"""What Stable Diffusion 2's unCLIP reads besides a text: what CLIP sees in pictures, in noise (Ramesh et al. 2022, arXiv:2204.06125)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.micro_conditioning import MicroConditioning
from models.revision import MERGED, PictureVector, noise_step, revised
from models.sinusoids import timestep_embedding


@dataclass(frozen=True)
class UnclipRecipe:
    """How the vector is made that an unCLIP network reads beside its time step: the pictures' own, in noise, and behind it
    how much noise that is. channels: of what CLIP sees: 1024 of ViT-H, 768 of ViT-L.

    Noise is added to the vectors as they are. The ViT-L one was trained with a mean and a spread of many vectors taken out of
    them before, which its file does not have.
    """

    channels: int

    def width(self, pooled: int) -> int:
        """The width of the vector; `pooled` is that of what takes the pooled text's place, which is all of it."""
        return pooled

    def seen(self, pooled: int) -> int:
        """How many channels what CLIP sees in a picture must have."""
        return self.channels

    def pooled(self, text: Tensor, pictures: Sequence[PictureVector], seed: int) -> Tensor:
        """What takes the place of a pooled text, [1, 2 * channels] float32: zeros, where there are no pictures."""
        if not pictures:
            return torch.zeros(1, 2 * self.channels)
        several = sum(len(picture.vectors) for picture in pictures) > 1
        strength, augmentation = (1.0, MERGED) if several else (pictures[0].strength, pictures[0].augmentation)
        told = strength * timestep_embedding(torch.tensor([noise_step(augmentation)]), self.channels)
        return torch.cat([revised(pictures, seed), told], dim=1)

    def __call__(self, pooled: Tensor, said: MicroConditioning, width: int, height: int, away: bool) -> Tensor:
        """The vector itself, [1, 2 * channels]; nothing else is read."""
        return pooled.float().cpu()
