"""`comfy.utils`: progress, weight files, and pictures in other sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.masking import cycled
from models.scaling import LATENT_METHODS, PICTURE_METHODS, center_crop
from models.weights import read_table, read_tensors
from nodes.packs.host import Host


class ProgressBar:
    """Tells how far the node is that runs."""

    def __init__(self, host: Host, total: float, node_id: object = None) -> None:
        self.total = total
        self.current = 0.0
        self._host = host

    def update_absolute(self, value: float, total: float | None = None, preview: object = None) -> None:
        """So much is done. Raises Interrupted if the run was asked to stop."""
        self.total = self.total if total is None else total
        self.current = min(value, self.total)
        picture = preview[1] if isinstance(preview, tuple) and len(preview) > 1 else None
        context = self._host.context
        context.progress(self.current, self.total, None if picture is None else lambda: picture)

    def update(self, value: float) -> None:
        """So much more is done."""
        self.update_absolute(self.current + value)


def common_upscale(samples: Tensor, width: int, height: int, upscale_method: str, crop: str) -> Tensor:
    """[B, C, h, w] in another size; crop: "center" keeps the shape, anything else stretches."""
    x = center_crop(samples, width, height) if crop == "center" else samples
    resize = PICTURE_METHODS.get(upscale_method) or LATENT_METHODS[upscale_method]
    return resize(x, width, height)


class FileTensors(dict[str, Tensor]):
    """The tensors of a weight file by their names, and which file it is."""

    def __init__(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        super().__init__(tensors)
        self.path = path


def load_torch_file(ckpt: str, safe_load: bool = True, device: object = None, return_metadata: bool = False) -> Any:
    """The tensors of a weight file by their names; nothing that a pickle asks for is run, whatever is asked for."""
    table = read_table(Path(ckpt))
    place = torch.device("cpu") if device is None else torch.device(str(device))
    read = read_tensors(table, table.tensors, dtype=None, device=place, mapped=False)
    tensors = FileTensors(dict(read), Path(ckpt))
    return (tensors, dict(table.metadata)) if return_metadata else tensors


def state_dict_prefix_replace(
    state_dict: dict[str, Tensor], replace_prefix: Mapping[str, str], filter_keys: bool = False
) -> dict[str, Tensor]:
    """The tensors with other beginnings of their names; filter_keys: those alone that had one of them."""
    out: dict[str, Tensor] = {} if filter_keys else dict(state_dict)
    for old, new in replace_prefix.items():
        for name in [name for name in state_dict if name.startswith(old)]:
            tensor = state_dict[name] if filter_keys else out.pop(name)
            out[new + name.removeprefix(old)] = tensor
    return out


def repeat_to_batch_size(tensor: Tensor, batch_size: int, dim: int = 0) -> Tensor:
    """So many items along `dim`, cut or begun anew."""
    return cycled(tensor.movedim(dim, 0), batch_size).movedim(0, dim)


def get_attr(obj: Any, attr: str) -> Any:
    """The value at the end of a dotted name."""
    for name in attr.split("."):
        obj = getattr(obj, name)
    return obj


def set_attr(obj: Any, attr: str, value: Any) -> Any:
    """Put `value` at the end of a dotted name, and return what was there."""
    *path, last = attr.split(".")
    holder = get_attr(obj, ".".join(path)) if path else obj
    before = getattr(holder, last)
    setattr(holder, last, value)
    return before


def tiled_scale(
    samples: Tensor,
    function: Callable[[Tensor], Tensor],
    tile_x: int = 64,
    tile_y: int = 64,
    overlap: int = 8,
    upscale_amount: float = 4,
    out_channels: int = 3,
    output_device: object = "cpu",
    pbar: ProgressBar | None = None,
) -> Tensor:
    """`function` over overlapping tiles of [B, C, H, W], blended by ramps over their overlap."""
    count, _, height, width = samples.shape
    size = round(height * upscale_amount), round(width * upscale_amount)
    out, weights = torch.zeros(count, out_channels, *size), torch.zeros(1, 1, *size)
    for top in _starts(height, tile_y, overlap):
        for left in _starts(width, tile_x, overlap):
            tile = function(samples[:, :, top : top + tile_y, left : left + tile_x]).cpu().float()
            fade = round(overlap * upscale_amount)
            weight = _ramp(tile.shape[-2], fade)[:, None] * _ramp(tile.shape[-1], fade)
            rows = slice(round(top * upscale_amount), round(top * upscale_amount) + tile.shape[-2])
            columns = slice(round(left * upscale_amount), round(left * upscale_amount) + tile.shape[-1])
            out[:, :, rows, columns] += tile * weight
            weights[:, :, rows, columns] += weight
            if pbar is not None:
                pbar.update(1)
    return out / weights


def _starts(size: int, tile: int, overlap: int) -> range:
    return range(1) if size <= tile else range(0, size - overlap, tile - overlap)


def _ramp(size: int, fade: int) -> Tensor:
    ramp = torch.ones(size)
    if 0 < fade < size:
        up = torch.arange(1, fade + 1) / fade
        ramp[:fade] *= up
        ramp[-fade:] *= up.flip(0)
    return ramp


def names(host: Host) -> Mapping[str, object]:
    """What the module holds."""
    functions = (common_upscale, load_torch_file, state_dict_prefix_replace, repeat_to_batch_size, get_attr, set_attr)
    return {
        "PROGRESS_BAR_ENABLED": True,
        "ProgressBar": partial(ProgressBar, host),
        "tiled_scale": tiled_scale,
        **{function.__name__: function for function in functions},
    }
