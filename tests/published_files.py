"""Files that have the header of a published checkpoint, and as numbers a hole, or random ones."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from models.config import UNetConfig, VaeConfig
from models.unet import UNet
from models.vae import AutoencoderKL

Published = Literal["sd1", "sd2", "depth", "unclip", "xl", "xl_inpainting", "refiner"]

UNETS: dict[Published, UNetConfig] = {
    "sd1": UNetConfig(),
    "sd2": UNetConfig(context_dim=1024, linear=True),
    "depth": UNetConfig(5, context_dim=1024, linear=True),
    "unclip": UNetConfig(context_dim=1024, linear=True, vector_dim=2048),
    "xl": UNetConfig(4, 4, 320, (1, 2, 4), 2, (0, 2, 10), 10, 2048, linear=True, vector_dim=2816),
    "xl_inpainting": UNetConfig(9, 4, 320, (1, 2, 4), 2, (0, 2, 10), 10, 2048, linear=True, vector_dim=2816),
    "refiner": UNetConfig(4, 4, 384, (1, 2, 4, 4), 2, (0, 4, 4, 0), 4, 1280, linear=True, vector_dim=2560),
}


@cache
def shapes_of(kind: Published) -> dict[str, tuple[int, ...]]:
    """The U-Net's and the autoencoder's tensors, by the names in the file."""
    with torch.device("meta"):
        vae = {name: tuple(tensor.shape) for name, tensor in AutoencoderKL(VaeConfig()).state_dict().items()}
    parts = {"model.diffusion_model.": unet_shapes(kind), "first_stage_model.": vae}
    return {prefix + name: shape for prefix, part in parts.items() for name, shape in part.items()}


def write_published(path: Path, kind: Published, marks: Sequence[str] = ()) -> Path:
    """Write the header; the numbers behind it are a hole in the file: what is told of a file before it is read can be told of
    it. marks: names of empty tensors, such as `v_pred`."""
    head, end = _header({**shapes_of(kind), **dict.fromkeys(marks, (0,))})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + end)
    return path


def write_random_unet(path: Path, kind: Published, name_of: Callable[[str], str] | None = None) -> int:
    """Write a U-Net in float16, from one piece of random numbers again and again, without ever holding it; gives its
    parameters. name_of: what the file calls a tensor, instead of a checkpoint's names."""
    shapes = unet_shapes(kind)
    piece = (0.02 * torch.randn(2**22, generator=torch.Generator().manual_seed(0))).half()
    named = {(name_of or "model.diffusion_model.{}".format)(name): shape for name, shape in shapes.items()}
    head, end = _header(named)
    with path.open("wb") as file:
        file.write(head)
        for name, shape in shapes.items():
            left = math.prod(shape)
            is_norm = len(shape) == 1 and name.endswith("weight")
            while left:
                part = piece[: min(left, len(piece))]
                file.write((part + 1 if is_norm else part).numpy().data)
                left -= len(part)
    return end // 2


def unet_shapes(kind: Published) -> dict[str, tuple[int, ...]]:
    """The U-Net's tensors, by its own names."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in UNet(UNETS[kind]).state_dict().items()}


def _header(shapes: Mapping[str, tuple[int, ...]]) -> tuple[bytes, int]:
    """What stands before float16 tensors, in order, and how many bytes they take."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text, end
