"""Weight files of Stable Diffusion and SDXL, and of what judges pictures: which networks a file holds, and where.

The networks' attribute names are the files' key names: a component's tensors are found by a prefix, its architecture is
read from their shapes, and a table of names is needed only for files in the layout of diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import nn

from models.aesthetic import AestheticPredictor
from models.clip import TextModel
from models.config import (
    Shapes,
    clip_config,
    contrastive_config,
    predictor_widths,
    safety_config,
    unet_config,
    vae_config,
)
from models.controlnet import ControlEnds, build_controlnet, hint_widths, way_widths
from models.diffusers_names import (
    controlnet_names,
    is_diffusers_controlnet,
    is_diffusers_unet,
    is_diffusers_vae,
    unet_names,
    vae_names,
)
from models.families import foreign_family, unlike_family
from models.family import TOWERS, UNKNOWN, Family, Tower, family_of
from models.inception import Inception
from models.ip_adapter import IPAdapter, ip_adapter_config
from models.open_clip_names import open_clip_eyes, open_clip_tower
from models.safety import SafetyChecker, published_name
from models.style_adapter import StyleAdapter, style_config
from models.t2i_adapter import ADAPTER_ROOT, T2IAdapter, adapter_config, renamed_adapter
from models.tiny_decoder import build_tiny_decoder
from models.tiny_vae import build_tiny_encoder
from models.unet import InputSide, UNet
from models.upscaler import build_upscaler, renamed_upscaler
from models.vae import AutoencoderKL
from models.vision import ContrastiveModel, VisionModel, tower_config
from models.weights import CheckpointError, TensorFile, TensorInfo, read_ahead, read_table, read_tensors

Steering = Literal[
    "controlnet", "control_ends", "input_side", "t2i_adapter", "clip_vision", "ip_adapter", "style_adapter"
]
"""What steers a U-Net. input_side: a U-Net's own way down, for a Control-LoRA."""
Judging = Literal["safety", "clip_model", "open_clip", "inception", "aesthetic"]
"""What judges pictures."""
Part = Literal["model", "vae", "tiny_decoder", "tiny_encoder", "upscaler"] | Tower | Steering | Judging

NOT_WEIGHTS = ("position_ids", "num_batches_tracked")
"""How the names of tensors end that files have besides weights."""

SCALES = ("scale_weight", "weight_scale")
NOT_SCALES = ("scale_input", "input_scale", "comfy_quant", "scaled_fp8")
"""How the names of tensors end beside weights in 8 bits: what these are multiplied by, and what is of no use here."""

NO_NUMBERS = (*NOT_WEIGHTS, *SCALES, *NOT_SCALES)
"""How the names of all tensors end that are no weights of a network."""

_HARMLESS = re.compile(
    r"(alphas|betas|sqrt_|log_one_minus_|posterior_|lvlb_|denoiser\.)[\w.]*$"  # the noise levels, which are made here
    r"|depth_model\."  # of Stable Diffusion 2's depth model: what tells how far things are
    r"|embedder\.model\.|noise_augmentor\."  # of unCLIP: a CLIP, of which the vision tower is a part of the file's
    r"|model_ema\.|(first_stage_model\.)?(loss|model_ema|discriminator)\.|logvar$|scale_factor$|(v_pred|ztsnr|difference)$"
    r"|((cond_stage_model|conditioner\.embedders\.\d|text_encoders\.\w+)\.((transformer|model)\.)?)?"
    r"(logit_scale|text_projection(\.weight)?|attn_mask)$"  # what compares texts with pictures
    r"|.*(" + "|".join((*NOT_WEIGHTS, *NOT_SCALES)) + ")$"
)
"""The names of tensors that no network here needs, and that change nothing by being left out."""


class Layout(NamedTuple):
    """How one component lies in a file: `prefix` stands where the network's own names begin with `own`."""

    title: str
    root: str  # a name that tells this component from all others
    build: Callable[[Shapes], nn.Module]
    children: tuple[str, ...] = ("",)  # how the network's own names begin, after `own`
    own: str = ""
    prefixes: tuple[str, ...] = ("",)  # most specific first; "" is a file that holds this component alone
    needs: tuple[str, ...] = ()  # names that tell it together with `root`
    unless: tuple[str, ...] = ()  # names that tell a file whose `root` is another component's, behind the same prefix
    own_name: Callable[[str], str] = str  # from a file's name without its prefix, where files differ in more than that


def _open_clip_tower(title: str, *prefixes: str) -> Layout:
    """A text tower of OpenCLIP, in the names of transformers."""
    return Layout(
        title=title,
        prefixes=prefixes,
        root="text_model.embeddings.token_embedding.weight",
        build=lambda shapes: TextModel(clip_config(shapes, "gelu", projects=True)),
        children=("text_model.", "text_projection."),
    )


