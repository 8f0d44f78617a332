"""Nodes that open weight files. They read headers only; the weights are read when a network is first used."""

from __future__ import annotations

from threading import Thread
from typing import Annotated, NamedTuple

from graph.errors import InputError
from graph.files import FileRef
from graph.sockets import File
from graph.spec import Tip, node
from models.checkpoint import CheckpointError
from models.families import unread_unet
from models.types import Clip, Model, Vae
from nodes.services import Context
from nodes.weights import header, opened, tell_unused


class Checkpoint(NamedTuple):
    """The three networks of a Stable Diffusion file."""

    model: Annotated[Model, Tip("The U-Net that removes noise from latents.")]
    clip: Annotated[Clip, Tip("The text encoder that turns prompts into conditioning.")]
    vae: Annotated[Vae, Tip("The autoencoder between pictures and latents.")]


@node("CheckpointLoaderSimple", category="loaders", title="Load Checkpoint", lane="io")
def checkpoint_loader_simple(
    ctx: Context, *, ckpt_name: Annotated[FileRef, File("checkpoints", tooltip="A file of models/checkpoints.")]
) -> Checkpoint:
    """Open a Stable Diffusion checkpoint: its U-Net, its text encoder and its autoencoder.

    A file may lack one of the last two; only a node that uses what is not there fails.
    """
    weights = header(ckpt_name, "ckpt_name")
    if weights.parts() == {"safety"}:
        raise InputError("ckpt_name", f"{ckpt_name.name} is a safety checker; its place is models/safety_checker")
    try:
        other = unread_unet(weights.shapes("model"))
    except CheckpointError as error:
        raise InputError("ckpt_name", f"{error}; a checkpoint has a U-Net at least") from error
    if other:
        raise InputError("ckpt_name", f"{ckpt_name.name} is {other}, a kind that is not supported yet")
    tell_unused(ctx, weights, "ckpt_name")
    here = [part for part in ("clip", "model", "vae") if part in weights.parts()]
    identity = ctx.services.folders.identity(ckpt_name.path)
    Thread(target=weights.read_ahead, args=here, name="read-ahead", daemon=True).start()
    return Checkpoint(Model(weights, identity), Clip(weights, identity), Vae(weights, identity))


@node("VAELoader", category="loaders", title="Load VAE", lane="io")
def vae_loader(
    ctx: Context,
    *,
    vae_name: Annotated[FileRef, File("vae", tooltip="A file of models/vae, or a link to a checkpoint.")],
) -> Annotated[Vae, Tip("The autoencoder between pictures and latents.")]:
    """Open a file that holds an autoencoder, to use instead of a checkpoint's own."""
    weights, identity = opened(ctx, vae_name, "vae_name", "vae", "holds no autoencoder")
    Thread(target=weights.read_ahead, args=("vae",), name="read-ahead", daemon=True).start()
    return Vae(weights, identity)
