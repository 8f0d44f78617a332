"""`comfy_api.latest`: extensions of the third protocol, and what they ask of the program."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from nodes.packs.host import Host
from nodes.packs.importing import StandIn
from nodes.packs.shim import api_io, api_ui
from nodes.packs.shim.api_replace import NodeReplace, replacement


class ComfyExtension:
    """What the entry point of a pack of the third protocol returns."""

    async def on_load(self) -> None:
        """Called once, before `get_node_list`."""

    async def get_node_list(self) -> list[type[api_io.ComfyNode]]:
        """The classes of its nodes."""
        raise NotImplementedError


def names(host: Host) -> Mapping[str, object]:
    """What the module holds."""
    io = StandIn("comfy_api.latest.io", api_io.names(), host.miss)
    ui = StandIn("comfy_api.latest.ui", api_ui.names(host), host.miss)

    class Execution:
        """Progress of the node that runs."""

        def set_progress_now(self, value: float, max_value: float, preview_image: object = None) -> None:
            """So much is done."""
            preview = None if preview_image is None else (lambda: preview_image)
            host.context.progress(value, max_value, preview)

        async def set_progress(
            self, value: float, max_value: float, node_id: str | None = None, preview_image: object = None, **_: object
        ) -> None:
            """So much is done."""
            self.set_progress_now(value, max_value, preview_image)

    class Replacing:
        """Node types that are gone, and what stands in for them."""

        async def register(self, node_replace: NodeReplace) -> None:
            """One more of them."""
            host.replacements[node_replace.old_node_id] = replacement(node_replace)

    class ComfyAPI:
        """What nodes and extensions ask of the program."""

        execution = Execution()
        node_replacement = Replacing()

    class ComfyAPISync:
        """The same without promises."""

        execution = SimpleNamespace(set_progress=ComfyAPI.execution.set_progress_now)

    return {
        "io": io,
        "comfy_io": io,
        "ui": ui,
        "ComfyExtension": ComfyExtension,
        "ComfyAPI": ComfyAPI,
        "ComfyAPISync": ComfyAPISync,
    }
