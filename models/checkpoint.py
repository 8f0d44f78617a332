"""From a weight file to a network: its tensors on the device, packed or changed on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from models.config import Shapes
from models.eight_bits import in_eight_bits
from models.layouts import LAYOUTS, Layout, some
from models.layouts import Part as Part
from models.layouts import Weights as Weights
from models.layouts import read_header as read_header
from models.packed import Packed, pack
from models.streaming import Streamed, stream
from models.weights import CheckpointError as CheckpointError
from models.weights import TensorInfo, read_later, read_packed, read_tensors, unpacked

Change = Callable[[Tensor], Tensor]
"""A weight in float32 -> the changed one, of the same shape."""


class Patch(Protocol):
    """What is changed of a network's weights, such as an adapter file. Picklable; its numbers are read when it is."""

    @property
    def key(self) -> Hashable:
        """Equal for patches that do the same."""

    @property
    def sources(self) -> Sequence[tuple[Path, str]]:
        """The files that it is read from, each with the identity that it had."""

    def changes(self, shapes: Shapes, part: Part) -> Mapping[str, Change]:
        """What it does to the weights of a network with `shapes`, by their names; `part` says which network of its model it
        is. Raises CheckpointError."""


@dataclass(frozen=True)
class Variant:
    """A network that is like `base`, loaded from the same file, but for some weights. changes: what is done to them in
    float32, one thing after the other, by the weights' names."""

    base: nn.Module
    changes: Mapping[str, Sequence[Change]]


class Formats(NamedTuple):
    """In which format weights are kept, and which they are widened to when a layer computes."""

    kept: torch.dtype
    computed: torch.dtype

    @property
    def read(self) -> torch.dtype:
        """The format that they are read in: numbers of 8 bits are made of exact ones."""
        return torch.float32 if self.kept == torch.int8 else self.kept

    def hold(self, weight: Tensor) -> tuple[Callable[[], Tensor], int]:
        """What gives a weight that was `read` whenever a layer computes, and the bytes that it takes until then."""
        if self.kept == torch.int8:
            rounded = in_eight_bits(weight)
            return partial(rounded.widened, self.computed), rounded.nbytes
        return partial(weight.to, self.computed), weight.nbytes


def own_shapes(weights: Weights, part: Part) -> dict[str, tuple[int, ...]]:
    """The shapes of a component's weights as its network has them; a file may keep a 1x1 convolution as a linear layer.

    Raises CheckpointError.
    """
    module, sources = _build(weights, part, LAYOUTS[part])
    state = module.state_dict()
    return {own: tuple(state[own].shape) for own in sources}


def load_part(
    weights: Weights,
    part: Part,
    *,
    dtype: torch.dtype | None,
    device: torch.device,
    ema: bool = False,
    packed: bool = False,
    variant: Variant | None = None,
    streamed: bool = False,
    kept: torch.dtype | None = None,
) -> nn.Module:
    """Build one network, such as a UNet or a SafetyChecker, and give it the file's weights, without gradients.

    dtype: None as stored (float32 where a file mixes several). On the CPU, weights that are stored as wanted are a map
    of the file, not copied. ema: the running average that training kept of the U-Net, where the file has one. packed:
    with layers that pack their weights, which are read when a layer is first called; that raises CheckpointError too.
    variant: the layers that it does not change are the same objects as its base's, so they are in memory once. streamed:
    the weights of its Linear and Conv2d layers are read at every call, and none is kept. kept: they are kept in this format,
    and widened to `dtype` at every call. Those of a GGUF file are kept as they are stored, where that is smaller, and expanded
    at every call, but for those that a variant changes.
    Reads this part's bytes only, except from .ckpt files older than torch 1.6. Raises CheckpointError.
    """
    layout = LAYOUTS[part]
    module, sources = _build(weights, part, layout)
    if ema:
        sources = _averaged(weights, part, sources)
    wanted = {own: tuple(tensor.shape) for own, tensor in module.state_dict().items()}
    _check(weights, layout, wanted, sources)

    if dtype is None:
        stored = {weights.tensors[source].dtype for source in sources.values()}
        dtype = stored.pop() if len(stored) == 1 else torch.float32
    formats = Formats(kept or dtype, dtype)
    quantised = any(weights.file.keeps_packed(source, formats.kept) for source in sources.values())
    if packed:
        pack(module)
    elif streamed or kept or quantised:
        stream(module)
    if variant:
        own_layers = {own.rpartition(".")[0] for own in variant.changes}
        _share(module, variant.base, own_layers)
        sources = {own: source for own, source in sources.items() if own.rpartition(".")[0] in own_layers}
    changes = with_scales(weights, part, variant.changes if variant else {})
    if streamed:
        sources = _without_streamed(weights, module, sources, changes, formats, device)
    elif quantised:
        sources = _without_quantised(weights, module, sources, changes, formats, device)
    if kept and not streamed:
        sources = _without_kept(weights, module, sources, changes, formats, device)
    elif packed and not (variant or streamed):
        sources = _without_later(weights, module, sources, dtype, weights.scales(part))
    owns = {source: own for own, source in sources.items()}
    state: dict[str, Tensor] = {}
    for source, tensor in read_tensors(weights.file, owns, dtype=dtype, device=device, mapped=not packed):
        own = owns[source]
        state[own] = _changed(tensor.reshape(wanted[own]), changes.get(own, ()))
    module.load_state_dict(state, assign=True, strict=not (packed or variant or streamed or kept or quantised))
    return module.to(device)  # what it did not load but made for itself


