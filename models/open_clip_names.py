"""What OpenCLIP calls the layers of CLIP's towers, and where in its tensors those of the networks here lie."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from models.weights import TensorInfo

ROOT = "token_embedding.weight"
"""A tensor that every text tower has."""

_FIXED: Mapping[str, str] = MappingProxyType(
    {
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "ln_final.weight": "text_model.final_layer_norm.weight",
        "ln_final.bias": "text_model.final_layer_norm.bias",
        "text_projection.weight": "text_projection.weight",
    }
)
_LAYER: Mapping[str, str] = MappingProxyType(
    {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
        "attn.out_proj": "self_attn.out_proj",
    }
)
_EYES: Mapping[str, str] = MappingProxyType(
    {
        "class_embedding": "vision_model.embeddings.class_embedding",
        "positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "ln_pre.weight": "vision_model.pre_layrnorm.weight",
        "ln_pre.bias": "vision_model.pre_layrnorm.bias",
        "ln_post.weight": "vision_model.post_layernorm.weight",
        "ln_post.bias": "vision_model.post_layernorm.bias",
    }
)
PROJECTION = "text_projection"  # the transposed weight, [width, projection]
STACKED = "attn.in_proj_"  # the weights, or biases, of queries, keys and values, one below the other
_ROLES = ("q_proj", "k_proj", "v_proj")


class Found(NamedTuple):
    """A tower of a file. names: the network's own -> the file's, or a piece's; pieces: parts of the file's tensors
    under names of their own; cut: the tensors that they are parts of."""

    names: dict[str, str]
    pieces: dict[str, TensorInfo]
    cut: frozenset[str]


class _Names(NamedTuple):
    """The names of a tower. fixed: theirs -> the network's own; layers: how the network's own names of layers begin;
    projection: what they call the transposed weight of `projects`."""

    fixed: Mapping[str, str]
    layers: str
    projection: str
    projects: str


_TEXT_NAMES = _Names(_FIXED, "text_model.encoder.layers", PROJECTION, "text_projection.weight")
_VISION_NAMES = _Names(_EYES, "vision_model.encoder.layers", "proj", "visual_projection.weight")


def open_clip_tower(tensors: Mapping[str, TensorInfo], prefix: str) -> Found | None:
    """The text tower whose names begin with `prefix`, if there is one."""
    return _found(tensors, prefix, ROOT, _TEXT_NAMES)


def open_clip_eyes(tensors: Mapping[str, TensorInfo], prefix: str) -> Found | None:
    """The vision tower whose names begin with `prefix`, if there is one; OpenAI's own files have these names, too."""
    return _found(tensors, prefix, "class_embedding", _VISION_NAMES)


def _found(tensors: Mapping[str, TensorInfo], prefix: str, root: str, known: _Names) -> Found | None:
    if prefix + root not in tensors or f"{prefix}transformer.resblocks.0.ln_1.weight" not in tensors:
        return None
    names: dict[str, str] = {}
    pieces: dict[str, TensorInfo] = {}
    cut: set[str] = set()
    for name, info in tensors.items():
        theirs = name.removeprefix(prefix) if name.startswith(prefix) else ""
        if own := _own_name(theirs, known):
            names[own] = name
        for i, (own, piece) in enumerate(_pieces(name, theirs, info, known)):
            names[own] = f"{name}[{i}]"
            pieces[names[own]] = piece
            cut.add(name)
    return Found(names, pieces, frozenset(cut))


def stacked_name(own: str) -> tuple[str, int] | None:
    """The name of the tensor that holds the attention weight `own` among others, and its place there: 0, 1 or 2."""
    match = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv]_proj)\.(weight|bias)", own)
    if match is None:
        return None
    return f"transformer.resblocks.{match[1]}.{STACKED}{match[3]}", _ROLES.index(match[2])


def open_clip_name(own: str) -> str:
    """What OpenCLIP calls the tensor `own`, which is no attention weight; the projection's is transposed there."""
    if own == "text_projection.weight":
        return PROJECTION
    fixed = {ours: theirs for theirs, ours in _FIXED.items()}
    if own in fixed:
        return fixed[own]
    match = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(\w+)", own)
    layers = {ours: theirs for theirs, ours in _LAYER.items()}
    return f"transformer.resblocks.{match[1]}.{layers[match[2]]}.{match[3]}" if match else own


def _own_name(theirs: str, known: _Names) -> str | None:
    if theirs in known.fixed:
        return known.fixed[theirs]
    match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)", theirs)
    if match is None or match[2] not in _LAYER:
        return None
    return f"{known.layers}.{match[1]}.{_LAYER[match[2]]}.{match[3]}"


def _pieces(name: str, theirs: str, info: TensorInfo, known: _Names) -> Iterator[tuple[str, TensorInfo]]:
    """The network's own tensors that the file's tensor `name` is made of, their places and shapes alone. theirs: its name
    behind the prefix."""
    if theirs == known.projection and len(info.shape) == 2:
        yield known.projects, replace(info, shape=info.shape[::-1], stride=info.stride[::-1], source=name)
    match = re.fullmatch(rf"transformer\.resblocks\.(\d+)\.{re.escape(STACKED)}(weight|bias)", theirs)
    if match is None or not info.shape or info.shape[0] % len(_ROLES):
        return
    rows = info.shape[0] // len(_ROLES)
    if info.block and rows * info.stride[0] % info.block.numbers:  # they cannot be told apart
        return
    for i, role in enumerate(_ROLES):
        first = i * rows * info.stride[0]
        start = None if info.offset is None else info.offset + info.bytes_of(first)
        piece = replace(info, shape=(rows, *info.shape[1:]), offset=start, source=name, first=first)
        yield f"{known.layers}.{match[1]}.self_attn.{role}.{match[2]}", piece
