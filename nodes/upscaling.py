"""Nodes that enlarge pictures by networks."""

from __future__ import annotations

from typing import Annotated

import torch

from graph.files import FileRef
from graph.sockets import File
from graph.spec import Tip, node
from models.types import Image, UpscaleModel
from nodes.services import Context
from nodes.weights import opened


@node("UpscaleModelLoader", category="loaders", title="Load Upscale Model", lane="io")
def upscale_model_loader(
    ctx: Context,
    *,
    model_name: Annotated[
        FileRef, File("upscale_models", typed=True, tooltip="A file of models/upscale_models: ESRGAN or Real-ESRGAN.")
    ],
) -> Annotated[UpscaleModel, Tip("What enlarges pictures.")]:
    """Open a network that enlarges pictures."""
    return UpscaleModel(*opened(ctx, model_name, "model_name", "upscaler", "is no upscaler"))


@node("ImageUpscaleWithModel", category="image/upscaling", title="Upscale Image (using Model)")
def image_upscale_with_model(
    ctx: Context,
    *,
    upscale_model: Annotated[UpscaleModel, Tip("What enlarges them, by the factor it was trained for.")],
    image: Annotated[Image, Tip("The pictures.")],
) -> Annotated[Image, Tip("The larger pictures.")]:
    """Enlarge pictures by a network; large ones tile by tile."""
    made = []
    with ctx.services.use(upscale_model, "upscale_model") as network:
        for i, picture in enumerate(image.pixels):
            ctx.progress(i, len(image.pixels))
            made.append(network.enlarge(picture[..., :3], ctx.check))
    return Image(torch.stack(made) if made else image.pixels)
