"""`--sweep NODE.INPUT=VALUES`: several values for an input, as they are typed on a command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any

from graph.errors import listing, suggestion
from graph.sweep import MOST, SWEEP

Describe = Callable[[str], Mapping[str, Any] | None]
"""The entry that `/object_info` has for a node type; None if there is no such type."""


@dataclass(frozen=True, slots=True)
class SweepOption:
    """What was typed, taken apart."""

    typed: str
    node: str
    input: str
    axis: str
    values: str

    def on(self, class_type: str, describe: Describe) -> dict[str, object]:
        """The sweep as a document has it. Raises ValueError."""
        inputs = _inputs(describe(class_type))
        if inputs and self.input not in inputs:
            near = suggestion(self.input, inputs)
            raise ValueError(f"--sweep {self.typed}: {class_type} has no input {self.input!r}{near}")
        kind, choices = inputs.get(self.input, ("", ()))
        try:
            values = list(_values(self.values, kind, choices))
        except ValueError as error:
            raise ValueError(f"--sweep {self.typed}: {error}") from error
        return {SWEEP: values, **({"axis": self.axis} if self.axis else {})}


def read_option(typed: str, nodes: Mapping[str, object]) -> SweepOption:
    """Take `NODE.INPUT=VALUES` or `NODE.INPUT@AXIS=VALUES` apart. Raises ValueError."""
    target, equals, values = typed.partition("=")
    target, _, axis = target.partition("@")
    node_id, dot, name = target.rpartition(".") if target not in nodes else ("", "", "")
    if not (equals and dot and name and values.strip()):
        raise ValueError(f"--sweep {typed}: expected NODE.INPUT=VALUES, such as 3.cfg=2,4,6")
    if node_id not in nodes:
        raise ValueError(f"--sweep {typed}: the workflow has no node {node_id!r}{suggestion(node_id, nodes)}")
    return SweepOption(typed, node_id, name, axis, values)


def _inputs(described: Mapping[str, Any] | None) -> dict[str, tuple[str, Sequence[str]]]:
    """The type of each input, and what there is to choose from."""
    found: dict[str, tuple[str, Sequence[str]]] = {}
    for group in ("required", "optional"):
        for name, (kind, *rest) in (described or {}).get("input", {}).get(group, {}).items():
            options = rest[0] if rest else {}
            found[name] = ("COMBO", kind) if isinstance(kind, list) else (kind, options.get("options", ()))
    return found


def _values(text: str, kind: str, choices: Sequence[str]) -> Iterator[object]:
    if text.lstrip().startswith("["):
        yield from _listed(text)
        return
    for item in next(csv.reader([text], skipinitialspace=True)):
        if kind in ("INT", "FLOAT") and ".." in item:
            yield from _range(item, whole=kind == "INT")
        elif kind == "COMBO" and ("*" in item or "?" in item):
            yield from _matching(item, choices)
        else:
            yield _typed(item, kind)


def _listed(text: str) -> list[object]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("begins like a JSON list and is none") from None
    return list(values)


def _matching(pattern: str, choices: Sequence[str]) -> list[str]:
    found = [choice for choice in choices if fnmatchcase(choice, pattern)]
    if not found:
        there = listing(choices) if choices else "there is nothing to choose from"
        raise ValueError(f"nothing fits {pattern!r}; choices: {there}")
    return found


def _range(item: str, whole: bool) -> list[object]:
    """`2..8:0.5`: from 2 to 8, both included, in steps of 0.5; without a step of 1."""
    bounds, _, step_text = item.partition(":")
    try:
        first, last = map(Decimal, bounds.split("..", 1))
        step = Decimal(step_text or "1")
    except (InvalidOperation, ValueError):
        raise ValueError(f"got {item!r}, expected a range such as 2..8 or 2..8:0.5") from None
    if not (first.is_finite() and last.is_finite() and step.is_finite()) or step <= 0 or last < first:
        raise ValueError(f"got {item!r}, expected a range that rises, with a step above 0")
    count = int((last - first) / step) + 1
    if count > MOST:
        raise ValueError(f"got a range of {count} values, expected at most {MOST}")
    numbers = [first + step * i for i in range(count)]
    if whole and any(number != int(number) for number in numbers):
        raise ValueError(f"got {item!r}, expected integers")
    return [int(number) if whole else float(number) for number in numbers]


def _typed(text: str, kind: str) -> object:
    """As JSON would have it; as it is where the input takes something else, for the check of the workflow to say so."""
    if kind not in ("INT", "FLOAT", "BOOLEAN"):
        return text
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float) else text
