"""Training a text encoder and a vision tower together, so that a picture and its caption point the same way (CLIP)."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ContrastiveConfig
from models.training.examples import Tensors
from models.training.loop import SHARDS, Lesson, Pace, Schedule, Training, mixed_precision, place_of, type_of
from models.training.replay import Drawn
from models.training.words import END
from models.vision import CLIP_MEAN, CLIP_STD, ContrastiveModel

SHARPEST = math.log(100)  # the largest logarithm of the scale of cosines, as CLIP's


class TextsAndPictures(nn.Module):
    """Both towers, and the scale that their cosines are compared at. The text tower has the compact token table."""

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        self.clip = ContrastiveModel(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        table = self.clip.text_model.embeddings
        nn.init.normal_(table.token_embedding.weight, std=0.3)
        nn.init.normal_(table.position_embedding.weight, std=0.1)
        nn.init.normal_(self.clip.vision_model.embeddings.class_embedding, std=0.1)
        nn.init.normal_(self.clip.vision_model.embeddings.position_embedding.weight, std=0.1)

    def see(self, pictures: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> unit vectors [B, P]."""
        x = normalized(pictures).to(type_of(self))
        return F.normalize(self.clip.visual_projection(self.clip.vision_model(x)).float(), dim=-1)

    def read(self, rows: Tensor) -> Tensor:
        """Captions [B, 77] in rows of the compact table -> unit vectors [B, P], taken at the first end mark."""
        hidden = self.clip(rows)
        at_end = hidden[torch.arange(len(rows), device=rows.device), (rows == END).int().argmax(1)]
        return F.normalize(self.clip.text_projection(at_end).float(), dim=-1)


def train_clip(
    network: TextsAndPictures, examples: Tensors, schedule: Schedule, pace: Pace, seed: int, file: Path
) -> Training:
    """Train, or go on training, both towers; weights that need no gradient stay as they are."""
    training = Training(network, schedule, file)
    training.resume()
    lesson, other = (contrastive_lesson(network, examples, schedule.batch, each) for each in (seed, seed + 1))

    def review() -> None:
        with torch.no_grad():
            value = float(other(training.step, 0))
        print(f"{file.stem} {training.step}/{schedule.iterations}: loss {value:.3f}", flush=True)

    training.run(lesson, pace, review)
    return training


def contrastive_lesson(network: TextsAndPictures, examples: Tensors, batch: int, seed: int) -> Lesson:
    """The symmetric cross entropy of who belongs to whom (Radford et al. 2021, figure 3), within each shard."""
    place = place_of(network)
    views, rows = examples["views"].to(place), examples["rows"].to(place)

    def loss(picked: Tensor, number: Tensor) -> Tensor:
        with mixed_precision(network):
            seen, read = network.see(views[picked]), network.read(rows[picked, number].long())
        scores = network.logit_scale.clamp(max=SHARPEST).exp() * seen @ read.T
        own = torch.arange(len(picked), device=place)
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2

    return Lesson(partial(_pairs, seed, batch, *rows.shape[:2]), loss)


def _pairs(seed: int, batch: int, scenes: int, captions: int, step: int, shard: int) -> Drawn:
    """Which scenes of all, and which of their captions."""
    rng = np.random.default_rng([seed, step, shard])
    return rng.permutation(scenes)[: batch // SHARDS], rng.integers(captions, size=1)


def normalized(pictures: Tensor) -> Tensor:
    """uint8 [B, S, S, 3] -> [B, 3, S, S], as CLIP wants them."""
    channels = pictures.float().div(255).unbind(-1)
    return torch.stack([(x - mean) / std for x, mean, std in zip(channels, CLIP_MEAN, CLIP_STD, strict=True)], 1)
