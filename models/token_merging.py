"""Token merging (Bolya and Hoffman 2023, arXiv:2303.17604): pixels that ask alike ask once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.attention import Inner, Site
from models.reading import Reading
from models.steering import Begun, Call, Ground

SQUARE = 2  # cells a side of the squares of which one pixel, drawn by chance, takes others in
SEED = 0


@dataclass(frozen=True)
class TokenMerging:
    """Self-attention at full size asks for a share `ratio` of the pixels less (section 4, with random partitions)."""

    ratio: float

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        generator = torch.Generator().manual_seed(SEED)

        def steer(call: Call, reading: Reading) -> Reading:
            height, width = call.x.shape[-2:]
            plain = reading.around

            def around(site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Inner) -> Tensor:
                if site.text or x.shape[1] != height * width:
                    return plain(site, x, keys, values, inner)
                merge, unmerge = merging(x, height, width, self.ratio, generator)
                return unmerge(plain(site, merge(x), keys, values, inner))

            return replace(reading, around=around)

        return Begun(steer)


Change = Callable[[Tensor], Tensor]


def merging(x: Tensor, height: int, width: int, ratio: float, generator: torch.Generator) -> tuple[Change, Change]:
    """What merges the most alike tokens of x [B, N, C] into others, and what puts the results back to all.

    Each square has one destination, drawn from the generator; of all others a share of N goes to the destination most
    alike, by the cosine.
    """
    rows, columns = height // SQUARE, width // SQUARE
    chosen = torch.randint(SQUARE**2, (rows, columns, 1), generator=generator)
    flags = torch.zeros(rows, columns, SQUARE**2).scatter_(2, chosen, -1.0)
    flags = flags.view(rows, columns, SQUARE, SQUARE).transpose(1, 2).reshape(rows * SQUARE, columns * SQUARE)
    board = torch.zeros(height, width)
    board[: rows * SQUARE, : columns * SQUARE] = flags
    order = board.flatten().argsort(stable=True).to(x.device)
    count = rows * columns
    into, others = order[:count], order[count:]
    merged = min(len(others), int(x.shape[1] * ratio))
    if not count or not merged:
        return _same, _same
    unit = x / x.norm(dim=-1, keepdim=True)
    likeness, nearest = (unit[:, others] @ unit[:, into].transpose(-1, -2)).max(dim=-1)
    ranked = likeness.argsort(dim=-1, descending=True)
    gone, kept = others[ranked[:, :merged]], others[ranked[:, merged:]]  # [B, merged], [B, the others]
    target = nearest.gather(1, ranked[:, :merged])

    def merge(x: Tensor) -> Tensor:
        destinations = x[:, into].scatter_reduce(1, _wide(target, x), _taken(x, gone), reduce="mean")
        return torch.cat([_taken(x, kept), destinations], dim=1)

    def unmerge(y: Tensor) -> Tensor:
        staying, destinations = y[:, : kept.shape[1]], y[:, kept.shape[1] :]
        out = y.new_empty(len(y), x.shape[1], y.shape[2])
        out[:, into] = destinations
        out.scatter_(1, _wide(kept, y), staying)
        return out.scatter_(1, _wide(gone, y), _taken(destinations, target))

    return merge, unmerge


def _same(x: Tensor) -> Tensor:
    return x


def _wide(places: Tensor, like: Tensor) -> Tensor:
    return places[..., None].expand(-1, -1, like.shape[-1])


def _taken(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(1, _wide(places, x))
