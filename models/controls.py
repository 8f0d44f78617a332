"""Controls at work: the networks that see pictures, each asked once for all the texts that hold it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.checkpoint import CheckpointError
from models.config import UNetConfig, unet_config
from models.control_lora import ControlFactors
from models.controlnet import ControlEnds, ControlNet, control
from models.levels import NoiseLevels
from models.merging import Merge, Sum
from models.reading import NO_RESIDUALS, Reading, Residuals, of_one_length
from models.scaling import center_crop
from models.steering import Call, Steered
from models.t2i_adapter import XL_CELL, AdapterConfig, T2IAdapter, adapter_config
from models.types import (
    AdapterModel,
    Conditioning,
    Control,
    ControlLoraModel,
    ControlNetModel,
    InputSideModel,
    Model,
    ModelHandle,
    Network,
)
from models.unet import InputSide, Tick

CELL = 8  # pixels a side of a hint for one cell of a latent


class Open(Protocol):
    """How networks are had: they stay where they are for as long as sampling lasts."""

    def __call__(self, handle: ModelHandle[Network]) -> Network: ...


Answer = Callable[[Call, Reading], Residuals]
"""What a network adds for one control, to the items of a batch that it counts for, at full strength."""


class Controlled:
    """Has each control's network answer, and adds up what they say. A control is asked once for all texts that hold it."""

    def __init__(self, answers: Sequence[tuple[Control, Answer]], levels: NoiseLevels) -> None:
        self._answers = [(given, answer, levels.at(given.start), levels.at(given.end)) for given, answer in answers]

    def __call__(self, call: Call, reading: Reading) -> Reading:
        """What the U-Net reads, with residuals."""
        found = reading.residuals
        for given, answer, top, bottom in self._answers:
            held = [given in text.controls for text in call.texts]
            if top >= call.sigma >= bottom and any(held):
                found = found + _answered(call, reading, given, answer, held)
        return replace(reading, residuals=found)


