"""Nodes that hold one value for others to read, and one that shows any value."""

from __future__ import annotations

import json
from typing import Annotated, Any

from graph.errors import brief
from graph.result import Outputs
from graph.sockets import Float, Int, Text
from graph.spec import Tip, node
from nodes.services import Context

MOST = 2**63 - 1


@node("PrimitiveString", category="utils/primitive", title="String")
def primitive_string(
    ctx: Context, *, value: Annotated[str, Text(tooltip="The text.")]
) -> Annotated[str, Tip("The text.")]:
    """A text."""
    return value


@node("PrimitiveStringMultiline", category="utils/primitive", title="String (Multiline)")
def primitive_string_multiline(
    ctx: Context, *, value: Annotated[str, Text(multiline=True, tooltip="The text.")]
) -> Annotated[str, Tip("The text.")]:
    """A text of several lines."""
    return value


@node("PrimitiveInt", category="utils/primitive", title="Int")
def primitive_int(
    ctx: Context,
    *,
    value: Annotated[int, Int(-MOST, MOST, control_after_generate=True, tooltip="The number.")],
) -> Annotated[int, Tip("The number.")]:
    """A whole number."""
    return value


@node("PrimitiveFloat", category="utils/primitive", title="Float")
def primitive_float(
    ctx: Context, *, value: Annotated[float, Float(-MOST, MOST, tooltip="The number.")]
) -> Annotated[float, Tip("The number.")]:
    """A number."""
    return value


@node("PrimitiveBoolean", category="utils/primitive", title="Boolean")
def primitive_boolean(ctx: Context, *, value: Annotated[bool, Tip("Yes or no.")]) -> Annotated[bool, Tip("Yes or no.")]:
    """Yes or no."""
    return value


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
