"""Networks -> files that other programs load: whole checkpoints, single networks, and the difference of two as a LoRA."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointError, own_shapes
from models.diffusers_names import diffusers_name
from models.exact_weights import exact_weights
from models.open_clip_names import open_clip_name, stacked_name
from models.prediction import Velocity
from models.types import Clip, Model, ModelHandle, TextTower, Vae

KEPT: Mapping[torch.dtype, str] = MappingProxyType({torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"})
"""Number formats that weights are saved in as they were stored; others, such as those of 8 bits and quantised ones, become float16."""

OUTLIERS = 0.99
"""The share of a factor's numbers that keep their size; larger ones are cut to the largest of these."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file to be written."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


def whole_checkpoint(model: Model, clip: Clip, vae: Vae) -> dict[str, Entry]:
    """A checkpoint as the model's family was published. Raises CheckpointError, also when an entry is made."""
    if clip.readings != model.family.text:
        files = " and ".join(dict.fromkeys(tower.weights.path.name for tower in clip.towers))
        raise CheckpointError(
            f"the text encoder of {files} is of another family than the U-Net of {model.weights.path.name}, which is of "
            f"{model.family.name}"
        )
    text: dict[str, Entry] = {}
    for tower, reading in zip(clip.towers, clip.readings, strict=True):
        text |= _entries(tower, reading.prefix) if tower.tower == "clip" else _open_clip_entries(tower, reading.prefix)
    return {
        **_entries(model, "model.diffusion_model."),
        **text,
        **_entries(vae, "first_stage_model."),
        **_marks(model),
    }


def single_network(handle: ModelHandle[nn.Module]) -> dict[str, Entry]:
    """One network alone, by its own names; of a U-Net those of a checkpoint. Raises CheckpointError."""
    prefix = "model.diffusion_model." if isinstance(handle, Model) else ""
    marks = _marks(handle) if isinstance(handle, Model) else {}
    return _entries(handle, prefix) | marks


def write_safetensors(
    path: Path,
    entries: Mapping[str, Entry],
    metadata: Mapping[str, str],
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Write tensors as they are made, so that one is in memory at a time. tell: called with how many of them are written."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for name, entry in entries.items():
        start, end = end, end + math.prod(entry.shape) * entry.dtype.itemsize
        header[name] = {"dtype": KEPT[entry.dtype], "shape": list(entry.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for i, entry in enumerate(entries.values()):
            tell(i, len(entries))
            tensor = entry.make().to(entry.dtype).reshape(entry.shape).contiguous()
            file.write(tensor.flatten().view(torch.uint8).numpy().data)


def difference_as_lora(
    handle: ModelHandle[nn.Module], prefix: str, rank: int | None, biases: bool, tick: Callable[[], None]
) -> dict[str, Entry]:
    """A network whose weights are a difference, as a LoRA in kohya's names. Layers of nothing but zeros are left out.

    prefix: how the names begin, `lora_unet_` or `lora_te_`. rank: of the factors, by singular values (Eckart and Young 1936); None: the whole difference. tick: called before each
    layer.
    """
    read, shapes = exact_weights(handle), own_shapes(handle.weights, handle.part)
    blocks = _residual_blocks(shapes)
    entries: dict[str, Entry] = {}
    for own, shape in shapes.items():
        layer, _, what = own.rpartition(".")
        stem = prefix + (diffusers_name(layer, blocks) if handle.part == "model" else layer).replace(".", "_")
        if what == "bias" and not biases:
            continue
        tick()
        delta = read(own).reshape(shape)
        if not delta.any():
            continue
        if what == "bias":
            made = {f"{stem}.diff_b": delta}
        elif rank is None or len(shape) < 2:
            made = {f"{stem}.diff": delta}
        else:
            made = {f"{stem}.{name}": tensor for name, tensor in _factors(delta, rank).items()}
        entries |= {name: _half(tensor) for name, tensor in made.items()}
    return entries


def _factors(delta: Tensor, rank: int) -> dict[str, Tensor]:
    flat = delta.flatten(1)
    rank = min(rank, *flat.shape)
    u, s, v = torch.linalg.svd(flat, full_matrices=False)
    up, down = u[:, :rank] * s[:rank], v[:rank]
    numbers = torch.cat([up.flatten(), down.flatten()])
    most = torch.quantile(numbers[:: 1 + len(numbers) // 2**23], OUTLIERS)  # of at most 2**24, torch's limit
    up, down = up.clamp(-most, most), down.clamp(-most, most)
    if delta.ndim == 4:
        up, down = up[:, :, None, None], down.view(rank, *delta.shape[1:])
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(float(rank))}


def _half(tensor: Tensor) -> Entry:
    kept = tensor.half()
    return Entry(torch.float16, tuple(kept.shape), lambda: kept)


def _entries(handle: ModelHandle[nn.Module], prefix: str) -> dict[str, Entry]:
    read, names = exact_weights(handle), handle.weights.names(handle.part)

    def entry(own: str, shape: tuple[int, ...]) -> Entry:
        stored = handle.weights.tensors[names[own]]
        kept = stored.dtype in KEPT and stored.block is None
        return Entry(stored.dtype if kept else torch.float16, shape, lambda: read(own))

    return {prefix + own: entry(own, shape) for own, shape in own_shapes(handle.weights, handle.part).items()}


def _open_clip_entries(tower: TextTower, prefix: str) -> dict[str, Entry]:
    """The weights of a text tower in the names of OpenCLIP, where those of an attention's inputs are one tensor."""
    entries: dict[str, Entry] = {}
    inputs: dict[str, dict[int, Entry]] = {}
    for own, entry in _entries(tower, "").items():
        if stacked := stacked_name(own):
            name, place = stacked
            inputs.setdefault(prefix + name, {})[place] = entry
        elif own == "text_projection.weight":
            entries[prefix + open_clip_name(own)] = Entry(entry.dtype, entry.shape[::-1], _transposed(entry))
        else:
            entries[prefix + open_clip_name(own)] = entry
    return entries | {name: _stacked([placed[i] for i in sorted(placed)]) for name, placed in inputs.items()}


def _transposed(entry: Entry) -> Callable[[], Tensor]:
    return lambda: entry.make().T


def _stacked(entries: Sequence[Entry]) -> Entry:
    """One below the other."""
    first = entries[0]
    shape = (len(entries) * first.shape[0], *first.shape[1:])
    return Entry(first.dtype, shape, lambda: torch.cat([entry.make() for entry in entries]))


def _marks(model: Model) -> dict[str, Entry]:
    """The empty tensors that say what no weight tells: `v_pred`, `ztsnr`."""
    told = {
        "v_pred": isinstance(model.diffusion.prediction, Velocity),
        "ztsnr": model.diffusion.levels.zero_terminal,
    }
    return {name: Entry(torch.float32, (0,), lambda: torch.zeros(0)) for name, said in told.items() if said}


def _residual_blocks(shapes: Mapping[str, tuple[int, ...]]) -> int:
    halvings = [int(name.split(".")[1]) for name in shapes if name.endswith(".0.op.weight")]
    return max(1, min(halvings, default=1) - 1)
