"""Files that have the header of a published checkpoint and no numbers: what is told of a file before it is read can be told of them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from models.config import UNetConfig, VaeConfig
from models.unet import UNet
from models.vae import AutoencoderKL

Published = Literal["sd1", "sd2", "xl", "refiner"]

UNETS: dict[Published, UNetConfig] = {
    "sd1": UNetConfig(),
    "sd2": UNetConfig(context_dim=1024, linear=True),
    "xl": UNetConfig(4, 4, 320, (1, 2, 4), 2, (0, 2, 10), 10, 2048, linear=True, vector_dim=2816),
    "refiner": UNetConfig(4, 4, 384, (1, 2, 4, 4), 2, (0, 4, 4, 0), 4, 1280, linear=True, vector_dim=2560),
}


@cache
def shapes_of(kind: Published) -> dict[str, tuple[int, ...]]:
    """The U-Net's and the autoencoder's tensors, by the names in the file."""
    with torch.device("meta"):
        parts = {"model.diffusion_model.": UNet(UNETS[kind]), "first_stage_model.": AutoencoderKL(VaeConfig())}
    return {prefix + name: tuple(x.shape) for prefix, part in parts.items() for name, x in part.state_dict().items()}


def write_published(path: Path, kind: Published, marks: Sequence[str] = ()) -> Path:
    """Write the header; the numbers behind it are a hole in the file. marks: names of empty tensors, such as `v_pred`."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in (*shapes_of(kind).items(), *((mark, (0,)) for mark in marks)):
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path
