"""Textual-inversion embeddings: files of a few vectors that a prompt names (Gal et al. 2022, arXiv:2208.01618)."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.weights import CheckpointError


def load_embedding(path: Path, width: int) -> Tensor:
    """The vectors of an embedding file for a text encoder of `width` channels: [n, width] float32 on the CPU.

    Reads what trainers write: `string_to_param`, keys by encoder (`clip_l`), or a single tensor; .safetensors, or
    pickles of tensors alone. Raises CheckpointError.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path.name} cannot be read as an embedding: {error}") from error
    vectors = next(_vectors(content), None)
    if vectors is None:
        raise CheckpointError(f"{path.name} holds no embedding")
    rows = vectors.detach().float().reshape(-1, vectors.shape[-1])
    if rows.shape[1] != width:
        raise CheckpointError(
            f"{path.name} holds vectors of width {rows.shape[1]}, but this text encoder has {width} channels"
        )
    return rows


def _vectors(content: object) -> Iterator[Tensor]:
    """The tensors that may be the embedding, likeliest first."""
    if isinstance(content, Tensor) and content.ndim > 0:
        yield content
    if isinstance(content, Mapping):
        for key in ("string_to_param", "clip_l"):
            yield from _vectors(content.get(key))
        for value in content.values():
            if isinstance(value, Tensor):
                yield from _vectors(value)
