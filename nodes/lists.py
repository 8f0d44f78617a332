"""Nodes that make lists, and take them apart. Every other node is called once for each value of a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from graph.errors import InputError
from graph.sockets import Int
from graph.spec import Group, Named, Tip, node
from nodes.services import Context

T = TypeVar("T")


@node("CreateList", category="logic", title="Create List")
def create_list(
    ctx: Context,
    *,
    inputs: Annotated[
        Mapping[str, list[T]], Group("input", min=1, max=100), Tip("Values and lists, which follow each other.")
    ],
) -> Annotated[list[T], Named("list"), Tip("All of them. What reads it runs once for each.")]:
    """Put values of one type into a list."""
    return [value for values in inputs.values() for value in values]


@node("GetItemFromList", category="logic", title="Get Item from List")
def get_item_from_list(
    ctx: Context,
    *,
    list: Annotated[list[T], Tip("The list.")],  # noqa: A002
    index: Annotated[int, Int(tooltip="Which value, counted from 0; negative numbers count from the end.")],
) -> Annotated[T, Tip("The value.")]:
    """Take one value out of a list."""
    if not -len(list) <= index < len(list):
        raise InputError("index", f"got {index}, but the list has {len(list)} values")
    return list[index]
