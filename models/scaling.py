"""Pictures and latents in another size: by torch's interpolation, by Pillow's Lanczos, and by turning latent vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional as F

Resize = Callable[[Tensor, int, int], Tensor]
"""[B, C, H, W] float32, width, height -> [B, C, height, width]."""

PARALLEL = 1e-5  # vectors whose cosine is nearer to 1 or -1 than this are not turned into each other


def center_crop(x: Tensor, width: int, height: int) -> Tensor:
    """The largest middle of x [B, C, H, W] that has the shape of `width` by `height`, as far as whole cells go."""
    old_height, old_width = x.shape[-2:]
    old, new = old_width / old_height, width / height
    left = round((old_width - old_width * (new / old)) / 2) if old > new else 0
    top = round((old_height - old_height * (old / new)) / 2) if old < new else 0
    return x[..., top : old_height - top, left : old_width - left]


def lanczos(x: Tensor, width: int, height: int) -> Tensor:
    """Pillow's Lanczos, which works on 8 bits: x in 0..1 is cut to them."""
    pictures = (x.movedim(1, -1) * 255).clamp(0, 255).to(torch.uint8).numpy()
    size, filtered = (width, height), PIL.Image.Resampling.LANCZOS
    resized = [np.asarray(PIL.Image.fromarray(picture).resize(size, filtered)) for picture in pictures]
    return torch.from_numpy(np.stack(resized).astype(np.float32) / 255).movedim(-1, 1)


def bislerp(x: Tensor, width: int, height: int) -> Tensor:
    """Between neighbouring cells, the vectors of channels are turned (Shoemake 1985) and their lengths interpolated."""
    across = _turned(x, width)
    return _turned(across.transpose(-1, -2), height).transpose(-1, -2).contiguous()


def _turned(x: Tensor, size: int) -> Tensor:
    """[B, C, H, W] -> [B, C, H, size]."""
    ramp = torch.arange(x.shape[-1], dtype=torch.float32, device=x.device)
    places = _stretched(ramp, size)
    after = _stretched((ramp + 1).clamp(max=x.shape[-1] - 1), size)
    return _slerp(x[..., places.long()], x[..., after.long()], places - places.floor())


def _stretched(ramp: Tensor, size: int) -> Tensor:
    return F.interpolate(ramp[None, None, None], size=(1, size), mode="bilinear")[0, 0, 0]


def _slerp(a: Tensor, b: Tensor, r: Tensor) -> Tensor:
    """From a (r = 0) to b (r = 1), over dimension 1. Almost parallel vectors stay a, almost opposite ones go straight."""
    length_a, length_b = (v.norm(dim=1, keepdim=True) for v in (a, b))
    unit_a, unit_b = ((v / length).nan_to_num(0.0, 0.0, 0.0) for v, length in ((a, length_a), (b, length_b)))
    cosine = (unit_a * unit_b).sum(dim=1, keepdim=True)
    angle = cosine.acos()
    between = (((1 - r) * angle).sin() * unit_a + (r * angle).sin() * unit_b) / angle.sin()
    turned = between * (length_a * (1 - r) + length_b * r)
    straight = torch.where(cosine < PARALLEL - 1, a * (1 - r) + b * r, turned)
    return torch.where(cosine > 1 - PARALLEL, a, straight)


def _interpolation(mode: str) -> Resize:
    return lambda x, width, height: F.interpolate(x, size=(height, width), mode=mode)


_PLAIN: Mapping[str, Resize] = MappingProxyType(
    {mode: _interpolation(mode) for mode in ("nearest-exact", "bilinear", "area", "bicubic")}
)
PICTURE_METHODS: Mapping[str, Resize] = MappingProxyType({**_PLAIN, "lanczos": lanczos})
"""How pictures are resized. bicubic may leave 0..1."""
LATENT_METHODS: Mapping[str, Resize] = MappingProxyType({**_PLAIN, "bislerp": bislerp})
"""How latents are resized."""
