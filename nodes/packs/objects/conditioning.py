"""CONDITIONING as packs know it: a list of [tokens, what is said of them], each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from torch import Tensor

from models.areas import Area, Share
from models.inpainting import Beside
from models.micro_conditioning import NOTHING_SAID, MicroConditioning
from models.revision import PictureVector
from models.types import Cond, Conditioning
from nodes.packs.host import Host
from nodes.packs.objects.controls import PackControl, chained
from nodes.packs.objects.vision import Output

_BESIDE = ("concat_latent_image", "concat_mask", "concat_depth")
"""What networks are to see beside the latent; depth is a key of ours."""
_OF_CONDS = frozenset({"pooled_output", "area", "strength", "mask", "mask_strength", "set_area_to_bounds", "start_percent",
                      "end_percent", "control_apply_to_uncond", *_BESIDE, "cross_attn_controlnet",
                      "unclip_conditioning"})  # fmt: skip
_LEFT_OUT = ("gligen", "hooks", "noise_augmentation", "reference_latents")
"""What counts for something where packs come from, and for nothing here."""
_SAID = (("width", "width"), ("height", "height"), ("crop_w", "crop_w"), ("crop_h", "crop_h"),
         ("target_width", "target_width"), ("target_height", "target_height"), ("aesthetic_score", "score"))  # fmt: skip
"""What is said of the picture besides, by the names that packs have for it and by ours."""


def entries(value: Conditioning, host: Host) -> list[list[Any]]:
    """For each text its tokens [1, T, D], copied, and what is said of it."""
    return [_entry(cond, host) for cond in value.conds]


def conditioning_of(value: Sequence[Any], host: Host) -> Conditioning:
    """The same back; keys that we do not know stay with it, and those that would have changed the picture are told."""
    made = Conditioning(tuple(_cond(tokens, options) for tokens, options in value))
    left_out = sorted({key for cond in made.conds for key in (*_LEFT_OUT, "control") if cond.extra.get(key)})
    if left_out and (context := host.running.get()) is not None:
        context.warn(f"what a pack has set of a prompt counts for nothing here: {', '.join(left_out)}")
    return made


def plain(tensor: Tensor) -> Tensor:
    """A tensor of a pack as ours are: float32, on the CPU."""
    return tensor.detach().float().cpu()


def _entry(cond: Cond, host: Host) -> list[Any]:
    options: dict[str, object] = {"pooled_output": host.own(cond.pooled), **cond.extra}
    match cond.area:
        case Area(height, width, y, x):
            options["area"] = (height, width, y, x)
        case Share(height, width, y, x):
            options["area"] = ("percentage", height, width, y, x)
    if cond.area is not None or cond.strength != 1.0:
        options["strength"] = cond.strength
    if cond.mask is not None:
        options |= {"mask": host.own(cond.mask), "mask_strength": 1.0, "set_area_to_bounds": cond.bounded}
    if (cond.start, cond.end) != (0.0, 1.0):
        options |= {"start_percent": cond.start, "end_percent": cond.end}
    if (control := chained(cond.controls, host)) is not None:
        options |= {"control": control, "control_apply_to_uncond": any(it.for_all for it in cond.controls)}
    if cond.beside is not None:
        seen = (cond.beside.latent, cond.beside.mask, cond.beside.depth)
        options |= {key: host.own(shown) for key, shown in zip(_BESIDE, seen, strict=True) if shown is not None}
    if cond.for_controls is not None:
        options["cross_attn_controlnet"] = host.own(cond.for_controls)
    if cond.pictures:
        options["unclip_conditioning"] = [_seen(picture) for picture in cond.pictures]
    for theirs, ours in _SAID:
        if getattr(cond.said, ours) != getattr(NOTHING_SAID, ours):
            options[theirs] = getattr(cond.said, ours)
    return [host.own(cond.tokens), options]


def _seen(picture: PictureVector) -> dict[str, Any]:
    shown = Output()
    shown.image_embeds = picture.vectors
    return {
        "clip_vision_output": shown,
        "strength": picture.strength,
        "noise_augmentation": picture.augmentation,
    }


def _cond(tokens: Tensor, options: Mapping[str, Any]) -> Cond:
    pooled, given, mask = (options.get(name) for name in ("pooled_output", "area", "mask"))
    control, for_controls = options.get("control"), options.get("cross_attn_controlnet")
    controls = control.controls(bool(options.get("control_apply_to_uncond"))) if _is_ours(control) else ()
    ours = _OF_CONDS | dict(_SAID).keys() | ({"control"} if _is_ours(control) else set())
    area: Area | Share | None = None
    if given is not None:
        area = Share(*given[1:]) if given[0] == "percentage" else Area(*given)
    return Cond(
        plain(tokens),
        plain(pooled) if isinstance(pooled, Tensor) else plain(tokens)[:, -1] * 0,
        area,
        float(options.get("strength", 1.0)),
        {key: value for key, value in options.items() if key not in ours},
        _masks(mask)[:, 0] * float(options.get("mask_strength", 1.0)) if mask is not None else None,
        bool(options.get("set_area_to_bounds", False)),
        float(options.get("start_percent", 0.0)),
        float(options.get("end_percent", 1.0)),
        beside=_beside(*map(options.get, _BESIDE)),
        controls=controls,
        said=MicroConditioning(**{ours: options[theirs] for theirs, ours in _SAID if options.get(theirs) is not None}),
        pictures=tuple(map(_drawn, options.get("unclip_conditioning", ()))),
        for_controls=plain(for_controls) if isinstance(for_controls, Tensor) else None,
    )


def _is_ours(control: object) -> TypeGuard[PackControl]:
    """What a pack made of a network of ours; what it made otherwise stays with the keys that we do not know."""
    return isinstance(control, PackControl)


def _beside(latent: object, mask: object, depth: object) -> Beside | None:
    if not isinstance(latent, Tensor) and not isinstance(depth, Tensor):
        return None
    where, far = (_masks(seen) if isinstance(seen, Tensor) else None for seen in (mask, depth))
    return Beside(plain(latent) if isinstance(latent, Tensor) else None, where, far)


def _drawn(given: Mapping[str, Any]) -> PictureVector:
    vectors = plain(given["clip_vision_output"].image_embeds)
    return PictureVector(vectors, float(given["strength"]), float(given["noise_augmentation"]))


def _masks(mask: Tensor) -> Tensor:
    """[…, H, W] -> [b, 1, H, W]."""
    return plain(mask).reshape(-1, 1, *mask.shape[-2:])
