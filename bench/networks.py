"""Our networks against diffusers' with the same weights, at the sizes people use."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import peer
from bench.pairs import Row, seconds
from models.checkpoint import Part, load_part, read_header
from models.packed import can_pack, pack

PARTS: tuple[Part, ...] = ("model", "clip", "vae")
CPU = torch.device("cpu")


def table(checkpoint: Path) -> Iterator[Row]:
    """Seconds to load, for one U-Net call with cond and uncond, and to decode; fp32 on the CPU.

    Ours are loaded as the engine loads them, weights packed.
    """
    folder = peer.diffusers_folder(checkpoint)
    yield seconds("load, fp16 file to fp32", lambda: ours_loaded(checkpoint), lambda: theirs_loaded(folder), runs=2)
    with torch.inference_mode():
        unet, theirs = _ours(checkpoint, "model"), peer.load_unet(folder)
        for size, runs in ((512, 3), (128, 7)):
            given = torch.randn(2, 4, size // 8, size // 8), torch.tensor([500.0, 500.0]), torch.randn(2, 77, 768)
            _check_equal(unet(*given), theirs(*given).sample)
            yield seconds(f"U-Net step, {size}x{size}", partial(unet, *given), partial(theirs, *given), runs)
        del unet, theirs
        vae, theirs = _ours(checkpoint, "vae"), peer.load_vae(folder)
        z = torch.randn(1, 4, 64, 64)
        yield seconds("VAE decode, 512x512", partial(vae.decode, z), partial(theirs.decode, z), runs=3)


def ours_loaded(checkpoint: Path) -> list[object]:
    """A whole checkpoint in memory."""
    return [_ours(checkpoint, part) for part in PARTS]


def theirs_loaded(folder: Path) -> list[object]:
    """The same for diffusers."""
    return [peer.load_unet(folder), peer.load_text(folder), peer.load_vae(folder)]


def _ours(checkpoint: Path, part: Part) -> Any:
    network = load_part(read_header(checkpoint), part, dtype=torch.float32, device=CPU, mapped=False)
    if can_pack():
        pack(network)
    return network


def _check_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    error = float((ours - theirs).norm() / theirs.norm())
    if not error < 1e-5:
        raise RuntimeError(f"the two networks disagree: relative error {error:.1e}")
