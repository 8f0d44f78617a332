"""`comfy_api.latest.io`: how packs of ComfyUI's third protocol declare their nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType, SimpleNamespace
from typing import Any

from nodes.packs.shim.api_replace import NodeReplace

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


class Hidden(StrEnum):
    """What a node may see of the run."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"
    api_key_comfy_org = "API_KEY_COMFY_ORG"


@dataclass
class Schema:
    """A node's declaration."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    is_dev_only: bool = False
    not_idempotent: bool = False
    accept_all_inputs: bool = False
    enable_expand: bool = False
    search_aliases: list[str] = field(default_factory=list)
    essentials_category: str | None = None


class NodeOutput:
    """What a node gives."""

    def __init__(
        self, *args: Any, ui: Any = None, expand: Mapping[str, Any] | None = None, block_execution: str | None = None
    ) -> None:
        self.args = args
        self.ui = ui
        self.expand = expand
        self.block_execution = block_execution

    @property
    def result(self) -> tuple[Any, ...]:
        """Its values."""
        return self.args

    def __getitem__(self, index: int) -> Any:
        """One of them, as of a tuple."""
        return self.args[index]


class _Lockable(type):
    """A class of which a call gets a copy that cannot be written to, since all calls share it."""

    def __setattr__(cls, name: str, value: object) -> None:
        if cls.__dict__.get("is_locked"):
            raise AttributeError(f"{cls.__name__} keeps nothing between calls: {name!r} cannot be set on it")
        super().__setattr__(name, value)


class ComfyNode(metaclass=_Lockable):
    """What nodes of packs inherit from."""

    hidden: Any = SimpleNamespace()

    @classmethod
    def define_schema(cls) -> Schema:
        """The declaration."""
        raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        """The declaration, by the name that programs ask for it."""
        return cls.define_schema()


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


class ControlAfterGenerate(StrEnum):
    """What the editor does with a number after a run."""

    fixed = "fixed"
    increment = "increment"
    decrement = "decrement"
    randomize = "randomize"


class UploadType(StrEnum):
    """What may be uploaded at a choice of files."""

    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class NumberDisplay(StrEnum):
    """How a number is drawn."""

    number = "number"
    slider = "slider"


class FolderType(StrEnum):
    """Where a file lies."""

    input = "input"
    output = "output"
    temp = "temp"


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
    """What the module holds."""
    shown = (
        *(MultiType, MatchType, Autogrow, DynamicCombo, Hidden, Schema, NodeOutput, ComfyNode),
        *(ControlAfterGenerate, UploadType, NumberDisplay, FolderType, Input, Output, NodeReplace),
    )
    return {
        **{name: Kind(io_type) for name, io_type in KINDS.items()},
        "Combo": ComboKind(),
        "MultiCombo": MultiComboKind(),
        "Custom": Kind,
        "comfytype": lambda io_type, **_: lambda cls: type(cls.__name__, (), {**vars(cls), "io_type": io_type}),
        **{cls.__name__: cls for cls in shown},
    }
