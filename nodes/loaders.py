"""Nodes that open weight files. They read headers only; the weights are read when a network is first used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, NamedTuple

from graph.errors import InputError
from graph.files import FileRef, Folders
from graph.sockets import Choice, File
from graph.spec import ALIKE, Tip, node
from models.checkpoint import CheckpointError, Weights
from models.families import unread_unet
from models.family import SDXL, TINY_FAMILIES, TOWERS, Tower, text_family
from models.types import TEXT_TOWERS, Clip, ClipVision, Model, TextTower, TinyEncoderModel, TinyVae, Vae
from nodes.services import Context
from nodes.weights import header, opened, read_soon, tell_unused


class Checkpoint(NamedTuple):
    """The three networks of a Stable Diffusion file."""

    model: Annotated[Model, Tip("The U-Net that removes noise from latents.")]
    clip: Annotated[Clip, Tip("The text encoder that turns prompts into conditioning.")]
    vae: Annotated[Vae, Tip("The autoencoder between pictures and latents.")]


@node(
    "CheckpointLoaderSimple",
    category="loaders",
    aliases=("model", "load model", "ckpt"),
    title="Load Checkpoint",
    lane="io",
    items=ALIKE,
)
def checkpoint_loader_simple(
    ctx: Context, *, ckpt_name: Annotated[FileRef, File("checkpoints", tooltip="A file of models/checkpoints.")]
) -> Checkpoint:
    """Open a Stable Diffusion checkpoint: its U-Net, its text encoder and its autoencoder.

    A file may lack one of the last two; only a node that uses what is not there fails.
    """
    return _checkpoint(ctx, ckpt_name)


class SeeingCheckpoint(NamedTuple):
    """The networks of a file that draws what it sees."""

    model: Annotated[Model, Tip("The U-Net that removes noise from latents.")]
    clip: Annotated[Clip, Tip("The text encoder that turns prompts into conditioning.")]
    vae: Annotated[Vae, Tip("The autoencoder between pictures and latents.")]
    clip_vision: Annotated[ClipVision, Tip("The vision tower, by which it sees pictures: for CLIP Vision Encode.")]


@node("unCLIPCheckpointLoader", category="loaders", lane="io", items=ALIKE)
def unclip_checkpoint_loader(
    ctx: Context, *, ckpt_name: Annotated[FileRef, File("checkpoints", tooltip="A file of models/checkpoints.")]
) -> SeeingCheckpoint:
    """Open a checkpoint that draws what a picture shows, with the network by which it sees: Stable Diffusion 2.1 unCLIP."""
    model, clip, vae = _checkpoint(ctx, ckpt_name)
    if "clip_vision" not in model.weights.parts():
        raise InputError(
            "ckpt_name", f"{ckpt_name.name} holds no vision tower; CheckpointLoaderSimple opens such checkpoints"
        )
    return SeeingCheckpoint(model, clip, vae, ClipVision(model.weights, model.identity))


def _checkpoint(ctx: Context, ckpt_name: FileRef) -> Checkpoint:
    weights = header(ckpt_name, "ckpt_name")
    if weights.parts() == {"safety"}:
        raise InputError("ckpt_name", f"{ckpt_name.name} is a safety checker; its place is models/safety_checker")
    try:
        weights.names("model")
    except CheckpointError as error:
        raise InputError("ckpt_name", f"{error}; a checkpoint has a U-Net at least") from error
    refuse_unread(weights, "ckpt_name")
    tell_unused(ctx, weights, "ckpt_name")
    here = [part for part in (*TOWERS, "model", "vae") if part in weights.parts()]
    identity = ctx.services.folders.identity(ckpt_name.path)
    read_soon(weights, *here)
    clip = Clip.of(weights, identity, weights.family)
    return Checkpoint(Model(weights, identity), clip, Vae(weights, identity))


@node("UNETLoader", category="advanced/loaders", title="Load Diffusion Model", lane="io", items=ALIKE)
def unet_loader(
    ctx: Context,
    *,
    unet_name: Annotated[
        FileRef, File("diffusion_models", tooltip="A file of models/diffusion_models or models/unet.")
    ],
    weight_dtype: Annotated[
        str,
        Choice(("default",), tooltip="Weights are computed with in the precision that the program was started with."),
    ],
) -> Annotated[Model, Tip("The U-Net that removes noise from latents.")]:
    """Open a file that holds a U-Net, as checkpoints name its weights or as diffusers does."""
    weights, identity = opened(ctx, unet_name, "unet_name", "model", "holds no U-Net")
    refuse_unread(weights, "unet_name")
    read_soon(weights, "model")
    return Model(weights, identity)


@node("CLIPLoader", category="advanced/loaders", title="Load CLIP", lane="io", items=ALIKE)
def clip_loader(
    ctx: Context,
    *,
    clip_name: Annotated[FileRef, File("text_encoders", tooltip="A file of models/text_encoders or models/clip.")],
    type: Annotated[  # noqa: A002
        str, Choice(("stable_diffusion",), tooltip="The family of models whose text encoder it is.")
    ],
    device: Annotated[
        str | None, Choice(("default", "cpu"), tooltip="Networks are where the program was told to compute.")
    ] = None,
) -> Annotated[Clip, Tip("The text encoder that turns prompts into conditioning.")]:
    """Open a file that holds a text encoder."""
    weights, identity = _text_encoder(ctx, clip_name, "clip_name")
    read_soon(weights, *(tower for tower in TOWERS if tower in weights.parts()))
    return Clip.of(weights, identity, text_family(weights.parts()))


@node("DualCLIPLoader", category="advanced/loaders", lane="io", items=ALIKE)
def dual_clip_loader(
    ctx: Context,
    *,
    clip_name1: Annotated[FileRef, File("text_encoders", tooltip="One of the two, in either order.")],
    clip_name2: Annotated[FileRef, File("text_encoders", tooltip="The other.")],
    type: Annotated[  # noqa: A002
        str, Choice(("sdxl",), tooltip="The family of models whose text encoders they are.")
    ],
    device: Annotated[
        str | None, Choice(("default", "cpu"), tooltip="Networks are where the program was told to compute.")
    ] = None,
) -> Annotated[Clip, Tip("The text encoder that turns prompts into conditioning.")]:
    """Open two files that hold the two towers of SDXL's text encoder: ViT-L and ViT-bigG."""
    opened_files: dict[Tower, TextTower] = {}
    for file, blamed in ((clip_name1, "clip_name1"), (clip_name2, "clip_name2")):
        weights, identity = _text_encoder(ctx, file, blamed)
        opened_files |= {part: TEXT_TOWERS[part](weights, identity) for part in TOWERS if part in weights.parts()}
    wanted = [reading.tower for reading in SDXL.text]
    if missing := [tower for tower in wanted if tower not in opened_files]:
        held = " and ".join(TOWERS[tower] for tower in opened_files)
        raise InputError(
            "clip_name2",
            f"{clip_name1.name} and {clip_name2.name} hold {held}; SDXL's text encoder needs {TOWERS[missing[0]]} too",
        )
    for tower in wanted:
        read_soon(opened_files[tower].weights, tower)
    return Clip(tuple(opened_files[tower] for tower in wanted), SDXL.text)


