"""A VAE as packs hold it."""

from __future__ import annotations

import torch
from torch import Tensor

from models.types import Image, Latent, Vae
from nodes.packs.objects.handles import Handle


class PackVae(Handle[Vae]):
    """A VAE. Pictures are [B, H, W, C] in 0..1, latents [B, 4, h, w] and not scaled, both float32 on the CPU."""

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """Pictures -> latents."""
        return self._latents("VAEEncode", pixel_samples)

    def decode(self, samples: Tensor) -> Tensor:
        """Latents -> pictures."""
        return self._pictures("VAEDecode", samples)

    def encode_tiled(
        self, pixel_samples: Tensor, tile_x: int = 512, tile_y: int | None = None, overlap: int = 64
    ) -> Tensor:
        """Pictures -> latents, in tiles of so many pixels, which overlap. Tiles are square: the larger side counts."""
        return self._latents("VAEEncodeTiled", pixel_samples, tile_size=max(tile_x, tile_y or 0), overlap=overlap)

    def decode_tiled(self, samples: Tensor, tile_x: int = 64, tile_y: int = 64, overlap: int = 16) -> Tensor:
        """Latents -> pictures, in tiles of so many cells, which overlap. Tiles are square: the larger side counts."""
        factor = self.downscale_ratio
        return self._pictures(
            "VAEDecodeTiled", samples, tile_size=max(tile_x, tile_y) * factor, overlap=overlap * factor
        )

    @property
    def downscale_ratio(self) -> int:
        """Pixels a side for one cell of a latent."""
        return self.handle.family.latent.factor

    @property
    def upscale_ratio(self) -> int:
        """The same."""
        return self.downscale_ratio

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.handle.family.latent.channels

    def spacial_compression_decode(self) -> int:
        """Pixels a side for one cell of a latent."""
        return self.downscale_ratio

    def spacial_compression_encode(self) -> int:
        """The same."""
        return self.downscale_ratio

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._host.context.services.residency.device

    @property
    def output_device(self) -> torch.device:
        """Where what it makes lies."""
        return torch.device("cpu")

    @property
    def vae_dtype(self) -> torch.dtype:
        """In which precision it computes."""
        return self._host.context.services.residency.computes(self._own)

    @property
    def patcher(self) -> PackVae:
        """The object itself: there is none besides."""
        return self

    def throw_exception_if_invalid(self) -> None:
        """Nothing: a file that holds none does not get this far."""

    def _latents(self, type_name: str, pixels: Tensor, **settings: int) -> Tensor:
        made = self._ran(type_name, pixels=Image(pixels.float().cpu()), vae=self.handle, **settings)
        assert isinstance(made, Latent)
        return made.samples.clone()

    def _pictures(self, type_name: str, samples: Tensor, **settings: int) -> Tensor:
        made = self._ran(type_name, samples=Latent(samples.float().cpu()), vae=self.handle, **settings)
        assert isinstance(made, Image)
        return made.pixels.clone()
