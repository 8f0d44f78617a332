"""Which kind of weight file is this? For messages to people who picked one that does not belong here."""

from __future__ import annotations

import re
from collections.abc import Iterable

from models.config import Shapes

_LIKE_SD = (  # shares names with Stable Diffusion v1, so these signs come first
    (r"time_stack|time_mix|motion_modules", "a video model"),
    (r"^cond_stage_model\.model\.", "a Stable Diffusion 2 model"),
    (r"^conditioner\.embedders\.|(^|\.)label_emb\.0\.0\.weight$|^add_embedding\.", "an SDXL model"),
    (r"(^|\.)joint_blocks\.\d", "a Stable Diffusion 3 model"),
    (r"(^|\.)double_blocks\.\d", "a Flux model"),
)
_TELLING = (  # tensors whose shapes differ between families
    "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    "middle_block.1.proj_in.weight",
    "embeddings.token_embedding.weight",
    "decoder.conv_in.weight",
)
_UNLIKE_SD = (
    (r"lora_(up|down|A|B|unet|te)\b|lora_(unet|te)|\.lora\.|hada_w1|lokr_w1", "a LoRA"),
    (r"^control_model\.|controlnet_cond_embedding|^controlnet_|zero_convs\.", "a ControlNet"),
    (r"^(down_blocks|up_blocks|encoder\.down_blocks|decoder\.up_blocks)\.", "a component in the layout of diffusers"),
    (r"^(emb_params|string_to_param|clip_[lg])$|^<.*>$", "a textual-inversion embedding"),
    (r"(^|\.)vision_model\.|^visual\.", "a CLIP vision model"),
    (r"^params(_ema)?$|^model\.\d+\.sub\.|^RRDB_trunk|^body\.\d+\.rdb|^conv_first|residual_group", "an upscaler"),
    (r"^(activation_func|layer_structure)$", "a hypernetwork"),
    (r"^(single_transformer_blocks|transformer_blocks|blocks|layers)\.\d", "a network of another kind"),
)


def foreign_family(names: Iterable[str], shapes: Shapes) -> str | None:
    """The family of a file whose names are like SD v1's and which is not SD v1, such as "an SDXL model"."""
    if family := _match(_LIKE_SD, names):
        return family
    ends = {end: next((shape for name, shape in shapes.items() if name.endswith(end)), ()) for end in _TELLING}
    context, proj_in, tokens, latents = (ends[end] for end in _TELLING)
    if len(proj_in) == 2 or (context[1:] == (1024,) and tokens[1:] != (1024,)):
        return "a Stable Diffusion 2 model"  # its transformers begin with a linear layer, its text has 1024 channels
    whole_clip = "visual_projection.weight" in shapes
    if tokens[1:] in ((1024,), (1280,)) and context[1:] != tokens[1:] and not whole_clip:
        return "a text encoder of Stable Diffusion 2 or SDXL"
    if latents[1:2] == (16,):
        return "a VAE with 16 latent channels (Stable Diffusion 3, Flux)"
    return None


def unlike_family(names: Iterable[str]) -> str | None:
    """The kind of a file that holds nothing of Stable Diffusion v1, such as "a LoRA", or None: cannot tell."""
    return _match(_UNLIKE_SD, names)


def unread_unet(shapes: Shapes) -> str | None:
    """What a U-Net reads besides latents, where it does, such as "an inpainting model (9 input channels)"."""
    channels = shapes["input_blocks.0.0.weight"][1]
    kind = {9: "an inpainting model", 8: "an instruct-pix2pix model"}.get(channels, "a model of another kind")
    return None if channels == 4 else f"{kind} ({channels} input channels, expected 4)"


def _match(signs: tuple[tuple[str, str], ...], names: Iterable[str]) -> str | None:
    for pattern, family in signs:
        if any(re.search(pattern, name) for name in names):
            return family
    return None
