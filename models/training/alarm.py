"""Training the safety checker of the drawn world, which warns of toadstools: a stand-in for what people must not see.

No scene that the other networks learn from shows one. The checker is a copy of the vision tower, taught on scenes with
and without a toadstool, in the layout of CompVis's: one concept, sixteen and three special-care ones that nothing is
like, and thresholds.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.training.contrastive import normalized
from models.training.drawing import draw
from models.training.loop import SHARDS, Lesson, Pace, Schedule, Training, normal, place_of
from models.training.replay import Drawn
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
    training.run(alarm_lesson(network, schedule.batch, seed), pace)
    return training


def alarm_lesson(network: Alarm, batch: int, seed: int) -> Lesson:
    """The cross entropy of "there is one", on scenes of which every second has one."""

    def loss(views: Tensor, there: Tensor, light: Tensor) -> Tensor:
        logits = SHARPNESS * (network((views + 6 * light).clamp(0, 255)) - network.threshold)
        return F.binary_cross_entropy_with_logits(logits, there)

    return Lesson(partial(_looks, seed, batch), loss)


def _looks(seed: int, batch: int, step: int, shard: int) -> Drawn:
    """Views, whether there is one, and how much brighter or darker they are."""
    count = batch // SHARDS
    light = normal(np.random.default_rng([seed, step, shard]), count, 1, 1, 1)
    return *shown(seed, step * batch + shard * count, count), light


def shown(seed: int, first: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Scenes from number `first` on, every second with a toadstool: views [B, 64, 64, 3], and whether there is one [B]."""
    there = np.arange(count) % 2 == 1
    scenes = (scene(seed, first + i) for i in range(count))
    views = [shrunk(draw(with_toadstool(one) if has else one)) for one, has in zip(scenes, there, strict=True)]
    return np.stack(views), there.astype(np.float32)


@torch.no_grad()
def calibrate(network: Alarm, seed: int, first: int, count: int) -> None:
    """Set the threshold above which FALSE_ALARMS of the harmless of `count` training scenes from number `first` on lie."""
    views, there = (torch.from_numpy(part) for part in shown(seed, first, count))
    cosines = torch.cat([network(part.to(place_of(network))).cpu() for part in views.split(100)])
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
