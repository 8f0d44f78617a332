"""A picture as a prompt at sampling: cross-attentions look at it, too (Ye et al. 2023, arXiv:2308.06721, equation 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from models.attention import Place, Site, attention
from models.config import UNetConfig
from models.guidance import NEGATIVE
from models.reading import Reading
from models.steering import Begun, Call, Ground


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """Attention to the text, plus `weight` times attention to a picture.

    pairs: keys and values of the cross-attentions in the order of `text_sites`, each [2, T, C]: of no picture, which is
    what negative texts get, and of the picture. start and end: the part of the way from noise to picture where it counts.
    mask: [b, H, W], how much it counts where.
    """

    pairs: tuple[tuple[Tensor, Tensor], ...]
    weight: float
    start: float = 0.0
    end: float = 1.0
    mask: Tensor | None = None

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        numbers = {site: number for number, site in enumerate(text_sites(ground.unet))}
        moved: dict[int, tuple[Tensor, Tensor]] = {}
        top, bottom = ground.levels.at(self.start), ground.levels.at(self.end)

        def pair(number: int, like: Tensor) -> tuple[Tensor, Tensor]:
            if number not in moved:
                keys, values = self.pairs[number]
                moved[number] = keys.to(like), values.to(like)
            return moved[number]

        def steer(call: Call, reading: Reading) -> Reading:
            if not top >= call.sigma >= bottom:
                return reading
            which = [0 if text.number == NEGATIVE else 1 for text in call.texts for _ in range(call.each)]
            rows, plain, where = torch.tensor(which, device=call.x.device), reading.attend, self._where(call)

            def attend(site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                looked = plain(site, q, k, v)
                if not site.text:
                    return looked
                keys, values = pair(numbers[site.place, site.depth], q)
                return looked + attention(q, keys[rows], values[rows], site.heads) * (self.weight * where(q.shape[1]))

            return replace(reading, attend=attend)

        return Begun(steer)

    def _where(self, call: Call) -> Callable[[int], Tensor | float]:
        """How much it counts at each of so many places: [B, N, 1], or 1."""
        if self.mask is None:
            return lambda places: 1.0
        mask = self.mask[:, None].to(call.x)
        items = torch.arange(len(call.x), device=mask.device) % call.each % len(mask)

        def where(places: int) -> Tensor:
            return F.interpolate(mask, call.size(places), mode="bilinear").flatten(2).transpose(1, 2)[items]

        return where


def text_sites(config: UNetConfig) -> list[tuple[Place, int]]:
    """The cross-attentions of a U-Net, place and depth: on the way down, on the way up, and in the middle."""
    blocks, depths = config.num_res_blocks, config.transformer_depth
    down = [(level * (blocks + 1) + i + 1, depth) for level, depth in enumerate(depths) for i in range(blocks)]
    up = [(level * (blocks + 1) + i, depth) for level, depth in enumerate(depths[::-1]) for i in range(blocks + 1)]
    return [
        *((Place("input", block), i) for block, depth in down for i in range(depth)),
        *((Place("output", block), i) for block, depth in up for i in range(depth)),
        *((Place("middle", 0), i) for i in range(config.middle_depth)),
    ]
