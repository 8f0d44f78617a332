"""LoRA files: small changes to the weights of a U-Net and a text encoder (Hu et al. 2021, arXiv:2106.09685).

The name of a change says which weight it is for, in one of several spellings: by the checkpoint's own names or by those
of diffusers, with dots or underscores, behind the prefixes of the program that trained it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.checkpoint import Change
from models.config import Shapes
from models.weights import CheckpointError, TensorFile, read_tensors

_SIDES = (  # how the two factors' names end: `up`, [out, rank], and `down`, [rank, in]
    (".lora_up.weight", ".lora_down.weight"),
    ("_lora.up.weight", "_lora.down.weight"),
    (".lora_B.weight", ".lora_A.weight"),
    (".lora.up.weight", ".lora.down.weight"),
    (".lora_B", ".lora_A"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    (".lora_B.default.weight", ".lora_A.default.weight"),
)
_MID, _ALPHA = ".lora_mid.weight", ".alpha"
_OTHERS = (  # how the names of other kinds of changes end, and what they are called
    (r"\.hada_w1_a", "LoHa"), (r"\.lokr_w[12](_[ab])?", "LoKr"), (r"\.(oft|boft)_blocks", "OFT"),
    (r"\.dora_scale", "DoRA"), (r"\.a1\.weight", "GLoRA"), (r"\.diff(_b)?", "a full difference"),
)  # fmt: skip
_UNET_STEMS = ("lora_unet_", "lycoris_")
_TEXT_STEMS = ("lora_te_", "lora_te1_")


@dataclass(frozen=True)
class Lora:
    """A LoRA file, and how strongly it is applied. Picklable; its numbers are read when it is.

    identity: names the file's content, so a replaced file is another one.
    """

    file: TensorFile
    identity: str
    strength: float

    def changes(self, shapes: Shapes) -> dict[str, Change]:
        """What it does to the weights of a network with `shapes`, by their names. Raises CheckpointError."""
        parts = _parts(self.file, _spellings(shapes))
        names = [name for part in parts.values() for name in part if name]
        cpu = torch.device("cpu")
        tensors = dict(read_tensors(self.file, names, dtype=torch.float32, device=cpu, mapped=False))
        return {weight: _change(part, tensors, self.strength) for weight, part in parts.items()}


def changed_weights(file: TensorFile, shapes: Shapes) -> frozenset[str]:
    """The names of the weights of a network with `shapes` that a LoRA file changes.

    Raises CheckpointError for a change that does not fit its weight, or is of a kind that is not supported.
    """
    for name in file.tensors:
        for ending, kind in _OTHERS:
            if re.search(ending + "$", name):
                raise CheckpointError(f"{file.path.name} holds {kind} ({name}), a kind that is not supported yet")
    parts = _parts(file, _spellings(shapes))
    for weight, part in parts.items():
        if part.alpha and math.prod(file.tensors[part.alpha].shape) != 1:
            raise CheckpointError(f"{file.path.name}: {part.alpha} is not one number")
        made, wanted = _shape(part, file), shapes[weight]
        if made != (wanted[0], math.prod(wanted[1:])):
            raise CheckpointError(
                f"{file.path.name}: {part.up} and {part.down} make a change of {' x '.join(map(str, made))}, but the "
                f"weight {weight} has the shape {list(wanted)}; was it made for another kind of model?"
            )
    return frozenset(parts)


@dataclass(frozen=True)
class _Part:
    """The names of the tensors that change one weight."""

    up: str
    down: str
    mid: str | None
    alpha: str | None

    def __iter__(self) -> Iterator[str | None]:
        return iter((self.up, self.down, self.mid, self.alpha))


def _parts(file: TensorFile, spellings: Mapping[str, str]) -> dict[str, _Part]:
    """By the network's weights. Of several spellings for one weight the first counts."""
    found: dict[str, _Part] = {}
    for up, down in _SIDES:
        for name in file.tensors:
            stem = name.removesuffix(up)
            weight = spellings.get(stem) if stem != name else None
            if weight is None or weight in found:
                continue
            if stem + down not in file.tensors:
                raise CheckpointError(f"{file.path.name} lacks {stem + down}, the other half of {name}")
            mid, alpha = (other if (other := stem + end) in file.tensors else None for end in (_MID, _ALPHA))
            found[weight] = _Part(name, stem + down, mid, alpha)
    return found


