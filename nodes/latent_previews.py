"""How latents are shown while a sampler runs: roughly, or by TAESD where that was asked for and its file is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

import PIL.Image
from torch import Tensor

from graph.errors import InputError
from graph.thrift import Thrift
from models.preview import latent_preview, latent_rgb
from models.tiny_decoder import decoded_preview, tiny_decoder_bytes
from models.types import Model, TinyDecoderModel
from nodes.services import Context
from nodes.weights import header

FOLDER = "vae_approx"


class Preview(NamedTuple):
    """How a latent is shown, and how many bytes that takes while it is done."""

    draw: Callable[[Tensor], PIL.Image.Image]
    needed: int = 0


def preview_of(ctx: Context, networks: ExitStack, model: Model, height: int, width: int) -> Preview:
    """How latents of height x width cells are shown; the network that does so stays until `networks` closes.

    Without TAESD's file, or with one that cannot be read, they are shown roughly, with a warning; and so they are while
    memory is short.
    """
    rough = Preview(partial(latent_preview, rgb=latent_rgb(model.weights.metadata, model.family.latent)))
    if not ctx.services.decoded_previews or ctx.thrift > Thrift.NONE:
        return rough
    stem = f"{model.family.latent.approximation}_decoder"
    folders = ctx.services.folders
    names = [name for name in folders.list(FOLDER) if PurePosixPath(name).name.partition(".")[0] == stem]
    if not names:
        ctx.warn(f"previews are rough: there is no {stem} in models/{FOLDER}")
        return rough
    try:
        file = folders.find(FOLDER, names[0])
        weights = header(file, "model")
        if "tiny_decoder" not in weights.parts():
            raise InputError("model", f"{file.name} is no decoder of TAESD")
        handle = TinyDecoderModel(weights, folders.identity(file.path))
        decoder = networks.enter_context(ctx.services.use(handle, "model"))
    except InputError as error:
        ctx.warn(f"previews are rough: {error.message}")
        return rough
    return Preview(partial(decoded_preview, decoder=decoder), tiny_decoder_bytes(decoder, height, width))
