"""The box's own files as the finished stages of a folder, so that what builds on them can be trained alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from models.training.export import TOKENS
from models.training.judge import load
from models.training.words import ROWS, known


def unpack(box: Path, size: int, folder: Path) -> None:
    """Write the box's autoencoder, U-Net with text encoder, CLIP and detector as a workshop of `folder` would have.

    Raises OSError and CheckpointError for what is not there or is something else.
    """
    drawer = load(box / "checkpoints" / f"darkroom-world-{size}.safetensors")
    clip = _in_float32(box / "clip_vision" / "darkroom-world-clip.safetensors")
    scale = {"logit_scale": clip.pop("logit_scale")}
    stages = {
        "vae": drawer.vae.state_dict(),
        "whole": _prefixed("unet.", drawer.unet.state_dict()) | _prefixed("text.", gathered(drawer.text.state_dict())),
        "realigned": _prefixed("clip.", gathered(clip)) | scale,
        "detector": _in_float32(box / "detector.safetensors"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, weights in stages.items():
        save_file({key: value.cpu().contiguous() for key, value in weights.items()}, folder / f"{name}.safetensors")


def gathered(text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with a row for each of CLIP's tokens -> the same with the compact token table."""
    table = text[TOKENS]
    rows = table.new_zeros(ROWS, table.shape[1])
    used = {row: token for token, row in known().items()}
    strange = next(token for token in range(len(table)) if token not in known())
    for row in range(max(used) + 1):
        rows[row] = table[used.get(row, strange)]
    return dict(text) | {TOKENS: rows}


def _in_float32(file: Path) -> dict[str, Tensor]:
    return {name: value.float() for name, value in load_file(file).items()}


def _prefixed(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}
