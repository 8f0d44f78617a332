"""What names a pack node's results besides its inputs and its code: what its class says of whether they stand."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from graph.document import Link, NodeId
from graph.files import Folders
from nodes.packs.calling import awaited
from nodes.packs.host import Host
from nodes.packs.objects.values import to_pack

Fingerprint: TypeAlias = Callable[..., Any]
"""`IS_CHANGED` or `fingerprint_inputs` of a class: any value, which differs once a result no longer stands."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """by_id: whether the node sees its own id, which names its results then.

    `check` gets the inputs it has parameters for; links are None to it. NaN equals nothing, and a class that cannot say
    is taken to have changed.
    """

    check: Fingerprint | None
    host: Host
    by_id: bool

    def __call__(self, node_id: NodeId, inputs: Mapping[str, object], folders: Folders) -> object:
        """What names the results besides the inputs."""
        seen = node_id if self.by_id else None
        if self.check is None:
            return seen
        constants = {
            name: None if isinstance(value, Link) else to_pack(value, self.host) for name, value in inputs.items()
        }
        try:
            state = self.check(**_asked(self.check, constants))
            if inspect.isawaitable(state):
                state = asyncio.run(awaited(state))
            if isinstance(state, float) and math.isnan(state):
                raise ValueError("never equal")
            text = state if isinstance(state, str | int | float | bool | None) else repr(state)
        except Exception:  # noqa: BLE001
            text = self.host.unique()
        return [seen, text]


def _asked(function: Callable[..., object], values: Mapping[str, object]) -> dict[str, object]:
    """Those of `values` that a function has parameters for."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(values)
    return {parameter.name: values[parameter.name] for parameter in parameters if parameter.name in values}
