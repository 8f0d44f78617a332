"""Nodes that keep encoded prompts as files, so that no text encoder is needed for them again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from graph.errors import InputError
from graph.files import FileRef
from graph.result import Shown
from graph.sockets import File, Text
from graph.spec import Named, Tip, node
from models.areas import Area, Share
from models.micro_conditioning import NOTHING_SAID, MicroConditioning
from models.types import Cond, Conditioning
from models.weights import CheckpointError, TensorFile, read_table, read_tensors
from nodes.output_files import expand, write_shown
from nodes.services import Context

WORDS, POOLED, MASK, FOR_CONTROLS = "conditioning", "pooled_output", "mask", "cross_attn_controlnet"
"""Names of tensors in such files."""
OPTIONS = "conditioning_options"
"""The place in a file's header for what is no tensor, as JSON."""
SHARE = "percentage"  # how an area begins that is told in parts of the picture
SAID: Mapping[str, str] = MappingProxyType(
    {field.name: field.name for field in fields(MicroConditioning)} | {"score": "aesthetic_score"}
)
"""What is said of the picture besides: our names, and those in files."""


@node("SaveConditioning", category="conditioning", title="Save Conditioning", terminal=True, lane="io")
def save_conditioning(
    ctx: Context,
    *,
    conditioning: Annotated[Conditioning, Tip("One encoded prompt.")],
    filename_prefix: Annotated[str, Text(tooltip="How the name begins. May hold folders.")] = "conditioning/ComfyUI",
) -> Shown[Annotated[Conditioning, Named("conditioning"), Tip("The same prompt.")]]:
    """Save an encoded prompt. In models/embeddings, Load Conditioning finds it, and no text encoder is needed."""
    if len(conditioning.conds) != 1:
        raise InputError(
            "conditioning", f"holds {len(conditioning.conds)} prompts; one can be saved: save it before combining"
        )
    [cond] = conditioning.conds
    if kept := [name for name in ("controls", "pictures", "beside") if getattr(cond, name)]:
        raise InputError("conditioning", f"holds {kept[0]}, which a file cannot keep: save the prompt before")
    tensors, options = _stored(cond)
    place = expand(filename_prefix, ctx.services.folders.output_dir, {})

    def write(path: Path) -> None:
        save_file(tensors, path, {OPTIONS: json.dumps(options)})

    return Shown(conditioning, {"files": [write_shown(place, ".safetensors", write)]})


@node("ConditioningLoader", category="conditioning", title="Load Conditioning", lane="io")
def conditioning_loader(
    ctx: Context,
    *,
    conditioning_name: Annotated[
        FileRef,
        File("embeddings", suffixes=(".safetensors",), typed=True, tooltip="A file of models/embeddings."),
    ],
) -> Annotated[Conditioning, Tip("The prompt, as it was saved.")]:
    """Read a prompt that was encoded before."""
    try:
        file = read_table(conditioning_name.path)
        return Conditioning((_read(file),))
    except CheckpointError as error:
        raise InputError("conditioning_name", str(error)) from error


def _stored(cond: Cond) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The tensors of a file, and what else it says. Raises InputError for what it cannot keep."""
    tensors = {WORDS: cond.tokens, POOLED: cond.pooled}
    tensors |= {name: held for name, held in ((MASK, cond.mask), (FOR_CONTROLS, cond.for_controls)) if held is not None}
    options: dict[str, object] = {
        "strength": cond.strength, "start_percent": cond.start, "end_percent": cond.end, "set_area_to_bounds": cond.bounded,
    }  # fmt: skip
    match cond.area:
        case Area(height, width, y, x):
            options["area"] = [height, width, y, x]
        case Share(height, width, y, x):
            options["area"] = [SHARE, height, width, y, x]
    options |= {
        theirs: said
        for ours, theirs in SAID.items()
        if (said := getattr(cond.said, ours)) != getattr(NOTHING_SAID, ours)
    }
    for name, value in cond.extra.items():
        if isinstance(value, bool | int | float | str):
            options[name] = value
        elif value is not None:
            tensors |= dict(_tensors(name, value))
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}, options


def _tensors(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    """A tensor, or a list of them by numbers behind its name."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, list | tuple) and value and all(isinstance(one, Tensor) for one in value):
        yield from ((f"{name}.{i}", one) for i, one in enumerate(value))
    else:
        raise InputError("conditioning", f"holds {name}, a {type(value).__name__}, which a file cannot keep")


def _read(file: TensorFile) -> Cond:
    """Raises CheckpointError."""
    if WORDS not in file.tensors:
        raise CheckpointError(f"{file.path.name} holds no encoded prompt: it lacks the tensor {WORDS}")
    cpu = torch.device("cpu")
    held = {name: tensor.clone() for name, tensor in read_tensors(file, list(file.tensors), dtype=None, device=cpu)}
    words = held.pop(WORDS).float()
    if words.ndim != 3 or len(words) != 1:
        raise CheckpointError(f"{file.path.name} holds a prompt of shape {list(words.shape)}, expected [1, T, D]")
    options = _options(file)
    pooled, mask, own = held.pop(POOLED, None), held.pop(MASK, None), held.pop(FOR_CONTROLS, None)
    cond = Cond(words, words[:, -1] * 0 if pooled is None else pooled.float())
    said = {
        ours: options.pop(theirs) if ours == "score" else int(options.pop(theirs))
        for ours, theirs in SAID.items()
        if _is_number(options.get(theirs))
    }
    return replace(
        cond,
        area=_area(options.pop("area", None)),
        strength=_number(options, "strength", 1.0),
        mask=None if mask is None else mask.float().reshape(-1, *mask.shape[-2:]),
        bounded=options.pop("set_area_to_bounds", False) is True,
        start=_number(options, "start_percent", 0.0),
        end=_number(options, "end_percent", 1.0),
        for_controls=None if own is None else own.float(),
        said=replace(cond.said, **said),
        extra={**options, **_listed(held)},
    )


def _options(file: TensorFile) -> dict[str, Any]:
    try:
        options = json.loads(file.metadata.get(OPTIONS, "{}"))
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise CheckpointError(f"{file.path.name} says {OPTIONS} that are no JSON object")
    return options


def _number(options: dict[str, Any], name: str, otherwise: float) -> float:
    value = options.pop(name, otherwise)
    return float(value) if _is_number(value) else otherwise


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _area(given: object) -> Area | Share | None:
    sides = list(given) if isinstance(given, list) else []
    is_share = sides[:1] == [SHARE]
    numbers = [float(side) for side in sides[is_share:] if _is_number(side)]
    if len(numbers) != 4 or len(sides) != 4 + is_share:
        return None
    return Share(*numbers) if is_share else Area(*map(int, numbers))


def _listed(held: Mapping[str, Tensor]) -> dict[str, object]:
    """Tensors whose names end in numbers, as lists in their order."""
    lists: dict[str, dict[int, Tensor]] = {}
    found: dict[str, object] = {}
    for name, tensor in held.items():
        stem, dot, number = name.rpartition(".")
        if dot and number.isdecimal():
            lists.setdefault(stem, {})[int(number)] = tensor
        else:
            found[name] = tensor
    return found | {stem: [items[i] for i in sorted(items)] for stem, items in lists.items()}
