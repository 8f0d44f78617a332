"""Values at the boundary to packs: ours are frozen objects, theirs plain tensors, dictionaries and lists.

What goes to a pack is a copy, so that one which changes a tensor in place cannot spoil a result that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from graph.files import FileRef
from models.noise import Noise
from models.types import (
    ChosenSampler,
    Clip,
    ClipVision,
    ClipVisionOutput,
    Conditioning,
    ControlModel,
    Guider,
    Image,
    Latent,
    LatentOperation,
    Mask,
    Model,
    Sigmas,
    StyleModel,
    UpscaleModel,
    Vae,
)
from nodes.packs.host import Host
from nodes.packs.objects.clip import PackClip
from nodes.packs.objects.conditioning import conditioning_of, entries, plain
from nodes.packs.objects.controls import control_of
from nodes.packs.objects.guider import CFGGuider, PackNoise, TheirGuider, TheirNoise, guider_of, noise_of
from nodes.packs.objects.handles import Handle
from nodes.packs.objects.model import PackModel
from nodes.packs.objects.samplers import Sampler, sampler_of, their_sampler
from nodes.packs.objects.upscaling import PackUpscaler
from nodes.packs.objects.vae import PackVae
from nodes.packs.objects.vision import Output, PackClipVision, PackStyle, seen_by_pack, seen_by_us

_SOCKETS = frozenset({"IMAGE", "MASK", "SIGMAS", "LATENT", "CONDITIONING", "GUIDER", "NOISE", "SAMPLER",
                      "CLIP_VISION_OUTPUT", "LATENT_OPERATION"})  # fmt: skip
_OF_LATENTS = frozenset({"samples", "noise_mask", "batch_index"})


def to_pack(value: object, host: Host) -> Any:
    """`value` as packs know it; what they do not know goes as it is."""
    match value:
        case Image(pixels=tensor) | Mask(values=tensor) | Sigmas(values=tensor):
            return host.own(tensor)
        case Latent():
            return _latent(value, host)
        case Conditioning():
            return entries(value, host)
        case Model():
            return PackModel(value, host)
        case Clip() | Vae() | ControlModel() | ClipVision() | UpscaleModel() | StyleModel():
            return _handle(value, host)
        case ClipVisionOutput():
            return seen_by_pack(value)
        case LatentOperation(run=run):
            return lambda latent, **_: run(latent)
        case Noise():
            return TheirNoise(value) if not isinstance(value, PackNoise) else value.of
        case Guider():
            return TheirGuider(value, PackModel(value.model, host), host)
        case ChosenSampler():
            return their_sampler(value)
        case FileRef():
            return value.name
        case tuple():
            return list(value)
        case _:
            return value


def from_pack(value: Any, socket: str, host: Host) -> object:
    """What a pack gave for an output `socket`, as our nodes take it; for `*` by what it looks like."""
    if isinstance(value, Handle):
        return value.handle
    kind = socket if socket in _SOCKETS else _looks_like(value) if socket == "*" else ""
    match kind:
        case "IMAGE" if isinstance(value, Tensor):
            return Image(plain(value if value.ndim == 4 else value[None]))
        case "MASK" if isinstance(value, Tensor):
            return Mask(plain(value.reshape(-1, *value.shape[-2:])))
        case "SIGMAS" if isinstance(value, Tensor):
            return Sigmas(plain(value))
        case "LATENT" if isinstance(value, Mapping):
            mask, places = value.get("noise_mask"), value.get("batch_index")
            return Latent(
                plain(value["samples"]),
                {key: item for key, item in value.items() if key not in _OF_LATENTS},
                plain(mask.reshape(-1, 1, *mask.shape[-2:])) if isinstance(mask, Tensor) else None,
                tuple(map(int, places)) if places else None,
            )
        case "CONDITIONING" if isinstance(value, list | tuple):
            return conditioning_of(value, host)
        case "GUIDER" if isinstance(value, CFGGuider):
            return guider_of(value)
        case "SAMPLER":
            return sampler_of(value, lambda guider: TheirGuider(guider, PackModel(guider.model, host), host))
        case "NOISE" if isinstance(value, TheirNoise) or hasattr(value, "generate_noise"):
            return noise_of(value)
        case "CLIP_VISION_OUTPUT":
            return seen_by_us(value)
        case "LATENT_OPERATION" if callable(value):
            return LatentOperation(lambda latent: value(latent=latent))
        case _:
            return value


def _handle(value: Clip | Vae | ControlModel[Any] | ClipVision | UpscaleModel | StyleModel, host: Host) -> Handle[Any]:
    match value:
        case Clip():
            return PackClip(value, host)
        case Vae():
            return PackVae(value, host)
        case ControlModel():
            return control_of(value, host)
        case ClipVision():
            return PackClipVision(value, host)
        case UpscaleModel():
            return PackUpscaler(value, host)
        case StyleModel():
            return PackStyle(value, host)


def _looks_like(value: Any) -> str:
    match value:
        case Tensor() if value.ndim == 4 and value.shape[-1] in (1, 3, 4):
            return "IMAGE"
        case Tensor() if value.ndim == 3:
            return "MASK"
        case Tensor() if value.ndim == 1:
            return "SIGMAS"
        case Mapping() if isinstance(value.get("samples"), Tensor):
            return "LATENT"
        case [[Tensor(), Mapping()], *_]:
            return "CONDITIONING"
        case CFGGuider():
            return "GUIDER"
        case TheirNoise():
            return "NOISE"
        case Sampler():
            return "SAMPLER"
        case Output():
            return "CLIP_VISION_OUTPUT"
        case _:
            return ""


def _latent(latent: Latent, host: Host) -> dict[str, object]:
    fields: dict[str, object] = {"samples": host.own(latent.samples), **latent.extra}
    if latent.noise_mask is not None:
        fields["noise_mask"] = host.own(latent.noise_mask)
    if latent.batch_index is not None:
        fields["batch_index"] = list(latent.batch_index)
    return fields
