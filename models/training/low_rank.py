"""Low-rank changes of a network (LoRA; Hu et al. 2021, arXiv:2106.09685): the best ones of a difference, and their file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.diffusers_names import diffusers_name


def best_factors(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The product of that rank that is nearest to a difference (Eckart and Young 1936), the same size on both sides."""
    flat = delta.float().flatten(1)
    u, s, v = torch.linalg.svd(flat, full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]


def lora_of_difference(own: Mapping[str, Tensor], other: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """A file that makes of the U-Net `own` nearly `other`: weights by their best factors, biases and norms exactly.

    Layers whose factors would be as large as their difference have that instead.
    """
    found: dict[str, Tensor] = {}
    stems = _stems(own)
    for name, weight in own.items():
        delta = other[name].float() - weight.float()
        layer, _, what = name.rpartition(".")
        if what == "bias":
            found[f"{stems(layer)}.diff_b"] = delta
        elif weight.ndim < 2 or rank * (len(weight) + weight[0].numel()) >= weight.numel():
            found[f"{stems(layer)}.diff"] = delta
        else:
            found |= _factors(stems(layer), *best_factors(delta, rank), weight.shape)
    return found


def _stems(own: Mapping[str, Tensor]) -> Callable[[str], str]:
    """kohya's name of each of a U-Net's layers."""
    blocks = min(int(name.split(".")[1]) for name in own if name.endswith(".0.op.weight")) - 1
    return lambda layer: "lora_unet_" + diffusers_name(layer, blocks).replace(".", "_")


def _factors(stem: str, up: Tensor, down: Tensor, shape: torch.Size) -> dict[str, Tensor]:
    rank = len(down)
    if len(shape) == 4:
        up, down = up[:, :, None, None], down.view(rank, *shape[1:])
    return {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down, f"{stem}.alpha": torch.tensor(float(rank))}
