"""Training the detector: on drawn scenes, and on the same as the autoencoder rebuilds them, which is how a model draws."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.denoiser import LATENT_SCALE
from models.training import detector
from models.training.detector import Detector
from models.training.loop import SHARDS, Loss, Pace, Schedule, Training, place_of, stream
from models.training.scenes import scene
from models.training.vae import shrunk, to_pixels
from models.vae import AutoencoderKL

REBUILT = 1024  # scenes
BATCH = 16


@torch.no_grad()
def rebuilt(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """The first scenes as the autoencoder decodes them, shrunk. [N, 4, h, w] half -> [N, 64, 64, 3] uint8"""
    views = []
    for part in latents[:REBUILT].split(BATCH):
        pixels = to_pixels(vae.decode(part.float().to(place_of(vae)) / LATENT_SCALE).cpu())
        views.append(torch.from_numpy(shrunk(pixels)))
    return torch.cat(views)


def train_detector(
    network: Detector, drawn: Tensor, redrawn: Tensor, schedule: Schedule, pace: Pace, seed: int, file: Path
) -> Training:
    """Train, or go on training, a detector. drawn, redrawn: views of scenes 0, 1, …, [N, 64, 64, 3] uint8."""
    training = Training(network, schedule, file)
    training.resume()
    loss = sight_loss(network, drawn, redrawn, schedule.batch, seed)

    def review() -> None:
        print(
            f"detector {training.step}/{schedule.iterations}: {float(loss(training.step, 0).detach()):.3f}", flush=True
        )

    training.run(loss, pace, review)
    return training


def sight_loss(network: Detector, drawn: Tensor, redrawn: Tensor, batch: int, seed: int) -> Loss:
    """How wrong the answers are about scenes of which one in three is redrawn, and each is a little brighter or darker."""
    count = batch // SHARDS

    def loss(step: int, shard: int) -> Tensor:
        generator = stream(seed, step, shard)
        again = torch.rand(count, generator=generator) < 1 / 3
        ends = torch.where(again, len(redrawn), len(drawn))
        picked = (torch.rand(count, generator=generator) * ends).long()
        views = torch.where(again[:, None, None, None], redrawn[picked % len(redrawn)], drawn[picked]).float()
        views += 6 * torch.randn(count, 1, 1, 3, generator=generator) + 4 * torch.randn(
            views.shape, generator=generator
        )
        wanted = detector.truth([scene(seed, int(index)) for index in picked])
        return detector.loss(network(views.clamp(0, 255).to(place_of(network))).cpu(), wanted)

    return loss
