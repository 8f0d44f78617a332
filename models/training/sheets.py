"""Contact sheets and learning curves, as PNG files."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


def save_sheet(path: Path, pictures: NDArray[np.uint8], columns: int, zoom: int = 2, gap: int = 2) -> None:
    """Write pictures [N, H, W, 3] row by row into one PNG."""
    count, height, width, _ = pictures.shape
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + gap), columns * (width + gap), 3), 128, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).resize((sheet.shape[1] * zoom, sheet.shape[0] * zoom), Image.Resampling.NEAREST).save(path)


def save_curve(log: Path, path: Path, width: int = 640, height: int = 320) -> None:
    """Plot the loss column of a training log, both axes logarithmic, that of a loss which is a logarithm itself (below 0)
    as it is; nothing while it has fewer than two rows.
    """
    if not log.exists():
        return
    with log.open(newline="") as file:
        rows = [(float(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    if len(rows) < 2:
        return
    losses = [loss for _, loss in rows]
    points = [(math.log(step), math.log(loss) if min(losses) > 0 else loss) for step, loss in rows]
    (x0, x1), (y0, y1) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    scaled = [
        (40 + (x - x0) / max(x1 - x0, 1e-9) * (width - 60), 20 + (y1 - y) / max(y1 - y0, 1e-9) * (height - 60))
        for x, y in points
    ]
    pen.line(scaled, fill="black", width=2)
    pen.text((40, height - 25), f"steps {rows[0][0]:.0f} to {rows[-1][0]:.0f}", fill="black")
    pen.text((40, 4), f"loss {max(losses):.4f} down to {min(losses):.4f}", fill="black")
    image.save(path)
