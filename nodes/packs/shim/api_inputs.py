"""How packs of ComfyUI's third protocol declare inputs and outputs: a kind for each type of links, choices, groups, templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

_NAMES: Mapping[str, str] = MappingProxyType({
    "display_mode": "display", "dynamic_prompts": "dynamicPrompts", "force_input": "forceInput",
    "gradient_stops": "gradientStops",
})  # fmt: skip
"""What clients call options that packs have other words for."""


@dataclass
class Input:
    """One input; packs change it before they hand it over. `options` are those of its widget and of the editor."""

    id: str
    io_type: str
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None
    lazy: bool = False
    raw: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    template: Any = None


@dataclass
class Output:
    """One output."""

    io_type: str
    id: str | None = None
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False
    template: Any = None


class Kind:
    """A type of links, with the functions that declare inputs and outputs of it."""

    Type = object

    def __init__(self, io_type: str) -> None:
        self.io_type = io_type

    def Input(
        self,
        id: str,  # noqa: A002
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        extra_dict: Mapping[str, Any] | None = None,
        raw_link: bool | None = None,
        **options: Any,
    ) -> Input:
        """An input of this type; `options` are its widget's."""
        given = {_NAMES.get(key, key): _plain(value) for key, value in options.items() if value is not None}
        if upload := given.pop("upload", None):
            given[str(upload)] = True
        return Input(
            id,
            self.io_type,
            display_name,
            optional,
            tooltip,
            bool(lazy),
            bool(raw_link),
            {**given, **(extra_dict or {})},
        )

    def Output(
        self,
        id: str | None = None,  # noqa: A002
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> Output:
        """An output of this type."""
        return Output(self.io_type, id, display_name, tooltip, is_output_list)


class ComboKind:
    """A choice among names, or among the members of an Enum."""

    Type = str
    io_type = "COMBO"
    Output = Kind("COMBO").Output
    more: Mapping[str, Any] = MappingProxyType({})

    def Input(
        self,
        id: str,  # noqa: A002
        options: Any = None,
        **rest: Any,
    ) -> Input:
        names = (
            [member.value for member in options] if isinstance(options, type) and issubclass(options, Enum) else options
        )
        return Kind("COMBO").Input(id, options=list(names or ()), **{**rest, **self.more})


class MultiComboKind(ComboKind):
    """A choice of any number of names."""

    Type = list[str]
    more = MappingProxyType({"multiselect": True})


class MultiType:
    """A union of types."""

    @staticmethod
    def Input(id: str | Input, types: Sequence[Any], **rest: Any) -> Input:  # noqa: A002
        """An input that takes any of `types`; given an input instead of an id, with its widget."""
        kinds = [kind.io_type for kind in types]
        if isinstance(id, Input):
            kinds = list(dict.fromkeys([id.io_type, *kinds]))
            options = {**id.options, "widgetType": id.io_type}
            return Input(id.id, ",".join(kinds), id.display_name, id.optional, id.tooltip, id.lazy, id.raw, options)
        return Kind(",".join(kinds)).Input(id, **rest)


class MatchType:
    """Inputs and outputs of one template have one type, which the first link decides."""

    @dataclass(frozen=True)
    class Template:
        """What they have in common."""

        template_id: str
        allowed_types: Any = None

    @staticmethod
    def Input(id: str, template: Template, **rest: Any) -> Input:  # noqa: A002
        """An input of the template's type."""
        allowed = template.allowed_types
        kinds = allowed if isinstance(allowed, list | tuple) else [allowed] if allowed is not None else []
        made = Kind(",".join(kind.io_type for kind in kinds) or "*").Input(id, **rest)
        return Input(**{**vars(made), "template": template})

    @staticmethod
    def Output(template: Template, **rest: Any) -> Output:
        """An output of the template's type."""
        return Output("*", **rest, template=template)


class Autogrow:
    """Any number of inputs of one kind."""

    @dataclass(frozen=True)
    class TemplatePrefix:
        """Numbered inputs: prefix0, prefix1, …"""

        input: Input
        prefix: str
        min: int = 1
        max: int = 10

    @dataclass(frozen=True)
    class TemplateNames:
        """Inputs of given names."""

        input: Input
        names: Sequence[str]
        min: int = 1

    @staticmethod
    def Input(id: str, template: Any, **rest: Any) -> Input:  # noqa: A002
        """A group of inputs as the template says."""
        made = Kind("COMFY_AUTOGROW_V3").Input(id, **rest)
        return Input(**{**vars(made), "template": template})


class DynamicCombo:
    """A choice that brings inputs of its own."""

    @dataclass(frozen=True)
    class Option:
        """One choice and its inputs."""

        key: str
        inputs: Sequence[Input]

    @staticmethod
    def Input(id: str, options: Sequence[Option], **rest: Any) -> Input:  # noqa: A002
        """A choice among `options`."""
        made = Kind("COMFY_DYNAMICCOMBO_V3").Input(id, **rest)
        return Input(**{**vars(made), "template": tuple(options)})


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


KINDS: Mapping[str, str] = MappingProxyType({
    "Boolean": "BOOLEAN", "Int": "INT", "Float": "FLOAT", "String": "STRING", "Image": "IMAGE", "Mask": "MASK",
    "Latent": "LATENT", "Conditioning": "CONDITIONING", "Sampler": "SAMPLER", "Sigmas": "SIGMAS", "Noise": "NOISE",
    "Guider": "GUIDER", "Clip": "CLIP", "ControlNet": "CONTROL_NET", "Vae": "VAE", "Model": "MODEL",
    "ClipVision": "CLIP_VISION", "ClipVisionOutput": "CLIP_VISION_OUTPUT", "StyleModel": "STYLE_MODEL",
    "Gligen": "GLIGEN", "UpscaleModel": "UPSCALE_MODEL", "LoraModel": "LORA_MODEL", "Hooks": "HOOKS",
    "HookKeyframes": "HOOK_KEYFRAMES", "TimestepsRange": "TIMESTEPS_RANGE", "LatentOperation": "LATENT_OPERATION",
    "FlowControl": "FLOW_CONTROL", "Accumulation": "ACCUMULATION", "Webcam": "WEBCAM", "Audio": "AUDIO",
    "Video": "VIDEO", "AnyType": "*", "Load3D": "LOAD_3D", "Load3DAnimation": "LOAD3D_ANIMATION", "Load3DCamera": "LOAD3D_CAMERA",
    "File3DAny": "FILE_3D", "File3DGLB": "FILE_3D_GLB", "File3DGLTF": "FILE_3D_GLTF", "File3DFBX": "FILE_3D_FBX",
    "File3DOBJ": "FILE_3D_OBJ", "File3DSTL": "FILE_3D_STL", "File3DUSDZ": "FILE_3D_USDZ", "Mesh": "MESH", "Voxel": "VOXEL",
    "SVG": "SVG", "Color": "COLOR", "BoundingBox": "BOUNDING_BOX", "AudioEncoder": "AUDIO_ENCODER",
    "AudioEncoderOutput": "AUDIO_ENCODER_OUTPUT", "ModelPatch": "MODEL_PATCH", "LatentUpscaleModel": "LATENT_UPSCALE_MODEL", "WanCameraEmbedding": "WAN_CAMERA_EMBEDDING", "Photomaker": "PHOTOMAKER",
})  # fmt: skip


def names() -> Mapping[str, object]:
    """Those of `comfy_api.latest.io`."""
    classes = (MultiType, MatchType, Autogrow, DynamicCombo, Input, Output)
    return {
        **{name: Kind(io_type) for name, io_type in KINDS.items()},
        "Combo": ComboKind(),
        "MultiCombo": MultiComboKind(),
        "Custom": Kind,
        **{cls.__name__: cls for cls in classes},
    }
