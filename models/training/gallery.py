"""Scenes as picture files, with their captions: what generated pictures are compared with."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from models.training.captions import caption
from models.training.drawing import draw
from models.training.scenes import Split, scene


def write_scenes(folder: Path, captions: Path | None, count: int, seed: int, size: int) -> None:
    """Write held-out scenes as 00000.png, 00001.png, …, and the caption of each as a line of `captions`."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [scene(seed, index, Split.HELD_OUT) for index in range(count)]
    for number, one in enumerate(scenes):
        Image.fromarray(draw(one, size)).save(folder / f"{number:05d}.png")
    if captions:
        captions.write_text("".join(f"{caption(one)}\n" for one in scenes), encoding="utf-8")