OPEN_CLIP: Sequence[tuple[str, Tower | None]] = (
    ("cond_stage_model.model.", "clip_h"),
    ("conditioner.embedders.1.model.", "clip_g"),
    ("conditioner.embedders.0.model.", "clip_g"),  # the refiner has this tower alone
    ("", None),
)
"""Where files have a text tower in the names of OpenCLIP; None: any, by its width."""

OPEN_CLIP_EYES = ("embedder.model.visual.", "visual.")
"""Where files have a vision tower in these names: checkpoints of unCLIP, and a CLIP by itself."""

WIDTHS: Mapping[int, Tower] = MappingProxyType({768: "clip", 1024: "clip_h", 1280: "clip_g"})

LAYOUTS: Mapping[Part, Layout] = MappingProxyType(
    {
        "model": Layout(
            title="U-Net",
            prefixes=("model.diffusion_model.", "diffusion_model.", ""),
            root="input_blocks.0.0.weight",
            build=lambda shapes: UNet(unet_config(shapes)),
            children=("input_blocks.", "middle_block.", "output_blocks.", "out.", "time_embed.", "label_emb."),
            unless=("input_hint_block.0.weight",),
        ),
        "clip": Layout(
            title="text encoder",
            own="text_model.",
            prefixes=(
                "cond_stage_model.transformer.text_model.",
                "cond_stage_model.transformer.",  # some old files leave the level out
                "conditioner.embedders.0.transformer.text_model.",
                "text_encoders.clip_l.transformer.text_model.",
                "text_model.",
                "",
            ),
            root="embeddings.token_embedding.weight",
            build=lambda shapes: TextModel(clip_config(shapes)),
            children=("embeddings.", "encoder.", "final_layer_norm."),
        ),
        "clip_h": _open_clip_tower("text encoder ViT-H", "text_encoders.clip_h.transformer."),
        "clip_g": _open_clip_tower(
            "text encoder ViT-bigG", "conditioner.embedders.1.transformer.", "text_encoders.clip_g.transformer."
        ),
        "vae": Layout(
            title="VAE",
            prefixes=("first_stage_model.", ""),
            root="decoder.up.0.block.0.norm1.weight",
            build=lambda shapes: AutoencoderKL(vae_config(shapes)),
            children=("encoder.", "decoder.", "quant_conv.", "post_quant_conv."),
        ),
        "tiny_decoder": Layout(
            title="decoder of TAESD",
            root="18.conv.0.weight",
            build=build_tiny_decoder,
        ),
        "tiny_encoder": Layout(
            title="encoder of TAESD",
            root="14.weight",
            needs=("11.conv.0.weight", "2.weight"),
            build=build_tiny_encoder,
        ),
        "safety": Layout(
            title="safety checker",
            root="concept_embeds",
            build=lambda shapes: SafetyChecker(safety_config(shapes)),
            own_name=published_name,
        ),
        "clip_model": Layout(
            title="CLIP with both towers",
            root="visual_projection.weight",
            needs=("text_projection.weight",),
            build=lambda shapes: ContrastiveModel(contrastive_config(shapes, "quick_gelu")),
        ),
        "open_clip": Layout(  # the same tensors with another activation
            title="CLIP with both towers",
            root="visual_projection.weight",
            needs=("text_projection.weight",),
            build=lambda shapes: ContrastiveModel(contrastive_config(shapes, "gelu")),
        ),
        "inception": Layout(
            title="Inception network",
            root="Mixed_7c.branch_pool.conv.weight",
            build=lambda shapes: Inception(),
        ),
        "aesthetic": Layout(
            title="aesthetic predictor",
            root="layers.7.weight",
            build=lambda shapes: AestheticPredictor(predictor_widths(shapes)),
        ),
        "upscaler": Layout(title="upscaler", root="conv_first.weight", build=build_upscaler),
        "controlnet": Layout(
            title="ControlNet",
            prefixes=("control_model.", ""),
            root="input_hint_block.0.weight",
            build=build_controlnet,
            unless=("lora_controlnet",),
        ),
        "control_ends": Layout(
            title="Control-LoRA",
            root="lora_controlnet",
            build=lambda shapes: ControlEnds(hint_widths(shapes), way_widths(shapes)),
            children=("input_hint_block.", "zero_convs.", "middle_block_out."),
        ),
        "input_side": Layout(title="U-Net", root="", build=lambda shapes: InputSide(unet_config(shapes))),
        "clip_vision": Layout(
            title="vision tower",
            root="visual_projection.weight",
            build=lambda shapes: VisionModel(tower_config(shapes)),
            children=("vision_model.", "visual_projection."),
            unless=("text_projection.weight", "concept_embeds"),
        ),
        "ip_adapter": Layout(
            title="IP-Adapter",
            root="ip_adapter.1.to_k_ip.weight",
            build=lambda shapes: IPAdapter(ip_adapter_config(shapes)),
        ),
        "style_adapter": Layout(
            title="style model",
            root="style_embedding",
            build=lambda shapes: StyleAdapter(style_config(shapes)),
        ),
        "t2i_adapter": Layout(
            title="T2I-Adapter",
            prefixes=("adapter.", ""),
            root=ADAPTER_ROOT,
            build=lambda shapes: T2IAdapter(adapter_config(shapes)),
        ),
    }
)


