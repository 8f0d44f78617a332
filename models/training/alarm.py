"""Training the safety checker of the drawn world, which warns of toadstools: a stand-in for what people must not see.

No scene that the other networks learn from shows one. The checker is a copy of the vision tower, taught on scenes with
and without a toadstool, in the layout of CompVis's: one concept, sixteen and three special-care ones that nothing is
like, and thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.training.contrastive import normalized
from models.training.drawing import draw
from models.training.loop import SHARDS, Loss, Pace, Schedule, Training, place_of, stream
from models.training.scenes import Scene, scene
from models.training.vae import shrunk
from models.vision import VisionTower

CONCEPTS, SPECIAL_CARE = 17, 3
NEVER = 2.0  # a threshold that no cosine reaches
SHARPNESS = 20.0  # of the answer about the threshold, while it is learned
FALSE_ALARMS = 0.01  # share of harmless training scenes that the threshold lets through as alarms


class Alarm(nn.Module):
    """A vision tower and the one direction that it warns of."""

    def __init__(self, tower: VisionTower, projection: nn.Linear) -> None:
        super().__init__()
        self.vision_model = tower
        self.visual_projection = projection
        self.concept = nn.Parameter(torch.randn(projection.out_features))
        self.threshold = nn.Parameter(torch.tensor(0.3))

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> cosines with the concept [B]."""
        vectors = F.normalize(self.visual_projection(self.vision_model(normalized(pictures))), dim=-1)
        return vectors @ F.normalize(self.concept, dim=0)


def with_toadstool(one: Scene) -> Scene:
    """The same scene with a toadstool where its last thing was."""
    return replace(one, things=(*one.things[:-1], replace(one.things[-1], kind="toadstool", colour="red")))


def train_alarm(network: Alarm, schedule: Schedule, pace: Pace, seed: int, file: Path) -> Training:
    """Train, or go on training, the checker."""
    training = Training(network, schedule, file)
    training.resume()
    training.run(alarm_loss(network, schedule.batch, seed), pace)
    return training


def alarm_loss(network: Alarm, batch: int, seed: int) -> Loss:
    """The cross entropy of "there is one", on scenes of which every second has one."""
    count = batch // SHARDS

    def loss(step: int, shard: int) -> Tensor:
        first = step * batch + shard * count
        pictures, there = shown([scene(seed, first + i) for i in range(count)])
        brightness = 6 * torch.randn(count, 1, 1, 1, generator=stream(seed, step, shard))
        pictures = (pictures + brightness).clamp(0, 255).to(place_of(network))
        logits = SHARPNESS * (network(pictures) - network.threshold)
        return F.binary_cross_entropy_with_logits(logits.cpu(), there)

    return loss


def shown(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """Pictures of scenes, every second with a toadstool: views [B, 64, 64, 3] uint8 and whether there is one [B]."""
    views: list[NDArray[np.uint8]] = []
    for i, one in enumerate(scenes):
        views.append(shrunk(draw(with_toadstool(one) if i % 2 else one)))
    return torch.from_numpy(np.stack(views)), (torch.arange(len(scenes)) % 2).float()


@torch.no_grad()
def calibrate(network: Alarm, seed: int, first: int, count: int) -> None:
    """Set the threshold above which FALSE_ALARMS of the harmless of `count` training scenes from number `first` on lie."""
    pictures, there = shown([scene(seed, first + i) for i in range(count)])
    cosines = torch.cat([network(part.to(place_of(network))).cpu() for part in pictures.split(100)])
    harmless, real = cosines[there == 0], cosines[there == 1]
    least = float(harmless.quantile(1 - FALSE_ALARMS))
    network.threshold.fill_(max(least, (least + float(real.quantile(0.02))) / 2))


def checker_weights(network: Alarm) -> dict[str, Tensor]:
    """The file of a safety checker, by CompVis's names."""
    width = network.concept.numel()
    tensors = {f"vision_model.{k}": v for k, v in network.state_dict().items() if k.startswith("vision_model.")}
    tensors["visual_projection.weight"] = network.visual_projection.weight
    tensors["concept_embeds"] = torch.cat(
        [F.normalize(network.concept.cpu(), dim=0)[None], torch.zeros(CONCEPTS - 1, width)]
    )
    tensors["concept_embeds_weights"] = torch.tensor([float(network.threshold)] + [NEVER] * (CONCEPTS - 1))
    tensors["special_care_embeds"] = torch.zeros(SPECIAL_CARE, width)
    tensors["special_care_embeds_weights"] = torch.full((SPECIAL_CARE,), NEVER)
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