def _answered(call: Call, reading: Reading, given: Control, answer: Answer, held: Sequence[bool]) -> Residuals:
    """held: which of the call's texts hold the control."""
    batch, each = len(call.x), call.each
    rows = [row for row in range(batch) if held[row // each]]
    chosen = torch.tensor(rows, device=call.x.device)

    def of(x: Tensor) -> Tensor:
        return x if all(held) else x[chosen]

    vector = None if reading.vector is None else of(reading.vector)
    texts = [text for text, holds in zip(call.texts, held, strict=True) if holds]
    context = _read_by_controls(of(reading.context), texts, each)
    made = answer(replace(call, x=of(call.x), t=of(call.t), texts=texts), Reading(context, vector=vector))
    where = None if given.mask is None else _of_batch(given.mask[:, None], each, len(rows)).to(call.x)

    def weighted(x: Tensor) -> Tensor:
        if given.model.pooled:
            x = x.mean(dim=(2, 3), keepdim=True)
        if where is not None:
            x = x * F.interpolate(where, x.shape[-2:], mode="bilinear")
        x = x * given.strength
        return x if all(held) else x.new_zeros(batch, *x.shape[1:]).index_copy(0, chosen, x)

    return made.each(weighted)


def _read_by_controls(context: Tensor, texts: Sequence[Steered], each: int) -> Tensor:
    """What a control's network reads, [B, T, D]: the texts of the U-Net, or those that were made for it."""
    if all(text.for_controls is None for text in texts):
        return context
    own = context.split(each)
    read = [
        words if text.for_controls is None else text.for_controls.to(context).expand(each, -1, -1)
        for words, text in zip(own, texts, strict=True)
    ]
    return torch.cat(of_one_length(read))


class Seen:
    """What a network makes of a picture, kept for each size that it was asked for. cell: sides are multiples of this."""

    def __init__(
        self, hint: Tensor, see: Callable[[Tensor], tuple[Tensor, ...]], like: nn.Module, cell: int = CELL
    ) -> None:
        self._hint, self._see, self._cell = hint[..., :3].movedim(-1, 1), see, cell
        self._weight = next(like.parameters())
        self._maps: dict[tuple[int, int], tuple[Tensor, ...]] = {}

    def __call__(self, call: Call) -> tuple[Tensor, ...]:
        """Maps [B, C, h, w] for the items of a batch."""
        height, width = call.x.shape[-2:]
        size = (_up(height * CELL, self._cell), _up(width * CELL, self._cell))
        if size not in self._maps:
            hint = F.interpolate(center_crop(self._hint, size[1], size[0]), size=size, mode="nearest-exact")
            self._maps[size] = self._see(hint.to(self._weight))
        return tuple(_of_batch(maps, call.each, len(call.x)) for maps in self._maps[size])


class Asked:
    """A control network, asked at every call."""

    def __init__(
        self, side: InputSide, ends: ControlNet | ControlEnds, hint: Tensor, tick: Tick, kinds: tuple[int, ...] = ()
    ) -> None:
        self._side, self._ends, self._tick, self._kinds = side, ends, tick, kinds
        self._seen = Seen(hint, lambda pictures: (ends.input_hint_block(pictures),), ends)

    def __call__(self, call: Call, reading: Reading) -> Residuals:
        """See Answer."""
        return control(self._side, self._ends, call.x, call.t, self._seen(call)[0], reading, self._tick, self._kinds)


class Shown:
    """An adapter, which looks at a picture once. blocks: how many residual blocks each level of the U-Net's way down has."""

    def __init__(self, network: T2IAdapter, hint: Tensor, blocks: int) -> None:
        gray, cell = network.config.channels == 1, network.config.cell
        self._seen = Seen(hint, lambda x: tuple(network(x.mean(1, keepdim=True) if gray else x)), network, cell)
        self._sites = network.config.sites(blocks)

    def __call__(self, call: Call, reading: Reading) -> Residuals:
        """See Answer."""
        *first, last = self._seen(call)
        inputs: list[Tensor | None] = [None] * (self._sites[-1] + 1)
        for site, made in zip(self._sites, (*first, last), strict=False):
            inputs[site] = made
        return replace(NO_RESIDUALS, inputs=tuple(inputs), middle=last if len(self._sites) == len(first) else None)


def answers(
    texts: Sequence[Conditioning], model: Model, open_network: Open, tick: Tick
) -> list[tuple[Control, Answer]]:
    """The controls of some texts, each with its network for `model`. Raises CheckpointError if one is damaged."""
    return [(given, _answer(given, model, open_network, tick)) for given in controls_of(texts)]


def controls_of(texts: Sequence[Conditioning]) -> list[Control]:
    """All controls that some texts hold, each once."""
    return list(dict.fromkeys(given for text in texts for cond in text.conds for given in cond.controls))


def _answer(given: Control, model: Model, open_network: Open, tick: Tick) -> Answer:
    match given.model:
        case AdapterModel() as handle:
            blocks = open_network(model).config.num_res_blocks
            return Shown(open_network(handle), given.hint, blocks)
        case ControlLoraModel() as handle:
            return Asked(open_network(_own_side(model, handle)), open_network(handle), given.hint, tick)
        case ControlNetModel() as handle:
            if handle.difference and not handle.patches:
                handle = on_top(handle, model)
            network = open_network(handle)
            return Asked(network, network, given.hint, tick, handle.kinds)
        case other:
            raise TypeError(f"{type(other).__name__} is no kind of control")


def on_top(handle: ControlNetModel, model: Model) -> ControlNetModel:
    """A control network whose file holds the differences from a U-Net's weights."""
    return replace(handle, patches=(Merge((model,), Sum()),))


def _own_side(model: Model, lora: ControlLoraModel) -> InputSideModel:
    factors = ControlFactors(lora.weights.file, lora.identity)
    return InputSideModel(model.weights.seen_as("input_side", "model"), model.identity, (*model.patches, factors))


def check_control(given: Control, model: Model) -> None:
    """Raise CheckpointError, naming both files, if a control is of another family than the U-Net. Reads no weights."""
    handle, unet = given.model, model.weights.shapes("model")
    name, other = handle.weights.path.name, model.weights.path.name
    if isinstance(handle, ControlLoraModel):
        try:
            ControlFactors(handle.weights.file, handle.identity).check(unet)
        except CheckpointError as error:
            raise CheckpointError(f"{error} ({other} is given)") from error
        return
    shapes = handle.weights.shapes(handle.part)
    if isinstance(handle, AdapterModel):
        theirs, ours = _sites(adapter_config(shapes), unet_config(unet))
        told = f"feature maps of {_widths(theirs)} channels, where {other} has {_widths(ours)}"
    else:
        text = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
        theirs, ours = ((of.get(text, (0, 0))[1],) for of in (shapes, unet))
        told = f"text vectors of width {theirs[0]}, where {other} reads {ours[0]}"
    if theirs != ours:
        raise CheckpointError(f"{name} was made for another kind of model: it has {told}")


def _sites(adapter: AdapterConfig, unet: UNetConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The widths of an adapter's maps, and of what they would be added to in a U-Net, 0 for what it does not have."""
    levels = unet.channel_mult
    if adapter.cell == XL_CELL:  # the last one is for the middle block
        levels = (*levels, levels[-1]) if len(levels) == len(adapter.widths) - 1 else ()
    return adapter.widths, tuple(mult * unet.model_channels for mult in levels)


def _widths(widths: Sequence[int]) -> str:
    return ", ".join(map(str, widths))


def _up(side: int, cell: int) -> int:
    return -(-side // cell) * cell


def _of_batch(x: Tensor, each: int, rows: int) -> Tensor:
    """Pictures for the items of a batch of `rows`, made of parts of `each`: fewer begin anew with every part."""
    return x[torch.arange(rows, device=x.device) % each % len(x)]
