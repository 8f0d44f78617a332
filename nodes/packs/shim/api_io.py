"""`comfy_api.latest.io`: how packs of ComfyUI's third protocol declare their nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from nodes.packs.shim import api_inputs
from nodes.packs.shim.api_inputs import Input, Output
from nodes.packs.shim.api_replace import NodeReplace


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


def names() -> Mapping[str, object]:
    """What the module holds."""
    shown = (
        *(Hidden, Schema, NodeOutput, ComfyNode),
        *(ControlAfterGenerate, UploadType, NumberDisplay, FolderType, NodeReplace),
    )
    return {
        **api_inputs.names(),
        "comfytype": lambda io_type, **_: lambda cls: type(cls.__name__, (), {**vars(cls), "io_type": io_type}),
        **{cls.__name__: cls for cls in shown},
    }
