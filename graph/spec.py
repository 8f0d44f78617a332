"""Node declarations: a typed function becomes a NodeSpec, and nothing is registered anywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType, NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints
from typing import Literal as OneOf

from graph.context import Context
from graph.document import NodeId
from graph.errors import suggestion
from graph.files import Folders
from graph.result import Outputs, Pending, Result, Shown
from graph.sockets import ANY, PYTHON_SOCKETS, Choice, File, Float, Int, Text, Toggle, Widget
from graph.version import version_of

Lane: TypeAlias = OneOf["device", "io"]
"""Where a node runs: on the loop's own thread, or on the small pool for reading and writing files."""


Freshness: TypeAlias = Callable[[NodeId, Mapping[str, object], Folders], object]


@dataclass(frozen=True, slots=True)
class Tip:
    """A tooltip for an input or output that has no widget to carry it."""

    text: str


@dataclass(frozen=True, slots=True)
class Named:
    """The display name of an output where it is neither the field's nor the socket's."""

    name: str


@dataclass(frozen=True, slots=True)
class Each:
    """Marks an input `Gathered[T]`: what is linked to it is gathered from all cells of a sweep, each passed through
    `node` first, whose input of the same name this is. `node` gets the inputs it declares from the gathering node.
    """

    node: NodeSpec


@dataclass(frozen=True, slots=True)
class Extra:
    """Options that only the editor reads (`display`, `advanced`, …), passed through as they are."""

    options: Mapping[str, object]


class _Required:
    """The default of an input that has none; None is a default like any other."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input. Without a widget it takes only links. `default` fills an optional input that was not given."""

    name: str
    socket: str
    widget: Widget | None = None
    default: object = REQUIRED
    optional: bool = False
    tooltip: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output; its index is the slot that links name."""

    name: str
    socket: str
    tooltip: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class NodeSpec:
    """A node type. Calling it calls the function it was declared with.

    `run(ctx, inputs)` gives a Result. `freshness(node id, inputs, folders)` adds to what names the node's results: any
    JSON value; links are still links there.
    `terminal` nodes write files: they are what a workflow is run for. `hidden` is only shown in `/object_info`;
    the data comes through the context. `gathers` has the node that each cell passes through, by input: see Each.
    `version` is that of the function's code: results of another one have other names.
    """

    type: str
    function: Callable[..., object]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    run: Callable[[Context[Any], Mapping[str, object]], Result]
    category: str = ""
    title: str = ""
    description: str = ""
    terminal: bool = False
    lane: Lane = "device"
    freshness: Freshness | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)
    deprecated: bool = False
    experimental: bool = False
    gathers: Mapping[str, NodeSpec] = field(default_factory=dict)
    version: str = ""

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        return self.function(*args, **inputs)

    @property
    def module(self) -> str:
        return self.function.__module__


def node(
    type: str,  # noqa: A002
    *,
    category: str,
    title: str = "",
    terminal: bool = False,
    lane: Lane = "device",
    freshness: Freshness | None = None,
    hidden: Mapping[str, str] = MappingProxyType({}),
    deprecated: bool = False,
    experimental: bool = False,
) -> Callable[[Callable[..., object]], NodeSpec]:
    """Declare a node by its function: `def f(ctx: Context, *, name: Annotated[T, widget] = default, …) -> R`.

    Inputs are the keyword-only parameters, in order. `X | None` makes one optional. R is one type for one output,
    a NamedTuple for several, None for none, Shown[…] of these to show something besides, or Outputs for a node that
    has only that.
    Raises TypeError naming the function if its signature says less than that.
    """

    def declare(function: Callable[..., object]) -> NodeSpec:
        hints = get_type_hints(function, include_extras=True)
        gathers = {name: each.node for name in hints for each in _unwrap(hints[name])[1] if isinstance(each, Each)}
        outputs, pack = _outputs(function, hints)
        return NodeSpec(
            type=type,
            function=function,
            inputs=tuple(_inputs(function, hints)),
            outputs=outputs,
            run=lambda ctx, inputs: pack(function(ctx, **inputs)),
            category=category,
            title=title or type,
            description=inspect.cleandoc(function.__doc__ or ""),
            terminal=terminal,
            lane=lane,
            freshness=freshness,
            hidden=hidden,
            deprecated=deprecated,
            experimental=experimental,
            gathers=gathers,
            version=version_of(function),
        )

    return declare


class Registry(Mapping[str, NodeSpec]):
    """The node types of one program. Raises ValueError if two share a name."""

    def __init__(self, specs: Iterable[NodeSpec]) -> None:
        self._specs: dict[str, NodeSpec] = {}
        for spec in specs:
            if (other := self._specs.setdefault(spec.type, spec)) is not spec:
                raise ValueError(f"node type {spec.type!r} is declared in {other.module} and in {spec.module}")

    def __getitem__(self, type: str) -> NodeSpec:  # noqa: A002
        return self._specs[type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def find(self, type: str) -> NodeSpec | None:  # noqa: A002
        """`get`, without the detour through Mapping: `build` asks for every link."""
        return self._specs.get(type)

    def suggestion(self, type: str) -> str:  # noqa: A002
        """What an unknown type may have meant."""
        return suggestion(type, self._specs)


def collect(*modules: ModuleType) -> list[NodeSpec]:
    """The NodeSpecs among the modules' names, in the order they were declared."""
    found = (value for module in modules for value in vars(module).values() if isinstance(value, NodeSpec))
    return list(dict.fromkeys(found))


