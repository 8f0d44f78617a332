"""Weight files of Stable Diffusion v1, and of what checks and judges its pictures -> networks.

The networks' attribute names are the files' key names: a component's tensors are found by a prefix, its
architecture is read from their shapes, and no table of names is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from models.aesthetic import AestheticPredictor
from models.clip import TextModel
from models.config import (
    Shapes,
    clip_config,
    contrastive_config,
    predictor_widths,
    safety_config,
    unet_config,
    vae_config,
)
from models.families import foreign_family, unlike_family
from models.family import Family, family_of
from models.inception import Inception
from models.packed import Packed, pack
from models.safety import SafetyChecker, published_name
from models.unet import UNet
from models.vae import AutoencoderKL
from models.vision import ContrastiveModel
from models.weights import CheckpointError as CheckpointError
from models.weights import LaterTensors, TensorFile, TensorInfo, read_ahead, read_table, read_tensors

Part = Literal["model", "clip", "vae", "safety", "clip_model", "open_clip", "inception", "aesthetic"]

NOT_WEIGHTS = ("position_ids", "num_batches_tracked")
"""How the names of tensors end that files have besides weights."""

_HARMLESS = re.compile(
    r"(alphas|betas|sqrt_|log_one_minus_|posterior_|lvlb_|denoiser\.)[\w.]*$"  # the noise levels, which are made here
    r"|model_ema\.|(first_stage_model\.)?(loss|model_ema|discriminator)\.|logvar$|scale_factor$|(v_pred|ztsnr)$"
    r"|(cond_stage_model\.(transformer\.)?)?(logit_scale|text_projection(\.weight)?)$"  # what compares texts with pictures
    r"|.*(" + "|".join(NOT_WEIGHTS) + ")$"
)
"""The names of tensors that no network here needs, and that change nothing by being left out."""


class _Layout(NamedTuple):
    """How one component lies in a file: `prefix` stands where the network's own names begin with `own`."""

    title: str
    root: str  # a name that tells this component from all others
    build: Callable[[Shapes], nn.Module]
    children: tuple[str, ...] = ("",)  # how the network's own names begin, after `own`
    own: str = ""
    prefixes: tuple[str, ...] = ("",)  # most specific first; "" is a file that holds this component alone
    own_name: Callable[[str], str] = str  # from a file's name without its prefix, where files differ in more than that


_LAYOUTS: Mapping[Part, _Layout] = MappingProxyType(
    {
        "model": _Layout(
            title="U-Net",
            prefixes=("model.diffusion_model.", "diffusion_model.", ""),
            root="input_blocks.0.0.weight",
            build=lambda shapes: UNet(unet_config(shapes)),
            children=("input_blocks.", "middle_block.", "output_blocks.", "out.", "time_embed."),
        ),
        "clip": _Layout(
            title="text encoder",
            own="text_model.",
            prefixes=(
                "cond_stage_model.transformer.text_model.",
                "cond_stage_model.transformer.",  # some old files leave the level out
                "text_model.",
                "",
            ),
            root="embeddings.token_embedding.weight",
            build=lambda shapes: TextModel(clip_config(shapes)),
            children=("embeddings.", "encoder.", "final_layer_norm."),
        ),
        "vae": _Layout(
            title="VAE",
            prefixes=("first_stage_model.", ""),
            root="decoder.up.0.block.0.norm1.weight",
            build=lambda shapes: AutoencoderKL(vae_config(shapes)),
            children=("encoder.", "decoder.", "quant_conv.", "post_quant_conv."),
        ),
        "safety": _Layout(
            title="safety checker",
            root="concept_embeds",
            build=lambda shapes: SafetyChecker(safety_config(shapes)),
            own_name=published_name,
        ),
        "clip_model": _Layout(
            title="CLIP with both towers",
            root="text_projection.weight",
            build=lambda shapes: ContrastiveModel(contrastive_config(shapes, "quick_gelu")),
        ),
        "open_clip": _Layout(  # the same tensors with another activation
            title="CLIP with both towers",
            root="text_projection.weight",
            build=lambda shapes: ContrastiveModel(contrastive_config(shapes, "gelu")),
        ),
        "inception": _Layout(
            title="Inception network",
            root="Mixed_7c.branch_pool.conv.weight",
            build=lambda shapes: Inception(),
        ),
        "aesthetic": _Layout(
            title="aesthetic predictor",
            root="layers.7.weight",
            build=lambda shapes: AestheticPredictor(predictor_widths(shapes)),
        ),
    }
)


