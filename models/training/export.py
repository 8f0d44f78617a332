"""Writing the trained networks as the files that Darkroom loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.family import SD1
from models.levels import NoiseLevels
from models.training.words import LENGTH, row_of_token

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer."
TOKENS = "text_model.embeddings.token_embedding.weight"
LIMIT = 40_000_000  # bytes that a file may have


def export_checkpoint(
    unet: Mapping[str, Tensor],
    text: Mapping[str, Tensor],
    vae: Mapping[str, Tensor],
    facts: Mapping[str, str],
    file: Path,
) -> Path:
    """Write one Stable Diffusion v1 checkpoint. text: with the compact token table, which is spread over CLIP's rows."""
    named = {
        prefix + name: value
        for prefix, part in ((UNET, unet), (VAE, vae), (TEXT, spread(text)))
        for name, value in part.items()
    }
    exact = noise_buffers(SD1.diffusion.levels) | {
        TEXT + "text_model.embeddings.position_ids": torch.arange(LENGTH)[None]
    }
    return export(named, facts, file, exact)


def spread(text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with a compact token table -> the same with a row for each of CLIP's tokens."""
    return dict(text) | {TOKENS: text[TOKENS][torch.from_numpy(row_of_token())]}


def export(
    weights: Mapping[str, Tensor], facts: Mapping[str, str], file: Path, exact: Mapping[str, Tensor] | None = None
) -> Path:
    """Write one fp16 safetensors file, atomically; facts go into its metadata, and `exact` tensors keep their type.

    Raises ValueError if it would exceed 40 MB.
    """
    tensors = {name: value.detach().half().contiguous() for name, value in weights.items()} | dict(exact or {})
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size > LIMIT * 0.99:
        raise ValueError(f"{size} bytes of weights leave no room below {LIMIT} for the file's header")
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".partial")
    save_file(tensors, unfinished, metadata={"format": "pt", **facts})
    unfinished.chmod(0o644)
    unfinished.replace(file)
    return file


def noise_buffers(levels: NoiseLevels) -> dict[str, Tensor]:
    """The twelve schedule buffers of a v1 checkpoint, [1000] float32 each (Ho et al. 2020, equations 4 to 7)."""
    betas = torch.linspace(levels.beta_start**0.5, levels.beta_end**0.5, levels.steps, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])
    variance = betas * (1 - before) / (1 - alphas)
    buffers = {
        "betas": betas,
        "alphas_cumprod": alphas,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": alphas.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alphas).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - alphas).log(),
        "sqrt_recip_alphas_cumprod": (1 / alphas).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / alphas - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - alphas),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - alphas),
    }
    return {name: buffer.float() for name, buffer in buffers.items()}
