"""Encoding the training scenes once, in chunks that an interrupted run need not repeat."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.denoiser import LATENT_SCALE
from models.training.diffusion import Pairs
from models.training.loop import SHARDS, undivided
from models.training.scenes import pictures, scene
from models.training.vae import to_tensor
from models.training.words import rows_of
from models.vae import AutoencoderKL

CHUNK = 4096  # scenes in one file
BATCH = 64


def encode_scenes(vae: AutoencoderKL, count: int, seed: int, folder: Path) -> Pairs:
    """The latents and captions of scenes 0 to `count`, from files in `folder` where they are there already."""
    files = [_encoded(vae, first, min(CHUNK, count - first), seed, folder) for first in range(0, count, CHUNK)]
    chunks = [load_file(file) for file in files]
    return Pairs(*(torch.cat([chunk[name] for chunk in chunks]) for name in ("latents", "rows")))


def _encoded(vae: AutoencoderKL, first: int, count: int, seed: int, folder: Path) -> Path:
    file = folder / f"latents-{first:06d}-{count}.safetensors"
    if not file.exists():
        with undivided(), ThreadPoolExecutor(SHARDS, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            starts = range(first, first + count, BATCH)
            latents = threads.map(lambda start: _latents(vae, start, min(BATCH, first + count - start), seed), starts)
            tensors = {"latents": torch.cat(list(latents)), "rows": _rows(first, count, seed)}
        save_file(tensors, file.with_suffix(".partial"))
        file.with_suffix(".partial").replace(file)
        print(f"latents {first + count}", flush=True)
    return file


@torch.no_grad()
def _latents(vae: AutoencoderKL, first: int, count: int, seed: int) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        moments = vae.encode(to_tensor(pictures(seed, first, count))).float()
    return (LATENT_SCALE * moments[:, : vae.config.embed_dim]).contiguous()


def _rows(first: int, count: int, seed: int) -> Tensor:
    rows = np.stack([rows_of(scene(seed, index).caption) for index in range(first, first + count)])
    return torch.from_numpy(rows.astype(np.uint8))