@dataclass(frozen=True)
class Weights:
    """A weight file's header: names, shapes and places of tensors, none of the numbers. Can be pickled."""

    file: TensorFile
    prefixes: Mapping[Part, str]
    family: Family

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """All that the file holds, by the file's own names."""
        return self.file.tensors

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the writer of the file said of it."""
        return self.file.metadata

    def read_ahead(self, *parts: Part) -> None:
        """Have the disk bring the weights of `parts` into the system's cache, one part after the other."""
        for part in parts:
            prefix = self.prefixes[part]
            read_ahead(self.file, [name for name in self.tensors if name.startswith(prefix)])

    def parts(self) -> frozenset[Part]:
        """Which of the components the file holds."""
        return frozenset(self.prefixes)

    def unused(self) -> list[str]:
        """The names of tensors that none of the components uses, and that are not known to be harmless."""
        starts = tuple(prefix + child for part, prefix in self.prefixes.items() for child in _LAYOUTS[part].children)
        return [name for name in self.tensors if not name.startswith(starts) and not _HARMLESS.match(name)]

    def shapes(self, part: Part) -> dict[str, tuple[int, ...]]:
        """The shapes of a component's weights by the network's own names. Raises CheckpointError if it is not there."""
        return {own: self.tensors[name].shape for own, name in self.names(part).items()}

    def names(self, part: Part) -> dict[str, str]:
        """A component's weights: the network's own name -> the file's. Raises CheckpointError if it is not there."""
        if part not in self.prefixes:
            titles = dict.fromkeys(f"a {held.title}" for other, held in _LAYOUTS.items() if other in self.prefixes)
            raise CheckpointError(f"{self.path.name} holds no {_LAYOUTS[part].title}, only {' and '.join(titles)}")
        layout, prefix = _LAYOUTS[part], self.prefixes[part]
        return {
            layout.own_name(layout.own + name.removeprefix(prefix)): name
            for name in self.tensors
            if name.startswith(prefix) and not name.endswith(NOT_WEIGHTS)
        }


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

    def changes(self, shapes: Shapes) -> Mapping[str, Change]:
        """What it does to the weights of a network with `shapes`, by their names. Raises CheckpointError."""


@dataclass(frozen=True)
class Variant:
    """A network that is like `base`, loaded from the same file, but for some weights. changes: what is done to them in
    float32, one thing after the other, by the weights' names."""

    base: nn.Module
    changes: Mapping[str, Sequence[Change]]


def read_header(path: Path) -> Weights:
    """Read what a file holds, not the weights. Raises CheckpointError if it is damaged or not of SD v1."""
    file = read_table(path)
    names = [*file.tensors, *file.others]
    if family := foreign_family(names, {name: info.shape for name, info in file.tensors.items()}):
        raise CheckpointError(f"{path.name} is {family}; only Stable Diffusion v1 is supported")
    prefixes = {
        part: prefix
        for part, layout in _LAYOUTS.items()
        for prefix in reversed(layout.prefixes)  # the last one found stays
        if prefix + layout.root in file.tensors
    }
    if not prefixes:
        kind = unlike_family(names) or f"not a Stable Diffusion checkpoint (it holds {_some(names) or 'nothing'})"
        raise CheckpointError(
            f"{path.name} is {kind}; expected a U-Net, VAE, text encoder or safety checker of Stable Diffusion v1, "
            "or a network that judges pictures (CLIP, Inception, aesthetic predictor)"
        )
    return Weights(file, prefixes, family_of(names, file.metadata))


