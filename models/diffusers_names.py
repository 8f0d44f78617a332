"""What diffusers calls the layers of U-Net and autoencoder, and what their checkpoints call them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

_FIXED = (
    ("input_blocks.0.0", "conv_in"), ("out.0", "conv_norm_out"), ("out.2", "conv_out"),
    ("time_embed.0", "time_embedding.linear_1"), ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb.0.0", "add_embedding.linear_1"), ("label_emb.0.2", "add_embedding.linear_2"),
    ("label_emb.0.0", "class_embedding.linear_1"), ("label_emb.0.2", "class_embedding.linear_2"),  # of unCLIP
)  # fmt: skip
_RESNET = (
    ("in_layers.0", "norm1"), ("in_layers.2", "conv1"), ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"), ("out_layers.3", "conv2"), ("skip_connection", "conv_shortcut"),
)  # fmt: skip
_MIDDLE = (("0", "resnets.0"), ("1", "attentions.0"), ("2", "resnets.1"))
_VAE_ATTENTION: Mapping[str, str] = MappingProxyType(
    {
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
        "query": "q",
        "key": "k",
        "value": "v",
        "proj_attn": "proj_out",  # before diffusers 0.13
    }
)


def diffusers_name(own: str, blocks: int) -> str:
    """What diffusers calls the U-Net's layer `own`. blocks: residual blocks a level (`num_res_blocks`)."""
    for pattern, name in _FIXED:
        if own == pattern:
            return name
    if match := re.fullmatch(r"middle_block\.([012])\.(.+)", own):
        return f"mid_block.{dict(_MIDDLE)[match[1]]}.{_inside(match[2])}"
    match = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", own)
    if match is None:
        return own
    number, place, rest = int(match[2]), int(match[3]), match[4]
    way, first = ("down", 1) if match[1] == "input" else ("up", 0)  # the first input block is `conv_in`
    level, at = divmod(number - first, blocks + 1)
    resizes = rest in ("op", "conv")
    kind = f"{way}samplers.0.conv" if resizes else f"{('resnets', 'attentions')[place]}.{at}.{_inside(rest)}"
    return f"{way}_blocks.{level}.{kind}"


def is_diffusers_unet(names: Collection[str]) -> bool:
    """Whether a file is a U-Net in the layout of diffusers (a ControlNet has no way up)."""
    return "conv_in.weight" in names and "up_blocks.0.resnets.0.conv1.weight" in names


def is_diffusers_vae(names: Collection[str]) -> bool:
    """Whether a file is an autoencoder in the layout of diffusers."""
    return "decoder.up_blocks.0.resnets.0.conv1.weight" in names


def is_diffusers_controlnet(names: Collection[str]) -> bool:
    """Whether a file is a ControlNet in the layout of diffusers."""
    return "controlnet_cond_embedding.conv_in.weight" in names


def controlnet_names(names: Collection[str]) -> dict[str, str]:
    """The published names of a ControlNet's tensors -> those of a file in the layout of diffusers."""
    blocks = _count(names, r"down_blocks\.0\.resnets\.(\d+)\.")
    eyes = _count(names, r"controlnet_cond_embedding\.blocks\.(\d+)\.")
    return {_of_controlnet(name, blocks, eyes): name for name in names}


def unet_names(names: Collection[str]) -> dict[str, str]:
    """A checkpoint's names of a U-Net's tensors -> those of a file in the layout of diffusers."""
    blocks = _count(names, r"down_blocks\.0\.resnets\.(\d+)\.")
    attending = {match[1] for name in names if (match := re.match(r"up_blocks\.(\d+)\.attentions\.", name))}
    return {_of_unet(name, blocks, attending): name for name in names}


def vae_names(names: Collection[str]) -> dict[str, str]:
    """A checkpoint's names of an autoencoder's tensors -> those of a file in the layout of diffusers."""
    levels = _count(names, r"decoder\.up_blocks\.(\d+)\.")
    return {_of_vae(name, levels): name for name in names}


def _of_unet(name: str, blocks: int, attending: Collection[str]) -> str:
    layer, _, end = name.rpartition(".")
    for own, theirs in _FIXED:
        if layer == theirs:
            return f"{own}.{end}"
    for own, theirs in _MIDDLE:
        if layer.startswith(f"mid_block.{theirs}."):
            return f"middle_block.{own}.{_outside(layer.removeprefix(f'mid_block.{theirs}.'))}.{end}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", layer)
    if match is None:
        return name
    way, level, kind, at, rest = match.groups()
    side, first = ("input", 1) if way == "down" else ("output", 0)
    number = first + int(level) * (blocks + 1)
    match kind:
        case "downsamplers":
            return f"input_blocks.{number + blocks}.0.op.{end}"
        case "upsamplers":
            return f"output_blocks.{number + blocks}.{2 if level in attending else 1}.conv.{end}"
        case "resnets":
            return f"{side}_blocks.{number + int(at)}.0.{_outside(rest)}.{end}"
        case _:
            return f"{side}_blocks.{number + int(at)}.1.{rest}.{end}"


def _of_controlnet(name: str, blocks: int, eyes: int) -> str:
    if match := re.fullmatch(r"controlnet_cond_embedding\.(conv_in|blocks\.(\d+)|conv_out)\.(.+)", name):
        place = {"conv_in": 0, "conv_out": eyes + 1}.get(match[1], int(match[2] or 0) + 1)
        return f"input_hint_block.{2 * place}.{match[3]}"
    if match := re.fullmatch(r"controlnet_down_blocks\.(\d+)\.(.+)", name):
        return f"zero_convs.{match[1]}.0.{match[2]}"
    if match := re.fullmatch(r"controlnet_mid_block\.(.+)", name):
        return f"middle_block_out.0.{match[1]}"
    return _of_unet(name, blocks, ())


def _of_vae(name: str, levels: int) -> str:
    name = name.replace(".conv_norm_out.", ".norm_out.").replace(".conv_shortcut.", ".nin_shortcut.")
    if match := re.fullmatch(r"(encoder|decoder)\.mid_block\.resnets\.([01])\.(.+)", name):
        return f"{match[1]}.mid.block_{int(match[2]) + 1}.{match[3]}"
    if match := re.fullmatch(r"(encoder|decoder)\.mid_block\.attentions\.0\.(.+)\.(\w+)", name):
        return f"{match[1]}.mid.attn_1.{_VAE_ATTENTION.get(match[2], match[2])}.{match[3]}"
    match = re.fullmatch(
        r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)", name
    )
    if match is None:
        return name
    side, number, kind, at, rest = match.groups()
    level = number if side == "encoder.down" else str(levels - 1 - int(number))
    inside = f"block.{at}.{rest}" if kind == "resnets" else f"{kind.removesuffix('rs')}.{rest}"
    return f"{side}.{level}.{inside}"


def _inside(rest: str) -> str:
    """Of a residual block's layers; those of a transformer have the same names in both."""
    return dict(_RESNET).get(rest, rest)


def _outside(rest: str) -> str:
    return {theirs: own for own, theirs in _RESNET}.get(rest, rest)


def _count(names: Collection[str], pattern: str) -> int:
    return 1 + max((int(match[1]) for name in names if (match := re.match(pattern, name))), default=-1)
