"""What can go wrong, as values a program can read and lines a person can read."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import PurePath


class Severity(StrEnum):
    """Whether a problem stops something that was asked for."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class GraphError:
    """One fault of a document. `code` is ComfyUI's word for it where ComfyUI has one.

    `received` is the raw value for programs; `message` already shows it. `expected` names what would do.
    """

    code: str
    message: str
    node_id: str = ""
    node_type: str = ""
    input_name: str = ""
    received: object = None
    expected: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """One line: `node 3 (KSampler), input 'steps': got 0, expected an integer from 1 to 10000`."""
        return _line(self.node_id, self.node_type, self.input_name, self.message)

    def as_json(self) -> dict[str, str]:
        """For programs, without the raw value."""
        names = ("code", "message", "node_id", "node_type", "input_name", "expected")
        return {name: getattr(self, name) for name in names}


class GraphErrors(Exception):
    """A document cannot be read or run; `problems` holds every reason found."""

    def __init__(self, problems: Iterable[GraphError]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problems,)


class InputError(Exception):
    """Raised by a node function to blame one of its inputs."""

    def __init__(self, input_name: str, message: str) -> None:
        super().__init__(input_name, message)
        self.input_name = input_name
        self.message = message

    def __str__(self) -> str:
        return f"input {self.input_name!r}: {self.message}"


class ValueRefused(Exception):
    """What was given for an input will not do; `build` adds where that was.

    `message` replaces the usual "got …, expected …" where a better sentence is at hand.
    """

    def __init__(self, code: str, expected: str, message: str = "") -> None:
        super().__init__(code, expected, message)
        self.code = code
        self.expected = expected
        self.message = message


@dataclass(eq=False)
class NodeError(Exception):
    """A node failed while running; `__cause__` is what it raised, where that is at hand, and `kind` that exception's
    type, such as "torch.OutOfMemoryError", wherever the error has been since. `frames`: where a pack's node raised it, in
    Python's lines, for its author. Holds words, never the values themselves.
    """

    node_id: str
    node_type: str
    message: str
    input_name: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    frames: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__init__(self.node_id, self.node_type, self.message, self.input_name, self.inputs, self.kind)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={text}" for name, text in self.inputs.items())
        line = _line(self.node_id, self.node_type, self.input_name, self.message)
        return f"{line} [{given}]" if given else line


class ElsewhereError(Exception):
    """What was raised in another process, in its words. frames: where, in Python's lines."""

    def __init__(self, message: str, frames: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.frames = frames


class Interrupted(Exception):
    """The run was asked to stop. Node functions let it pass."""


def kind_of(error: BaseException) -> str:
    """The type of an exception as clients read it: with its module, unless Python itself has it."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def frames_within(error: BaseException, home: str) -> tuple[str, ...]:
    """Where an exception came through a module, or those below it, in Python's lines, from the first of them on."""
    if isinstance(error, ElsewhereError):
        return error.frames
    whole = list(traceback.walk_tb(error.__traceback__))
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in whole]
    first = next((i for i, name in enumerate(names) if name == home or name.startswith(home + ".")), len(whole))
    return tuple(traceback.StackSummary.extract(iter(whole[first:])).format())


def brief(value: object, limit: int = 60, depth: int = 2) -> str:
    """`value` in a few words, without its own `__repr__`: that of a tensor would wait for the device."""
    match value:
        case None | bool() | int() | float():
            text = _number(value)
        case str() | bytes():
            text = repr(value[: limit + 1])
        case PurePath():
            text = repr(str(value))
        case Mapping():
            text = f"{type(value).__name__} of {len(value)}" if depth < 1 else _brief_mapping(value, depth)
        case Sequence():
            text = f"{type(value).__name__} of {len(value)}" if depth < 1 else _brief_sequence(value, depth)
        case _:
            text = _brief_object(value, depth)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def listing(names: Sequence[str], limit: int = 200) -> str:
    """`'a', 'b', 'c'`, or as many as fit in about `limit` characters and how many there are."""
    shown: list[str] = []
    length = 0
    for name in names:
        length += len(name) + 4
        if length > limit and shown:
            return f"{', '.join(shown)}, … ({len(names)} in all)"
        shown.append(repr(name))
    return ", ".join(shown)


def suggestion(given: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing when nothing is near."""
    lowered = {name.lower(): name for name in known}
    near = get_close_matches(given.lower(), lowered, n=1, cutoff=0.6)
    return f" (did you mean {lowered[near[0]]!r}?)" if near else ""


def _line(node_id: str, node_type: str, input_name: str, message: str) -> str:
    place = f"node {_plain(node_id)}" if node_id else ""
    if place and node_type:
        place += f" ({_plain(node_type)})"
    if input_name:
        place += f"{', ' if place else ''}input {input_name!r}"
    return f"{place}: {message}" if place else message


def _plain(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _number(value: bool | int | float | None) -> str:
    """JSON's spelling, since that is what the person wrote."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > 512:
            return f"an integer of {value.bit_length()} bits"
        case _:
            return repr(value)


def _brief_mapping(value: Mapping[object, object], depth: int) -> str:
    items = list(value.items())[:4]
    inside = ", ".join(f"{brief(key, 20, 0)}: {brief(item, 20, depth - 1)}" for key, item in items)
    return "{" + inside + (", …" if len(value) > len(items) else "") + "}"


def _brief_sequence(value: Sequence[object], depth: int) -> str:
    inside = ", ".join(brief(item, 20, depth - 1) for item in value[:4])
    return "[" + inside + (", …" if len(value) > 4 else "") + "]"


def _brief_object(value: object, depth: int) -> str:
    name = type(value).__name__
    if isinstance(shape := getattr(value, "shape", None), tuple):
        return f"{name}{list(shape)}"
    if depth > 0 and is_dataclass(value) and not isinstance(value, type):
        shown = ", ".join(f"{f.name}={brief(getattr(value, f.name, None), 30, depth - 1)}" for f in fields(value)[:4])
        return f"{name}({shown})"
    return name
