"""Which kind of weight file is this? For messages to people who picked one that does not belong here."""

from __future__ import annotations

import re
from collections.abc import Iterable

from models.config import LABEL, Shapes

READ_BESIDE = (4, 5, 8, 9)
"""Input channels of U-Nets that read a latent alone, how far things are beside it, a picture to edit, or one to inpaint and
its mask."""

_LIKE_SD = (  # shares names with Stable Diffusion v1, so these signs come first
    (r"time_stack|time_mix|motion_modules", "a video model"),
    (r"^edm_vpred\.sigma_max$", "an SDXL model of continuous noise levels (CosXL)"),
    (r"^edm_(mean|std)$", "an SDXL model with latents of its own (Playground 2.5)"),
    (r"(^|\.)joint_blocks\.\d", "a Stable Diffusion 3 model"),
    (r"(^|\.)double_blocks\.\d", "a Flux model"),
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

_LOOKS_AT_TEXT = re.compile(
    r"attn2[._]to_k(_lora)?[._](weight|down|lora_down\.weight|down\.weight|lora_A\.weight|lora_A\.default\.weight|lora\.down\.weight"
    r"|hada_w1_b|diff)$|(^|\.)to_k_ip\.weight$"
)
"""The names of tensors that have a column for each channel of the texts that a U-Net reads."""


def foreign_family(names: Iterable[str], shapes: Shapes) -> str | None:
    """The family of a file whose names are like Stable Diffusion's and which is of none that is known here."""
    if family := _match(_LIKE_SD, names):
        return family
    whole = all(any(end in name for name in shapes) for end in (LABEL, "out.2.weight", "middle_block.0."))
    if whole and not any("middle_block.1." in name for name in shapes):
        return "an SDXL model without attention in its middle block (SSD-1B)"
    if any(name.endswith("decoder.conv_in.weight") and shape[1:2] == (16,) for name, shape in shapes.items()):
        return "a VAE with 16 latent channels (Stable Diffusion 3, Flux)"
    return None


def unlike_family(names: Iterable[str]) -> str | None:
    """The kind of a file that holds nothing of Stable Diffusion v1, such as "a LoRA", or None: cannot tell."""
    return _match(_UNLIKE_SD, names)


def text_width(shapes: Shapes) -> int:
    """The width of the text vectors that a network reads, or those that something in a file was made for: a control network, an
    adapter of either kind. 0 where nothing of it looks at texts, or in names that do not tell."""
    return next((shape[1] for name, shape in shapes.items() if len(shape) > 1 and _LOOKS_AT_TEXT.search(name)), 0)


def unread_unet(shapes: Shapes) -> str | None:
    """What a U-Net reads besides latents that it cannot be given here, such as "an upscaling model (7 input channels)"."""
    channels = shapes["input_blocks.0.0.weight"][1]
    kind = {7: "an upscaling model"}.get(channels, "a model of another kind")
    return None if channels in READ_BESIDE else f"{kind} ({channels} input channels)"


def _match(signs: tuple[tuple[str, str], ...], names: Iterable[str]) -> str | None:
    for pattern, family in signs:
        if any(re.search(pattern, name) for name in names):
            return family
    return None
