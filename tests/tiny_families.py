"""Narrow checkpoints of Stable Diffusion 2 and SDXL, of all kinds, in the names of the published files, always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.config import ClipConfig, UNetConfig, VisionConfig
from models.unet import UNet
from models.vision import VisionModel
from tests.tiny_checkpoint import CLIP, randomly, tiny_clip, tiny_vae

Kind = Literal["sd2", "depth", "unclip", "xl", "xl_inpainting", "refiner"]

H = ClipConfig(width=16, layers=3, intermediate=24, activation="gelu", projection=12)
G = ClipConfig(width=24, layers=3, intermediate=40, activation="gelu", projection=24)
EYES = VisionConfig(width=16, layers=2, intermediate=24, patch=4, grid=2, projection=12)  # of unCLIP
SD2_UNET = UNetConfig(4, 4, 16, (1, 2), 1, (1, 0), 1, H.width, linear=True)
XL_UNET = UNetConfig(
    4, 4, 16, (1, 2), 1, (0, 2), 2, CLIP.width + G.width, linear=True, vector_dim=G.projection + 6 * 256
)
REFINER_UNET = UNetConfig(4, 4, 16, (1, 2, 2), 1, (0, 1, 0), 1, G.width, linear=True, vector_dim=G.projection + 5 * 256)
UNETS: dict[Kind, UNetConfig] = {
    "sd2": SD2_UNET,
    "depth": replace(SD2_UNET, in_channels=5),
    "unclip": replace(SD2_UNET, vector_dim=2 * EYES.projection),
    "xl": XL_UNET,
    "xl_inpainting": replace(XL_UNET, in_channels=9),
    "refiner": REFINER_UNET,
}


def open_clip_state(config: ClipConfig, prefix: str, seed: int) -> dict[str, Tensor]:
    """A text tower as OpenCLIP writes it."""
    width, inner = config.width, config.intermediate
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (config.positions, width),
        "text_projection": (width, config.projection),
        "token_embedding.weight": (config.vocab, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    for i in range(config.layers):
        layer = f"transformer.resblocks.{i}."
        shapes |= {f"{layer}{norm}.{end}": (width,) for norm in ("ln_1", "ln_2") for end in ("weight", "bias")}
        shapes |= {
            f"{layer}attn.in_proj_weight": (3 * width, width),
            f"{layer}attn.in_proj_bias": (3 * width,),
            f"{layer}attn.out_proj.weight": (width, width),
            f"{layer}attn.out_proj.bias": (width,),
            f"{layer}mlp.c_fc.weight": (inner, width),
            f"{layer}mlp.c_fc.bias": (inner,),
            f"{layer}mlp.c_proj.weight": (width, inner),
            f"{layer}mlp.c_proj.bias": (width,),
        }
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        x = torch.randn(shape, generator=generator)
        is_norm = "ln_" in name
        state[prefix + name] = (1 + 0.3 * x if is_norm and name.endswith("weight") else 0.5 * x).half().float()
    return state | {prefix + "logit_scale": torch.tensor(4.6)}


def open_clip_eyes_state(prefix: str, seed: int) -> dict[str, Tensor]:
    """A vision tower as OpenCLIP writes it, and OpenAI."""
    own = randomly(lambda: VisionModel(EYES), seed).state_dict()
    state: dict[str, Tensor] = {}
    for name, tensor in own.items():
        for ours, theirs in (
            ("vision_model.embeddings.class_embedding", "class_embedding"),
            ("vision_model.embeddings.position_embedding.weight", "positional_embedding"),
            ("vision_model.embeddings.patch_embedding.weight", "conv1.weight"),
            ("vision_model.pre_layrnorm.", "ln_pre."),
            ("vision_model.post_layernorm.", "ln_post."),
            ("vision_model.encoder.layers.", "transformer.resblocks."),
            (".layer_norm", ".ln_"),
            (".mlp.fc1.", ".mlp.c_fc."),
            (".mlp.fc2.", ".mlp.c_proj."),
            (".self_attn.out_proj.", ".attn.out_proj."),
        ):
            name = name.replace(ours, theirs)
        if ".self_attn." not in name and name != "visual_projection.weight":
            state[prefix + name] = tensor
    for i in range(EYES.layers):
        attention = f"vision_model.encoder.layers.{i}.self_attn"
        for end in ("weight", "bias"):
            stacked = torch.cat([own[f"{attention}.{role}_proj.{end}"] for role in "qkv"])
            state[f"{prefix}transformer.resblocks.{i}.attn.in_proj_{end}"] = stacked
    return state | {prefix + "proj": own["visual_projection.weight"].T.contiguous()}


def family_state(kind: Kind, seed: int = 0) -> dict[str, Tensor]:
    """The whole checkpoint, in float32."""
    unet = randomly(lambda: UNet(UNETS[kind]), seed)
    state = {f"model.diffusion_model.{name}": tensor for name, tensor in unet.state_dict().items()}
    state |= {f"first_stage_model.{name}": tensor for name, tensor in tiny_vae(seed).state_dict().items()}
    match kind:
        case "sd2" | "depth" | "unclip":
            state |= open_clip_state(H, "cond_stage_model.model.", seed)
        case "xl" | "xl_inpainting":
            text = tiny_clip(seed, layers=3).state_dict()
            state |= {f"conditioner.embedders.0.transformer.{name}": tensor for name, tensor in text.items()}
            state |= open_clip_state(G, "conditioner.embedders.1.model.", seed)
        case "refiner":
            state |= open_clip_state(G, "conditioner.embedders.0.model.", seed)
    if kind == "unclip":
        state |= open_clip_eyes_state("embedder.model.visual.", seed)
        state |= {"embedder.model.logit_scale": torch.tensor(4.6), "embedder.model.ln_final.weight": torch.ones(16)}
    if kind == "depth":
        state |= {"depth_model.model.pretrained.model.cls_token": torch.zeros(1, 1, 8)}
    return state


def write_family(path: Path, kind: Kind, dtype: torch.dtype = torch.float16, marks: Sequence[str] = ()) -> Path:
    """Write the file. marks: names of empty tensors, such as `v_pred`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.to(dtype).contiguous() for name, tensor in family_state(kind).items()}
    save_file(state | {mark: torch.zeros(0) for mark in marks}, path, metadata={"format": "pt"})
    return path
