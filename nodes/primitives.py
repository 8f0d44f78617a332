"""Nodes that hold one value for others to read, and one that shows any value."""

from __future__ import annotations

import json
from typing import Annotated, Any, NamedTuple

from graph.errors import brief
from graph.result import Outputs
from graph.sockets import Float, Int, Text
from graph.spec import ALIKE, Named, Tip, node
from nodes.services import Context

MOST = 2**63 - 1


@node("PrimitiveString", category="utils/primitive", title="String", items=ALIKE)
def primitive_string(
    ctx: Context, *, value: Annotated[str, Text(tooltip="The text.")]
) -> Annotated[str, Tip("The text.")]:
    """A text."""
    return value


@node("PrimitiveStringMultiline", category="utils/primitive", title="String (Multiline)", items=ALIKE)
def primitive_string_multiline(
    ctx: Context, *, value: Annotated[str, Text(multiline=True, tooltip="The text.")]
) -> Annotated[str, Tip("The text.")]:
    """A text of several lines."""
    return value


@node("PrimitiveInt", category="utils/primitive", title="Int", items=ALIKE)
def primitive_int(
    ctx: Context,
    *,
    value: Annotated[int, Int(-MOST, MOST, control_after_generate=True, tooltip="The number.")],
) -> Annotated[int, Tip("The number.")]:
    """A whole number."""
    return value


@node("PrimitiveFloat", category="utils/primitive", title="Float", items=ALIKE)
def primitive_float(
    ctx: Context, *, value: Annotated[float, Float(-MOST, MOST, tooltip="The number.")]
) -> Annotated[float, Tip("The number.")]:
    """A number."""
    return value


@node("PrimitiveBoolean", category="utils/primitive", title="Boolean", items=ALIKE)
def primitive_boolean(ctx: Context, *, value: Annotated[bool, Tip("Yes or no.")]) -> Annotated[bool, Tip("Yes or no.")]:
    """Yes or no."""
    return value


@node("SeedNode", category="utils/primitive", title="Seed", items=ALIKE)
def seed_node(
    ctx: Context,
    *,
    seed: Annotated[int, Int(0, MOST, control_after_generate=True, tooltip="The seed.")],
) -> Annotated[int, Named("seed"), Tip("The seed.")]:
    """A seed for several nodes."""
    return seed


class Chosen(NamedTuple):
    """One of some texts, and which."""

    STRING: Annotated[str, Tip("The text that was chosen.")]
    INDEX: Annotated[int, Tip("Which one it is, counted from 0.")]


@node("CustomCombo", category="utils", title="Custom Combo", experimental=True)
def custom_combo(
    ctx: Context,
    *,
    choice: Annotated[str, Text(tooltip="The text that was chosen; the editor keeps the others.")],
    index: Annotated[int | None, Int(0, MOST, tooltip="Which one it is, counted from 0.")] = 0,
) -> Chosen:
    """One of some texts of your own."""
    return Chosen(choice, index or 0)


@node("PreviewAny", category="utils", title="Preview Any", terminal=True)
def preview_any(ctx: Context, *, source: Annotated[Any, Tip("What to show.")]) -> Outputs:
    """Show any value as text."""
    return Outputs(ui={"text": [_shown(source)]})


def _shown(value: object) -> str:
    match value:
        case str():
            return value
        case bool() | int() | float() | None | dict() | list():
            try:
                return json.dumps(value, indent=4, ensure_ascii=False)
            except (TypeError, ValueError, RecursionError):
                return brief(value)
        case _:
            return brief(value, limit=400)
