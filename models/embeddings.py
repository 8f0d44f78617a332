"""Textual-inversion embeddings: files of a few vectors that a prompt names (Gal et al. 2022, arXiv:2208.01618)."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.unpickle import UnpickleError, read_pickle
from models.weights import CheckpointError

_DAMAGE = (
    SafetensorError, pickle.UnpicklingError, struct.error, OSError, EOFError, RuntimeError, ValueError, TypeError,
    LookupError, AttributeError, AssertionError, ArithmeticError, MemoryError,
)  # fmt: skip
"""What the readers raise on bytes that are no sane file."""

_BUNDLED = re.compile(r"bundle_emb\..*\.(string_to_param\.\*|clip_l)", re.DOTALL)
"""Names of embeddings that travel in a LoRA's file."""


def load_embedding(path: Path, width: int) -> Tensor:
    """The vectors of an embedding file for a text encoder of `width` channels: [n, width] float32 on the CPU.

    Reads what trainers write: `string_to_param`, keys by encoder (`clip_l`), lists of parts, bundles in LoRA files, or
    a single tensor; .safetensors, or pickles of tensors alone. Raises CheckpointError.
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
    parts = [part.detach().float().reshape(-1, part.shape[-1]) for part in _parts(content, width)]
    if not parts:
        raise CheckpointError(f"{path.name} holds no embedding")
    if wrong := [part.shape[1] for part in parts if part.shape[1] != width]:
        raise CheckpointError(
            f"{path.name} holds vectors of width {wrong[0]}, but this text encoder has {width} channels"
        )
    return torch.cat(parts)


def _parts(content: object, width: int) -> list[Tensor]:
    """The tensors whose rows make up the embedding."""
    match content:
        case Tensor():
            return [content] if _is_vectors(content) else []
        case list():  # of dicts, where other encoders' vectors stand beside ours
            values = (value for part in content if isinstance(part, Mapping) for value in part.values())
            return [value for value in values if _is_vectors(value) and value.shape[-1] == width]
        case Mapping():
            for key in ("string_to_param", "clip_l"):
                if found := _parts(content.get(key), width):
                    return found
            vectors = {str(key): value for key, value in content.items() if _is_vectors(value)}
            bundled = [value for key, value in vectors.items() if _BUNDLED.fullmatch(key)]
            return bundled or list(vectors.values())[:1]
        case _:
            return []


def _is_vectors(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.ndim > 0 and value.numel() > 0