def _halves(folders: Folders, name: str) -> tuple[FileRef, FileRef] | None:
    """The files of TAESD's encoder and decoder, if both are there. name: of the pair, such as taesdxl."""
    there = {file.rpartition("/")[2].partition(".")[0]: file for file in reversed(folders.list("vae_approx"))}
    wanted = (f"{name}_encoder", f"{name}_decoder")
    if not all(half in there for half in wanted):
        return None
    encoder, decoder = (folders.find("vae_approx", there[half]) for half in wanted)
    return encoder, decoder


def _tiny(folders: Folders) -> Mapping[str, FileRef]:
    """Pairs of files that are an autoencoder together; a pair stands at the file of what decodes."""
    pairs = ((name, _halves(folders, name)) for name in TINY_FAMILIES)
    return {name: replace(pair[1], name=name) for name, pair in pairs if pair}


def _encoder_beside(node_id: str, inputs: Mapping[str, object], folders: Folders) -> object:
    """What the other file of a pair is."""
    chosen = inputs["vae_name"]
    pair = _halves(folders, chosen.name) if isinstance(chosen, FileRef) and chosen.name in TINY_FAMILIES else None
    return folders.identity(pair[0].path) if pair else None


@node("VAELoader", category="loaders", title="Load VAE", lane="io", freshness=_encoder_beside, items=ALIKE)
def vae_loader(
    ctx: Context,
    *,
    vae_name: Annotated[
        FileRef,
        File(
            "vae",
            tooltip="A file of models/vae, or a link to a checkpoint; taesd or taesdxl: small and fast, from models/vae_approx.",
            named=_tiny,
        ),
    ],
) -> Annotated[Vae, Tip("The autoencoder between pictures and latents.")]:
    """Open a file that holds an autoencoder, to use instead of a checkpoint's own."""
    if vae_name.name in TINY_FAMILIES:
        return _tiny_vae(ctx, vae_name)
    weights, identity = opened(ctx, vae_name, "vae_name", "vae", "holds no autoencoder")
    read_soon(weights, "vae")
    return Vae(weights, identity)


def _tiny_vae(ctx: Context, pair: FileRef) -> Vae:
    """TAESD's two files. Raises InputError."""
    found = _halves(ctx.services.folders, pair.name)
    if found is None:
        raise InputError("vae_name", f"models/vae_approx has no {pair.name}_encoder and {pair.name}_decoder any more")
    coding, its = opened(ctx, found[0], "vae_name", "tiny_encoder", "is no encoder of TAESD")
    weights, identity = opened(ctx, found[1], "vae_name", "tiny_decoder", "is no decoder of TAESD")
    known = replace(weights, family=TINY_FAMILIES[pair.name])
    return TinyVae(known, identity, encoder=TinyEncoderModel(coding, its))


def _text_encoder(ctx: Context, file: FileRef, blamed: str) -> tuple[Weights, str]:
    """The header of a file that holds a text encoder, and the file's identity. Raises InputError on `blamed`."""
    weights = header(file, blamed)
    held = [tower for tower in TOWERS if tower in weights.parts()]
    return opened(ctx, file, blamed, held[0] if held else "clip", "holds no text encoder")


def refuse_unread(weights: Weights, blamed: str) -> None:
    """Raise InputError for a U-Net that reads more than latents."""
    if other := unread_unet(weights.shapes("model")):
        raise InputError(blamed, f"{weights.path.name} is {other}, a kind that is not supported yet")
