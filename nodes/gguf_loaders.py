"""Nodes that open GGUF files, by the names that users' workflows have for them; other loaders open these files too."""

from __future__ import annotations

from typing import Annotated

from graph.files import FileRef
from graph.sockets import Choice, File
from graph.spec import Tip, node
from models.types import Clip, Model
from nodes.loaders import clip_loader, dual_clip_loader, unet_loader
from nodes.services import Context


@node("UnetLoaderGGUF", category="advanced/loaders", title="Unet Loader (GGUF)", lane="io")
def unet_loader_gguf(
    ctx: Context,
    *,
    unet_name: Annotated[
        FileRef,
        File(
            "diffusion_models",
            suffixes=(".gguf",),
            tooltip="A GGUF file of models/diffusion_models or models/unet.",
        ),
    ],
) -> Annotated[Model, Tip("The U-Net that removes noise from latents.")]:
    """Open a GGUF file that holds a U-Net. Its weights stay as they are stored and are expanded a layer at a time."""
    return unet_loader(ctx, unet_name=unet_name, weight_dtype="default")


@node("CLIPLoaderGGUF", category="advanced/loaders", title="CLIPLoader (GGUF)", lane="io")
def clip_loader_gguf(
    ctx: Context,
    *,
    clip_name: Annotated[FileRef, File("text_encoders", tooltip="A file of models/text_encoders or models/clip.")],
    type: Annotated[  # noqa: A002
        str, Choice(("stable_diffusion",), tooltip="The family of models whose text encoder it is.")
    ],
) -> Annotated[Clip, Tip("The text encoder that turns prompts into conditioning.")]:
    """Open a file that holds a text encoder, GGUF or other."""
    return clip_loader(ctx, clip_name=clip_name, type=type)


@node("DualCLIPLoaderGGUF", category="advanced/loaders", title="DualCLIPLoader (GGUF)", lane="io")
def dual_clip_loader_gguf(
    ctx: Context,
    *,
    clip_name1: Annotated[FileRef, File("text_encoders", tooltip="One of the two, in either order.")],
    clip_name2: Annotated[FileRef, File("text_encoders", tooltip="The other.")],
    type: Annotated[  # noqa: A002
        str, Choice(("sdxl",), tooltip="The family of models whose text encoders they are.")
    ],
) -> Annotated[Clip, Tip("The text encoder that turns prompts into conditioning.")]:
    """Open two files that hold the two towers of SDXL's text encoder, GGUF or others: ViT-L and ViT-bigG."""
    return dual_clip_loader(ctx, clip_name1=clip_name1, clip_name2=clip_name2, type=type)
