"""Nodes that take a picture as a prompt: IP-Adapter, with the names that its users' workflows have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, NamedTuple

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional as F

from graph.errors import InputError
from graph.files import FileRef, Folders
from graph.sockets import Choice, File, Float
from graph.spec import Named, Tip, node
from models.config import unet_config
from models.family import SDXL
from models.image_prompt import ImagePrompt, text_sites
from models.types import ClipVision, Image, IPAdapterModel, Mask, Model
from models.vision import vision_input
from nodes.pictures import to_pil
from nodes.services import Context
from nodes.vision import clip_vision_loader
from nodes.weights import opened

START = Float(0.0, 1.0, step=0.001, tooltip="From which part of the way from noise to picture on it counts.")
END = Float(0.0, 1.0, step=0.001, tooltip="Up to which part of the way it counts.")


@node("IPAdapterModelLoader", category="ipadapter/loaders", title="IPAdapter Model Loader", lane="io")
def ip_adapter_model_loader(
    ctx: Context,
    *,
    ipadapter_file: Annotated[
        FileRef, File("ipadapter", tooltip="A file of models/ipadapter: plain, plus, plus-face or full-face.")
    ],
) -> Annotated[IPAdapterModel, Tip("What makes a prompt of a picture.")]:
    """Open an IP-Adapter. Those that ask a face recognition network (FaceID) are not supported."""
    return IPAdapterModel(*opened(ctx, ipadapter_file, "ipadapter_file", "ip_adapter", "holds no IP-Adapter"))


class Unified(NamedTuple):
    """A model, and the IP-Adapter that was found for it."""

    model: Annotated[Model, Tip("The model, as it came.")]
    ipadapter: Annotated[IPAdapterModel, Named("ipadapter"), Tip("What makes a prompt of a picture, with its tower.")]


@dataclass(frozen=True)
class Preset:
    """Which files of the IP-Adapter's authors a preset means. large: it asks ViT-bigG instead of ViT-H."""

    sd1: str = ""
    sdxl: str = ""
    large: bool = False


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "LIGHT - SD1.5 only (low strength)": Preset("ip-adapter_sd15_light"),
        "STANDARD (medium strength)": Preset("ip-adapter_sd15", "ip-adapter_sdxl_vit-h"),
        "VIT-G (medium strength)": Preset("ip-adapter_sd15_vit-g", "ip-adapter_sdxl", large=True),
        "PLUS (high strength)": Preset("ip-adapter-plus_sd15", "ip-adapter-plus_sdxl_vit-h"),
        "PLUS FACE (portraits)": Preset("ip-adapter-plus-face_sd15", "ip-adapter-plus-face_sdxl_vit-h"),
        "FULL FACE - SD1.5 only (portraits stronger)": Preset("ip-adapter-full-face_sd15"),
    }
)
"""By the names that users' workflows have, and those of the files as their authors published them."""
TOWERS = ("vit-h-14", "vit-bigg-14")  # in the names of files of models/clip_vision


def _adapters(node_id: str, inputs: Mapping[str, object], folders: Folders) -> object:
    """What is in both folders: another file may be the one that is meant."""
    return [[name, folders.identity(folders.resolve(kind, name))] for kind in FOLDERS for name in folders.list(kind)]


FOLDERS = ("ipadapter", "clip_vision")


@node("IPAdapterUnifiedLoader", category="ipadapter", title="IPAdapter Unified Loader", lane="io", freshness=_adapters)
def ip_adapter_unified_loader(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    preset: Annotated[str, Choice(PRESETS, tooltip="Which IP-Adapter: how strong, and whether it is for faces.")],
    ipadapter: Annotated[
        IPAdapterModel | None, Tip("What another loader found; nothing is opened twice anyway.")
    ] = None,
) -> Unified:
    """Find the IP-Adapter for a model, and the vision tower it asks, among the files with their authors' names."""
    wanted = PRESETS[preset]
    stem = wanted.sdxl if model.family.latent.approximation == SDXL.latent.approximation else wanted.sd1
    if not stem:
        raise InputError(
            "preset", f"{preset} is for the other family of models: {model.weights.path.name} is none of it"
        )
    file = _found(
        ctx, "ipadapter", lambda name: name == stem or re.fullmatch(rf"{re.escape(stem)}_v\d+", name) is not None
    )
    if file is None:
        raise InputError("preset", f"models/ipadapter holds no {stem}, which this preset is")
    tower = _found(ctx, "clip_vision", lambda name: TOWERS[wanted.large] in name)
    if tower is None:
        raise InputError("preset", f"models/clip_vision holds no file with {TOWERS[wanted.large]} in its name")
    adapter = IPAdapterModel(*opened(ctx, file, "preset", "ip_adapter", "holds no IP-Adapter"))
    vision: ClipVision = clip_vision_loader(ctx, clip_name=tower)
    return Unified(model, replace(adapter, vision=vision))