def _averaged(weights: Weights, part: Part, owns: Collection[str]) -> dict[str, str]:
    """The file's names for the running averages of weights."""
    if part != "model":
        raise ValueError("only the U-Net has averaged weights")
    sources = {own: "model_ema.diffusion_model" + own.replace(".", "") for own in owns}
    if not any(source in weights.tensors for source in sources.values()):
        raise CheckpointError(f"{weights.path.name} holds no averaged (EMA) weights")
    return sources


def with_scales(
    weights: Weights, part: Part, changes: Mapping[str, Sequence[Change]]
) -> Mapping[str, Sequence[Change]]:
    """The changes, after the scales of weights that are kept in 8 bits."""
    scales = weights.scales(part)
    if not scales:
        return changes
    read = dict(read_tensors(weights.file, set(scales.values()), dtype=torch.float32, device=torch.device("cpu")))
    scaled: dict[str, Sequence[Change]] = {
        own: (partial(_scaled, scale=read[name]), *changes.get(own, ())) for own, name in scales.items()
    }
    return {**changes, **scaled}


def _scaled(weight: Tensor, scale: Tensor) -> Tensor:
    """scale: one number, or one for each output row."""
    return weight * (scale.view(-1, *[1] * (weight.ndim - 1)) if scale.numel() > 1 else scale)


def _changed(weight: Tensor, changes: Sequence[Change]) -> Tensor:
    """The changes are summed up in float32, on the CPU where they lie."""
    if not changes:
        return weight
    exact = weight.float().cpu()
    for change in changes:
        exact = change(exact)
    return exact.to(weight)


def _share(network: nn.Module, base: nn.Module, own_layers: Collection[str], prefix: str = "") -> None:
    """Take every layer of `base`'s but those named; what a module holds besides layers comes with it."""
    for name, tensor in (*base.named_parameters(recurse=False), *base.named_buffers(recurse=False)):
        setattr(network, name, tensor)
    for name, child in base.named_children():
        path = prefix + name
        if not any(own == path or own.startswith(path + ".") for own in own_layers):
            setattr(network, name, child)
        elif path not in own_layers:
            _share(network.get_submodule(name), child, own_layers, path + ".")


def _without_later(
    weights: Weights, module: nn.Module, sources: dict[str, str], dtype: torch.dtype, scaled: Collection[str]
) -> dict[str, str]:
    """Have packed layers read their weights when they are first called; returns the sources of all others."""
    layers = {own: layer for own, layer in _reading(module, sources).items() if isinstance(layer, Packed)}
    later = {
        own: sources[own] for own in layers if weights.tensors[sources[own]].offset is not None and own not in scaled
    }
    if later:
        tensors = read_later(weights.file, later.values(), dtype)
        for own, source in later.items():
            layers[own].read_later(tensors[source], dtype)
    return {own: source for own, source in sources.items() if own not in later}


def _without_streamed(
    weights: Weights,
    module: nn.Module,
    sources: dict[str, str],
    changes: Mapping[str, Sequence[Change]],
    formats: Formats,
    device: torch.device,
) -> dict[str, str]:
    """Have layers read their weights, and change them, whenever they are called; returns the sources of all others."""
    layers = _reading(module, sources)
    tensors = read_later(weights.file, [sources[own] for own in layers], formats.read, once=False)
    for own, layer in layers.items():

        def read(own: str = own, shape: torch.Size = layer.weight.shape) -> Tensor:
            weight = _changed(tensors[sources[own]]().reshape(shape), changes.get(own, ()))
            widened, _ = formats.hold(weight.to(device))
            return widened()

        layer.read_each_time(read, formats.computed, device)
    return {own: source for own, source in sources.items() if own not in layers}


def _without_quantised(
    weights: Weights,
    module: nn.Module,
    sources: dict[str, str],
    changed: Collection[str],
    formats: Formats,
    device: torch.device,
) -> dict[str, str]:
    """Have layers keep their weights as they are stored and expand them whenever they are called; returns the sources of all
    others. Weights that are changed are expanded and changed once."""
    layers = {
        own: layer
        for own, layer in _reading(module, sources).items()
        if own not in changed and weights.file.keeps_packed(sources[own], formats.kept)
    }
    owns = {sources[own]: own for own in layers}
    for source, stored in read_packed(weights.file, owns, device):
        layer = layers[owns[source]]
        read = partial(_unpacked, stored, weights.tensors[source], layer.weight.shape, formats)
        layer.read_each_time(read, formats.computed, device, stored.nbytes)
    return {own: source for own, source in sources.items() if own not in layers}


