"""All stand-ins, by the names that packs import them by."""

from __future__ import annotations

from collections.abc import Mapping

from nodes.packs.host import Host
from nodes.packs.importing import Everywhere, StandIn
from nodes.packs.shim import (
    api_latest,
    comfy_utils,
    core_nodes,
    execution,
    extras,
    files,
    folder_paths,
    graph_utils,
    k_diffusion,
    model_management,
    model_sampling,
    networks,
    patching,
    prompt_server,
    samplers,
    sampling,
    small,
)
from nodes.packs.shim.prompt_server import Routes
from nodes.packs.shim.samplers import ksampler_class
from nodes.packs.shim.schedules import Handlers

EMPTY = (
    *("comfy", "comfy.k_diffusion", "comfy.ldm", "comfy.ldm.modules", "comfy_execution", "comfy_api"),
    *("comfy.model_detection", "comfy.supported_models", "comfy.supported_models_base"),
)
"""Packages around others, and modules of networks as ComfyUI builds them: what is asked of these is told by name."""


def modules(host: Host, routes: Routes) -> Mapping[str, StandIn]:
    """A module for each name. `routes` takes the addresses that packs answer."""
    api = api_latest.names(host)
    types, graph = small.comfy_types(host), graph_utils.names(host)
    functions = StandIn("comfy.k_diffusion.sampling", k_diffusion.names(), host.miss)
    ksamplers = ksampler_class(host, functions, Handlers())
    held: Mapping[str, Mapping[str, object]] = {
        "folder_paths": folder_paths.names(host),
        "nodes": core_nodes.names(host),
        "server": prompt_server.names(host, routes),
        "node_helpers": small.node_helpers(host),
        "latent_preview": small.latent_preview(host),
        "execution": execution.names(host),
        "comfy.utils": comfy_utils.names(host),
        "comfy.model_management": model_management.names(host),
        "comfy.samplers": samplers.names(host, ksamplers),
        "comfy.sample": sampling.sample(ksamplers),
        "comfy.sampler_helpers": sampling.helpers(),
        "comfy.sd": files.sd(host),
        "comfy.lora": files.lora(host),
        "comfy.clip_vision": files.clip_vision(host),
        "comfy.controlnet": files.controlnet(host),
        "comfy.model_patcher": patching.model_patcher(),
        "comfy.patcher_extension": patching.patcher_extension(),
        "comfy.model_sampling": model_sampling.names(),
        "comfy.model_base": networks.model_base(),
        "comfy.ops": networks.ops(),
        "comfy.ldm.modules.attention": networks.attention(),
        **{name: {} for name in EMPTY},
        "comfy.cli_args": small.cli_args(host),
        "comfy.types": small.UNET_TYPES,
        "comfy_execution.utils": small.executing(host),
        "comfy.comfy_types": types,
        "comfy.comfy_types.node_typing": types,
        "comfy_execution.graph": graph,
        "comfy_execution.graph_utils": graph,
        "comfy_api.latest": api,
        "comfy_api.latest.io": vars(api["io"]),
        "comfy_api.latest.ui": vars(api["ui"]),
        "comfy_api.v0_0_1": api,
        "comfy_api.v0_0_2": api,
    }
    return {
        **{name: StandIn(name, names, host.miss) for name, names in held.items()},
        "comfy.k_diffusion.sampling": functions,
        "comfy_extras": Everywhere("comfy_extras", extras.names(host), host.miss),
    }
