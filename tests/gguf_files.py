"""GGUF files of narrow networks, written by GGML's own Python package as programs of today write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from torch import Tensor

HALVES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
"""Where blocks that the package only reads have their float16 numbers, in bytes."""

Kinds = Callable[[str, Tensor], str]
"""The kind of numbers that a tensor is stored in, by name and content."""


def kinds(linear: str) -> Kinds:
    """Matrices and norms as `linear` where their rows are whole blocks, all else in 16 bits: as stable-diffusion.cpp does."""
    size = GGML_QUANT_SIZES[GGMLQuantizationType[linear]][0]

    def kind(name: str, tensor: Tensor) -> str:
        whole = tensor.ndim and tensor.shape[-1] % size == 0 and "embedding." not in name
        return linear if whole and tensor.ndim < 3 and not name.endswith("bias") else "F16"

    return kind


def some_blocks(kind: str, count: int, seed: int = 0) -> np.ndarray:
    """Blocks of random content whose scales are ordinary numbers: [count, bytes of a block]."""
    generator = np.random.default_rng(seed)
    made = generator.integers(0, 256, (count, GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1]), dtype=np.uint8)
    for place in HALVES.get(kind, (0, 2) if kind.endswith("_1") else (0,)):
        made[:, place : place + 2] = generator.normal(0, 0.01, (count, 1)).astype(np.float16).view(np.uint8)
    return made


def write_gguf(path: Path, state: Mapping[str, Tensor], kind_of: Kinds, flat: bool = False) -> dict[str, np.ndarray]:
    """Write the file; returns what the package reads of it again, in float32. flat: convolutions are flattened to rows of
    256 and quantised too, as ComfyUI-GGUF's converter does."""
    writer = GGUFWriter(path, "sd1")
    meant = {}
    for name, tensor in state.items():
        numbers, kind = tensor.float().numpy(), GGMLQuantizationType[kind_of(name, tensor)]
        if flat and numbers.ndim == 4 and numbers.size % 256 == 0:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(numbers.shape))
            numbers, kind = numbers.reshape(-1, 256), GGMLQuantizationType.Q8_0
        if kind.name in HALVES:
            of, _ = GGML_QUANT_SIZES[kind]
            data = some_blocks(kind.name, numbers.size // of).reshape(*numbers.shape[:-1], -1)
        else:
            data = quantize(numbers, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        meant[name] = dequantize(data, kind).reshape(tensor.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant
