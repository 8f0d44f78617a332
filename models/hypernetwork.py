"""Hypernetworks, as A1111 trains them: small networks that change what keys and values of attention are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from models.attention import Inner, Site
from models.reading import Reading
from models.steering import Begun, Call, Ground
from models.unpickle import UnpickleError, read_pickle
from models.weights import CheckpointError

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "linear": lambda x: x,
        "relu": F.relu,
        "leakyrelu": F.leaky_relu,
        "elu": F.elu,
        "swish": F.hardswish,  # its trainer's name for it
        "tanh": F.tanh,
        "sigmoid": F.sigmoid,
        "softsign": F.softsign,
        "gelu": F.gelu,
        "silu": F.silu,
        "mish": F.mish,
        "selu": F.selu,
        "relu6": F.relu6,
        "hardswish": F.hardswish,
    }
)


class Layer(NamedTuple):
    """A linear layer with what follows it, weight [out, in], or a norm, weight [n]."""

    weight: Tensor
    bias: Tensor
    activation: str = "linear"

    def __call__(self, x: Tensor) -> Tensor:
        """[…, in] -> […, out]."""
        if self.weight.ndim == 1:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias)
        return ACTIVATIONS[self.activation](F.linear(x, self.weight, self.bias))


Net = tuple[Layer, ...]


@dataclass(frozen=True, eq=False)
class Hypernetwork:
    """Keys are made of c + strength net(c) instead of c, values of another one's, wherever c has as many channels as a net.

    nets: by channels, for keys and for values.
    """

    nets: Mapping[int, tuple[Net, Net]] = field(repr=False)
    strength: float

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        moved: dict[int, tuple[Net, Net]] = {}

        def of(width: int, like: Tensor) -> tuple[Net, Net] | None:
            if width in self.nets and width not in moved:
                keys, values = (
                    tuple(layer._replace(weight=layer.weight.to(like), bias=layer.bias.to(like)) for layer in net)
                    for net in self.nets[width]
                )
                moved[width] = keys, values
            return moved.get(width)

        def steer(call: Call, reading: Reading) -> Reading:
            plain = reading.around

            def around(site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Inner) -> Tensor:
                if nets := of(keys.shape[-1], keys):
                    keys, values = (
                        given + self.strength * _through(net, given)
                        for given, net in zip((keys, values), nets, strict=True)
                    )
                return plain(site, x, keys, values, inner)

            return replace(reading, around=around)

        return Begun(steer)


def _through(net: Net, x: Tensor) -> Tensor:
    for layer in net:
        x = layer(x)
    return x


def read_hypernetwork(path: Path, strength: float) -> Hypernetwork:
    """Read a file of A1111's: {channels: (for keys, for values)} and how they are built. Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            content = read_pickle(file)
    except UnpickleError as error:
        raise CheckpointError(f"{path.name} {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds no hypernetwork")
    pairs = {
        width: pair for width, pair in content.items() if isinstance(width, int) and isinstance(pair, list | tuple)
    }
    if not pairs or any(len(pair) != 2 for pair in pairs.values()):
        raise CheckpointError(f"{path.name} holds no hypernetwork: nothing in it is for a number of channels")
    activation = str(content.get("activation_func") or "linear").lower()
    if activation not in ACTIVATIONS:
        raise CheckpointError(
            f"{path.name} uses the activation {activation!r}; known are {', '.join(sorted(ACTIVATIONS))}"
        )
    last = bool(content.get("activate_output"))
    try:
        nets = {width: tuple(_net(state, width, activation, last) for state in pair) for width, pair in pairs.items()}
    except (KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path.name} holds a hypernetwork that is damaged: {error}") from error
    return Hypernetwork({width: (keys, values) for width, (keys, values) in nets.items()}, strength)


def _net(state: Mapping[str, Tensor], width: int, activation: str, last: bool) -> Net:
    """Its layers in their order: an activation follows every linear one but the last, which has one if `last`."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        match = re.fullmatch(r"linear\.?(\d+)\.(weight|bias)", name)
        if match is None:
            raise ValueError(f"nothing is known of {name!r}")
        found.setdefault(int(match[1]), {})[match[2]] = tensor.detach().float()
    layers = [found[number] for number in sorted(found)]
    linear = [i for i, layer in enumerate(layers) if layer["weight"].ndim == 2]
    if not linear or layers[linear[0]]["weight"].shape[1] != width or layers[linear[-1]]["weight"].shape[0] != width:
        raise ValueError(f"layers for {width} channels that have others")
    return tuple(
        Layer(layer["weight"], layer["bias"], activation if i in linear and (last or i != linear[-1]) else "linear")
        for i, layer in enumerate(layers)
    )
