"""`comfy_api.latest`: extensions of the third protocol, and what they ask of the program."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from nodes.packs.host import Host
from nodes.packs.importing import StandIn
from nodes.packs.shim import api_io, api_ui
from nodes.packs.shim.api_replace import NodeReplace, replacement
from nodes.pictures import to_pil


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

        async def set_progress(
            self, value: float, max_value: float, node_id: str | None = None, preview_image: object = None, **_: object
        ) -> None:
            """So much is done. preview_image: of PIL, or [H, W, C] or [1, H, W, C] in 0..1."""
            _told(host, value, max_value, preview_image)

    class ExecutionSync:
        """The same without promises."""

        def set_progress(
            self, value: float, max_value: float, node_id: str | None = None, preview_image: object = None, **_: object
        ) -> None:
            """So much is done."""
            _told(host, value, max_value, preview_image)

    class Replacing:
        """Node types that are gone, and what stands in for them."""

        async def register(self, node_replace: NodeReplace) -> None:
            """One more of them."""
            host.replacements[node_replace.old_node_id] = replacement(node_replace)

    class Asked:
        """What nodes and extensions ask of the program. What is not here is told by name."""

        def __getattr__(self, name: str) -> object:
            asked = f"comfy_api.latest.{type(self).__name__}.{name}"
            if not name.startswith("__"):
                host.miss(asked)
            raise AttributeError(f"Darkroom has no {asked}")

    class ComfyAPI(Asked):
        """The program, whose answers are promises."""

        execution = Execution()
        node_replacement = Replacing()

    class ComfyAPISync(Asked):
        """The program, whose answers are there at once."""

        execution = ExecutionSync()

    return {
        "io": io,
        "comfy_io": io,
        "ui": ui,
        "ComfyExtension": ComfyExtension,
        "ComfyAPI": ComfyAPI,
        "ComfyAPISync": ComfyAPISync,
    }


def _told(host: Host, value: float, max_value: float, preview: object) -> None:
    match preview:
        case None:
            host.context.progress(value, max_value, None)
        case Tensor():
            shown = preview.detach().float().cpu().reshape(-1, *preview.shape[-3:])[0, ..., :3]
            host.context.progress(value, max_value, lambda: to_pil(shown))
        case _:
            host.context.progress(value, max_value, lambda: preview)
