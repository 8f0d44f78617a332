"""SDXL's U-Net in its full size, on weights that memory does not hold."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
import torch

from models.checkpoint import read_header
from models.config import UNetConfig
from models.packed import can_pack
from models.peak import PeakMemory
from models.precision import Precision
from models.reading import Reading
from models.residency import Residency
from models.types import Model
from models.unet import UNet

pytestmark = pytest.mark.acceptance

XL = UNetConfig(4, 4, 320, (1, 2, 4), 2, (0, 2, 10), 10, 2048, linear=True, vector_dim=2816)
CPU, GIB = torch.device("cpu"), 2**30
BUDGET = GIB


def write_random(path: Path) -> int:
    """The U-Net in float16, from one piece of random numbers again and again; gives its parameters."""
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in UNet(XL).state_dict().items()}
    piece = (0.02 * torch.randn(2**22, generator=torch.Generator().manual_seed(0))).half()
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        place = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
        header[f"model.diffusion_model.{name}"] = place
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            left = math.prod(shape)
            is_norm = len(shape) == 1 and name.endswith("weight")
            while left:
                part = piece[: min(left, len(piece))]
                file.write((part + 1 if is_norm else part).numpy().data)
                left -= len(part)
    return end // 2


def test_one_call_at_512_pixels_a_side_needs_a_tenth_of_the_weights(tmp_path: Path) -> None:
    assert write_random(tmp_path / "xl.safetensors") == 2_567_463_684
    weights = read_header(tmp_path / "xl.safetensors")
    assert weights.family.name == "SDXL"
    memory = PeakMemory(CPU)
    memory.reset()
    before = memory.peak() or 0
    place = Residency(CPU, Precision(), BUDGET, packing=can_pack())
    x, reading = torch.randn(1, 4, 64, 64), Reading(torch.randn(1, 77, 2048), vector=torch.randn(1, 2816))
    with torch.inference_mode(), place.use(Model(weights, "xl")) as unet:
        made = unet(x, torch.tensor([500.0]), reading)
        assert place.resident_bytes <= BUDGET
    assert made.shape == x.shape and made.isfinite().all()
    used = (memory.peak() or 0) - before
    print(f"{used / GIB:.2f} GiB more than before, of weights that are {4 * 2_567_463_684 / GIB:.2f} GiB in float32")
    assert used <= GIB
