"""Nodes that make latents, and go between latents and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from graph.errors import InputError
from graph.sockets import Int
from graph.spec import Batch, Items, Tip, node
from graph.thrift import Thrift
from models.activations import decode_bytes, encode_bytes
from models.family import SD1
from models.tiled import DECODE_OVERLAP, DECODE_TILE, ENCODE_OVERLAP, ENCODE_TILE, decode_tiled, encode_tiled
from models.tiny_vae import TinyAutoencoder
from models.types import Image, Latent, TinyVae, Vae
from models.vae import Autoencoder
from nodes import batch_parts
from nodes.services import Context


@node(
    "EmptyLatentImage",
    category="latent",
    aliases=("size", "width and height", "resolution", "batch size"),
    title="Empty Latent Image",
    batch=Batch("batch_size", batch_parts.latent_part),
)
def empty_latent_image(
    ctx: Context,
    *,
    width: Annotated[int, Int(16, 16384, step=8, tooltip="Width of the picture in pixels.")] = 512,
    height: Annotated[int, Int(16, 16384, step=8, tooltip="Height of the picture in pixels.")] = 512,
    batch_size: Annotated[int, Int(1, 4096, tooltip="How many pictures to make at once.")] = 1,
) -> Annotated[Latent, Tip("Nothing yet: all zeros.")]:
    """A batch of blank latents to denoise from."""
    space = SD1.latent
    return Latent(torch.zeros(batch_size, space.channels, height // space.factor, width // space.factor))


@node("VAEDecode", category="latent", aliases=("latent to image",), title="VAE Decode", items=Items(("samples",)))
def vae_decode(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("The latents to decode.")],
    vae: Annotated[Vae, Tip("The autoencoder of the checkpoint that made them.")],
) -> Annotated[Image, Tip("The pictures.")]:
    """Decode latents into pictures."""
    return decoded(ctx, samples, vae)


@node("VAEDecodeTiled", category="_for_testing", title="VAE Decode (Tiled)", items=Items(("samples",)))
def vae_decode_tiled(
    ctx: Context,
    *,
    samples: Annotated[Latent, Tip("The latents to decode.")],
    vae: Annotated[Vae, Tip("The autoencoder of the checkpoint that made them.")],
    tile_size: Annotated[int, Int(64, 4096, step=32, tooltip="Pixels a side of a tile.")] = 512,
    overlap: Annotated[int, Int(0, 4096, step=32, tooltip="Pixels that neighbouring tiles share.")] = 64,
    temporal_size: Annotated[int, Int(8, 4096, step=4, tooltip="Of videos alone: how many frames at once.")] = 64,
    temporal_overlap: Annotated[
        int, Int(4, 4096, step=4, tooltip="Of videos alone: how many frames neighbours share.")
    ] = 8,
) -> Annotated[Image, Tip("The pictures.")]:
    """Decode latents tile by tile, which takes less memory; VAE Decode does so by itself where it has to."""
    return decoded(ctx, samples, vae, (tile_size, tile_size // 4 if tile_size < 4 * overlap else overlap))


def decoded(ctx: Context, samples: Latent, vae: Vae, tiles: tuple[int, int] | None = None) -> Image:
    """The pictures of latents. Raises InputError.

    tiles: pixels a side of a tile and those that neighbours share, to decode so whatever room there is.
    """
    height, width = samples.samples.shape[-2:]
    with _autoencoder(ctx, vae) as autoencoder:
        weight, factor = next(autoencoder.parameters()), autoencoder.config.factor
        size = partial(decode_bytes, autoencoder.config, dtype=weight.dtype)
        tile, overlap = (side // factor for side in tiles) if tiles else (DECODE_TILE, DECODE_OVERLAP)
        with _room(ctx, size(height, width), size(tile, tile)) as tight:
            tiled = partial(decode_tiled, autoencoder, tile=tile, overlap=overlap)
            decode = tiled if tight or tiles else autoencoder.decode
            pictures = []
            for i, z in enumerate(samples.samples):
                picture = ((decode(z[None].to(weight), ctx.check).float() + 1) / 2).cpu()
                if not picture.isfinite().all():
                    raise _not_finite("samples", i, "picture", z)
                pictures.append(picture.clamp_(0, 1))
    return Image(torch.cat(pictures).movedim(1, -1).contiguous())


@node("VAEEncodeTiled", category="_for_testing", title="VAE Encode (Tiled)")
def vae_encode_tiled(
    ctx: Context,
    *,
    pixels: Annotated[Image, Tip("The pictures to encode; cropped at the edges to multiples of 8 pixels.")],
    vae: Annotated[Vae, Tip("The autoencoder of the checkpoint that will use the latents.")],
    tile_size: Annotated[int, Int(64, 4096, step=64, tooltip="Pixels a side of a tile.")] = 512,
    overlap: Annotated[int, Int(0, 4096, step=32, tooltip="Pixels that neighbouring tiles share.")] = 64,
    temporal_size: Annotated[int, Int(8, 4096, step=4, tooltip="Of videos alone: how many frames at once.")] = 64,
    temporal_overlap: Annotated[
        int, Int(4, 4096, step=4, tooltip="Of videos alone: how many frames neighbours share.")
    ] = 8,
) -> Annotated[Latent, Tip("The latents.")]:
    """Encode pictures tile by tile, which takes less memory; VAE Encode does so by itself where it has to."""
    if overlap >= tile_size // 2:
        raise InputError("overlap", f"got {overlap}, which must be less than half of a tile's {tile_size} pixels")
    return encoded(ctx, pixels, vae, (tile_size, overlap))


@node("VAEEncode", category="latent", aliases=("image to latent", "img2img"), title="VAE Encode")
def vae_encode(
    ctx: Context,
    *,
    pixels: Annotated[Image, Tip("The pictures to encode; cropped at the edges to multiples of 8 pixels.")],
    vae: Annotated[Vae, Tip("The autoencoder of the checkpoint that will use the latents.")],
) -> Annotated[Latent, Tip("The latents.")]:
    """Encode pictures into latents."""
    return encoded(ctx, pixels, vae)


def encoded(ctx: Context, pixels: Image, vae: Vae, tiles: tuple[int, int] | None = None) -> Latent:
    """The latents of pictures, cut at the edges to whole cells. Raises InputError.

    tiles: pixels a side of a tile and those that neighbours share, to encode so whatever room there is.
    """
    with _autoencoder(ctx, vae) as autoencoder:
        factor = autoencoder.config.factor
        height, width = pixels.pixels.shape[1:3]
        if min(height, width) < factor:
            raise InputError("pixels", f"a picture of {width}x{height} is smaller than {factor}x{factor} pixels")
        top, left = height % factor // 2, width % factor // 2
        cropped = pixels.pixels[:, top : top + height // factor * factor, left : left + width // factor * factor, :3]
        weight = next(autoencoder.parameters())
        size = partial(encode_bytes, autoencoder.config, dtype=weight.dtype)
        tile, overlap = tiles or (ENCODE_TILE, ENCODE_OVERLAP)
        with _room(ctx, size(*cropped.shape[1:3]), size(tile, tile)) as tight:
            tiled = partial(encode_tiled, autoencoder, tile=tile, overlap=overlap)
            encode = tiled if tight or tiles else autoencoder.encode
            means = [
                encode((picture * 2 - 1).movedim(-1, 0)[None].to(weight), ctx.check).chunk(2, dim=1)[0]
                for picture in cropped
            ]
    latents = torch.cat(means).float().cpu()
    for i, latent in enumerate(latents):
        if not latent.isfinite().all():
            raise _not_finite("pixels", i, "latent", cropped[i])
    return Latent(latents)


@contextmanager
def _autoencoder(ctx: Context, vae: Vae) -> Iterator[Autoencoder]:
    """The network, or both halves of TAESD."""
    if not isinstance(vae, TinyVae):
        with ctx.services.use(vae, "vae") as network:
            yield network
        return
    with ctx.services.use(vae.encoder, "vae") as encoder, ctx.services.use(vae.decoder, "vae") as decoder:
        yield TinyAutoencoder(encoder, decoder, vae.family.latent.scale)


def _not_finite(blamed: str, i: int, what: str, given: Tensor) -> InputError:
    """Blame what the VAE was given where that is not finite, else the VAE. i: which of the batch it is."""
    if not given.isfinite().all():
        return InputError(blamed, f"item {i + 1} of the batch holds numbers that are not finite")
    return InputError(
        "vae",
        f"made a {what} with numbers that are not finite of item {i + 1} of the batch, whose own are finite and at most "
        f"{float(given.abs().max()):.3g}; most likely its weights do not fit 16 bits (start with --force-fp32) or are damaged",
    )


@contextmanager
def _room(ctx: Context, whole: int, tile: int) -> Iterator[bool]:
    """Room to code one picture, and whether that is for tiles only: the whole does not fit, or did not when tried."""
    residency = ctx.services.residency
    tiled = ctx.thrift >= Thrift.TILE or not residency.has_room(whole)
    with residency.room(min(tile, whole) if tiled else whole):
        yield tiled
