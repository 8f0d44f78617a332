"""The autoencoder in overlapping tiles: pictures of any size in bounded memory.

Each tile is weighted by a ramp towards all four of its sides, and three tilings of different shapes are averaged, so
that no seam lies in all of them. Near its own border a tile lacks context, hence the overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from models.machine import freed_memory_returned
from models.vae import Autoencoder, Tick

DECODE_TILE, DECODE_OVERLAP = 64, 16  # latent cells
ENCODE_TILE, ENCODE_OVERLAP = 512, 64  # pixels


class _Span(NamedTuple):
    """Where a tile lies along one axis, and the share of each output cell it covers that comes from it."""

    start: int
    stop: int
    made: slice  # what it becomes
    share: Tensor


def tile_shapes(tile: int) -> tuple[tuple[int, int], ...]:
    """Height and width of the tiles of each tiling."""
    return ((2 * tile, tile // 2), (tile // 2, 2 * tile), (tile, tile))


def decode_tiled(
    vae: Autoencoder, z: Tensor, tick: Tick = lambda: None, tile: int = DECODE_TILE, overlap: int = DECODE_OVERLAP
) -> Tensor:
    """`vae.decode` in tiles of `tile` latent cells. z: [B, 4, h, w], unscaled -> [B, 3, H, W] float32 on the CPU."""
    factor = vae.config.factor
    size = z.shape[-2] * factor, z.shape[-1] * factor
    return _average(lambda part: vae.decode(part, tick), z, size, (vae.config.in_channels, tile, overlap))


def encode_tiled(
    vae: Autoencoder, x: Tensor, tick: Tick = lambda: None, tile: int = ENCODE_TILE, overlap: int = ENCODE_OVERLAP
) -> Tensor:
    """`vae.encode` in tiles of `tile` pixels. x: [B, 3, H, W] in -1..1 -> [B, 8, h, w] float32 on the CPU."""
    factor = vae.config.factor
    size = x.shape[-2] // factor, x.shape[-1] // factor
    return _average(lambda part: vae.encode(part, tick), x, size, (2 * vae.config.embed_dim, tile, overlap))


def _average(run: Callable[[Tensor], Tensor], x: Tensor, size: tuple[int, int], how: tuple[int, int, int]) -> Tensor:
    """The mean of the three tilings of `x`, [B, C, *size]. how: channels of the result, tile, overlap."""
    channels, tile, overlap = how
    result = torch.zeros(len(x), channels, *size)
    shapes = tile_shapes(tile)
    with freed_memory_returned():
        for shape in shapes:
            rows, columns = (_spans(*axis, overlap) for axis in zip(x.shape[-2:], size, shape, strict=True))
            for row, column in product(rows, columns):
                part = run(x[..., row.start : row.stop, column.start : column.stop]).float().cpu()
                share = row.share[:, None] * column.share
                result[..., row.made, column.made].addcmul_(part, share, value=1 / len(shapes))
    return result


def _spans(given: int, made: int, tile: int, overlap: int) -> list[_Span]:
    """Tiles along an axis of `given` cells that become `made`: they start every `tile - overlap`, the last is cut."""
    spans = []
    for start in range(0, given - overlap, tile - overlap) if given > tile else (0,):
        stop = min(start + tile, given)
        place = slice(start * made // given, stop * made // given)
        spans.append(_Span(start, stop, place, _ramp(place.stop - place.start, overlap * made // given)))
    total = torch.zeros(made)
    for span in spans:
        total[span.made] += span.share
    return [span._replace(share=span.share / total[span.made]) for span in spans]


def _ramp(size: int, feather: int) -> Tensor:
    """Weights of a tile along one axis: 1 / feather, 2 / feather … 1 from both ends inwards; 1 if it is too short."""
    weights = torch.ones(size)
    if feather < size:
        rise = torch.arange(1, feather + 1) / feather
        weights[:feather] *= rise
        weights[size - feather :] *= rise.flip(0)
    return weights
