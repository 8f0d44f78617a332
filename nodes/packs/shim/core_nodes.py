"""`nodes`: the core node types as classes, which packs call as helpers or inherit from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graph.inputs import REQUIRED, InputSpec
from graph.object_info import describe
from graph.result import Outputs
from graph.sockets import Widget
from graph.spec import NodeSpec
from nodes.packs.host import Host
from nodes.packs.objects.values import from_pack, to_pack
from nodes.packs.shim.api_io import NodeOutput
from nodes.packs.shim.methods import METHODS
from nodes.packs.shim.positional import by_name

MAX_RESOLUTION = 16384


class CoreNode:
    """A core node type as a class: made for each by `node_class`."""

    spec: NodeSpec
    host: Host
    RETURN_TYPES: tuple[str, ...] = ()
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple[Any, ...]]]:
        """Its inputs, with the files and choices that there are now."""
        groups = describe(cls.spec, cls.host.folders)["input"]
        assert isinstance(groups, dict)
        return {
            group: {name: tuple(entry) if isinstance(entry, list) else (entry,) for name, entry in inputs.items()}
            for group, inputs in groups.items()
        }

    def run(self, *positional: Any, **given: Any) -> Any:
        """Run it as part of the node that runs now; what is not given has its default."""
        spec, host = self.spec, self.host
        named = by_name(spec.inputs, positional, given)
        inputs = {declared.name: _input(declared, named, host) for declared in spec.inputs}
        result = spec.run(host.context, inputs)
        if not isinstance(result, Outputs):
            raise TypeError(f"{spec.type} cannot be called by another node")
        values = tuple(to_pack(value, host) for value in result.values)
        return {"ui": result.ui, "result": values} if result.ui else values

    @classmethod
    def execute(cls, *positional: Any, **given: Any) -> NodeOutput:
        """The same, as classes of the third protocol are called."""
        made = cls().run(*positional, **given)
        return NodeOutput(*made["result"], ui=made["ui"]) if isinstance(made, dict) else NodeOutput(*made)


def _input(declared: InputSpec, given: Mapping[str, Any], host: Host) -> object:
    if declared.name not in given:
        if declared.default is REQUIRED:
            raise TypeError(f"the input {declared.name!r} is missing")
        return declared.default
    value = given[declared.name]
    widget: Widget | None = declared.widget
    if widget is not None and (value is not None or not declared.optional):
        return widget.coerce(value, host.folders)
    return from_pack(value, declared.socket, host)


def _save_images(
    self: CoreNode, images: Any, filename_prefix: str = "ComfyUI", prompt: object = None, extra_pnginfo: object = None
) -> Any:
    """The workflow goes into the files from the run itself."""
    prefix = {"filename_prefix": filename_prefix} if self.spec.type == "SaveImage" else {}
    return self.run(images=images, **prefix)


def node_class(spec: NodeSpec, host: Host) -> type[CoreNode]:
    """The class that packs know a core node type by."""
    method = METHODS.get(spec.type, "run")
    names: dict[str, Any] = {
        "spec": spec,
        "host": host,
        "RETURN_TYPES": tuple(output.socket for output in spec.outputs),
        "RETURN_NAMES": tuple(output.name for output in spec.outputs),
        "FUNCTION": method,
        "CATEGORY": spec.category,
        "OUTPUT_NODE": spec.terminal,
        "DESCRIPTION": spec.description,
    }
    if method != "run":
        names[method] = CoreNode.run
    if spec.type in ("SaveImage", "PreviewImage"):
        folder = host.folders.output_dir if spec.type == "SaveImage" else host.folders.temp_dir
        kind = "output" if spec.type == "SaveImage" else "temp"
        names["save_images"] = _save_images
        names |= {"output_dir": str(folder), "type": kind, "prefix_append": "", "compress_level": 4}
    return type(spec.type, (CoreNode,), names)


def names(host: Host) -> Mapping[str, object]:
    """What the module holds."""
    classes = {name: node_class(spec, host) for name, spec in host.specs.items()}
    host.classes.update(classes)

    def common_ksampler(
        model: Any, seed: int, steps: int, cfg: float, sampler_name: str, scheduler: str,
        positive: Any, negative: Any, latent: Any, denoise: float = 1.0, disable_noise: bool = False,
        start_step: int | None = None, last_step: int | None = None, force_full_denoise: bool = False,
    ) -> Any:  # fmt: skip
        """Sampling as both KSampler nodes do it: (latent,)."""
        same = {"model": model, "steps": steps, "cfg": cfg, "sampler_name": sampler_name, "scheduler": scheduler}
        same |= {"positive": positive, "negative": negative, "latent_image": latent}
        if not disable_noise and start_step is None and last_step is None:
            return classes["KSampler"]().run(**same, seed=seed, denoise=denoise)
        return classes["KSamplerAdvanced"]().run(
            **same,
            add_noise="disable" if disable_noise else "enable",
            noise_seed=seed,
            start_at_step=start_step or 0,
            end_at_step=10000 if last_step is None else last_step,
            return_with_leftover_noise="disable" if force_full_denoise else "enable",
        )

    def interrupt_processing(value: bool = True) -> None:
        if value:
            host.context.run.cancel.set()

    return {
        "MAX_RESOLUTION": MAX_RESOLUTION,
        "NODE_CLASS_MAPPINGS": host.classes,
        "NODE_DISPLAY_NAME_MAPPINGS": {name: spec.title for name, spec in host.specs.items()},
        "EXTENSION_WEB_DIRS": host.web,
        "common_ksampler": common_ksampler,
        "interrupt_processing": interrupt_processing,
        "before_node_execution": lambda: host.context.check(),
        **classes,
    }