def _found(ctx: Context, folder: str, fits: Callable[[str], bool]) -> FileRef | None:
    """The first file whose name without ending, in small letters, fits."""
    folders = ctx.services.folders
    names = (name for name in folders.list(folder) if fits(PurePosixPath(name).stem.lower()))
    return next((folders.find(folder, name) for name in names), None)


@node("IPAdapter", category="ipadapter", title="IPAdapter")
def ip_adapter(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    ipadapter: Annotated[IPAdapterModel, Tip("What makes a prompt of a picture, with its tower.")],
    image: Annotated[Image, Tip("The picture, or several.")],
    weight: Annotated[float, Float(-1.0, 3.0, step=0.05, tooltip="How much the picture counts beside the text.")] = 1.0,
    start_at: Annotated[float, START] = 0.0,
    end_at: Annotated[float, END] = 1.0,
    weight_type: Annotated[str, Choice(("standard",), tooltip="standard: as much in all layers.")],
    attn_mask: Annotated[Mask | None, Tip("White where the picture counts; everywhere, if there is none.")] = None,
) -> Annotated[Model, Tip("The model, which looks at the picture, too.")]:
    """Take a picture as a prompt beside the text. The adapter has to come from the unified loader, with its tower."""
    changed: Model = ip_adapter_advanced(
        ctx, model=model, ipadapter=ipadapter, image=image, weight=weight, weight_type="linear",
        combine_embeds="concat", start_at=start_at, end_at=end_at, embeds_scaling="V only", attn_mask=attn_mask,
    )  # fmt: skip
    return changed


RESIZES: Mapping[str, PIL.Image.Resampling] = MappingProxyType(
    {name: PIL.Image.Resampling[name] for name in ("LANCZOS", "BICUBIC", "HAMMING", "BILINEAR", "BOX", "NEAREST")}
)
SEEN = 224  # pixels a side that the towers look at
PARTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"top": (0.5, 0.0), "bottom": (0.5, 1.0), "left": (0.0, 0.5), "right": (1.0, 0.5), "center": (0.5, 0.5)}
)
"""Which part of what is too long is cut off before the square, across and down."""


