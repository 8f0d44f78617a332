"""TAESD's decoder (Ollin Boer Bohan 2023): from latents to pictures at a small part of the autoencoder's price, for previews.

https://github.com/madebyollin/taesd. Attribute names are those of its own files, `taesd_decoder`.
"""

from __future__ import annotations

import PIL.Image
import torch
from torch import Tensor, nn

from models.config import Shapes

MAPS = 4.5  # feature maps of its width at full size that one call holds at once: measured 4.0


class Block(nn.Module):
    """Three convolutions around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True), third)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return (self.conv(x) + x).relu_()


class SoftClamp(nn.Module):
    """3 tanh(x / 3)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, within -3..3."""
        return torch.tanh(x / 3) * 3


class TinyDecoder(nn.Sequential):
    """Latents as samplers see them, [B, 4, h, w] -> pictures of about 0..1, [B, 3, 8 h, 8 w]."""

    def __init__(self, channels: int, width: int) -> None:
        def level() -> list[nn.Module]:
            doubled = [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
            return [Block(width), Block(width), Block(width), *doubled]

        first = [SoftClamp(), nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        super().__init__(*first, *level(), *level(), *level(), Block(width), nn.Conv2d(width, 3, 3, padding=1))


def build_tiny_decoder(shapes: Shapes) -> TinyDecoder:
    """The decoder of these shapes. Raises KeyError, naming the tensor, when its first one is missing."""
    width, channels = shapes["1.weight"][:2]
    return TinyDecoder(channels, width)


def tiny_decoder_bytes(decoder: TinyDecoder, height: int, width: int) -> int:
    """How much memory one call with a latent of height x width cells needs, besides the weights."""
    last = decoder[-1]
    assert isinstance(last, nn.Conv2d)
    return int(MAPS * last.in_channels * 64 * height * width * last.weight.element_size())


def decoded_preview(x: Tensor, decoder: TinyDecoder) -> PIL.Image.Image:
    """The first latent of a batch as a picture, eight pixels a side for each place. x: [B, 4, H, W] as samplers see it."""
    with torch.inference_mode():
        weight = next(decoder.parameters())
        picture = decoder(x[:1].to(weight))[0].movedim(0, -1).float().cpu()
        pixels = (picture * 255).nan_to_num(0.0).round().clamp(0, 255).byte()
    return PIL.Image.fromarray(pixels.numpy())
