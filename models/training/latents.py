"""The latents of the training scenes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.family import SD1
from models.training.drawing import draw
from models.training.examples import Arrays, Tensors, in_chunks
from models.training.loop import mixed_precision, place_of, type_of
from models.training.scenes import Scene, scene
from models.training.vae import to_tensor
from models.training.world import SIZE
from models.vae import AutoencoderKL


def encode_scenes(vae: AutoencoderKL, count: int, seed: int, size: int, folder: Path) -> Tensors:
    """Scenes 0 to `count`, half precision, of unit deviation. "whole": [N, 4, size / 8, size / 8]; "half": the same of
    the pictures at half the size; "whole things" and "half things": [N, h, w] bool, the cells where things are.
    """

    def encoded(drawn: Arrays) -> Arrays:
        x = to_tensor(torch.from_numpy(drawn.pop("pixels")).to(place_of(vae)))
        return {"whole": _encoded(vae, x), "half": _encoded(vae, F.avg_pool2d(x, 2)), **drawn}

    cells = size // vae.config.factor
    return in_chunks("latents", count, folder, partial(_drawn, seed, size, cells), encoded)


def where_things_are(one: Scene, cells: int) -> NDArray[np.bool_]:
    """Where things are in a scene's latent. -> [cells, cells]"""
    middles = (np.arange(cells) + 0.5) * SIZE / cells
    there = np.zeros((cells, cells), np.bool_)
    for thing in one.things:
        reach = 1.3 * thing.radius + SIZE / cells / 2
        rows, columns = (np.abs(middles - at) < reach for at in (thing.y, thing.x))
        there[np.ix_(rows, columns)] = True
    return there


def _drawn(seed: int, size: int, cells: int, first: int, count: int) -> Arrays:
    scenes = [scene(seed, index) for index in range(first, first + count)]
    return {
        "pixels": np.stack([draw(one, size) for one in scenes]),
        "whole things": np.stack([where_things_are(one, cells) for one in scenes]),
        "half things": np.stack([where_things_are(one, cells // 2) for one in scenes]),
    }


@torch.no_grad()
def _encoded(vae: AutoencoderKL, x: Tensor) -> NDArray[np.float16]:
    with mixed_precision(vae):
        mean = vae.encode(x.to(type_of(vae))).float()[:, : vae.config.embed_dim]
    latents: NDArray[np.float16] = (SD1.latent.scale * mean).half().cpu().numpy()
    return latents