def load_part(
    weights: Weights,
    part: Part,
    *,
    dtype: torch.dtype | None,
    device: torch.device,
    ema: bool = False,
    packed: bool = False,
    variant: Variant | None = None,
) -> nn.Module:
    """Build one network, such as a UNet or a SafetyChecker, and give it the file's weights, without gradients.

    dtype: None as stored (float32 where a file mixes several). On the CPU, weights that are stored as wanted are a map
    of the file, not copied. ema: the running average that training kept of the U-Net, where the file has one. packed:
    with layers that pack their weights, which are read when a layer is first called; that raises CheckpointError too.
    variant: the layers that it does not change are the same objects as its base's, so they are in memory once.
    Reads this part's bytes only, except from .ckpt files older than torch 1.6. Raises CheckpointError.
    """
    layout = _LAYOUTS[part]
    if ema and part != "model":
        raise ValueError("only the U-Net has averaged weights")

    module, sources = _build(weights, part, layout)
    if ema:
        sources = {own: "model_ema.diffusion_model" + own.replace(".", "") for own in sources}
        if not any(source in weights.tensors for source in sources.values()):
            raise CheckpointError(f"{weights.path.name} holds no averaged (EMA) weights")
    wanted = {own: tuple(tensor.shape) for own, tensor in module.state_dict().items()}
    _check(weights, layout, wanted, sources)

    stored = {weights.tensors[source].dtype for source in sources.values()}
    if dtype is None:
        dtype = stored.pop() if len(stored) == 1 else torch.float32
    if packed:
        pack(module)
    if variant:
        own_layers = {own.rpartition(".")[0] for own in variant.changes}
        _share(module, variant.base, own_layers)
        sources = {own: source for own, source in sources.items() if own.rpartition(".")[0] in own_layers}
    elif packed:
        sources = _without_later(weights, module, sources, dtype)
    changes = variant.changes if variant else {}
    owns = {source: own for own, source in sources.items()}
    state: dict[str, Tensor] = {}
    for source, tensor in read_tensors(weights.file, owns, dtype=dtype, device=device, mapped=not packed):
        own = owns[source]
        state[own] = _changed(tensor.reshape(wanted[own]), changes.get(own, ()))
    module.load_state_dict(state, assign=True, strict=not (packed or variant))
    return module.to(device)  # what it did not load but made for itself


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


def _without_later(weights: Weights, module: nn.Module, sources: dict[str, str], dtype: torch.dtype) -> dict[str, str]:
    """Have packed layers read their weights when they are first called; returns the sources of all others."""
    layers = {f"{name}.weight": layer for name, layer in module.named_modules() if isinstance(layer, Packed)}
    later = {own: sources[own] for own in layers if weights.tensors[sources[own]].offset is not None}
    if later:
        tensors = LaterTensors(weights.file, later.values(), dtype)
        for own, source in later.items():
            layers[own].read_later(partial(tensors.read, source), dtype)
    return {own: source for own, source in sources.items() if own not in later}


def _build(weights: Weights, part: Part, layout: _Layout) -> tuple[nn.Module, dict[str, str]]:
    """The network without weights (on the meta device), and the file's name for each of its tensors."""
    found = weights.names(part)
    prefix, file = weights.prefixes[part], weights.path.name
    orphans = [key.removesuffix("bias") + "weight" for key in found.values() if key.endswith(".bias")]
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
            f"{file} has a {layout.title} with {len(unknown)} tensors that Stable Diffusion v1's has not: {_some(unknown)}"
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


def _check(weights: Weights, layout: _Layout, wanted: Shapes, sources: Mapping[str, str]) -> None:
    file = weights.path.name
    _raise_if_missing(file, layout, [source for source in sources.values() if source not in weights.tensors])
    for own, source in sources.items():
        info, shape = weights.tensors[source], wanted[own]
        linear = shape[:2] if shape[2:] == (1, 1) else shape  # a 1x1 convolution may be stored as a linear layer
        if info.shape not in (shape, linear):
            raise CheckpointError(f"{file}: {source} has the shape {list(info.shape)}, expected {list(shape)}")
        if not info.dtype.is_floating_point:
            raise CheckpointError(f"{file}: {source} holds {info.dtype}, expected floating-point numbers")


def _raise_if_missing(file: str, layout: _Layout, missing: list[str]) -> None:
    if missing:
        tensors = "1 tensor" if len(missing) == 1 else f"{len(missing)} tensors"
        raise CheckpointError(f"{file} lacks {tensors} of its {layout.title}: {_some(missing)}")


def _some(names: Iterable[str]) -> str:
    """The first few of some names, shortened."""
    shown = [name if len(name) < 100 else name[:97] + "…" for name in names]
    return ", ".join(shown[:4] + ["…"] * (len(shown) > 4))
