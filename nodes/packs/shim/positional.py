"""Arguments by their places: which input of a core node each of them is, whatever the order of its method was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from graph.inputs import InputSpec
from graph.sockets import Float, Int, Toggle
from nodes.packs.objects.handles import Handle

_TENSORS = frozenset({"IMAGE", "MASK", "SIGMAS"})


def by_name(inputs: Sequence[InputSpec], positional: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by the names of inputs.

    The methods of core nodes have an order of their own, such as `decode(vae, samples)`, which no declaration tells: each
    argument is the first input that is left and takes a value like it. Raises TypeError for too many.
    """
    named = dict(given)
    for value in positional:
        left = [it for it in inputs if it.name not in named]
        if not left:
            raise TypeError(f"takes {len(inputs)} inputs, got {len(positional) + len(given)}")
        named[next((it for it in left if _fits(value, it)), left[0]).name] = value
    return named


def _fits(value: Any, declared: InputSpec) -> bool:
    match value:
        case Handle():
            return declared.socket == value.socket
        case Tensor():
            return declared.socket in _TENSORS
        case Mapping():
            return declared.socket == "LATENT"
        case bool():
            return isinstance(declared.widget, Toggle)
        case int() | float():
            return isinstance(declared.widget, Int | Float)
        case str():
            return declared.widget is not None and not isinstance(declared.widget, Int | Float | Toggle)
        case list() | tuple():
            return declared.socket == "CONDITIONING"
        case None:
            return declared.optional
        case _:
            return declared.widget is None
