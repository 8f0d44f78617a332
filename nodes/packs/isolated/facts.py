"""What the process of a pack tells of its node types, and the node types that are made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, Signature
from typing import Any, Protocol

from graph.document import NodeId
from graph.files import Folders
from graph.inputs import InputSpec, OutputSpec
from graph.result import Result
from graph.sockets import Choice
from graph.spec import NodeSpec, Undeclared
from nodes.packs.checks import Check
from nodes.packs.freshness import Freshness
from nodes.packs.isolated.codec import can_travel
from nodes.services import Context

HANDLES = frozenset(
    {
        *("MODEL", "CLIP", "VAE", "CONTROL_NET", "CLIP_VISION", "CLIP_VISION_OUTPUT", "STYLE_MODEL", "GLIGEN"),
        *("UPSCALE_MODEL", "SAMPLER", "NOISE", "GUIDER", "HOOKS", "PHOTOMAKER", "SAFETY_MODEL", "CLIP_MODEL"),
    }
)
"""Links that name weights or functions of this program, which another process has no use of."""
_TEXTS = ("type", "category", "title", "description")
_MARKS = ("terminal", "deprecated", "experimental", "idempotent")


class Remote(Protocol):
    """The process of a pack."""

    def call(self, type_name: str, context: Context, inputs: Mapping[str, object]) -> Awaitable[Result]:
        """Run a node there. Raises what it raised, with the pack's name."""

    def ask(self, kind: str, body: Mapping[str, object]) -> Any:
        """An answer within moments; `last` of the question if there is none."""

    def look(self, kind: str, body: Mapping[str, object]) -> Any:
        """The same, but nothing is begun for it."""

    def unique(self) -> str:
        """A text that no other is equal to."""


def facts(spec: NodeSpec) -> dict[str, object]:
    """A node type as a message. Raises ValueError, in words, for one whose links are not data."""
    sockets = [it.socket for it in spec.inputs] + [it.socket for it in spec.outputs]
    if handles := sorted(HANDLES.intersection(part for socket in sockets for part in str(socket).split(","))):
        raise ValueError(f"has links of {', '.join(handles)}, which do not go to a process of its own")
    return {
        **{name: str(getattr(spec, name)) for name in _TEXTS},
        **{name: bool(getattr(spec, name)) for name in _MARKS},
        "module": spec.module,
        "inputs": tuple(map(_plain, spec.inputs)),
        "outputs": tuple(replace(output, socket=str(output.socket)) for output in spec.outputs),
        "hidden": dict(spec.hidden),
        "undeclared": _undeclared(spec),
        "aliases": spec.aliases,
        "varies": _varies(spec),
        "by_id": isinstance(spec.freshness, Freshness) and spec.freshness.by_id,
    }


def _undeclared(spec: NodeSpec) -> dict[str, InputSpec]:
    """How inputs are that nobody declared: those of some names, and, as "", those of any."""
    if spec.undeclared is None:
        return {}
    found = {name: spec.undeclared(name) for name in spec.hidden} | {
        "": spec.undeclared("a name that nobody would give")
    }
    return {name: _plain(it) for name, it in found.items() if it is not None}


def _varies(spec: NodeSpec) -> bool:
    """Whether the node has a word in what names its results."""
    return spec.freshness.check is not None if isinstance(spec.freshness, Freshness) else spec.freshness is not None


def _plain(declared: InputSpec) -> InputSpec:
    extra = {key: value for key, value in declared.extra.items() if can_travel(value)}
    widget = declared.widget
    if isinstance(widget, Choice) and callable(widget.choices):
        widget = replace(widget, choices=tuple(widget.options()))
    return replace(declared, socket=str(declared.socket), extra=extra, widget=widget)


def node_type(told: Mapping[str, Any], remote: Remote, code: str) -> NodeSpec:
    """The node type: calling it calls the process. Raises KeyError, TypeError or ValueError for what is none."""
    name = str(told["type"])
    inputs, outputs = told["inputs"], told["outputs"]
    if not all(isinstance(it, InputSpec) for it in inputs) or not all(isinstance(it, OutputSpec) for it in outputs):
        raise TypeError(f"the inputs and outputs of {name} are none")
    texts: dict[str, Any] = {key: str(told[key]) for key in _TEXTS}
    marks: dict[str, Any] = {key: bool(told[key]) for key in _MARKS}
    return NodeSpec(
        **texts,
        **marks,
        function=_Function(remote, name, str(told["module"])),
        undeclared=_taking(told["undeclared"]),
        inputs=tuple(_offering(declared, name, remote) for declared in inputs),
        outputs=tuple(outputs),
        run=partial(remote.call, name),
        lane="async",
        version=code,
        freshness=_Freshness(remote, name, bool(told["by_id"]), bool(told["varies"])),
        hidden=dict(told["hidden"]),
        aliases=tuple(map(str, told["aliases"])),
    )


def _taking(told: Mapping[str, InputSpec]) -> Undeclared | None:
    def undeclared(name: str) -> InputSpec | None:
        one = told.get(name) or told.get("")
        return replace(one, name=name) if one is not None else None

    return undeclared if told else None


def _offering(declared: InputSpec, type_name: str, remote: Remote) -> InputSpec:
    """The input with its choices as they are now, for lists of files."""
    widget = declared.widget
    if not isinstance(widget, Choice):
        return declared
    offered = _Offered(remote, type_name, declared.name, widget.options())
    return replace(declared, widget=replace(widget, choices=offered))


@dataclass(slots=True)
class _Offered:
    """The choices of an input: as the process says, or if it does not, as it said last."""

    remote: Remote
    type_name: str
    input_name: str
    last: Iterable[Any]

    def __call__(self) -> tuple[Any, ...]:
        found = self.remote.look("choices", {"type": self.type_name, "input": self.input_name, "last": self.last})
        self.last = tuple(found)
        return self.last


class _Function:
    """What stands for the function of a node type elsewhere."""

    def __init__(self, remote: Remote, type_name: str, module: str) -> None:
        self._remote = remote
        self._type = type_name
        self.__module__ = module

    def __call__(self, context: Context, **inputs: object) -> Awaitable[Result]:
        return self._remote.call(self._type, context, inputs)


@dataclass(frozen=True, slots=True)
class _Freshness:
    """As Freshness, asked of the process where the class has a word in it."""

    remote: Remote
    type_name: str
    by_id: bool
    varies: bool

    def __call__(self, node_id: NodeId, inputs: Mapping[str, object], folders: Folders) -> object:
        if not self.varies:
            return node_id if self.by_id else None
        body = {
            "type": self.type_name,
            "node": node_id,
            "inputs": dict(inputs),
            "last": self.remote.unique(),
        }
        return self.remote.ask("freshness", body)


def check_by(remote: Remote, type_name: str, names: Iterable[str] | None) -> Check:
    """How a class checks its inputs, asked of the process. names: those it takes; None: all."""

    def check(**given: object) -> object:
        body = {"type": type_name, "given": given, "last": "its pack did not answer"}
        return remote.ask("check", body)

    parameters = [Parameter("given", Parameter.VAR_KEYWORD)]
    if names is not None:
        parameters = [Parameter(name, Parameter.KEYWORD_ONLY) for name in names]
    signed: Callable[..., object] = check
    signed.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # which inspect reads
    return signed
