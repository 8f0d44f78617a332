"""Judging a checkpoint file: how often it draws what prompts that it never saw ask for, by cfg."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import load_part, read_header
from models.clip import TextModel
from models.training.detector import load_detector
from models.training.drawing import draw, pictures
from models.training.evaluate import Drawer, Sampling, paint, shares
from models.training.prompts import singles, triples
from models.training.scenes import Split
from models.training.sheets import save_sheet
from models.training.vae import mean_psnr, psnr, reconstruct, to_pixels, to_tensor
from models.training.words import tokens_of
from models.unet import UNet
from models.vae import AutoencoderKL

REBUILT = 64  # held-out scenes that the autoencoder is judged on


def judge(options: argparse.Namespace) -> None:
    """Print one table a cfg; write the last one's pictures to a sheet, and their prompts, if one is asked for."""
    drawer, detector = load(options.checkpoint), load_detector(options.detector)
    held_out = to_tensor(pictures(2026, 0, REBUILT, Split.HELD_OUT, options.size))
    rebuilt = torch.cat([reconstruct(drawer.vae, part) for part in held_out.split(8)])
    each, whole = mean_psnr(rebuilt, held_out), psnr(rebuilt, held_out)
    print(f"VAE, {REBUILT} held-out scenes: {each:.2f} dB in the mean, {whole:.2f} dB of all errors together")
    alone, three = singles(options.each), triples(4 * options.each)
    prompts = alone + three
    tokens = torch.from_numpy(np.stack([tokens_of(prompt.text) for prompt in prompts]))
    empty = torch.from_numpy(tokens_of(""))
    sampling = Sampling(options.size, steps=options.steps, sampler=options.sampler, schedule=options.schedule)
    print(f"{len(alone)} prompts for one attribute, {len(three)} for three; {sampling}")

    def report(name: str, drawn: NDArray[np.uint8]) -> None:
        one, all_three = (shares(drawn[part], prompts[part], detector) for part in _parts(len(alone)))
        mean, mean_of_three = (np.mean(list(found.values())) for found in (one, all_three))
        print(f"{name}: one attribute {mean:.1%}, three {mean_of_three:.1%}")
        print("  " + ", ".join(f"{asked} {share:.0%}" for asked, share in (one | all_three).items()), flush=True)

    scenes = to_tensor(np.stack([draw(prompt.wanted, options.size) for prompt in prompts]))
    perfect = torch.cat([reconstruct(drawer.vae, part) for part in scenes.split(8)])
    report("the prompts' own scenes, rebuilt, which is the most that the detector can find", to_pixels(perfect))
    for cfg in options.cfg:
        drawn = paint(drawer, tokens, empty, replace(sampling, cfg=cfg))
        report(f"cfg {cfg}", drawn)
    if options.sheet:
        save_sheet(options.sheet, drawn, columns=8, zoom=1)
        for number, prompt in enumerate(prompts):
            print(f"{number // 8 + 1}.{number % 8 + 1} {prompt.text}")


def _parts(middle: int) -> tuple[slice, slice]:
    return slice(0, middle), slice(middle, None)


def load(file: Path) -> Drawer:
    """The networks of a checkpoint, in float32 on the CPU."""
    weights, cpu = read_header(file), torch.device("cpu")
    return Drawer(
        cast(UNet, load_part(weights, "model", dtype=torch.float32, device=cpu)),
        cast(TextModel, load_part(weights, "clip", dtype=torch.float32, device=cpu)),
        cast(AutoencoderKL, load_part(weights, "vae", dtype=torch.float32, device=cpu)),
    )
