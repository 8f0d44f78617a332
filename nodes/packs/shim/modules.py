"""All stand-ins, by the names that packs import them by."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType, SimpleNamespace

from nodes.packs.host import Host
from nodes.packs.importing import StandIn
from nodes.packs.shim import (
    api_io,
    api_ui,
    comfy_utils,
    core_nodes,
    execution,
    folder_paths,
    graph_utils,
    model_management,
    models,
    prompt_server,
    sampling,
    small,
)
from nodes.packs.shim.prompt_server import Routes

EMPTY = (
    "comfy.model_detection",
    "comfy.supported_models",
    "comfy.supported_models_base",
    "comfy.model_base",
    "comfy.ops",
    "comfy.lora",
)
"""Modules of networks as ComfyUI builds them. They can be imported; what is asked of them is not here, and is told by name."""


class ComfyExtension:
    """What the entry point of a pack of the third protocol returns."""

    async def on_load(self) -> None:
        """Called once, before `get_node_list`."""

    async def get_node_list(self) -> list[type[api_io.ComfyNode]]:
        """The classes of its nodes."""
        raise NotImplementedError


def modules(host: Host, routes: Routes) -> Mapping[str, ModuleType]:
    """A module for each name. `routes` takes the addresses that packs answer."""
    api = _api(host)
    types, graph = small.comfy_types(host), graph_utils.names(host)
    held: Mapping[str, Mapping[str, object]] = {
        "folder_paths": folder_paths.names(host),
        "nodes": core_nodes.names(host),
        "server": prompt_server.names(host, routes),
        "node_helpers": small.node_helpers(host),
        "latent_preview": small.latent_preview(host),
        "execution": execution.names(host),
        "comfy": {},
        "comfy.utils": comfy_utils.names(host),
        "comfy.model_management": model_management.names(host),
        "comfy.samplers": sampling.samplers(host),
        "comfy.sample": sampling.sample(host),
        "comfy.k_diffusion": {},
        "comfy.k_diffusion.sampling": sampling.k_diffusion(host),
        "comfy.sd": models.sd(host),
        "comfy.model_patcher": models.model_patcher(host),
        "comfy.patcher_extension": models.patcher_extension(host),
        "comfy.model_sampling": models.model_sampling(host),
        **{name: {} for name in EMPTY},
        "comfy.cli_args": small.cli_args(host),
        "comfy.comfy_types": types,
        "comfy.comfy_types.node_typing": types,
        "comfy_execution": {},
        "comfy_execution.graph": graph,
        "comfy_execution.graph_utils": graph,
        "comfy_api": {},
        "comfy_api.latest": api,
        "comfy_api.latest.io": vars(api["io"]),
        "comfy_api.latest.ui": vars(api["ui"]),
        "comfy_api.v0_0_1": api,
        "comfy_api.v0_0_2": api,
    }
    return {name: StandIn(name, names, host.miss) for name, names in held.items()}


def _api(host: Host) -> Mapping[str, object]:
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

    class ComfyAPI:
        """What nodes ask of the program."""

        execution = Execution()

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
