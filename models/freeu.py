"""FreeU (Si et al. 2023, arXiv:2309.11497): a U-Net's own features stronger, and the low frequencies of its skips weaker."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.reading import Reading
from models.steering import Begun, Call, Ground

THRESHOLD = 1  # how far from the middle of the spectrum low frequencies reach


@dataclass(frozen=True)
class FreeU:
    """The first half of the channels times b, the low frequencies of the skips times s (equations 4 to 6).

    b1 and s1: where there are four times the U-Net's channels; b2 and s2: where there are twice as many. by_structure: b
    only where the channels' mean is high, as the second version of the paper has it (equation 5).
    """

    b1: float
    b2: float
    s1: float
    s2: float
    by_structure: bool

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        scales = {
            4 * ground.unet.model_channels: (self.b1, self.s1),
            2 * ground.unet.model_channels: (self.b2, self.s2),
        }

        def steer(call: Call, reading: Reading) -> Reading:
            plain = reading.join

            def join(block: int, h: Tensor, skip: Tensor) -> Tensor:
                if h.shape[1] not in scales:
                    return plain(block, h, skip)
                b, s = scales[h.shape[1]]
                return plain(block, strengthened(h, b, self.by_structure), weakened(skip, s))

            return replace(reading, join=join)

        return Begun(steer)


def strengthened(h: Tensor, b: float, by_structure: bool) -> Tensor:
    """[B, C, H, W] -> the same, half of its channels stronger."""
    half = h.shape[1] // 2
    factor: Tensor | float = b
    if by_structure:
        mean = h.mean(1, keepdim=True)
        low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
        factor = (b - 1) * ((mean - low) / (high - low)) + 1
    return torch.cat([h[:, :half] * factor, h[:, half:]], dim=1)


def weakened(skip: Tensor, s: float) -> Tensor:
    """[B, C, H, W] -> the same, its low frequencies times s."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(skip.float(), dim=(-2, -1)), dim=(-2, -1))
    top, left = (side // 2 for side in skip.shape[-2:])
    rows, columns = (slice(max(0, at - THRESHOLD), at + THRESHOLD) for at in (top, left))
    spectrum[..., rows, columns] *= s
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)).real.to(skip.dtype)