def _shape(part: _Part, file: TensorFile) -> tuple[int, int]:
    """Rows and columns of a change; (0, 0) if its factors do not fit each other."""
    up, down = (file.tensors[name].shape for name in (part.up, part.down))
    if part.mid:
        mid = file.tensors[part.mid].shape
        fits = len(up) == len(down) == len(mid) == 4 and mid[:2] == (up[1], down[0]) and up[2:] == down[2:] == (1, 1)
        return (up[0], down[1] * math.prod(mid[2:])) if fits else (0, 0)
    fits = len(up) >= 2 and len(down) >= 2 and math.prod(up[1:]) == down[0]
    return (up[0], math.prod(down[1:])) if fits else (0, 0)


def _change(part: _Part, tensors: Mapping[str, Tensor], strength: float) -> Change:
    """W + strength * alpha / rank * up @ down (equation 3); without an alpha the factor is the strength."""
    up, down = tensors[part.up], tensors[part.down]
    scale = strength * (tensors[part.alpha].item() / len(down) if part.alpha else 1.0)
    if part.mid:  # a convolution as three (Tucker): the middle one has the kernel
        down = torch.einsum("pqkl,qi->pikl", tensors[part.mid], down.flatten(1))

    def change(weight: Tensor) -> Tensor:
        return weight + (scale * (up.flatten(1) @ down.flatten(1))).view(weight.shape)

    return change


def _spellings(shapes: Shapes) -> dict[str, str]:
    """How LoRA files call the weights of a network -> the network's own names."""
    layers = {name.removesuffix(".weight"): name for name in shapes if name.endswith(".weight")}
    if "input_blocks.0.0" in layers:
        halvings = [int(match[1]) for name in layers if (match := re.fullmatch(r"input_blocks\.(\d+)\.0\.op", name))]
        blocks = max(1, min(halvings, default=len(layers)) - 1)
        return {alias: weight for own, weight in layers.items() for alias in _of_unet(own, diffusers_name(own, blocks))}
    return {alias: weight for own, weight in layers.items() for alias in _of_text(own)}


def _of_unet(own: str, diffusers: str) -> Iterator[str]:
    yield "lora_unet_" + _flat(own)
    yield "diffusion_model." + own
    for prefix in ("", "unet."):
        yield prefix + diffusers
        yield prefix + diffusers.replace(".to_", ".processor.to_").replace(".to_out.0", ".to_out")
    for prefix in _UNET_STEMS:
        yield prefix + _flat(diffusers)


def _of_text(own: str) -> Iterator[str]:
    for prefix in _TEXT_STEMS:
        yield prefix + _flat(own)
    yield "text_encoder." + own
    yield "text_encoders.clip_l.transformer." + own


def _flat(name: str) -> str:
    return name.replace(".", "_")


def diffusers_name(own: str, blocks: int) -> str:
    """What diffusers calls the U-Net's layer `own`. blocks: residual blocks a level (`num_res_blocks`)."""
    for pattern, name in _FIXED:
        if own == pattern:
            return name
    if match := re.fullmatch(r"middle_block\.([012])\.(.+)", own):
        kind = ("resnets.0", "attentions.0", "resnets.1")[int(match[1])]
        return f"mid_block.{kind}.{_inside(match[2])}"
    match = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", own)
    if match is None:
        return own
    number, place, rest = int(match[2]), int(match[3]), match[4]
    way, first = ("down", 1) if match[1] == "input" else ("up", 0)  # the first input block is `conv_in`
    level, at = divmod(number - first, blocks + 1)
    resizes = rest in ("op", "conv")
    kind = f"{way}samplers.0.conv" if resizes else f"{('resnets', 'attentions')[place]}.{at}.{_inside(rest)}"
    return f"{way}_blocks.{level}.{kind}"


def _inside(rest: str) -> str:
    """Of a residual block's layers; those of a transformer have the same names in both."""
    return dict(_RESNET).get(rest, rest)


_FIXED = (
    ("input_blocks.0.0", "conv_in"), ("out.0", "conv_norm_out"), ("out.2", "conv_out"),
    ("time_embed.0", "time_embedding.linear_1"), ("time_embed.2", "time_embedding.linear_2"),
)  # fmt: skip
_RESNET = (
    ("in_layers.0", "norm1"), ("in_layers.2", "conv1"), ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"), ("out_layers.3", "conv2"), ("skip_connection", "conv_shortcut"),
)  # fmt: skip
