"""Narrow checkpoints of Stable Diffusion 2, SDXL and its refiner in the names of the published files, always the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.config import ClipConfig, UNetConfig
from models.unet import UNet
from tests.tiny_checkpoint import CLIP, randomly, tiny_clip, tiny_vae

Kind = Literal["sd2", "xl", "refiner"]

H = ClipConfig(width=16, layers=3, intermediate=24, activation="gelu", projection=12)
G = ClipConfig(width=24, layers=3, intermediate=40, activation="gelu", projection=24)
SD2_UNET = UNetConfig(4, 4, 16, (1, 2), 1, (1, 0), 1, H.width, linear=True)
XL_UNET = UNetConfig(
    4, 4, 16, (1, 2), 1, (0, 2), 2, CLIP.width + G.width, linear=True, vector_dim=G.projection + 6 * 256
)
REFINER_UNET = UNetConfig(4, 4, 16, (1, 2, 2), 1, (0, 1, 0), 1, G.width, linear=True, vector_dim=G.projection + 5 * 256)
UNETS: dict[Kind, UNetConfig] = {"sd2": SD2_UNET, "xl": XL_UNET, "refiner": REFINER_UNET}


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


def family_state(kind: Kind, seed: int = 0) -> dict[str, Tensor]:
    """The whole checkpoint, in float32."""
    unet = randomly(lambda: UNet(UNETS[kind]), seed)
    state = {f"model.diffusion_model.{name}": tensor for name, tensor in unet.state_dict().items()}
    state |= {f"first_stage_model.{name}": tensor for name, tensor in tiny_vae(seed).state_dict().items()}
    match kind:
        case "sd2":
            state |= open_clip_state(H, "cond_stage_model.model.", seed)
        case "xl":
            text = tiny_clip(seed, layers=3).state_dict()
            state |= {f"conditioner.embedders.0.transformer.{name}": tensor for name, tensor in text.items()}
            state |= open_clip_state(G, "conditioner.embedders.1.model.", seed)
        case "refiner":
            state |= open_clip_state(G, "conditioner.embedders.0.model.", seed)
    return state


def write_family(path: Path, kind: Kind, dtype: torch.dtype = torch.float16, marks: Sequence[str] = ()) -> Path:
    """Write the file. marks: names of empty tensors, such as `v_pred`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.to(dtype).contiguous() for name, tensor in family_state(kind).items()}
    save_file(state | {mark: torch.zeros(0) for mark in marks}, path, metadata={"format": "pt"})
    return path
