"""Our networks against diffusers' with the same weights, at the sizes people use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import peer
from bench.pairs import Row, seconds
from models.checkpoint import Part, load_part, read_header
from models.machine import freed_memory_kept
from models.packed import can_pack
from models.reading import Reading

PARTS: tuple[Part, ...] = ("model", "clip", "vae")
CPU = torch.device("cpu")
STEPS = 3


def table(checkpoint: Path) -> Iterator[Row]:
    """Seconds for some U-Net calls with cond and uncond, and to decode; fp32 on the CPU.

    Ours are loaded as the engine loads them, weights packed.
    """
    folder = peer.diffusers_folder(checkpoint)
    with torch.inference_mode():
        unet, theirs = _ours(checkpoint, "model"), peer.load_unet(folder)
        small = step_inputs(128)
        _check_equal(read(unet)(*small), theirs(*small).sample)
        for size, runs in ((128, 3), (512, 1)):
            given = step_inputs(size)
            yield seconds(
                f"{STEPS} U-Net steps (cond and uncond), {size}x{size}",
                partial(_stepped, read(unet), given), partial(_repeated, theirs, given), runs,
            )  # fmt: skip
        del unet
        if can_pack(torch.bfloat16):
            half, given = _ours(checkpoint, "model", torch.bfloat16), step_inputs(512)
            x, t, context = given
            narrow = partial(_stepped, read(half), (x.bfloat16(), t, context.bfloat16()))
            name = "the same, ours with --bf16-unet, 512x512"
            yield seconds(name, narrow, partial(_repeated, theirs, given), runs=1)
        del theirs
        vae, theirs = _ours(checkpoint, "vae"), peer.load_vae(folder)
        z = torch.randn(1, 4, 64, 64)
        yield seconds("VAE decode, 512x512", partial(vae.decode, z), partial(theirs.decode, z), runs=2)


def _stepped(unet: Any, given: tuple[torch.Tensor, ...]) -> None:
    """As a sampler's loop calls it."""
    with freed_memory_kept(CPU):
        _repeated(unet, given)


def _repeated(unet: Any, given: tuple[torch.Tensor, ...]) -> None:
    for _ in range(STEPS):
        unet(*given)


def read(unet: Any) -> Callable[..., Any]:
    """A U-Net that is given its text as diffusers' is."""
    return lambda x, t, context: unet(x, t, Reading(context))


def step_inputs(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents of a picture of size x size pixels, time steps and text, for cond and uncond."""
    return torch.randn(2, 4, size // 8, size // 8), torch.tensor([500.0, 500.0]), torch.randn(2, 77, 768)


def ours_loaded(checkpoint: Path) -> list[Any]:
    """A whole checkpoint in memory, the U-Net first."""
    return [_ours(checkpoint, part) for part in PARTS]


def theirs_loaded(folder: Path) -> list[Any]:
    """The same for diffusers."""
    return [peer.load_unet(folder), peer.load_text(folder), peer.load_vae(folder)]


def _ours(checkpoint: Path, part: Part, dtype: torch.dtype = torch.float32) -> Any:
    return load_part(read_header(checkpoint), part, dtype=dtype, device=CPU, packed=can_pack(dtype))


def _check_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    error = float((ours - theirs).norm() / theirs.norm())
    if not error < 1e-5:
        raise RuntimeError(f"the two networks disagree: relative error {error:.1e}")
