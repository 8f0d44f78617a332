"""SDXL's four networks where memory holds one of them: which is there when."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from torch import nn

from models.activations import unet_bytes
from models.checkpoint import Part, Weights, load_part, read_header
from tests.engine import Engine, open_engine
from tests.tiny_families import XL_UNET, write_family

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "xl.safetensors"
CELLS = 6  # a side
WORKFLOW: Mapping[str, Any] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": NAME}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 8 * CELLS, "height": 8 * CELLS, "batch_size": 1}},
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": 1,
            "steps": 2, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
        },
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "xl"}},
}  # fmt: skip
TOWERS: tuple[Part, ...] = ("clip", "clip_g")


def weight_bytes(path: Path) -> dict[Part, int]:
    """Of each network, in float32."""
    weights = read_header(path)
    return {part: 4 * sum(map(math.prod, weights.shapes(part).values())) for part in weights.parts()}


def drawn(engine: Engine) -> bytes:
    (file,) = engine.pictures(engine.run(json.dumps(WORKFLOW)))
    with PIL.Image.open(file) as picture:
        return picture.tobytes()


def test_text_encoders_leave_before_the_unet_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first leaves before the second, which leaves before the U-Net, and nothing of it is streamed instead."""
    sizes = weight_bytes(write_family(tmp_path / "models/checkpoints" / NAME, "xl"))
    budget = max(*sizes.values(), sizes["model"] + 2 * unet_bytes(XL_UNET, 2, CELLS, CELLS, torch.float32))
    assert min(sizes["clip"], sizes["model"]) + sizes["clip_g"] > budget
    there: list[tuple[Part, frozenset[Part]]] = []
    with open_engine(tmp_path, budget) as engine:
        place = engine.services.residency

        def watched(weights: Weights, part: Part, **how: Any) -> nn.Module:
            there.append((part, frozenset(key.part for key in place._resident)))
            assert not how["streamed"] and place.resident_bytes + sizes[part] <= budget
            return load_part(weights, part, **how)

        monkeypatch.setattr("models.residency.load_part", watched)
        made = drawn(engine)
    assert [part for part, _ in there] == [*TOWERS, *TOWERS, "model", "vae"], "for each prompt both"
    assert not any(beside & {*TOWERS} for part, beside in there), "none is there when another network comes"
    there.clear()
    with open_engine(tmp_path / "other", 2**30) as engine:
        place = engine.services.residency
        (tmp_path / "other/models/checkpoints").mkdir(parents=True, exist_ok=True)
        (tmp_path / "other/models/checkpoints" / NAME).symlink_to(tmp_path / "models/checkpoints" / NAME)
        monkeypatch.setattr("models.residency.load_part", load_part)
        assert drawn(engine) == made, "the same picture, to the bit"
        assert {key.part for key in place._resident} == {*TOWERS, "model", "vae"}, "where all fit, all stay"
