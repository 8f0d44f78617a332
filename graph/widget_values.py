"""`widgets_values`: from positions to names, and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from graph.litegraph import EditorNode
from graph.node_shapes import InputShape, NodeShape

Part: TypeAlias = Literal["value", "control", "filter", "button"]
"""What stands at a position: a field's value, its control word, a combo's filter text, or an upload button."""
Take: TypeAlias = Callable[[InputShape, Part], object]

_WORDS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
_NO_INPUT = re.compile(r"(control_after_generate|control_filter_list|upload|audioUI)(#\d+)?")
"""Names in `widgets_values_named` of what is no input: control words and buttons."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A node's values and control words by the names of their inputs. `complete` is False if some have no name."""

    values: Mapping[str, object]
    controls: Mapping[str, object]
    complete: bool = True


def bind(node: EditorNode, shape: NodeShape | None, old_names: Sequence[str] = ()) -> Bound:
    """The values of a node. Where its type is unknown, the file or `old_names` have to name the positions."""
    if shape is None:
        return _guess(node, old_names)
    if isinstance(node.values, Mapping):
        return Bound({**node.values, **node.named}, {})
    given = node.values if isinstance(node.values, list) else []
    bound, left = _read(shape.inputs, given, forced=False)
    if left:  # files of old editors hold an entry for each forced input too
        forced, missed = _read(shape.inputs, given, forced=True)
        if missed == 0 and len(given) == _length(shape.inputs, given, forced=True):
            return _with_names(forced, node.named, shape, fits=True)
    fits = not left and len(given) == _length(shape.inputs, given, forced=False)
    return _with_names(bound, node.named, shape, fits=fits)


def active_inputs(inputs: Iterable[InputShape], values: Mapping[str, object]) -> Iterator[InputShape]:
    """The inputs that a node has with these values: what a choice adds stands right behind it."""
    for shape in inputs:
        yield shape
        if shape.branches:
            yield from active_inputs(shape.branches.get(str(value_of(shape, values)), ()), values)


def value_of(shape: InputShape, values: Mapping[str, object]) -> object:
    """What the field holds."""
    value = values.get(shape.name)
    return shape.default if value is None else value


def write_values(shape: NodeShape, bound: Bound) -> list[object]:
    """The list that `bind` reads back as `bound`."""
    written: list[object] = []

    def take(shape: InputShape, part: Part) -> object:
        match part:
            case "value":
                value = value_of(shape, bound.values)
            case "control":
                value = bound.controls.get(shape.name, "fixed")
            case "filter":
                value = ""
            case "button":
                value = "image"
        written.append(value)
        return value

    _walk(shape.inputs, take, forced=False)
    return written


def place_of(shape: NodeShape, given: Sequence[object], name: str) -> int | None:
    """Where the value of a field stands in a list."""
    count, found = 0, None

    def take(shape: InputShape, part: Part) -> object:
        nonlocal count, found
        value = given[count] if count < len(given) else None
        if part == "value" and shape.name == name:
            found = count
        count += 1
        return shape.default if value is None else value

    forced = len(given) > _length(shape.inputs, given, forced=False)
    forced = forced and len(given) == _length(shape.inputs, given, forced=True)
    _walk(shape.inputs, take, forced=forced)
    return found


def _walk(inputs: Iterable[InputShape], take: Take, *, forced: bool) -> None:
    """Call `take` for every position, in order."""
    buttons: list[InputShape] = []
    for shape in inputs:
        if not (shape.is_field or (forced and shape.forced)):
            continue
        value = take(shape, "value")
        if shape.control:
            take(shape, "control")
        if shape.control == "combo":
            take(shape, "filter")
        if shape.has_button:
            buttons.append(shape)
        if shape.branches:
            _walk(shape.branches.get(str(value), ()), take, forced=forced)
    for shape in buttons:
        take(shape, "button")


def _read(inputs: Iterable[InputShape], given: Sequence[object], *, forced: bool) -> tuple[Bound, int]:
    """The values, and how many entries are left over."""
    values: dict[str, object] = {}
    controls: dict[str, object] = {}
    rest = iter(given)

    def take(shape: InputShape, part: Part) -> object:
        value = next(rest, None)
        if value is not None and part == "value":
            values[shape.name] = value
        elif value is not None and part == "control":
            controls[shape.name] = value
        return shape.default if value is None else value

    _walk(inputs, take, forced=forced)
    return Bound(values, controls), sum(1 for _ in rest)


def _length(inputs: Iterable[InputShape], given: Sequence[object], *, forced: bool) -> int:
    count = 0

    def take(shape: InputShape, part: Part) -> object:
        nonlocal count
        value = given[count] if count < len(given) else None
        count += 1
        return shape.default if value is None else value

    _walk(inputs, take, forced=forced)
    return count


def _with_names(bound: Bound, named: Mapping[str, object], shape: NodeShape, *, fits: bool) -> Bound:
    """The list wins while it fits the node type; where it does not, what the file says by name."""
    if not named or (fits and all(_is_plausible(each, bound.values) for each in active_inputs(shape.inputs, named))):
        return bound
    return Bound({**bound.values, **named}, bound.controls)


def _is_plausible(shape: InputShape, values: Mapping[str, object]) -> bool:
    value = values.get(shape.name)
    if value is None or not shape.is_field:
        return True
    match shape.type:
        case "INT" | "FLOAT":
            return _is_number(value)
        case "BOOLEAN":
            return isinstance(value, bool)
        case "STRING" | "COMBO":
            return not isinstance(value, bool | dict)
        case _:
            return True


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _guess(node: EditorNode, old_names: Sequence[str]) -> Bound:
    """What a file says about the values of a node whose type nobody knows."""
    if isinstance(node.values, Mapping):
        return Bound(dict(node.values), {})
    given = node.values if isinstance(node.values, list) else []
    if node.named:
        return Bound({name: value for name, value in node.named.items() if not _NO_INPUT.fullmatch(name)}, {})
    if not given:
        return Bound({}, {})
    names = old_names or [slot.widget for slot in node.inputs if slot.widget]
    values: dict[str, object] = {}
    controls: dict[str, object] = {}
    place = 0
    for name in names:
        if place >= len(given):
            break
        values[name] = given[place]
        place += 1
        if place < len(given) and len(given) > len(names) and _is_word(given[place], given[place - 1]):
            controls[name] = given[place]
            place += 1
    is_whole = place == len(given) and len(values) == len(names)
    return Bound(values, controls) if is_whole else Bound({}, {}, complete=False)


def _is_word(value: object, before: object) -> bool:
    """Whether an entry is the control word of the number before it."""
    return isinstance(value, str) and value in _WORDS and _is_number(before)
