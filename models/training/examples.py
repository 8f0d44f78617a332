"""Working files in chunks, which an interrupted run need not make again; the drawn and captioned examples are the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from models.training.captions import caption
from models.training.drawing import pictures
from models.training.loop import DEVICE, SHARDS, undivided
from models.training.replay import workers
from models.training.scenes import Scene, scene
from models.training.vae import shrunk
from models.training.words import rows_of

CHUNK = 2048  # scenes in one file
BATCH = 16
CAPTIONS = 6  # of each scene

Tensors = dict[str, Tensor]
Arrays = dict[str, NDArray[Any]]


def examples(count: int, seed: int, folder: Path) -> Tensors:
    """Scenes 0 to `count`. "views": [N, 64, 64, 3] uint8, the pictures shrunk; "rows": [N, CAPTIONS, 77] int16, their
    captions in rows of the compact token table.
    """
    return in_chunks("examples", count, folder, partial(_examples, seed), finish=lambda drawn: drawn)


def in_chunks(
    name: str, count: int, folder: Path, draw: Callable[[int, int], Arrays], finish: Callable[[Arrays], Arrays]
) -> Tensors:
    """What `finish(draw(first, number))` gives of all numbers below `count`, from files where they are there already.

    `draw` can be pickled: on a machine with a GPU other processes draw.
    """
    chunks = [
        load_file(_file(name, first, min(CHUNK, count - first), folder, draw, finish))
        for first in range(0, count, CHUNK)
    ]
    return {key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]}


def _file(
    name: str, first: int, count: int, folder: Path, draw: Callable[[int, int], Arrays],
    finish: Callable[[Arrays], Arrays],
) -> Path:  # fmt: skip
    file = folder / f"{name}-{first:06d}-{count}.safetensors"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(first, first + count, BATCH)
        parts = list(_parts(draw, finish, starts, [min(BATCH, first + count - start) for start in starts]))
        save_file(
            {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}, file.with_suffix(".partial")
        )
        file.with_suffix(".partial").replace(file)
        print(name, first + count, flush=True)
    return file


def _parts(
    draw: Callable[[int, int], Arrays], finish: Callable[[Arrays], Arrays], starts: Sequence[int], counts: Sequence[int]
) -> Iterator[Arrays]:
    """On a CPU a thread for each shard does both; with a GPU, the workers draw and this process finishes."""
    if DEVICE.type == "cpu":
        with undivided(), ThreadPoolExecutor(SHARDS, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            yield from threads.map(lambda start, count: finish(draw(start, count)), starts, counts)
    else:
        yield from map(finish, workers().map(draw, starts, counts))


def _examples(seed: int, first: int, count: int) -> Arrays:
    views = shrunk(pictures(seed, first, count))
    rows = [[rows_of(text) for text in captions(scene(seed, index))] for index in range(first, first + count)]
    return {"views": views, "rows": np.array(rows, np.int16)}


def captions(one: Scene) -> list[str]:
    """All that a training scene is told by."""
    return [caption(one, number) for number in range(CAPTIONS)]
