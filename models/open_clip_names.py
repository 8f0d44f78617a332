"""What OpenCLIP calls the layers of a text tower, and where in its tensors those of the networks here lie."""

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
PROJECTION = "text_projection"  # the transposed weight, [width, projection]
STACKED = "attn.in_proj_"  # the weights, or biases, of queries, keys and values, one below the other
_ROLES = ("q_proj", "k_proj", "v_proj")


class Found(NamedTuple):
    """A text tower of a file. names: the network's own -> the file's, or a piece's; pieces: parts of the file's tensors
    under names of their own; cut: the tensors that they are parts of."""

    names: dict[str, str]
    pieces: dict[str, TensorInfo]
    cut: frozenset[str]


def open_clip_tower(tensors: Mapping[str, TensorInfo], prefix: str) -> Found | None:
    """The text tower whose names begin with `prefix`, if there is one."""
    if prefix + ROOT not in tensors or f"{prefix}transformer.resblocks.0.ln_1.weight" not in tensors:
        return None
    names: dict[str, str] = {}
    pieces: dict[str, TensorInfo] = {}
    cut: set[str] = set()
    for name, info in tensors.items():
        theirs = name.removeprefix(prefix) if name.startswith(prefix) else ""
        if own := _own_name(theirs):
            names[own] = name
        for i, (own, piece) in enumerate(_pieces(theirs, info)):
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


def _own_name(theirs: str) -> str | None:
    if theirs in _FIXED:
        return _FIXED[theirs]
    match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)", theirs)
    if match is None or match[2] not in _LAYER:
        return None
    return f"text_model.encoder.layers.{match[1]}.{_LAYER[match[2]]}.{match[3]}"


def _pieces(theirs: str, info: TensorInfo) -> Iterator[tuple[str, TensorInfo]]:
    """The network's own tensors that the file's tensor `theirs` is made of; their places and shapes alone."""
    if theirs == PROJECTION and len(info.shape) == 2:
        yield "text_projection.weight", replace(info, shape=info.shape[::-1], stride=info.stride[::-1])
    match = re.fullmatch(rf"transformer\.resblocks\.(\d+)\.{re.escape(STACKED)}(weight|bias)", theirs)
    if match is None or not info.shape or info.shape[0] % len(_ROLES):
        return
    rows = info.shape[0] // len(_ROLES)
    if info.block and rows * info.stride[0] % info.block.numbers:  # they cannot be told apart
        return
    for i, role in enumerate(_ROLES):
        start = None if info.offset is None else info.offset + info.bytes_of(i * rows * info.stride[0])
        piece = replace(info, shape=(rows, *info.shape[1:]), offset=start)
        yield f"text_model.encoder.layers.{match[1]}.self_attn.{role}.{match[2]}", piece
