"""What a contact sheet holds of one cell: its pictures, small. The pictures themselves are let go of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from graph.sockets import Int
from graph.spec import Tip, node
from models.types import Image
from nodes.pictures import to_pil
from nodes.services import Context


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """One cell of a contact sheet. pixels: [H, W, 3] uint8."""

    socket: ClassVar[str] = "THUMBNAIL"
    pixels: Tensor


@node("ContactSheetCell", category="image")
def contact_sheet_cell(
    ctx: Context,
    *,
    images: Annotated[Image, Tip("The pictures. In a sweep those of all cells; a batch shares its cell.")],
    cell_size: Annotated[int, Int(32, 2048, step=8, tooltip="The longer side of a cell, in pixels.")] = 256,
) -> Thumbnail:
    """The pictures of one cell, as small as the sheet shows them, side by side where they are several."""
    count, height, width, _ = images.pixels.shape
    columns = math.ceil(math.sqrt(count * height / width)) if count > 1 else 1
    rows = math.ceil(count / columns)
    scale = min(1.0, cell_size / max(columns * width, rows * height))
    small = max(1, round(width * scale)), max(1, round(height * scale))
    cell = PIL.Image.new("RGB", (columns * small[0], rows * small[1]), "white")
    for i, pixels in enumerate(images.pixels):
        ctx.check()
        picture = to_pil(pixels).convert("RGB").resize(small, PIL.Image.Resampling.LANCZOS)
        cell.paste(picture, (i % columns * small[0], i // columns * small[1]))
    return Thumbnail(torch.from_numpy(np.array(cell)))
