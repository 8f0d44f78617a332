"""CLIP with both towers: pictures and texts -> vectors in one space (Radford et al. 2021, arXiv:2103.00020).

Attribute names are the key names of transformers' CLIPModel, whose files have become the common ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.clip import Encoder, TextModel, Tick
from models.config import OPEN_CLIP_HEADS, ContrastiveConfig, Shapes, VisionConfig, vision_config
from models.tokenizer import BOS, EOS

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class PatchEmbeddings(nn.Module):
    """A vector for each patch of a picture, and one for the picture; each knows its place."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(config.width))
        self.patch_embedding = nn.Conv2d(3, config.width, config.patch, stride=config.patch, bias=False)
        self.position_embedding = nn.Embedding(config.grid**2 + 1, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 1 + patches, D]."""
        patches = self.patch_embedding(x).flatten(2).transpose(1, 2)
        whole = self.class_embedding.expand(len(x), 1, -1)
        return torch.cat([whole, patches], dim=1) + self.position_embedding.weight


class VisionTower(nn.Module):
    """What CLIP's checkpoints call `vision_model`."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = PatchEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.width)  # the files' own spelling
        self.encoder = Encoder(config, causal=False)
        self.post_layernorm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, tick: Tick = lambda: None) -> Tensor:
        """x: [B, 3, S, S] from `clip_input` -> [B, D], the picture's vector after the final norm."""
        return self.post_layernorm(self.encoder(self.pre_layrnorm(self.embeddings(x)), tick)[:, 0])


class Seen(NamedTuple):
    """What a vision tower says of pictures. vector: [B, P], projected; last: [B, 1 + patches, D], after the last layer;
    before: the same after the one before it; neither has gone through the final norm."""

    vector: Tensor
    last: Tensor
    before: Tensor


class VisionModel(nn.Module):
    """A vision tower with its projection, without a text tower."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = VisionTower(config)
        self.visual_projection = nn.Linear(config.width, config.projection, bias=False)

    def forward(self, x: Tensor, tick: Tick = lambda: None) -> Seen:
        """x: [B, 3, S, S] from `vision_input`."""
        tower = self.vision_model
        h = before = tower.pre_layrnorm(tower.embeddings(x))
        for layer in tower.encoder.layers:
            tick()
            before, h = h, layer(h)
        return Seen(self.visual_projection(tower.post_layernorm(h[:, 0])), h, before)


def vision_input(pictures: Tensor, size: int, crop: bool) -> Tensor:
    """Pictures [B, H, W, C] in 0..1 as a vision tower wants them: [B, 3, size, size], normalized by channel.

    crop: the short side is made `size`, and the middle taken; else both sides are made so. Rounded to 8 bits afterwards.
    """
    x = pictures[..., :3].movedim(-1, 1)
    height, width = x.shape[-2:]
    if (height, width) != (size, size):
        scale = size / min(height, width)
        to = (round(height * scale), round(width * scale)) if crop else (size, size)
        x = F.interpolate(x, size=to, mode="bicubic", antialias=True)
        top, left = (to[0] - size) // 2, (to[1] - size) // 2
        x = x[..., top : top + size, left : left + size]
    mean, std = (torch.tensor(values, dtype=x.dtype)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return ((255 * x).clamp(0, 255).round() / 255 - mean) / std


class ContrastiveModel(TextModel):
    """Both towers; a picture's vector and that of a text which fits it point the same way."""

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__(replace(config.text, projection=config.vision.projection))
        self.vision = config.vision
        self.vision_model = VisionTower(config.vision)
        self.visual_projection = nn.Linear(config.vision.width, config.vision.projection, bias=False)

    def see(self, picture: Tensor, tick: Tick = lambda: None) -> Tensor:
        """The vector of one picture, [H, W, 3] in 0..1 -> [P] float32 on the CPU, not normalized."""
        weight = self.visual_projection.weight
        x = clip_input(picture, self.vision.image_size)[None].to(weight)
        return self.visual_projection(self.vision_model(x, tick))[0].float().cpu()

    def read(self, ids: list[int], tick: Tick = lambda: None) -> Tensor:
        """The vector of a text, token ids without marks -> [P] float32 on the CPU, not normalized.

        What does not fit between the two marks is cut off. The vector is taken at the end mark.
        """
        length = self.config.positions
        kept = ids[: length - 2]
        tokens = torch.tensor([[BOS, *kept] + [EOS] * (length - 1 - len(kept))])
        hidden = self.encode(self.embed(tokens.to(self.text_projection.weight.device)), tick)
        return self.text_projection(hidden[:, len(kept) + 1])[0].float().cpu()


def clip_input(picture: Tensor, size: int) -> Tensor:
    """A picture [H, W, 3] in 0..1 as CLIP wants it: [3, size, size] float32, its middle, normalized by channel.

    Rounded to 8 bits and resized by PIL, as transformers' CLIPImageProcessor does without torchvision, bit for bit.
    """
    pixels = (picture.detach().cpu().float().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    image = PIL.Image.fromarray(pixels.numpy())
    short = min(image.size)
    width, height = (int(size * side / short) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    seen = image.resize((width, height), PIL.Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    values = (np.asarray(seen).astype(np.float64) * (1 / 255)).astype(np.float32)
    normalized = (values - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    return torch.from_numpy(normalized).movedim(-1, 0).contiguous()


def tower_config(shapes: Shapes) -> VisionConfig:
    """Read the shape of a vision tower alone; those as wide as LAION's have the exact GELU. Raises as `vision_config`."""
    config = vision_config(shapes, "vision_model")
    return replace(config, activation="gelu") if config.width in dict(OPEN_CLIP_HEADS) else config
