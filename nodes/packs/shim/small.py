"""The smaller modules: types for editors of code, settings, conditioning, previews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, StrEnum
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nodes.packs.host import Host
from nodes.packs.shim.comfy_utils import ProgressBar


class IO(StrEnum):
    """Names of types of links."""

    STRING = "STRING"
    IMAGE = "IMAGE"
    MASK = "MASK"
    LATENT = "LATENT"
    BOOLEAN = "BOOLEAN"
    INT = "INT"
    FLOAT = "FLOAT"
    CONDITIONING = "CONDITIONING"
    SAMPLER = "SAMPLER"
    SIGMAS = "SIGMAS"
    GUIDER = "GUIDER"
    NOISE = "NOISE"
    CLIP = "CLIP"
    CONTROL_NET = "CONTROL_NET"
    VAE = "VAE"
    MODEL = "MODEL"
    CLIP_VISION = "CLIP_VISION"
    CLIP_VISION_OUTPUT = "CLIP_VISION_OUTPUT"
    STYLE_MODEL = "STYLE_MODEL"
    GLIGEN = "GLIGEN"
    UPSCALE_MODEL = "UPSCALE_MODEL"
    AUDIO = "AUDIO"
    POINT = "POINT"
    FACE_ANALYSIS = "FACE_ANALYSIS"
    BBOX = "BBOX"
    SEGS = "SEGS"
    VIDEO = "VIDEO"
    COMBO = "COMBO"
    NUMBER = "FLOAT,INT"
    PRIMITIVE = "STRING,FLOAT,INT,BOOLEAN"
    ANY = "*"

    def __ne__(self, other: object) -> bool:
        """`ANY` differs from nothing, and nothing from it."""
        if self is IO.ANY or other is IO.ANY or other == "*":
            return False
        return not str.__eq__(self, str(other))

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, str(other)) if isinstance(other, str) else False

    def __hash__(self) -> int:
        return str.__hash__(self)


class ComfyNodeABC:
    """What classes of nodes may inherit from."""


class CheckLazyMixin:
    """A node that wants all of its lazy inputs."""

    def check_lazy_status(self, **given: object) -> list[str]:
        """Those that are not there yet."""
        return [name for name, value in given.items() if value is None]


UNET_TYPES: Mapping[str, object] = MappingProxyType(
    dict.fromkeys(("UnetApplyFunction", "UnetApplyConds", "UnetParams", "UnetWrapperFunction"), Any)
)
"""`comfy.types`: words for annotations."""


def comfy_types(host: Host) -> Mapping[str, object]:
    """`comfy.comfy_types`."""
    plain = ("InputTypeDict", "FileLocator", "InputTypeOptions", "HiddenInputTypeDict")
    return {"IO": IO, "ComfyNodeABC": ComfyNodeABC, "CheckLazyMixin": CheckLazyMixin, **dict.fromkeys(plain, dict)}


class LatentPreviewMethod(Enum):
    """How latents are shown while they are sampled: packs are told `none`, since it is not theirs to do."""

    NoPreviews = "none"
    Auto = "auto"
    Latent2RGB = "latent2rgb"
    TAESD = "taesd"


class _Settings(SimpleNamespace):
    """What packs ask of the command line; what is not here is told by name."""

    def __init__(self, host: Host, **settings: object) -> None:
        super().__init__(**settings)
        self._host = host

    def __getattr__(self, name: str) -> object:
        if not name.startswith("__"):
            self._host.miss(f"comfy.cli_args.args.{name}")
        raise AttributeError(f"Darkroom's stand-in for comfy.cli_args.args has no {name!r}")


def executing(host: Host) -> Mapping[str, object]:
    """`comfy_execution.utils`: which node runs."""

    class ExecutionContext(NamedTuple):
        """A run, the node of it that runs, and which of its calls that is, where it is called several times."""

        prompt_id: str
        node_id: str
        list_index: int | None

    def get_executing_context() -> ExecutionContext | None:
        """None outside of a node."""
        context = host.running.get()
        return None if context is None else ExecutionContext(context.run.id, context.written_id, None)

    return {"get_executing_context": get_executing_context, "ExecutionContext": ExecutionContext}


def cli_args(host: Host) -> Mapping[str, object]:
    """`comfy.cli_args`: settings that packs ask for, as they are here."""
    off = ("highvram", "normalvram", "lowvram", "novram", "gpu_only", "disable_smart_memory", "deterministic",
           "force_fp16", "force_fp32", "fp16_unet", "bf16_unet", "fp16_vae", "bf16_vae", "fp32_vae", "cpu_vae",
           "multi_user", "disable_metadata", "dont_upcast_attention", "disable_xformers", "fast", "windows_standalone_build",
           "disable_all_custom_nodes", "enable_manager")  # fmt: skip
    args = _Settings(
        host, **dict.fromkeys(off, False), cpu=False, listen="127.0.0.1", port=8188, preview_method=LatentPreviewMethod.NoPreviews, verbose="INFO",
        output_directory=str(host.folders.output_dir), input_directory=str(host.folders.input_dir),
        temp_directory=str(host.folders.temp_dir), user_directory=None, base_directory=str(host.folders.base),
    )  # fmt: skip
    return {"args": args, "LatentPreviewMethod": LatentPreviewMethod}


def conditioning_set_values(
    conditioning: Sequence[Sequence[Any]],
    values: Mapping[str, object] = SimpleNamespace().__dict__,
    append: bool = False,
) -> list[list[Any]]:
    """Every entry with more options. append: behind those that are there."""
    made = []
    for tokens, options in conditioning:
        added = {k: options[k] + v if append and k in options else v for k, v in values.items()}
        made.append([tokens, {**options, **added}])
    return made


def node_helpers(host: Host) -> Mapping[str, object]:
    """`node_helpers`."""

    def pillow(fn: Any, arg: Any) -> Any:
        return fn(arg)

    def string_to_torch_dtype(string: str) -> torch.dtype | None:
        return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}.get(string)

    def image_alpha_fix(destination: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        if destination.shape[-1] < source.shape[-1]:
            return destination, source[..., : destination.shape[-1]]
        if destination.shape[-1] > source.shape[-1]:
            return torch.nn.functional.pad(destination, (0, 1), value=1.0), source
        return destination, source

    functions = (conditioning_set_values, pillow, string_to_torch_dtype, image_alpha_fix)
    return {function.__name__: function for function in functions}


def latent_preview(host: Host) -> Mapping[str, object]:
    """`latent_preview`: progress without pictures."""

    def prepare_callback(model: object, steps: int, x0_output_dict: dict[str, object] | None = None) -> Any:
        bar = ProgressBar(host, steps)

        def callback(step: int, x0: object, x: object, total_steps: int) -> None:
            if x0_output_dict is not None:
                x0_output_dict["x0"] = x0
            bar.update_absolute(step + 1, total_steps)

        return callback

    return {"prepare_callback": prepare_callback, "get_previewer": lambda device, latent_format: None}
