"""Which layer of a network a tensor of an adapter file is for, and what it is of that layer's change.

The name of a tensor says both, in one of many spellings: the layer by the checkpoint's own name or by that of diffusers,
with dots or underscores, behind the prefixes of the program that trained it; then which factor of the change it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from models.config import Shapes
from models.diffusers_names import diffusers_name
from models.layouts import Part

Field = str
"""What a tensor is of the change of one layer: "up", "down", "alpha", "hada_w1_a", …"""

_PREFIXES = (  # what stands before a layer's name, often several of them
    "base_model.model.", "model.diffusion_model.", "diffusion_model.", "unet.", "lora_unet_", "lycoris_", "lora_te1_",
    "lora_te2_", "lora_te_", "text_encoder.", "text_encoder_2.", "text_encoders.clip_l.transformer.",
    "text_encoders.clip_g.transformer.", "clip_l.", "clip_g.", "text_model.", "text_model_",
)  # fmt: skip
_TEXT = re.compile(r"(base_model\.model\.)?(lora_te\d?_|text_encoder|clip_l\.|clip_g\.|text_model\.)")
_SECOND = re.compile(r"(base_model\.model\.)?(lora_te2_|text_encoder_2\.|(text_encoders\.)?clip_g\.)")
"""How names begin that are for the second text tower of a model that has two: ViT-bigG."""
_ONLY = "lora_te_"
"""How names begin that are for the text tower of a model that has one."""
_WHOLE = re.compile(r"base_model\.model\.|.*\.modules_to_save\.")  # PEFT's names for weights that are given anew
_UP = (
    ".lora_up.weight", "_lora.up.weight", ".lora_B.weight", ".lora.up.weight", ".lora_B",
    ".lora_linear_layer.up.weight", ".lora_B.default.weight",
)  # fmt: skip
_DOWN = tuple(end.replace("up", "down").replace("_B", "_A") for end in _UP)
_NAMED = (  # fields that are called what their tensors are
    "alpha", "diff", "diff_b", "w_norm", "b_norm", "on_input", "rescale", "dora_scale", "oft_blocks", "boft_R", "boft_s", "hra_u",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "ia3_l",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
)  # fmt: skip
_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        **dict.fromkeys(_UP, "up"),
        **dict.fromkeys(_DOWN, "down"),
        **{f".{field}": field for field in _NAMED},
        **{f".{field}.weight": field for field in ("a1", "a2", "b1", "b2", "bm")},
        **dict.fromkeys((".lora_B.bias", ".lora_B.default.bias"), "up_bias"),
        **dict.fromkeys((".lora_magnitude_vector", ".lora_magnitude_vector.weight"), "magnitude"),
        **dict.fromkeys((".oft_R.weight", ".oft_R.default.weight"), "oft_R"),
        **dict.fromkeys((".weight", ".base_layer.weight", ".modules_to_save.weight"), "new_weight"),
        **dict.fromkeys((".bias", ".base_layer.bias", ".modules_to_save.bias"), "new_bias"),
        ".lora_mid.weight": "mid",
    }
)
_LONGEST_FIRST = tuple(sorted(_FIELDS, key=len, reverse=True))


def grouped(names: Iterable[str], shapes: Shapes) -> dict[str, dict[Field, str]]:
    """Of the names of an adapter file those for a network with `shapes`: its layer -> field -> the file's name.

    Where several names mean the same, the first counts.
    """
    layers = spellings(shapes)
    found: dict[str, dict[Field, str]] = {}
    for name in names:
        stem, field = taken_apart(name)
        if field and (layer := layers.get(normalized(stem))):
            found.setdefault(layer, {}).setdefault(field, name)
    return found


def names_for(part: Part, names: Iterable[str]) -> list[str]:
    """Of the names of an adapter file those that may be for the network `part`: towers have layers of the same names."""
    if part == "clip_g":
        return [name for name in names if _SECOND.match(name) or name.startswith(_ONLY)]
    return [name for name in names if not _SECOND.match(name)]


def taken_apart(name: str) -> tuple[str, Field | None]:
    """The name of a layer, as the file spells it, and the field; the field is None for what is not known."""
    for end in _LONGEST_FIRST:
        if name.endswith(end):
            stem = name.removesuffix(end)
            if end not in (".weight", ".bias") or _WHOLE.match(name):
                return stem, _FIELDS[end]
            return stem, "factor" if end == ".weight" else None  # of IA3
    return name, None


def is_for_text(name: str) -> bool:
    """Whether a name says that its tensor is for a text encoder."""
    return _TEXT.match(name) is not None


def spellings(shapes: Shapes) -> dict[str, str]:
    """The normalized names of a network's layers, its own and those of diffusers -> its own names."""
    layers = [name.removesuffix(".weight") for name in shapes if name.endswith(".weight")]
    found = {normalized(own): own for own in layers}
    if "input_blocks.0.0" in layers:
        halvings = [int(match[1]) for name in layers if (match := re.fullmatch(r"input_blocks\.(\d+)\.0\.op", name))]
        blocks = max(1, min(halvings, default=len(layers)) - 1)
        found |= {normalized(diffusers_name(own, blocks)): own for own in layers}
    return found


def normalized(stem: str) -> str:
    """A layer's name as all spellings have it in common: without prefixes, levels apart by underscores."""
    bare = dotted(stem).replace(".processor.", ".")
    if bare.endswith(".to_out"):  # the first attention processors of diffusers leave the list's index out
        bare += ".0"
    return bare.replace(".", "_")


def dotted(stem: str) -> str:
    """A layer's name without the prefixes."""
    while prefix := next((prefix for prefix in _PREFIXES if stem.startswith(prefix)), None):
        stem = stem.removeprefix(prefix)
    return stem
