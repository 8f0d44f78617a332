"""Training the detector: on drawn scenes, and on some as the autoencoder rebuilds them, which is how a model draws."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.training import detector
from models.training.detector import Detector, Truth
from models.training.drawing import draw
from models.training.examples import Tensors, in_chunks
from models.training.loop import SHARDS, Loss, Pace, Schedule, Training, place_of, stream
from models.training.scenes import Scene, Split, scene
from models.training.vae import reconstruct, shrunk, to_pixels, to_tensor
from models.vae import AutoencoderKL

REBUILT_SHARE = 4  # one pair of scenes in so many is seen as the autoencoder rebuilds it


def sights(vae: AutoencoderKL, count: int, seed: int, size: int, folder: Path) -> Tensors:
    """What the detector learns from: "views", [N, 64, 64, 3] uint8, and the fields of their `Truth`.

    Scenes of training and held-out ones take turns: who judges has to know what those who draw were never shown.
    """

    def seen(first: int, count: int) -> Tensors:
        scenes = [_scene(seed, index) for index in range(first, first + count)]
        pixels = np.stack([draw(one, size) for one in scenes])
        again = np.arange(first, first + count) // 2 % REBUILT_SHARE == 0
        if again.any():
            pixels[again] = to_pixels(reconstruct(vae, to_tensor(pixels[again])))
        return {"views": torch.from_numpy(shrunk(pixels)), **asdict(detector.truth(scenes))}

    return in_chunks("sights", count, folder, seen)


def train_detector(network: Detector, seen: Tensors, schedule: Schedule, pace: Pace, seed: int, file: Path) -> Training:
    """Train, or go on training, a detector. seen: what `sights` gives."""
    training = Training(network, schedule, file)
    training.resume()
    loss = sight_loss(network, seen, schedule.batch, seed)

    def review() -> None:
        print(
            f"detector {training.step}/{schedule.iterations}: {float(loss(training.step, 0).detach()):.3f}", flush=True
        )

    training.run(loss, pace, review)
    return training


def sight_loss(network: Detector, seen: Tensors, batch: int, seed: int) -> Loss:
    """How wrong the answers are about views of which each is a little brighter or darker, and grainy."""
    count = batch // SHARDS

    def loss(step: int, shard: int) -> Tensor:
        generator = stream(seed, step, shard)
        picked = torch.randint(len(seen["views"]), (count,), generator=generator)
        views = seen["views"][picked].float()
        views += 6 * torch.randn(count, 1, 1, 3, generator=generator) + 4 * torch.randn(
            views.shape, generator=generator
        )
        wanted = Truth(**{field.name: seen[field.name][picked] for field in fields(Truth)})
        return detector.loss(network(views.clamp(0, 255).to(place_of(network))).cpu(), wanted)

    return loss


def _scene(seed: int, index: int) -> Scene:
    return scene(seed, index // 2, (Split.TRAIN, Split.HELD_OUT)[index % 2])