@node("PrepImageForClipVision", category="ipadapter/utils", title="Prep Image For ClipVision")
def prep_image_for_clip_vision(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    interpolation: Annotated[str, Choice(RESIZES, tooltip="How new pixels are made from old ones.")],
    crop_position: Annotated[
        str, Choice((*PARTS, "pad"), tooltip="Which part of a long picture is seen; pad: all of it, with black around.")
    ],
    sharpening: Annotated[
        float, Float(0.0, 1.0, step=0.05, tooltip="Not done here: the towers were trained on pictures as they are.")
    ] = 0.0,
) -> Annotated[Image, Tip("The pictures as a vision tower sees them.")]:
    """Choose the square of a picture that a vision tower sees."""
    if sharpening:
        ctx.warn("pictures are not sharpened", "sharpening")
    pixels, (rows, columns) = image.pixels[..., :3], image.pixels.shape[1:3]
    if crop_position == "pad":
        across, down = max(rows - columns, 0), max(columns - rows, 0)
        edges = (0, 0, across // 2, across - across // 2, down // 2, down - down // 2)
        pixels = F.pad(pixels, edges)
    else:
        side, (x, y) = min(rows, columns), PARTS[crop_position]
        left, top = int((columns - side) * x), int((rows - side) * y)
        pixels = pixels[:, top : top + side, left : left + side]
    size = (SEEN, SEEN)
    seen = [np.asarray(to_pil(one).resize(size, RESIZES[interpolation])).astype(np.float32) / 255 for one in pixels]
    return Image(torch.from_numpy(np.stack(seen)))


@node("IPAdapterAdvanced", category="ipadapter", title="IPAdapter Advanced")
def ip_adapter_advanced(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    ipadapter: Annotated[IPAdapterModel, Tip("What makes a prompt of a picture.")],
    image: Annotated[Image, Tip("The picture, or several.")],
    weight: Annotated[float, Float(-1.0, 5.0, step=0.05, tooltip="How much the picture counts beside the text.")] = 1.0,
    weight_type: Annotated[str, Choice(("linear",), tooltip="linear: as much in all layers.")],
    combine_embeds: Annotated[
        str,
        Choice(("concat", "average"), tooltip="concat: all pictures count; average: what they have in common."),
    ],
    start_at: Annotated[float, START] = 0.0,
    end_at: Annotated[float, END] = 1.0,
    embeds_scaling: Annotated[
        str,
        Choice(("V only", "K+V"), tooltip="What the weight multiplies: what is seen, or also how it is looked for."),
    ],
    image_negative: Annotated[Image | None, Tip("A picture of what it should not look like.")] = None,
    attn_mask: Annotated[Mask | None, Tip("White where the picture counts; everywhere, if there is none.")] = None,
    clip_vision: Annotated[ClipVision | None, Tip("The vision tower that the adapter was trained with.")] = None,
) -> Annotated[Model, Tip("The model, which looks at the picture, too.")]:
    """Take a picture as a prompt beside the text: its subject, its style, or a face that was cut out of it."""
    clip_vision = clip_vision or ipadapter.vision
    if clip_vision is None:
        raise InputError("clip_vision", "is missing: an IP-Adapter asks the vision tower it was trained with; load one")
    if weight == 0:
        return model
    negative = None if image_negative is None else image_negative.pixels
    pairs = _pairs(ctx, model, ipadapter, clip_vision, image.pixels, negative, combine_embeds)
    if embeds_scaling == "K+V":
        pairs = [(torch.stack([keys[0], keys[1] * weight]), values) for keys, values in pairs]
    where = None if attn_mask is None else attn_mask.values
    prompt = ImagePrompt(tuple(pairs), weight, start_at, end_at, where)
    return replace(model, steering=(*model.steering, prompt))


def _pairs(
    ctx: Context,
    model: Model,
    ipadapter: IPAdapterModel,
    clip_vision: ClipVision,
    pixels: Tensor,
    negative: Tensor | None,
    combine: str,
) -> list[tuple[Tensor, Tensor]]:
    """Keys and values for every cross-attention of the model, of no picture and of the pictures: [2, T, C] each."""
    with ctx.services.use(ipadapter, "ipadapter") as adapter:
        _check(model, ipadapter, adapter.config.width, [channels for _, channels in adapter.config.sites])
        with ctx.services.use(clip_vision, "clip_vision") as tower:
            weight = next(tower.parameters())
            size = tower.config.image_size
            pictures = vision_input(pixels, size, crop=True).to(weight)
            vector = adapter.config.kind == "vector"

            def seen(x: Tensor) -> Tensor:
                said = tower(x, ctx.check)
                return said.vector if vector else said.before

            found = seen(pictures)
            if negative is not None:
                none = seen(vision_input(negative, size, crop=True).to(weight))
            else:
                none = torch.zeros_like(found[:1]) if vector else seen(torch.zeros_like(pictures[:1]))
        if found.shape[-1] != adapter.config.seen:
            raise InputError(
                "clip_vision",
                f"{clip_vision.weights.path.name} sees vectors of width {found.shape[-1]}, but "
                f"{ipadapter.weights.path.name} was trained with those of width {adapter.config.seen}",
            )
        like = next(adapter.parameters())
        tokens = [_joined(adapter.tokens(part.to(like)), combine) for part in (none, found)]
        length = math.lcm(*(part.shape[1] for part in tokens))
        # Attention's softmax does not change when its keys are repeated as a whole.
        both = torch.cat([part.repeat(1, length // part.shape[1], 1) for part in tokens])
        return [(keys.float().cpu(), values.float().cpu()) for keys, values in adapter.pairs(both)]


def _joined(tokens: Tensor, combine: str) -> Tensor:
    """The tokens of several pictures [B, T, D] as those of one: [1, B T, D], or their mean [1, T, D]."""
    return tokens.flatten(0, 1)[None] if combine == "concat" else tokens.mean(0, keepdim=True)


def _check(model: Model, ipadapter: IPAdapterModel, width: int, channels: list[int]) -> None:
    """Blame an adapter that was made for another kind of model."""
    config = unet_config(model.weights.shapes("model"))
    if config.context_dim != width or len(text_sites(config)) != len(channels):
        raise InputError(
            "ipadapter",
            f"{ipadapter.weights.path.name} was made for another kind of model: it has {len(channels)} layers for text "
            f"vectors of width {width}, where {model.weights.path.name} has {len(text_sites(config))} of width "
            f"{config.context_dim}",
        )
