"""Model files as `comfy.sd`, `comfy.clip_vision`, `comfy.controlnet` and `comfy.lora` open them, each by our own node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graph.files import FileRef
from models.vision import CLIP_MEAN, CLIP_STD, vision_input
from nodes.packs.host import Host
from nodes.packs.objects.clip import PackClip
from nodes.packs.objects.controls import ControlBase, ControlLora, ControlNet, PackControl, T2IAdapter
from nodes.packs.objects.handles import ran
from nodes.packs.objects.lora import FileTensors, LoadedLora
from nodes.packs.objects.model import PackModel
from nodes.packs.objects.vae import PackVae
from nodes.packs.objects.values import to_pack
from nodes.packs.objects.vision import Output, PackClipVision


class CLIPType(Enum):
    """The families of models that text encoders are of; those here are of the first."""

    STABLE_DIFFUSION = 1
    STABLE_CASCADE = 2
    SD3 = 3
    STABLE_AUDIO = 4
    HUNYUAN_DIT = 5
    FLUX = 6


class _Read:
    """What opens files by our nodes."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __call__(self, type_name: str, **inputs: object) -> tuple[Any, ...]:
        """The outputs of a node, as packs hold them."""
        return tuple(to_pack(value, self._host) for value in ran(self._host, type_name, inputs))


def _file(folder: str, path: str | Path) -> FileRef:
    place = Path(path)
    return FileRef(folder, place.name, place)


def _as_read(tensors: object, function: str) -> FileTensors:
    if not isinstance(tensors, FileTensors):
        raise TypeError(f"{function} takes what load_torch_file has read, as it was read")
    return tensors


def _vae(read: _Read) -> type:
    """`comfy.sd.VAE`."""

    class Made(type):
        """What makes a VAE of what `load_torch_file` has read; every VAE is of the class."""

        def __call__(cls, sd: object = None, *rest: object, **_: object) -> Any:
            return read("VAELoader", vae_name=_file("vae", _as_read(sd, "VAE").path))[0]

        def __instancecheck__(cls, it: object) -> bool:
            return isinstance(it, PackVae)

    return Made("VAE", (), {})


def sd(host: Host) -> Mapping[str, object]:
    """`comfy.sd`."""
    read = _Read(host)

    def load_checkpoint_guess_config(
        ckpt_path: str, output_vae: bool = True, output_clip: bool = True, *rest: object, **_: object
    ) -> tuple[Any, Any, Any, None]:
        """The three networks of a file, and no CLIP vision."""
        model, clip, vae = read("CheckpointLoaderSimple", ckpt_name=_file("checkpoints", ckpt_path))
        return model, clip if output_clip else None, vae if output_vae else None, None

    def load_state_dict_guess_config(
        sd: object, output_vae: bool = True, output_clip: bool = True, *rest: object, **_: object
    ) -> tuple[Any, Any, Any, None]:
        """The same of what `load_torch_file` has read."""
        path = _as_read(sd, "load_state_dict_guess_config").path
        return load_checkpoint_guess_config(str(path), output_vae, output_clip)

    def load_diffusion_model(unet_path: str, model_options: object = None) -> Any:
        """The U-Net of a file."""
        [model] = read("UNETLoader", unet_name=_file("diffusion_models", unet_path), weight_dtype="default")
        return model

    def load_clip(
        ckpt_paths: Sequence[str],
        embedding_directory: object = None,
        clip_type: object = None,
        model_options: Any = None,
    ) -> Any:
        """The text encoder of a file, or of SDXL's two."""
        first, *others = (_file("text_encoders", path) for path in ckpt_paths)
        if len(others) > 1:
            raise ValueError(f"load_clip takes one file or two, got {len(ckpt_paths)}")
        if not others:
            return read("CLIPLoader", clip_name=first, type="stable_diffusion")[0]
        return read("DualCLIPLoader", clip_name1=first, clip_name2=others[0], type="sdxl")[0]

    def load_lora_for_models(
        model: PackModel, clip: PackClip | None, lora: object, strength_model: float, strength_clip: float
    ) -> tuple[Any, Any]:
        """Both networks with what `load_torch_file` has read."""
        path = _as_read(lora, "load_lora_for_models").path
        given = {"model": model.handle, "lora_name": _file("loras", path), "strength_model": strength_model}
        if clip is None:
            return read("LoraLoaderModelOnly", **given)[0], None
        made = read("LoraLoader", **given, clip=clip.handle, strength_clip=strength_clip)
        return made[0], made[1]

    functions = (
        *(load_checkpoint_guess_config, load_state_dict_guess_config, load_diffusion_model),
        *(load_clip, load_lora_for_models),
    )
    named = {function.__name__: function for function in functions}
    return {
        **named,
        "load_unet": load_diffusion_model,
        "VAE": _vae(read),
        "CLIP": PackClip,
        "CLIPType": CLIPType,
    }


def lora(host: Host) -> Mapping[str, object]:
    """`comfy.lora`: a file is read as a whole, and `add_patches` finds what of it a network has."""

    def load_lora(lora: object, to_load: Mapping[str, Any], log_missing: bool = True) -> LoadedLora:
        """What `load_torch_file` has read, for `add_patches`."""
        tensors = _as_read(lora, "load_lora")
        return LoadedLora(tensors.path, {name: name for name in tensors})

    def model_lora_keys_unet(model: object, key_map: dict[str, Any]) -> dict[str, Any]:
        """As it was: names are found where a file is applied."""
        return key_map

    def model_lora_keys_clip(model: object, key_map: dict[str, Any]) -> dict[str, Any]:
        """The same."""
        return key_map

    functions = (load_lora, model_lora_keys_unet, model_lora_keys_clip)
    return {function.__name__: function for function in functions}


def clip_vision(host: Host) -> Mapping[str, object]:
    """`comfy.clip_vision`."""

    def load(ckpt_path: str) -> Any:
        """The vision tower of a file."""
        return _Read(host)("CLIPVisionLoader", clip_name=_file("clip_vision", ckpt_path))[0]

    def clip_preprocess(
        image: Tensor,
        size: int = 224,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        crop: bool = True,
    ) -> Tensor:
        """Pictures [B, H, W, C] in 0..1 as a vision tower wants them, [B, 3, size, size]."""
        seen = vision_input(image, size, crop)
        (old_mean, old_std), (new_mean, new_std) = (
            tuple(torch.tensor(values, dtype=seen.dtype)[:, None, None] for values in pair)
            for pair in ((CLIP_MEAN, CLIP_STD), (tuple(mean), tuple(std)))
        )
        return (seen * old_std + old_mean - new_mean) / new_std

    return {"load": load, "clip_preprocess": clip_preprocess, "Output": Output, "ClipVisionModel": PackClipVision}


def controlnet(host: Host) -> Mapping[str, object]:
    """`comfy.controlnet`."""

    def load_controlnet(ckpt_path: str, model: object = None, model_options: object = None) -> PackControl:
        """The network of a file, whichever kind it is."""
        opened: PackControl = _Read(host)("ControlNetLoader", control_net_name=_file("controlnet", ckpt_path))[0]
        return opened

    classes = (ControlBase, ControlNet, ControlLora, T2IAdapter)
    return {"load_controlnet": load_controlnet, **{cls.__name__: cls for cls in classes}}
