"""Reading a node function's signature: its inputs, its outputs, and how to call it with what the engine has."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from graph.drawn import Colour, Region
from graph.inputs import REQUIRED, Cases, Group, InputSpec, OutputSpec, gathered
from graph.result import Blocked, Expand, Lazy, Need, NeededError, Outputs, Pending, Result, Shown, listed
from graph.sockets import ANY, PYTHON_SOCKETS, Anything, Choice, File, Float, Int, Text, Toggle, Widget

Call: TypeAlias = Callable[[Any, Mapping[str, object]], Any]
"""`run(ctx, inputs)`: the Result, or for an async function a promise of one."""


@dataclass(frozen=True, slots=True)
class Tip:
    """A tooltip for an input or output that has no widget to carry it."""

    text: str


@dataclass(frozen=True, slots=True)
class Named:
    """The display name of an output where it is neither the field's nor the socket's."""

    name: str


class HasInputs(Protocol):
    """A node type, which is declared in another file."""

    @property
    def inputs(self) -> tuple[InputSpec, ...]: ...


@dataclass(frozen=True, slots=True)
class Each:
    """Marks an input `Gathered[T]`: what is linked to it is gathered from all cells of a sweep, each passed through
    `node` first, whose input of the same name this is. `node` gets the inputs it declares from the gathering node.
    """

    node: HasInputs


@dataclass(frozen=True, slots=True)
class Extra:
    """Options that only the editor reads (`display`, `advanced`, …), passed through as they are."""

    options: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Together:
    """Marks an input `Mapping[str, T]` that is one input for each of `names`, which need be no names of Python; each is
    `default` where it is not given. The function gets them as a mapping by these names."""

    names: tuple[str, ...]
    default: object = REQUIRED


@dataclass(frozen=True, slots=True)
class Raw:
    """The node function gets the link itself, to an output of type `socket`; what it leads to is not computed."""

    socket: str = ANY


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function declares by its signature."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    run: Call
    gathers: Mapping[str, HasInputs]


def signature(function: Callable[..., object]) -> Signature:
    """Raises TypeError naming the function if its signature says less than a node needs."""
    hints = get_type_hints(function, include_extras=True)
    inputs = tuple(_inputs(function, hints))
    outputs, pack = _outputs(function, hints)
    gathers = {name: each.node for name in hints for each in _unwrap(hints[name])[1] if isinstance(each, Each)}
    together = {name: mark.names for name in hints for mark in _unwrap(hints[name])[1] if isinstance(mark, Together)}
    return Signature(inputs, outputs, _call(function, inputs, pack, together), gathers)


def _call(
    function: Callable[..., object],
    inputs: tuple[InputSpec, ...],
    pack: Callable[[object], Result],
    together: Mapping[str, tuple[str, ...]],
) -> Call:
    """How to call `function` with values by the names that a document has. together: those that it gets as one."""
    lazy = frozenset(spec.name for spec in inputs if spec.lazy and not spec.raw and spec.members is None)
    groups = {spec.name: spec for spec in inputs if spec.members is not None}

    def prepared(values: Mapping[str, object]) -> Mapping[str, object]:
        if groups:
            values = {spec.name: _gathered(spec, values) for spec in inputs}
        for whole, names in together.items():
            rest = {name: value for name, value in values.items() if name not in names}
            values = {**rest, whole: {name: values[name] for name in names}}
        if lazy:
            values = {name: _asked(name, value) if name in lazy else value for name, value in values.items()}
        return values

    async def run_async(ctx: Any, values: Mapping[str, object]) -> Result:
        try:
            coroutine = function(ctx, **prepared(values))
            assert isinstance(coroutine, Awaitable)
            return pack(await coroutine)
        except NeededError as needed:
            return Need((needed.name,))

    def run_lazy(ctx: Any, values: Mapping[str, object]) -> Result:
        try:
            return pack(function(ctx, **prepared(values)))
        except NeededError as needed:
            return Need((needed.name,))

    if inspect.iscoroutinefunction(function):
        return run_async
    if lazy or groups or together:
        return run_lazy
    return lambda ctx, values: pack(function(ctx, **values))


def _asked(name: str, value: object) -> object:
    """A lazy input; nothing where none was given."""
    return None if value is None else Lazy(name, value)


def _gathered(spec: InputSpec, values: Mapping[str, object]) -> object:
    """As `gathered`; the members of a lazy group are lazy each."""
    if isinstance(spec.members, Group) and spec.members.of.lazy and not spec.members.of.raw:
        values = {
            name: Lazy(name, value) if name.startswith(f"{spec.name}.") else value for name, value in values.items()
        }
    return gathered(spec, values)


def _inputs(function: Callable[..., object], hints: Mapping[str, Any]) -> Iterator[InputSpec]:
    _, *parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise TypeError(f"{_place(function)}: input {parameter.name!r} must be keyword-only")
        if parameter.name not in hints:
            raise TypeError(f"{_place(function)}: input {parameter.name!r} has no type")
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        bare, marks = _unwrap(hints[parameter.name])
        if together := next((mark for mark in marks if isinstance(mark, Together)), None):
            each: Any = Annotated[(get_args(bare)[1], *marks)]
            yield from (_input(name, each, together.default, function) for name in together.names)
            continue
        declared = _input(parameter.name, hints[parameter.name], default, function)
        if declared.optional and default is REQUIRED:
            raise TypeError(f"{_place(function)}: optional input {parameter.name!r} has no default")
        yield declared


def _input(name: str, hint: Any, default: object, function: Callable[..., object]) -> InputSpec:
    bare, marks = _unwrap(hint)
    members = next((mark for mark in marks if isinstance(mark, Group | Cases)), None)
    if members is not None:
        return _several(name, bare, marks, default, members, function)
    kinds = get_args(bare) if get_origin(bare) in (Union, UnionType) else (bare,)
    wanted = [kind for kind in kinds if kind is not NoneType]
    if each := next((mark.node for mark in marks if isinstance(mark, Each)), None):
        return next(declared for declared in each.inputs if declared.name == name)
    if raw := next((mark for mark in marks if isinstance(mark, Raw)), None):
        tooltip = next((mark.text for mark in marks if isinstance(mark, Tip)), "")
        optional = len(wanted) < len(kinds)
        return InputSpec(name, raw.socket, None, default, optional, tooltip, lazy=True, raw=True)
    if len(wanted) == 1 and get_origin(wanted[0]) in (list, Lazy):
        inner = Annotated[(get_args(wanted[0])[0], *marks)] if marks else get_args(wanted[0])[0]
        single = _input(name, inner, default, function)
        is_list = get_origin(wanted[0]) is list
        optional = single.optional or len(wanted) < len(kinds)
        return replace(single, is_list=single.is_list or is_list, lazy=single.lazy or not is_list, optional=optional)
    widgets = (
        mark
        for mark in marks
        if isinstance(mark, Int | Float | Text | Toggle | Choice | File | Colour | Region | Anything)
    )
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
        match=_match(wanted[0]) if len(wanted) == 1 else "",
    )


def _several(
    name: str,
    kind: Any,
    marks: tuple[object, ...],
    default: object,
    members: Group | Cases,
    function: Callable[..., object],
) -> InputSpec:
    """An input that stands for several: a mapping of them, or one of a few dataclasses that have them as fields."""
    tooltip = next((mark.text for mark in marks if isinstance(mark, Tip)), "")
    extra = next((mark.options for mark in marks if isinstance(mark, Extra)), MappingProxyType({}))
    if isinstance(members, Cases):
        shapes: Mapping[str, Any] = members.make
        filled = Cases({key: tuple(_fields(shape, function)) for key, shape in shapes.items()}, shapes)
        return InputSpec(name, "COMBO", None, default, False, tooltip, extra, members=filled)
    _, item = get_args(kind) if get_origin(kind) is not None else (str, Any)
    of = _input(name, item, REQUIRED, function)
    group = replace(members, of=replace(of, tooltip=of.tooltip or tooltip))
    optional = default is not REQUIRED
    return InputSpec(name, of.socket, None, None if optional else REQUIRED, optional, tooltip, extra, members=group)


def _fields(shape: Any, function: Callable[..., object]) -> Iterator[InputSpec]:
    """The inputs that a dataclass declares by its fields."""
    hints = get_type_hints(shape, include_extras=True)
    for found in dataclasses.fields(shape):
        default = REQUIRED if found.default is dataclasses.MISSING else found.default
        yield _input(found.name, hints[found.name], default, function)


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
    bare, marks = _unwrap(hint)
    kinds = get_args(bare) if get_origin(bare) in (Union, UnionType) else ()
    if rest := [kind for kind in kinds if kind not in (Expand, Blocked, NoneType)]:
        whole: Any = Union[tuple(rest)]  # noqa: UP007
        outputs, pack = _returned(function, Annotated[(whole, *marks)] if marks else whole)
        return outputs, _instead(pack, len(outputs), NoneType in kinds)
    if get_origin(bare) is Shown:
        outputs, pack = _returned(function, get_args(bare)[0])
        return outputs, _shown(pack)
    if bare in (Outputs, Expand):
        return (), _as_is
    if bare is NoneType:
        return (), _nothing
    if isinstance(bare, type) and hasattr(bare, "_fields") and not hasattr(bare, "socket"):
        fields = get_type_hints(bare, include_extras=True)
        return tuple(_output(name, hint, function) for name, hint in fields.items()), _checked(bare, tuple)
    name = "output" if isinstance(bare, TypeVar) else _socket(_bare_item(bare), function)
    output = _output(name, hint, function)
    return (output,), _checked(bare, lambda value: (value,))


def _output(name: str, hint: Any, function: Callable[..., object]) -> OutputSpec:
    bare, marks = _unwrap(hint)
    item = _bare_item(bare)
    socket = _socket(item, function)
    given = next((mark.name for mark in marks if isinstance(mark, Named)), "")
    tooltip = next((mark.text for mark in marks if isinstance(mark, Tip)), "")
    shown = given or (socket if name.upper() == socket else name)
    return OutputSpec(shown, socket, tooltip, item is not bare, _match(item))


def _bare_item(kind: Any) -> Any:
    """T of `list[T]`, and any other type as it is."""
    return get_args(kind)[0] if get_origin(kind) is list else kind


def _match(kind: Any) -> str:
    """The name of a type variable: what is declared with it has one type, which the first link decides."""
    return kind.__name__ if isinstance(kind, TypeVar) else ""


def _as_is(value: object) -> Result:
    if not isinstance(value, Outputs | Pending | Need | Expand):
        raise TypeError(f"returned {type(value).__name__}, declared Outputs")
    return value


def _instead(pack: Callable[[object], Result], outputs: int, nothing: bool) -> Callable[[object], Result]:
    """For a function that may also return what stands for all its outputs, or `nothing`."""

    def pack_instead(value: object) -> Result:
        if isinstance(value, Expand):
            return value
        is_all = isinstance(value, Blocked) or (nothing and value is None)
        return Outputs((value,) * outputs) if is_all else pack(value)

    return pack_instead


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
    if get_origin(declared) is list:
        return _listed
    kind = declared if isinstance(declared, type) and declared not in PYTHON_SOCKETS else object
    lists = _list_fields(declared)

    def pack(value: object) -> Result:
        if not isinstance(value, kind):
            raise TypeError(f"returned {type(value).__name__}, declared {kind.__name__}")
        return Outputs(values(value))

    def pack_lists(value: object) -> Result:
        pack(value)
        found = enumerate(values(value))
        return Outputs(tuple(listed(each) if i in lists else each for i, each in found))  # type: ignore[arg-type]

    return pack_lists if lists else pack


def _listed(value: object) -> Result:
    if not isinstance(value, list | tuple):
        raise TypeError(f"returned {type(value).__name__}, declared a list")
    return Outputs((listed(value),))


def _list_fields(declared: Any) -> frozenset[int]:
    """The places of a NamedTuple's fields that are lists."""
    hints = get_type_hints(declared, include_extras=True).values() if hasattr(declared, "_fields") else ()
    return frozenset(i for i, hint in enumerate(hints) if get_origin(_unwrap(hint)[0]) is list)


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
    if isinstance(kind, TypeVar):
        return ",".join(_socket(member, function) for member in kind.__constraints__) or ANY
    socket = PYTHON_SOCKETS.get(kind) or getattr(kind, "socket", None)
    if not isinstance(socket, str):
        raise TypeError(f"{_place(function)}: {kind!r} is no socket type; give it a class attribute `socket`")
    return socket


def _place(function: Callable[..., object]) -> str:
    return f"node function {function.__module__}.{function.__qualname__}"
