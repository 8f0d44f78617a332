"""Judging a checkpoint file: how often it draws what prompts that it never saw ask for, by cfg."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from models.checkpoint import load_part, read_header
from models.clip import TextModel
from models.training.evaluate import Drawer, Sampling, held_out_scenes, hit, paint, score
from models.training.scenes import PALETTE, Split, draw, scene
from models.training.sheets import save_sheet
from models.training.vae import psnr, reconstruct, to_pixels, to_tensor
from models.training.words import tokens_of
from models.unet import UNet
from models.vae import AutoencoderKL


def judge(file: Path, cfgs: Sequence[float], sampling: Sampling, sheet: Path | None = None) -> None:
    """Print one line a cfg; write the last one's pictures to `sheet`."""
    drawer = load(file)
    judge_vae(drawer.vae)
    scenes = held_out_scenes()
    tokens = torch.from_numpy(np.stack([tokens_of(one.caption) for one in scenes]))
    empty = torch.from_numpy(tokens_of(""))
    print(f"{len(scenes)} held-out prompts, {sampling.steps} steps, {sampling.sampler}, {sampling.schedule}")
    print("  cfg  things  of two  of unseen pairs  backgrounds")
    for cfg in cfgs:
        drawn = paint(drawer, tokens, empty, replace(sampling, cfg=cfg))
        got = score(drawn, scenes)
        print(f"{cfg:5.1f}  {got.things:6.1%}  {got.two:6.1%}  {got.unseen:15.1%}  {got.backgrounds:11.1%}", flush=True)
    if sheet:
        save_sheet(sheet, drawn, columns=8, zoom=3)
        for number, one in enumerate(scenes):
            print(f"{number // 8 + 1}.{number % 8 + 1} {one.caption}")


def judge_vae(vae: AutoencoderKL, seed: int = 2026, count: int = 256) -> None:
    """Print how well held-out drawn scenes survive encoding and decoding, and the error of each colour's things."""
    scenes = [scene(seed, index, Split.HELD_OUT) for index in range(count)]
    drawn = np.stack([draw(one) for one in scenes])
    rebuilt = torch.cat([reconstruct(vae, part) for part in to_tensor(drawn).split(64)])
    pixels = to_pixels(rebuilt)
    right = np.mean([hit(picture, one) for picture, one in zip(pixels, scenes, strict=True)])
    print(f"VAE, {count} held-out scenes: {psnr(rebuilt, to_tensor(drawn)):.2f} dB, things right in {right:.1%}")
    for colour, rgb in PALETTE.items():
        own = (drawn == np.array(rgb, np.uint8)).all(-1)
        mean = pixels[own].mean(0)
        print(f"  {colour:7} drawn {rgb}, rebuilt {tuple(round(float(c)) for c in mean)} on average")


def load(file: Path) -> Drawer:
    """The networks of a checkpoint, in float32 on the CPU."""
    weights, cpu = read_header(file), torch.device("cpu")
    return Drawer(
        cast(UNet, load_part(weights, "model", dtype=torch.float32, device=cpu)),
        cast(TextModel, load_part(weights, "clip", dtype=torch.float32, device=cpu)),
        cast(AutoencoderKL, load_part(weights, "vae", dtype=torch.float32, device=cpu)),
    )
