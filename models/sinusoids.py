"""Numbers as sinusoids, in the form in which networks read them (Vaswani et al. 2017, arXiv:1706.03762, section 3.5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """Sinusoids of the time step, or of another number, cosines first. t: [B] -> [B, channels] float32."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
