"""Textual-inversion embeddings: files of a few vectors that a prompt names (Gal et al. 2022, arXiv:2208.01618)."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.family import Tower
from models.unpickle import UnpickleError, read_pickle
from models.weights import CheckpointError

_DAMAGE = (
    SafetensorError, pickle.UnpicklingError, struct.error, OSError, EOFError, RuntimeError, ValueError, TypeError,
    LookupError, AttributeError, AssertionError, ArithmeticError, MemoryError,
)  # fmt: skip
"""What the readers raise on bytes that are no sane file."""

_BUNDLED = re.compile(r"bundle_emb\..*\.(string_to_param\.\*|clip_\w)", re.DOTALL)
"""Names of embeddings that travel in a LoRA's file."""

KEYS: Mapping[Tower, str] = MappingProxyType({"clip": "clip_l", "clip_h": "clip_h", "clip_g": "clip_g"})
"""What trainers call a text tower, in files for several."""


def load_embedding(path: Path, width: int, tower: Tower = "clip") -> Tensor:
    """The vectors of an embedding file for a text encoder of `width` channels: [n, width] float32 on the CPU.

    Reads what trainers write: `string_to_param`, keys by encoder (`clip_l`, `clip_g`), lists of parts, bundles in LoRA
    files, or a single tensor; .safetensors, or pickles of tensors alone. Raises CheckpointError.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            content: object = load_file(path)
        else:
            with path.open("rb") as file:
                content = read_pickle(file)
    except UnpickleError as error:
        raise CheckpointError(f"{path.name} {error}") from error
    except _DAMAGE as error:
        raise CheckpointError(f"{path.name} cannot be read as an embedding: {error}") from error
    parts = [part.detach().float().reshape(-1, part.shape[-1]) for part in _parts(content, width, KEYS[tower])]
    if not parts:
        raise CheckpointError(f"{path.name} holds no embedding")
    if wrong := [part.shape[1] for part in parts if part.shape[1] != width]:
        raise CheckpointError(
            f"{path.name} holds vectors of width {wrong[0]}, but this text encoder has {width} channels"
        )
    return torch.cat(parts)


def _parts(content: object, width: int, key: str) -> list[Tensor]:
    """The tensors whose rows make up the embedding. key: what is said to be for the encoder."""
    match content:
        case Tensor():
            return [content] if _is_vectors(content) else []
        case list():  # of dicts, where other encoders' vectors stand beside ours
            values = (value for part in content if isinstance(part, Mapping) for value in part.values())
            return [value for value in values if _is_vectors(value) and value.shape[-1] == width]
        case Mapping():
            for name in (key, "string_to_param"):
                if found := _parts(content.get(name), width, key):
                    return found
            vectors = {str(name): value for name, value in content.items() if _is_vectors(value)}
            bundled = [value for name, value in vectors.items() if _BUNDLED.fullmatch(name)]
            ours = [value for name, value in vectors.items() if _BUNDLED.fullmatch(name) and name.endswith(f".{key}")]
            return ours or bundled or list(vectors.values())[:1]
        case _:
            return []


def _is_vectors(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.ndim > 0 and value.numel() > 0
