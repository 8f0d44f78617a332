"""Node types that ComfyUI's own editor assumes of every server; without one of them it cannot draw a list of choices."""

from __future__ import annotations

from collections.abc import Mapping

from graph.files import Folders
from graph.object_info import object_info
from graph.result import Outputs
from graph.spec import NodeSpec

ASSUMED = (
    *("CheckpointLoaderSimple", "ImageOnlyCheckpointLoader", "LoraLoader", "LoraLoaderModelOnly", "VAELoader"),
    *("ControlNetLoader", "UNETLoader", "UpscaleModelLoader", "StyleModelLoader", "GLIGENLoader"),
)


def with_assumed(specs: Mapping[str, NodeSpec], folders: Folders) -> dict[str, dict[str, object]]:
    """What `/object_info` tells that editor: all node types, and those it assumes as nodes that nobody should use."""
    missing = {name: _missing(name) for name in ASSUMED if name not in specs}
    return object_info({**specs, **missing}, folders)


def _missing(name: str) -> NodeSpec:
    return NodeSpec(
        type=name,
        function=_missing,
        inputs=(),
        outputs=(),
        run=lambda ctx, inputs: Outputs(),
        category="not available",
        title=f"{name} (not available)",
        description="This server has no such node. A workflow with it is refused.",
        deprecated=True,
    )
