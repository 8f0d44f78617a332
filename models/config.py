"""The shapes of Stable Diffusion's networks, read from the weights themselves.

A single-file checkpoint carries no configuration, so there is none here to disagree with it: every field is
read from the keys and shapes of the tensors (as OpenAI's CLIP does). What no shape tells are rules: SD v1 U-Nets have
8 attention heads; those whose transformers begin with a linear layer (SD 2 and later) one for every 64 channels, as have
CLIP towers (but see OPEN_CLIP_HEADS); and OpenAI's towers a cheap GELU.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, Protocol

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor name, without the component's prefix, -> shape."""

SD1_HEADS = 8
HEAD_CHANNELS = 64
"""Channels of an attention head, in U-Nets with linear layers and in CLIP."""


@dataclass(frozen=True)
class UNetConfig:
    """The denoising U-Net. The defaults are SD v1's 860M-parameter network.

    linear: its transformers begin and end with linear layers, not with convolutions. vector_dim: the width of the vector
    that it reads beside the time step, as SDXL's networks do; 0: none.
    """

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    transformer_depth: tuple[int, ...] = (1, 1, 1, 0)  # per level, 0: no attention there
    middle_depth: int = 1
    context_dim: int = 768
    linear: bool = False
    vector_dim: int = 0

    def heads(self, channels: int) -> int:
        """Attention heads of a transformer of so many channels."""
        return max(1, channels // HEAD_CHANNELS) if self.linear else SD1_HEADS


@dataclass(frozen=True)
class VaeConfig:
    """The autoencoder. Its factor is 2 ** (levels - 1): 8 for SD."""

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    in_channels: int = 3
    z_channels: int = 4
    embed_dim: int = 4

    @property
    def factor(self) -> int:
        """Pixels a side for one latent cell."""
        return 2 ** (len(self.ch_mult) - 1)


Activation = Literal["quick_gelu", "gelu"]
"""quick_gelu: x * sigmoid(1.702 x), as OpenAI trained CLIP with; gelu: the exact one, of LAION's OpenCLIP."""

OPEN_CLIP_HEADS = ((1280, 16), (1408, 16), (1664, 16))
"""Width and attention heads of the vision towers ViT-H, ViT-g and ViT-bigG (Cherti et al. 2022, arXiv:2212.07143)."""


class TowerConfig(Protocol):
    """What the layers of a CLIP tower need to know."""

    @property
    def width(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def activation(self) -> Activation: ...
    @property
    def heads(self) -> int: ...


@dataclass(frozen=True)
class ClipConfig:
    """A CLIP text tower. The defaults are ViT-L/14's. projection: the width that a pooled vector is brought to; 0: none."""

    width: int = 768
    layers: int = 12
    intermediate: int = 3072
    vocab: int = 49408
    positions: int = 77
    activation: Activation = "quick_gelu"
    projection: int = 0

    @property
    def heads(self) -> int:
        """Attention heads; CLIP gives each 64 channels."""
        return max(1, self.width // HEAD_CHANNELS)


@dataclass(frozen=True)
class VisionConfig:
    """A CLIP vision tower and the space it projects to. The defaults are ViT-L/14's."""

    width: int = 1024
    layers: int = 24
    intermediate: int = 4096
    patch: int = 14  # pixels a side
    grid: int = 16  # patches a side
    projection: int = 768
    activation: Activation = "quick_gelu"

    @property
    def heads(self) -> int:
        """Attention heads; CLIP gives each 64 channels."""
        return dict(OPEN_CLIP_HEADS).get(self.width, max(1, self.width // 64))

    @property
    def image_size(self) -> int:
        """Pixels a side of what the tower sees."""
        return self.patch * self.grid


@dataclass(frozen=True)
class SafetyConfig(VisionConfig):
    """The safety checker: a CLIP vision tower and the directions it looks for. The defaults are CompVis's."""

    concepts: int = 17
    special_care: int = 3


@dataclass(frozen=True)
class ContrastiveConfig:
    """Both towers of a CLIP. The defaults are ViT-L/14's."""

    text: ClipConfig = ClipConfig()
    vision: VisionConfig = VisionConfig()


LABEL = "label_emb.0.0.weight"
"""The first layer that a U-Net reads its vector with, where it reads one."""


def unet_config(shapes: Shapes) -> UNetConfig:
    """Read a U-Net's shape. Raises KeyError, naming the tensor, when one that must be there is missing."""
    model_channels, in_channels = shapes["input_blocks.0.0.weight"][:2]
    channels: list[int] = []  # per level
    blocks: list[int] = []
    depths: list[int] = []
    for i in range(1, _count(shapes, r"input_blocks\.(\d+)\.0\.")):
        name = f"input_blocks.{i}.0"
        if f"{name}.op.weight" in shapes:  # a downsampling block closes a level
            continue
        if i == 1 or f"input_blocks.{i - 1}.0.op.weight" in shapes:
            channels.append(shapes[f"{name}.in_layers.2.weight"][0])
            blocks.append(0)
            depths.append(_count(shapes, rf"input_blocks\.{i}\.1\.transformer_blocks\.(\d+)\."))
        blocks[-1] += 1
    return UNetConfig(
        in_channels=in_channels,
        out_channels=shapes["out.2.weight"][0],
        model_channels=model_channels,
        channel_mult=tuple(c // model_channels for c in channels),
        num_res_blocks=blocks[0],
        transformer_depth=tuple(depths),
        middle_depth=_count(shapes, r"middle_block\.1\.transformer_blocks\.(\d+)\."),
        context_dim=shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        linear=len(shapes["middle_block.1.proj_in.weight"]) == 2,
        vector_dim=shapes[LABEL][1] if LABEL in shapes else 0,
    )


def vae_config(shapes: Shapes) -> VaeConfig:
    """Read an autoencoder's shape. Raises KeyError, naming the tensor, when one that must be there is missing."""
    ch, in_channels = shapes["encoder.conv_in.weight"][:2]
    levels = _count(shapes, r"encoder\.down\.(\d+)\.")
    widths = [shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(levels)]
    embed_dim, z_channels = shapes["quant_conv.weight"][:2]
    return VaeConfig(
        ch=ch,
        ch_mult=tuple(w // ch for w in widths),
        num_res_blocks=_count(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        in_channels=in_channels,
        z_channels=z_channels // 2,
        embed_dim=embed_dim // 2,
    )


def clip_config(shapes: Shapes, activation: Activation = "quick_gelu", projects: bool = False) -> ClipConfig:
    """Read a text tower's shape. Raises KeyError, naming the tensor, when one that must be there is missing.

    projects: it brings the pooled vector to a space of its own, where the file has the weights for that.
    """
    vocab, width = shapes["text_model.embeddings.token_embedding.weight"]
    return ClipConfig(
        width=width,
        layers=_count(shapes, r"text_model\.encoder\.layers\.(\d+)\."),
        intermediate=shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        vocab=vocab,
        positions=shapes["text_model.embeddings.position_embedding.weight"][0],
        activation=activation,
        projection=shapes["text_projection.weight"][0] if projects and "text_projection.weight" in shapes else 0,
    )


def safety_config(shapes: Shapes) -> SafetyConfig:
    """Read a safety checker's shape. Raises KeyError, naming the tensor, when one that must be there is missing, and
    ValueError when it could find nothing.
    """
    vision = vision_config(shapes, "vision_model.vision_model")
    concepts = shapes["concept_embeds"][0]
    if not concepts:
        raise ValueError("no concept to look for")
    return SafetyConfig(**asdict(vision), concepts=concepts, special_care=shapes["special_care_embeds"][0])


def contrastive_config(shapes: Shapes, activation: Activation) -> ContrastiveConfig:
    """Read the shape of a CLIP with both towers. Raises KeyError, naming the tensor, when one that must be there is
    missing, and ValueError when it is none."""
    text, vision = clip_config(shapes, activation), vision_config(shapes, "vision_model")
    if shapes["text_projection.weight"][0] != vision.projection:
        raise ValueError("two towers that project to spaces of different width")
    return ContrastiveConfig(text, replace(vision, activation=activation))


def vision_config(shapes: Shapes, tower: str) -> VisionConfig:
    """Read the shape of the vision tower called `tower`. Raises KeyError, naming the tensor, when one that must be
    there is missing, and ValueError when it is none of CLIP's.
    """
    width, channels, patch, _ = shapes[f"{tower}.embeddings.patch_embedding.weight"]
    positions = shapes[f"{tower}.embeddings.position_embedding.weight"][0]
    grid = math.isqrt(positions - 1)
    if channels != 3 or grid**2 + 1 != positions or min(width, patch, grid) < 1:
        raise ValueError("a vision tower that does not look at square pictures in colour")
    if width > 64 and width % 64:
        raise ValueError(f"a vision tower of width {width}, which is no multiple of 64")
    return VisionConfig(
        width=width,
        layers=_count(shapes, rf"{re.escape(tower)}\.encoder\.layers\.(\d+)\."),
        intermediate=shapes[f"{tower}.encoder.layers.0.mlp.fc1.weight"][0],
        patch=patch,
        grid=grid,
        projection=shapes["visual_projection.weight"][0],
    )


def predictor_widths(shapes: Shapes) -> tuple[int, ...]:
    """The widths between the layers of an aesthetic predictor, from its input to its one score. Raises KeyError."""
    first, *others = (shapes[f"layers.{i}.weight"] for i in (0, 2, 4, 6, 7))
    return (first[1], first[0], *(shape[0] for shape in others))


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbered members a module list has: the largest index that `pattern` captures, plus one."""
    found = (re.match(pattern, key) for key in shapes)
    return 1 + max((int(m[1]) for m in found if m), default=-1)
