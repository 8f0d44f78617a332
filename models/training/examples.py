"""Working files in chunks, which an interrupted run need not make again; the drawn and captioned examples are the first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.training.captions import caption
from models.training.drawing import pictures
from models.training.loop import SHARDS, undivided
from models.training.scenes import Scene, scene
from models.training.vae import shrunk
from models.training.words import rows_of

CHUNK = 2048  # scenes in one file
BATCH = 16
CAPTIONS = 6  # of each scene

Tensors = dict[str, Tensor]


def examples(count: int, seed: int, folder: Path) -> Tensors:
    """Scenes 0 to `count`. "views": [N, 64, 64, 3] uint8, the pictures shrunk; "rows": [N, CAPTIONS, 77] int16, their
    captions in rows of the compact token table.
    """
    return in_chunks("examples", count, folder, lambda first, size: _examples(first, size, seed))


def in_chunks(name: str, count: int, folder: Path, make: Callable[[int, int], Tensors]) -> Tensors:
    """What `make(first, count)` gives of all numbers below `count`, from files where they are there already."""
    chunks = [
        load_file(_file(name, first, min(CHUNK, count - first), folder, make)) for first in range(0, count, CHUNK)
    ]
    return {key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]}


def _file(name: str, first: int, count: int, folder: Path, make: Callable[[int, int], Tensors]) -> Path:
    file = folder / f"{name}-{first:06d}-{count}.safetensors"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(first, first + count, BATCH)
        with undivided(), ThreadPoolExecutor(SHARDS, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            parts = list(threads.map(lambda start: make(start, min(BATCH, first + count - start)), starts))
        save_file({key: torch.cat([part[key] for part in parts]) for key in parts[0]}, file.with_suffix(".partial"))
        file.with_suffix(".partial").replace(file)
        print(name, first + count, flush=True)
    return file


def _examples(first: int, count: int, seed: int) -> Tensors:
    views = shrunk(pictures(seed, first, count))
    rows = [[rows_of(text) for text in captions(scene(seed, index))] for index in range(first, first + count)]
    return {"views": torch.from_numpy(views), "rows": torch.from_numpy(np.array(rows, np.int16))}


def captions(one: Scene) -> list[str]:
    """All that a training scene is told by."""
    return [caption(one, number) for number in range(CAPTIONS)]
