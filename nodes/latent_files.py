"""Latent files -> tensors."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.family import SD1
from models.weights import CheckpointError, read_table, read_tensors

SAMPLES, UNSCALED = "latent_tensor", "latent_format_version_0"
"""What a `.latent` file holds: the latents, and an empty tensor that says they are not scaled; older files lack it."""


def read_latent(path: Path) -> Tensor:
    """The latents of a file, [B, 4, h, w] float32, not scaled by 0.18215. Raises CheckpointError."""
    file = read_table(path)
    if (info := file.tensors.get(SAMPLES)) is None:
        raise CheckpointError(f"{path.name} is not a file of latents: it lacks the tensor {SAMPLES}")
    if len(info.shape) != 4 or info.shape[1] != 4 or 0 in info.shape or not info.dtype.is_floating_point:
        kind = f"{str(info.dtype).removeprefix('torch.')} of shape {list(info.shape)}"
        raise CheckpointError(f"{path.name} holds {kind}, expected floating-point latents [batch, 4, height, width]")
    [(_, stored)] = read_tensors(file, [SAMPLES], dtype=torch.float32, device=torch.device("cpu"))
    return (
        stored.clone() if UNSCALED in file.tensors else stored * (1 / SD1.latent.scale)
    )  # never the mapped file itself
