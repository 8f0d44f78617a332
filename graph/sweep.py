"""Several values for one input: how a document writes them, what is bound of them, and which of them a cell has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Generic, TypeVar

from graph.errors import brief

T = TypeVar("T")

SWEEP, SEEDS, AXIS = "__sweep__", "__seeds__", "axis"
MOST = 20_000
"""Values of one input, and nodes of a graph in which each stands once for each combination it depends on."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Several values in the place of one, as written: `{"__sweep__": [2, 4, 6], "axis": "cfg"}` or
    `{"__seeds__": {"from": 1, "count": 8}}`.

    Inputs with the same `axis` take their values in step; without a name an input is an axis of its own. `raw` is the
    JSON object, `fault` what is wrong with it, if something is.
    """

    raw: Mapping[str, object]
    values: Sequence[object] = ()
    axis: str = ""
    fault: str = ""

    def mapped(self, change: Callable[[object], object]) -> Sweep:
        """With what `change` makes of each value that is listed; counted seeds stay, and so does what has a fault."""
        if self.fault or SWEEP not in self.raw:
            return self
        values = tuple(map(change, self.values))
        return self if values == self.values else replace(self, raw={**self.raw, SWEEP: list(values)}, values=values)


@dataclass(frozen=True, slots=True)
class Alternatives:
    """A Sweep whose values are as the node function gets them."""

    values: tuple[object, ...]
    axis: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """A direction of the grid: its name, the inputs that vary along it, and what to write beside each of its places."""

    name: str
    inputs: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Cell:
    """One copy of a node in a swept graph. `at` is its place on each axis, None for those that it does not depend on;
    `words` say the same: "cfg 4, seed 2".
    """

    id: str
    at: tuple[int | None, ...]
    words: str = ""


@dataclass(frozen=True, slots=True)
class Gathered(Generic[T]):
    """A value for each cell of a sweep, with the axes that the cells lie on (slowest first) and the place of each."""

    axes: tuple[tuple[str, tuple[str, ...]], ...]
    places: tuple[tuple[int, ...], ...]
    values: tuple[T, ...]


def is_sweep(value: Mapping[str, object]) -> bool:
    """Whether a JSON object in the place of an input is meant as a sweep."""
    return SWEEP in value or SEEDS in value


def read_sweep(raw: Mapping[str, object], frozen: Callable[[object], object]) -> Sweep:
    """`raw` as a Sweep. `frozen` makes of each value what a document has in the place of one."""
    axis = raw.get(AXIS, "")
    if not isinstance(axis, str):
        return Sweep(raw, fault=f"got {brief(axis)} as axis, expected a name")
    if unknown := [key for key in raw if key not in (SWEEP, SEEDS, AXIS)]:
        return Sweep(raw, fault=f"got {unknown[0]!r} beside the values, expected axis at most")
    if SWEEP in raw and SEEDS in raw:
        return Sweep(raw, fault=f"got both {SWEEP} and {SEEDS}, expected one of them")
    try:
        values = _seeds(raw[SEEDS]) if SEEDS in raw else _listed(raw[SWEEP], frozen)
    except ValueError as error:
        return Sweep(raw, fault=str(error))
    return Sweep(raw, values, axis)


def label(value: object) -> str:
    """A value as one writes it beside a row: files by their names, everything else as it was typed."""
    match value:
        case str():
            return value
        case float() if value.is_integer():
            return brief(int(value))
        case bool() | int() | float() | None:
            return brief(value)
        case _ if isinstance(name := getattr(value, "name", None), str):
            return PurePath(name).stem
        case _:
            return brief(value)


def _listed(values: object, frozen: Callable[[object], object]) -> Sequence[object]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"got {brief(values)} as {SWEEP}, expected a list of at least one value")
    return tuple(map(frozen, _few(values)))


def _seeds(given: object) -> Sequence[object]:
    match given:
        case {"from": int() as first, "count": int() as count, **rest} if not rest and not isinstance(first, bool):
            if count >= 1 and not isinstance(count, bool):
                return _few(range(first, first + count))
    expected = 'expected an object such as {"from": 1, "count": 8}, with a count of at least 1'
    raise ValueError(f"got {brief(given)} as {SEEDS}, {expected}")


def _few(values: Sequence[object]) -> Sequence[object]:
    if len(values) > MOST:
        raise ValueError(f"got {len(values)} values, expected at most {MOST}")
    return values
