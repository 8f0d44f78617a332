"""`comfy.utils`: progress, and pictures and batches in other sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from models.masking import cycled
from models.scaling import LATENT_METHODS, PICTURE_METHODS, center_crop
from nodes.packs.host import Host
from nodes.packs.shim import tensors_by_name


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


def lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Pictures [B, C, h, w] in another size, by Lanczos' window."""
    return PICTURE_METHODS["lanczos"](samples, width, height)


def bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Latents [B, C, h, w] in another size, turned from one neighbour to the other."""
    return LATENT_METHODS["bislerp"](samples, width, height)


def resize_to_batch_size(tensor: Tensor, batch_size: int) -> Tensor:
    """[b, …] -> [batch_size, …], linear between items: as many, fewer, or more of them."""
    if len(tensor) == batch_size or len(tensor) < 2:
        return tensor if len(tensor) == batch_size else tensor.expand(batch_size, *tensor.shape[1:])
    places = torch.linspace(0, len(tensor) - 1, batch_size)
    low, high = places.floor().long(), places.ceil().long()
    between = (places - low).reshape(-1, *[1] * (tensor.ndim - 1)).to(tensor)
    return tensor[low].lerp(tensor[high], between)


def repeat_to_batch_size(tensor: Tensor, batch_size: int, dim: int = 0) -> Tensor:
    """So many items along `dim`, cut or begun anew."""
    return cycled(tensor.movedim(dim, 0), batch_size).movedim(0, dim)


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


def tiled_scale_multidim(
    samples: Tensor,
    function: Callable[[Tensor], Tensor],
    tile: Sequence[int] = (64, 64),
    overlap: int = 8,
    upscale_amount: float = 4,
    out_channels: int = 3,
    output_device: object = "cpu",
    pbar: ProgressBar | None = None,
) -> Tensor:
    """The same, with the sides of tiles as (height, width). Raises ValueError for more or fewer sides: pictures have two."""
    if len(tile) != 2:
        raise ValueError(f"got tiles of {len(tile)} sides, expected 2: pictures are cut here, not sound or videos")
    return tiled_scale(
        samples, function, tile[1], tile[0], overlap, upscale_amount, out_channels, output_device, pbar=pbar
    )


def get_tiled_scale_steps(width: int, height: int, tile_x: int, tile_y: int, overlap: int) -> int:
    """How many tiles `tiled_scale` cuts one item into."""
    return len(_starts(height, tile_y, overlap)) * len(_starts(width, tile_x, overlap))


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
    functions = (
        *(common_upscale, lanczos, bislerp, repeat_to_batch_size, resize_to_batch_size),
        *(tiled_scale, tiled_scale_multidim, get_tiled_scale_steps),
    )
    return {
        "PROGRESS_BAR_ENABLED": True,
        "ProgressBar": partial(ProgressBar, host),
        **tensors_by_name.names(),
        **{function.__name__: function for function in functions},
    }
