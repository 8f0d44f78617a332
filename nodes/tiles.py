"""Nodes that cut pictures into tiles and put tiles and pictures together."""

from __future__ import annotations

from itertools import product
from typing import Annotated

import torch
from torch import Tensor

from graph.errors import InputError
from graph.sockets import Int
from graph.spec import Named, Tip, node
from models.scaling import PICTURE_METHODS
from models.types import Image
from nodes.scaling import scaled_image
from nodes.services import Context

OVERLAP = Int(0, 4096, tooltip="Pixels that neighbours share.")


@node("SplitImageToTileList", category="image/batch", title="Split Image into List of Tiles")
def split_image_to_tile_list(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    tile_width: Annotated[int, Int(64, 2**20, tooltip="Pixels across.")] = 1024,
    tile_height: Annotated[int, Int(64, 2**20, tooltip="Pixels down.")] = 1024,
    overlap: Annotated[int, OVERLAP] = 128,
) -> Annotated[list[Image], Named("image"), Tip("The tiles, row by row. What reads them runs once for each.")]:
    """Cut pictures into tiles of one size that overlap; those at the ends are moved inwards."""
    height, width = image.pixels.shape[1:3]
    rows, columns = _starts(height, tile_height, overlap), _starts(width, tile_width, overlap)
    return [
        Image(image.pixels[:, top : top + tile_height, left : left + tile_width].clone())
        for top, left in product(rows, columns)
    ]


@node("ImageMergeTileList", category="image/batch", title="Merge List of Tiles to Image")
def image_merge_tile_list(
    ctx: Context,
    *,
    image_list: Annotated[list[Image], Tip("The tiles, row by row, all as large as the first.")],
    final_width: Annotated[int, Int(64, 32_768, tooltip="Pixels across of the whole picture.")] = 1024,
    final_height: Annotated[int, Int(64, 32_768, tooltip="Pixels down.")] = 1024,
    overlap: Annotated[int, OVERLAP] = 128,
) -> Annotated[Image, Named("image"), Tip("The picture.")]:
    """Put tiles together, with soft seams where they overlap."""
    first = image_list[0].pixels
    batch, tile_height, tile_width, channels = first.shape
    rows, columns = (_starts(*axis, overlap) for axis in ((final_height, tile_height), (final_width, tile_width)))
    places = list(product(rows, columns))
    if len(image_list) < len(places):
        raise InputError(
            "image_list",
            f"holds {len(image_list)} tiles of {tile_width}x{tile_height}, but {final_width}x{final_height} with an "
            f"overlap of {overlap} takes {len(places)}",
        )
    total = torch.zeros(batch, final_height, final_width, channels)
    weights = torch.zeros(final_height, final_width, 1)
    weight = (_ramp(tile_height, overlap)[:, None] * _ramp(tile_width, overlap))[..., None]
    for tile, (top, left) in zip(image_list, places, strict=False):
        if tile.pixels.shape != first.shape:
            raise InputError("image_list", "holds tiles of different sizes; all have to be as large as the first")
        spot = slice(top, top + tile_height), slice(left, left + tile_width)
        total[(slice(None), *spot)] += (tile.pixels * weight)[:, : final_height - top, : final_width - left]
        weights[spot] += weight[: final_height - top, : final_width - left]
    return Image(total / weights)


@node("ImageGrid", category="image/batch", title="Image Grid")
def image_grid(
    ctx: Context,
    *,
    images: Annotated[list[Image], Tip("The pictures.")],
    columns: Annotated[int, Int(1, 20, tooltip="How many pictures stand in a row.")] = 4,
    cell_width: Annotated[int, Int(32, 2048, tooltip="Pixels across of each.")] = 256,
    cell_height: Annotated[int, Int(32, 2048, tooltip="Pixels down of each.")] = 256,
    padding: Annotated[int, Int(0, 50, tooltip="Pixels between them.")] = 4,
) -> Annotated[Image, Named("image"), Tip("One picture of all.")]:
    """Put pictures into a grid, each fitted into its cell as a whole."""
    pictures = [picture[None, ..., :3] for image in images for picture in image.pixels]
    rows = -(-len(pictures) // columns)
    width, height = (
        count * side + (count - 1) * padding
        for count, side in ((min(columns, len(pictures)), cell_width), (rows, cell_height))
    )
    if width * height > 2**26:
        raise InputError("images", f"{len(pictures)} of them make a grid of {width}x{height}, which is too large")
    grid = torch.zeros(1, height, width, 3)
    for i, picture in enumerate(pictures):
        ctx.check()
        share = min(cell_width / picture.shape[2], cell_height / picture.shape[1])
        columns_taken, rows_taken = (max(1, round(side * share)) for side in (picture.shape[2], picture.shape[1]))
        small = scaled_image(
            Image(picture), PICTURE_METHODS["lanczos"], columns_taken, rows_taken, "disabled", "images"
        )
        top = i // columns * (cell_height + padding) + (cell_height - rows_taken) // 2
        left = i % columns * (cell_width + padding) + (cell_width - columns_taken) // 2
        grid[:, top : top + rows_taken, left : left + columns_taken] = small.pixels
    return Image(grid)


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side: every `tile - overlap`, the last so that it ends with the side."""
    if tile >= size:
        return [0]
    step = max(tile - overlap, 1)
    return [*range(0, size - tile, step), size - tile]


def _ramp(size: int, feather: int) -> Tensor:
    """Weights along one side of a tile, rising from its ends over the overlap."""
    places = torch.arange(1, size + 1)
    return torch.minimum(places, places.flip(0)).clamp(max=max(feather, 1)).float()
