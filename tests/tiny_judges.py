"""Networks that judge pictures, of random weights and so narrow that they are made in a moment."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from models.aesthetic import AestheticPredictor
from models.config import ClipConfig, ContrastiveConfig, VisionConfig
from models.vision import ContrastiveModel
from tests.models.oracles import randomized

PROJECTION = 16
CLIP = ContrastiveConfig(
    ClipConfig(width=64, layers=1, intermediate=64),
    VisionConfig(width=64, layers=1, intermediate=64, patch=8, grid=4, projection=PROJECTION),
)


def tiny_clip_model(seed: int = 0) -> ContrastiveModel:
    """Both towers."""
    with torch.device("meta"):
        model = ContrastiveModel(CLIP)
    randomized(model, seed)
    return model


def tiny_predictor(width: int = PROJECTION) -> AestheticPredictor:
    """An aesthetic predictor."""
    with torch.device("meta"):
        predictor = AestheticPredictor((width, 8, 8, 4, 4, 1))
    randomized(predictor)
    return predictor


def write(path: Path, network: nn.Module) -> Path:
    """The network's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path
