"""SDXL's U-Net in its full size, on weights that memory does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.checkpoint import read_header
from models.packed import can_pack
from models.peak import PeakMemory
from models.precision import Precision
from models.reading import Reading
from models.residency import Residency
from models.types import Model
from tests.published_files import write_random_unet

pytestmark = pytest.mark.acceptance

CPU, GIB = torch.device("cpu"), 2**30
BUDGET = GIB


def test_one_call_at_512_pixels_a_side_needs_a_tenth_of_the_weights(tmp_path: Path) -> None:
    assert write_random_unet(tmp_path / "xl.safetensors", "xl") == 2_567_463_684
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
