"""The aesthetic predictor of LAION, second version: how much people would like a picture, by its CLIP vector.

Schuhmann et al. 2022 (arXiv:2210.08402, appendix): trained on ratings from 1 to 10 of pictures that were seen by
ViT-L/14. Linear layers and nothing between them; what dropout the training had is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class AestheticPredictor(nn.Module):
    """CLIP vectors -> scores. Attribute names are the published file's: layers.0, 2, 4, 6 and 7."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.width = widths[0]
        first, second, third, *last = (nn.Linear(given, made) for given, made in pairwise(widths))
        self.layers = nn.Sequential(first, nn.Identity(), second, nn.Identity(), third, nn.Identity(), *last)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors of pictures [B, D], of any length -> [B] float32 on the CPU."""
        weight = next(self.parameters())
        return self.layers(F.normalize(vectors.float(), dim=-1).to(weight))[:, 0].float().cpu()