@dataclass(frozen=True)
class Weights:
    """A weight file's header: names, shapes and places of tensors, none of the numbers. Can be pickled."""

    file: TensorFile
    prefixes: Mapping[Part, str]
    family: Family
    renamed: Mapping[Part, Mapping[str, str]] = field(default_factory=dict)  # as `names`, where no prefix tells them

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """All that the file holds, by the file's own names."""
        return self.file.tensors

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the writer of the file said of it."""
        return self.file.metadata

    def seen_as(self, other: Part, part: Part) -> Weights:
        """The same file, where what it holds of `part` can be had as `other`, too."""
        renamed = {**self.renamed, other: self.renamed[part]} if part in self.renamed else self.renamed
        return replace(self, prefixes={**self.prefixes, other: self.prefixes[part]}, renamed=renamed)

    def read_ahead(self, *parts: Part) -> None:
        """Have the disk bring the weights of `parts` into the system's cache, one part after the other."""
        for part in parts:
            read_ahead(self.file, list(self.names(part).values()))

    def parts(self) -> frozenset[Part]:
        """Which of the components the file holds."""
        return frozenset(self.prefixes)

    def unused(self) -> list[str]:
        """The names of tensors that none of the components uses, and that are not known to be harmless."""
        starts = tuple(
            prefix + child
            for part, prefix in self.prefixes.items()
            for child in LAYOUTS[part].children
            if part not in self.renamed
        )
        known = {
            name for part, names in self.renamed.items() for name in (*names.values(), *self.scales(part).values())
        }
        return [
            name
            for name in self.tensors
            if name not in known and not name.startswith(starts) and not _HARMLESS.match(name)
        ]

    def shapes(self, part: Part) -> dict[str, tuple[int, ...]]:
        """The shapes of a component's weights by the network's own names. Raises CheckpointError if it is not there."""
        return {own: self.tensors[name].shape for own, name in self.names(part).items()}

    def names(self, part: Part) -> dict[str, str]:
        """A component's weights: the network's own name -> the file's. Raises CheckpointError if it is not there."""
        if part not in self.prefixes:
            titles = dict.fromkeys(f"a {held.title}" for other, held in LAYOUTS.items() if other in self.prefixes)
            raise CheckpointError(f"{self.path.name} holds no {LAYOUTS[part].title}, only {' and '.join(titles)}")
        if part in self.renamed:
            return dict(self.renamed[part])
        layout, prefix = LAYOUTS[part], self.prefixes[part]
        return {
            layout.own_name(layout.own + name.removeprefix(prefix)): name
            for name in self.tensors
            if name.startswith(prefix) and not name.endswith(NO_NUMBERS)
        }

    def scales(self, part: Part) -> dict[str, str]:
        """Of weights that are kept in 8 bits with a scale: the network's own name -> the file's of the scale."""
        stems = [
            (own, name.removesuffix("weight")) for own, name in self.names(part).items() if name.endswith("weight")
        ]
        return {own: stem + end for own, stem in stems for end in SCALES if stem + end in self.tensors}


