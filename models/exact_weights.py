"""The weights of a network in float32, one after the other, as its file and its patches have them: what is saved and merged."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.checkpoint import Change, with_scales
from models.types import ModelHandle
from models.weights import read_tensors

Read = Callable[[str], Tensor]
"""A weight by the network's own name, in float32 on the CPU, shaped as the file has it."""


def exact_weights(handle: ModelHandle[nn.Module]) -> Read:
    """What reads the weights of a network. Numbers of patches are read at once, the others when they are asked for.

    Raises CheckpointError, now and when a weight is read.
    """
    names, shapes = handle.weights.names(handle.part), handle.weights.shapes(handle.part)
    changes: dict[str, list[Change]] = {}
    for patch in handle.patches:
        for name, change in patch.changes(shapes, handle.part).items():
            changes.setdefault(name, []).append(change)
    scaled = with_scales(handle.weights, handle.part, changes)

    def read(own: str) -> Tensor:
        one = read_tensors(handle.weights.file, [names[own]], dtype=torch.float32, device=torch.device("cpu"))
        weight = next(iter(one))[1]
        for change in scaled.get(own, ()):
            weight = change(weight)
        return weight

    return read