def _inputs(function: Callable[..., object], hints: Mapping[str, Any]) -> Iterator[InputSpec]:
    _, *parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise TypeError(f"{_place(function)}: input {parameter.name!r} must be keyword-only")
        if parameter.name not in hints:
            raise TypeError(f"{_place(function)}: input {parameter.name!r} has no type")
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        declared = _input(parameter.name, hints[parameter.name], default, function)
        if declared.optional and default is REQUIRED:
            raise TypeError(f"{_place(function)}: optional input {parameter.name!r} has no default")
        yield declared


def _input(name: str, hint: Any, default: object, function: Callable[..., object]) -> InputSpec:
    bare, marks = _unwrap(hint)
    kinds = get_args(bare) if get_origin(bare) in (Union, UnionType) else (bare,)
    wanted = [kind for kind in kinds if kind is not NoneType]
    if each := next((mark.node for mark in marks if isinstance(mark, Each)), None):
        return next(declared for declared in each.inputs if declared.name == name)
    widgets = (mark for mark in marks if isinstance(mark, Int | Float | Text | Toggle | Choice | File))
    widget: Widget | None = next(widgets, None)
    if widget is None and len(wanted) == 1:
        widget = _plain_widget(wanted[0])
    return InputSpec(
        name=name,
        socket=widget.socket if widget else ",".join(_socket(kind, function) for kind in wanted),
        widget=widget,
        default=default,
        optional=len(wanted) < len(kinds),
        tooltip=next((mark.text for mark in marks if isinstance(mark, Tip)), widget.tooltip if widget else ""),
        extra=next((mark.options for mark in marks if isinstance(mark, Extra)), MappingProxyType({})),
    )


def _outputs(
    function: Callable[..., object], hints: Mapping[str, Any]
) -> tuple[tuple[OutputSpec, ...], Callable[[object], Result]]:
    """The declared outputs, and what makes a Result of the value returned."""
    if "return" not in hints:
        raise TypeError(f"{_place(function)}: the return type is missing")
    return _returned(function, hints["return"])


def _returned(
    function: Callable[..., object], hint: object
) -> tuple[tuple[OutputSpec, ...], Callable[[object], Result]]:
    bare, _ = _unwrap(hint)
    if get_origin(bare) is Shown:
        outputs, pack = _returned(function, get_args(bare)[0])
        return outputs, _shown(pack)
    if bare is Outputs:
        return (), _as_is
    if bare is NoneType:
        return (), _nothing
    if isinstance(bare, type) and hasattr(bare, "_fields") and not hasattr(bare, "socket"):
        fields = get_type_hints(bare, include_extras=True)
        return tuple(_output(name, hint, function) for name, hint in fields.items()), _checked(bare, tuple)
    socket = _socket(bare, function)
    return (_output(socket, hint, function),), _checked(bare, lambda value: (value,))


def _output(name: str, hint: Any, function: Callable[..., object]) -> OutputSpec:
    bare, marks = _unwrap(hint)
    socket = _socket(bare, function)
    given = next((mark.name for mark in marks if isinstance(mark, Named)), "")
    tooltip = next((mark.text for mark in marks if isinstance(mark, Tip)), "")
    return OutputSpec(given or (socket if name.upper() == socket else name), socket, tooltip)


def _as_is(value: object) -> Result:
    if not isinstance(value, Outputs | Pending):
        raise TypeError(f"returned {type(value).__name__}, declared Outputs")
    return value


def _shown(pack: Callable[[object], Result]) -> Callable[[object], Result]:
    def pack_shown(value: object) -> Result:
        if not isinstance(value, Shown):
            raise TypeError(f"returned {type(value).__name__}, declared Shown")
        packed = pack(value.value)
        return Outputs(packed.values, value.ui) if isinstance(packed, Outputs) else packed

    return pack_shown


def _nothing(value: object) -> Result:
    if value is not None:
        raise TypeError(f"returned {type(value).__name__}, declared None")
    return Outputs()


def _checked(declared: Any, values: Callable[[Any], tuple[object, ...]]) -> Callable[[object], Result]:
    """Built-in types are taken on trust: a float may be an int. Others are looked at, since None is a common slip."""
    kind = declared if isinstance(declared, type) and declared not in PYTHON_SOCKETS else object

    def pack(value: object) -> Result:
        if not isinstance(value, kind):
            raise TypeError(f"returned {type(value).__name__}, declared {kind.__name__}")
        return Outputs(values(value))

    return pack


def _unwrap(hint: Any) -> tuple[Any, tuple[object, ...]]:
    """A type and its marks. `Annotated[X, …] | None` gives those of X as well."""
    if get_origin(hint) is Annotated:
        bare, *marks = get_args(hint)
        return bare, tuple(marks)
    if get_origin(hint) in (Union, UnionType):
        parts = [_unwrap(part) for part in get_args(hint)]
        return Union[tuple(part for part, _ in parts)], tuple(mark for _, marks in parts for mark in marks)  # noqa: UP007
    return hint, ()


def _plain_widget(kind: Any) -> Widget | None:
    if kind is bool:
        return Toggle()
    if kind is int:
        return Int()
    if kind is float:
        return Float()
    return Text() if kind is str else None


def _socket(kind: Any, function: Callable[..., object]) -> str:
    if kind is Any:
        return ANY
    socket = PYTHON_SOCKETS.get(kind) or getattr(kind, "socket", None)
    if not isinstance(socket, str):
        raise TypeError(f"{_place(function)}: {kind!r} is no socket type; give it a class attribute `socket`")
    return socket


def _place(function: Callable[..., object]) -> str:
    return f"node function {function.__module__}.{function.__qualname__}"
