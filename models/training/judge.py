"""Judging a checkpoint file: how often it draws what prompts that it never saw ask for, by cfg."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from models.adapters import Adapter, read_adapter
from models.checkpoint import load_part, read_header
from models.clip import TextModel
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES
from models.training.detector import load_detector
from models.training.drawing import draw, pictures
from models.training.evaluate import Drawer, Sampling, paint, shares
from models.training.loop import DEVICE
from models.training.prompts import singles, triples
from models.training.scenes import Split
from models.training.sheets import save_sheet
from models.training.vae import VIEW, mean_psnr, psnr, reconstruct, to_pixels, to_tensor
from models.training.words import tokens_of
from models.unet import UNet
from models.vae import AutoencoderKL

REBUILT = 64  # held-out scenes that the autoencoder is judged on
REBUILT_SEED = 2027  # that they are from; those of the training's own world are looked at while it learns
SIZES = tuple(VIEW << doublings for doublings in range(4))  # that the detector can look at, in pixels


class CannotJudge(Exception):
    """What was asked for cannot be judged; the text says why."""


def judge(options: argparse.Namespace) -> None:
    """Print one table a cfg; write the last one's pictures to a sheet, and their prompts, if one is asked for.

    Raises CannotJudge, CheckpointError, and OSError on files that are not there.
    """
    _check(options)
    try:
        alone, three = singles(options.each), triples(options.each)
        detector = load_detector(options.detector)
    except ValueError as problem:
        raise CannotJudge(str(problem)) from problem
    drawer = load(options.checkpoint, options.lora)
    held_out = to_tensor(pictures(REBUILT_SEED, 0, REBUILT, Split.HELD_OUT, options.size))
    rebuilt = reconstruct(drawer.vae, held_out)
    each, whole = mean_psnr(rebuilt, held_out), psnr(rebuilt, held_out)
    print(f"VAE, {REBUILT} held-out scenes: {each:.2f} dB in the mean, {whole:.2f} dB of all errors together")
    prompts = alone + three
    tokens = torch.from_numpy(np.stack([tokens_of(prompt.text) for prompt in prompts]))
    empty = torch.from_numpy(tokens_of(""))
    sampling = Sampling(options.size, steps=options.steps, sampler=options.sampler, schedule=options.schedule)
    print(f"{len(alone)} prompts judged by one attribute, {len(three)} by three; {sampling}")

    def report(name: str, drawn: NDArray[np.uint8]) -> None:
        one, all_three = shares(drawn[: len(alone)], alone, detector), shares(drawn[len(alone) :], three, detector)
        mean, mean_of_three = (np.mean(list(found.values())) for found in (one, all_three))
        print(f"{name}: one attribute {mean:.1%}, three {mean_of_three:.1%}")
        print("  " + ", ".join(f"{asked} {share:.0%}" for asked, share in (one | all_three).items()), flush=True)

    scenes = to_tensor(np.stack([draw(prompt.wanted, options.size) for prompt in prompts]))
    report("what the detector finds in the prompts' own scenes, rebuilt", to_pixels(reconstruct(drawer.vae, scenes)))
    for cfg in options.cfg:
        drawn = paint(drawer, tokens, empty, replace(sampling, cfg=cfg))
        report(f"cfg {cfg}", drawn)
    if options.sheet:
        save_sheet(options.sheet, drawn, columns=8, zoom=1)
        for number, prompt in enumerate(prompts):
            print(f"{number // 8 + 1}.{number % 8 + 1} {prompt.text}")


def _check(options: argparse.Namespace) -> None:
    for name in ("steps", "each"):
        if (value := getattr(options, name)) < 1:
            raise CannotJudge(f"--{name}: {value}, expected at least 1")
    if options.size not in SIZES:
        raise CannotJudge(f"--size: {options.size}, expected one of {', '.join(map(str, SIZES))}")
    for name, known in (("sampler", SAMPLERS), ("schedule", SCHEDULES)):
        if (value := getattr(options, name)) not in known:
            raise CannotJudge(f"--{name}: {value}, expected one of {', '.join(known)}")
    if options.sheet and not options.sheet.parent.is_dir():
        raise CannotJudge(f"--sheet: there is no folder {options.sheet.parent}")


def load(file: Path, lora: Path | None = None) -> Drawer:
    """The networks of a checkpoint, in float32; the U-Net as a LoRA file changes it."""
    weights = read_header(file)
    unet = cast(UNet, load_part(weights, "model", dtype=torch.float32, device=DEVICE))
    if lora:
        change(unet, lora)
    return Drawer(
        unet,
        cast(TextModel, load_part(weights, "clip", dtype=torch.float32, device=DEVICE)),
        cast(AutoencoderKL, load_part(weights, "vae", dtype=torch.float32, device=DEVICE)),
    )


@torch.no_grad()
def change(unet: UNet, lora: Path) -> None:
    """Change a U-Net's weights as a LoRA file says. Raises CheckpointError for one that does not fit."""
    state = {name: weight.clone() for name, weight in unet.state_dict().items()}
    shapes = {name: tuple(weight.shape) for name, weight in state.items()}
    for name, made in Adapter(read_adapter(lora), lora.name, 1.0).changes(shapes, "model").items():
        state[name] = made(state[name].cpu()).to(state[name])
    unet.load_state_dict(state, assign=True)
    unet.requires_grad_(False)
