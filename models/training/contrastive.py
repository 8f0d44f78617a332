"""Training a text encoder and a vision tower together, so that a picture and its caption point the same way (CLIP)."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ContrastiveConfig
from models.training.examples import Tensors
from models.training.loop import SHARDS, Loss, Pace, Schedule, Training, mixed_precision, place_of, stream
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
        x = normalized(pictures)
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

    def review() -> None:
        network.eval()
        with torch.no_grad():
            value = float(contrastive_loss(network, examples, schedule.batch, seed + 1)(training.step, 0))
        print(f"{file.stem} {training.step}/{schedule.iterations}: loss {value:.3f}", flush=True)

    training.run(contrastive_loss(network, examples, schedule.batch, seed), pace, review)
    return training


def contrastive_loss(network: TextsAndPictures, examples: Tensors, batch: int, seed: int) -> Loss:
    """The symmetric cross entropy of who belongs to whom (Radford et al. 2021, figure 3), within each shard."""
    count = batch // SHARDS

    def loss(step: int, shard: int) -> Tensor:
        generator = stream(seed, step, shard)
        picked = torch.randperm(len(examples["rows"]), generator=generator)[:count]
        number = int(torch.randint(examples["rows"].shape[1], (), generator=generator))
        device = place_of(network)
        views, rows = examples["views"][picked].to(device), examples["rows"][picked, number].long().to(device)
        with mixed_precision(device):
            seen, read = network.see(views), network.read(rows)
        scores = network.logit_scale.clamp(max=SHARPEST).exp() * seen @ read.T
        own = torch.arange(count, device=device)
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2

    return loss


def normalized(pictures: Tensor) -> Tensor:
    """uint8 [B, S, S, 3] -> [B, 3, S, S], as CLIP wants them."""
    x = pictures.movedim(-1, 1).float() / 255
    mean, deviation = (torch.tensor(values, device=x.device)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (x - mean) / deviation