def read_header(path: Path, tower: Tower | None = None) -> Weights:
    """Read what a file holds, not the weights. tower: which one a text encoder by itself is, where something else tells.

    Raises CheckpointError if it is damaged or of no family that is known."""
    file = read_table(path)
    names = [*file.tensors, *file.others]
    file, towers = _with_open_clip(file)
    renamed = _renamed(file) | towers
    shapes = {name: info.shape for name, info in file.tensors.items()}
    own_shapes = {own: shapes[name] for found in renamed.values() for own, name in found.items()}
    if foreign := foreign_family(names, shapes | own_shapes):
        raise CheckpointError(f"{path.name} is {foreign}; Stable Diffusion 1 and 2 and SDXL are supported")
    prefixes = dict.fromkeys(renamed, "") | {
        part: prefix
        for part, layout in LAYOUTS.items()
        for prefix in reversed(layout.prefixes)  # the last one found stays
        if all(prefix + name in file.tensors for name in (layout.root, *layout.needs))
        and not any(prefix + name in file.tensors for name in layout.unless)
    }
    if other := _other_tower(file, prefixes.get("clip"), tower):
        del prefixes["clip"]
        renamed |= other
        prefixes |= dict.fromkeys(other, "")
    if not prefixes:
        kind = unlike_family(names) or f"not a Stable Diffusion checkpoint (it holds {some(names) or 'nothing'})"
        raise CheckpointError(
            f"{path.name} is {kind}; expected a U-Net, VAE, text encoder or safety checker of Stable Diffusion or SDXL, a "
            "network that steers them (ControlNet, Control-LoRA, T2I-Adapter), one that judges pictures (CLIP, Inception, "
            "aesthetic predictor), or an upscaler (ESRGAN, compact)"
        )
    found = Weights(file, prefixes, UNKNOWN, renamed)
    unet = found.shapes("model") if "model" in prefixes else {}
    held = [tower for tower in TOWERS if tower in prefixes]
    family = family_of(names, file.metadata, unet, held, lambda own: _spread(found, own))
    return replace(found, family=family)


def _with_open_clip(file: TensorFile) -> tuple[TensorFile, dict[Part, dict[str, str]]]:
    """The file with names for the weights of CLIP's towers as they are here, and which names those are."""
    renamed: dict[Part, dict[str, str]] = {}
    for prefix in OPEN_CLIP_EYES:
        if "clip_vision" not in renamed and (eyes := open_clip_eyes(file.tensors, prefix)):
            file = file.with_pieces(eyes.pieces, eyes.cut)
            renamed["clip_vision"] = eyes.names
    for prefix, known in OPEN_CLIP:
        if found := open_clip_tower(file.tensors, prefix):
            width = file.tensors[found.names["text_model.embeddings.token_embedding.weight"]].shape[-1]
            tower = known or WIDTHS.get(width, "clip_g")
            if tower not in renamed:
                file = file.with_pieces(found.pieces, found.cut)
                renamed[tower] = found.names
    return file, renamed


def _other_tower(file: TensorFile, prefix: str | None, known: Tower | None) -> dict[Part, dict[str, str]]:
    """Of a text encoder by itself, in the names that all towers have: which weights it has, where it is `known` or its width
    says that it is not ViT-L. Of a width that nobody publishes it is ViT-bigG, if it brings a text to a space of its own as
    SDXL's does.
    """
    if prefix not in ("", "text_model."):
        return {}
    width = file.tensors[prefix + LAYOUTS["clip"].root].shape[-1]
    projects = "text_projection.weight" in file.tensors and "visual_projection.weight" not in file.tensors
    tower = known or WIDTHS.get(width, "clip_g" if projects else "clip")
    if tower == "clip":
        return {}
    starts = tuple(prefix + child for child in LAYOUTS["clip"].children)
    names = [name for name in file.tensors if name.startswith(starts) and not name.endswith(NO_NUMBERS)]
    found = {"text_model." + name.removeprefix(prefix): name for name in names}
    return {tower: found | ({"text_projection.weight": "text_projection.weight"} if projects else {})}


def _spread(weights: Weights, own: str) -> float:
    """The standard deviation of one tensor of the U-Net."""
    name = weights.names("model")[own]
    [(_, tensor)] = read_tensors(weights.file, [name], dtype=torch.float32, device=torch.device("cpu"))
    return float(tensor.std(correction=0))


def _renamed(file: TensorFile) -> dict[Part, dict[str, str]]:
    """The names of a component whose names are not its network's: in the layout of diffusers, and of older upscalers."""
    names = [name for name in file.tensors if not name.endswith(NO_NUMBERS)]
    if is_diffusers_unet(names):
        return {"model": unet_names(names)}
    if is_diffusers_vae(names):
        return {"vae": vae_names(names)}
    if is_diffusers_controlnet(names):
        return {"controlnet": controlnet_names(names)}
    if adapter := renamed_adapter(names):
        return {"t2i_adapter": adapter}
    upscaler = renamed_upscaler(names)
    return {"upscaler": upscaler} if upscaler else {}


def some(names: Iterable[str]) -> str:
    """The first few of some names, shortened."""
    shown = [name if len(name) < 100 else name[:97] + "…" for name in names]
    return ", ".join(shown[:4] + ["…"] * (len(shown) > 4))