def _unpacked(stored: Tensor, info: TensorInfo, shape: torch.Size, formats: Formats) -> Tensor:
    return unpacked(stored, info, formats.read).reshape(shape).to(formats.computed)


def _without_kept(
    weights: Weights,
    module: nn.Module,
    sources: dict[str, str],
    changes: Mapping[str, Sequence[Change]],
    formats: Formats,
    device: torch.device,
) -> dict[str, str]:
    """Have layers keep their weights in one format and widen them whenever they are called; returns the sources of all
    others."""
    layers = _reading(module, sources)
    owns = {sources[own]: own for own in layers}
    for source, tensor in read_tensors(weights.file, owns, dtype=formats.read, device=device, mapped=False):
        own = owns[source]
        widened, size = formats.hold(_changed(tensor.reshape(layers[own].weight.shape), changes.get(own, ())))
        layers[own].read_each_time(widened, formats.computed, device, size)
    return {own: source for own, source in sources.items() if own not in layers}


def _reading(module: nn.Module, sources: Mapping[str, str]) -> dict[str, Packed | Streamed]:
    """The layers that can read their weights at every call, by the names of those weights."""
    layers = ((f"{name}.weight", layer) for name, layer in module.named_modules())
    return {own: layer for own, layer in layers if isinstance(layer, Packed | Streamed) and own in sources}


def _build(weights: Weights, part: Part, layout: Layout) -> tuple[nn.Module, dict[str, str]]:
    """The network without weights (on the meta device), and the file's name for each of its tensors."""
    found = weights.names(part)
    prefix, file = weights.prefixes[part], weights.path.name
    starts = tuple(layout.own + child for child in layout.children)
    biases = [key for own, key in found.items() if own.startswith(starts) and key.endswith(".bias")]
    orphans = [key.removesuffix("bias") + "weight" for key in biases]
    _raise_if_missing(file, layout, [key for key in orphans if key not in weights.tensors])
    shapes = {own: weights.tensors[key].shape for own, key in found.items()}
    try:
        if any(int(n) > len(shapes) for own in shapes for n in re.findall(r"\d+", own)):
            raise ValueError("a block number larger than the number of tensors")
        with torch.device("meta"), _Unfilled():
            module = layout.build(shapes)
    except KeyError as error:
        missing = prefix + str(error.args[0]).removeprefix(layout.own)
        _raise_if_missing(file, layout, [missing])
        raise
    except (ValueError, IndexError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{file} has a {layout.title} that Stable Diffusion v1 does not have: {error}") from error
    module.eval().requires_grad_(False)
    expected = module.state_dict().keys()
    children = tuple(
        layout.own + name + "." for name, _ in module.get_submodule(layout.own.rstrip(".")).named_children()
    )
    unknown = [key for own, key in found.items() if own.startswith(children) and own not in expected]
    _raise_if_missing(file, layout, [prefix + own.removeprefix(layout.own) for own in expected if own not in found])
    if unknown:
        raise CheckpointError(
            f"{file} has a {layout.title} with {len(unknown)} tensors that Stable Diffusion v1's has not: {some(unknown)}"
        )
    return module, {own: found[own] for own in expected}


class _Unfilled(TorchFunctionMode):
    """Layers made inside do not draw their first weights: on the meta device that fills nothing, and has torch import
    800 modules, which takes longer than reading the weights."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == nn.init.__name__:
            return None
        return func(*args, **(kwargs or {}))


def _check(weights: Weights, layout: Layout, wanted: Shapes, sources: Mapping[str, str]) -> None:
    file = weights.path.name
    _raise_if_missing(file, layout, [source for source in sources.values() if source not in weights.tensors])
    for own, source in sources.items():
        info, shape = weights.tensors[source], wanted[own]
        linear = shape[:2] if shape[2:] == (1, 1) else shape  # a 1x1 convolution may be stored as a linear layer
        if info.shape not in (shape, linear):
            raise CheckpointError(f"{file}: {source} has the shape {list(info.shape)}, expected {list(shape)}")
        if not info.dtype.is_floating_point:
            raise CheckpointError(f"{file}: {source} holds {info.dtype}, expected floating-point numbers")


def _raise_if_missing(file: str, layout: Layout, missing: list[str]) -> None:
    if missing:
        tensors = "1 tensor" if len(missing) == 1 else f"{len(missing)} tensors"
        raise CheckpointError(f"{file} lacks {tensors} of its {layout.title}: {some(missing)}")
