"""Nodes that choose: only what they choose is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from graph.errors import InputError, listing
from graph.result import Lazy
from graph.sockets import Anything, Int, Text, Toggle
from graph.spec import Group, Named, Tip, node
from nodes.services import Context

T = TypeVar("T")


@node("ComfySwitchNode", category="logic", title="If/Else Switch")
def comfy_switch(
    ctx: Context,
    *,
    switch: Annotated[bool, Toggle(tooltip="Which of the two is passed on.")],
    on_false: Annotated[Lazy[T] | None, Tip("Passed on when the switch is off.")] = None,
    on_true: Annotated[Lazy[T] | None, Tip("Passed on when the switch is on.")] = None,
) -> Annotated[T | None, Named("output"), Tip("What was chosen; nothing if nothing is connected there.")]:
    """Pass on one of two inputs. The other one is not computed."""
    chosen = on_true if switch else on_false
    if chosen is None:
        name = "on_true" if switch else "on_false"
        ctx.warn(f"nothing is connected to {name}, so nothing is passed on", name)
        return None
    return chosen.get()


@node("BranchNode", category="logic", title="Branch")
def branch_node(
    ctx: Context,
    *,
    autogrow: Annotated[Mapping[str, Lazy[T]], Group(min=0, max=32), Tip("The branches, of one type.")],
    branch: Annotated[str, Text(tooltip="The name of the branch that is passed on.")],
    branch_names: Annotated[
        object | None, Anything(tooltip="The names of the connected branches in their order, kept by the editor.")
    ] = None,
) -> Annotated[T, Named("output"), Tip("What was chosen.")]:
    """Pass on the branch of this name. The others are not computed."""
    names = [str(name) for name in branch_names] if isinstance(branch_names, tuple) else []
    members = list(autogrow.values())
    if branch in names and names.index(branch) < len(members):
        return members[names.index(branch)].get()
    if branch in autogrow:
        return autogrow[branch].get()
    known = names or list(autogrow)
    raise InputError(
        "branch", f"got {branch!r}, expected a branch that is connected: {listing(known) or 'there is none'}"
    )


@node("SwitchOfMany", category="logic", title="Switch of Many")
def switch_of_many(
    ctx: Context,
    *,
    index: Annotated[int, Int(0, 99, tooltip="Which input is passed on, counted from 0.")],
    values: Annotated[Mapping[str, Lazy[T]], Group("value", min=1, max=100), Tip("What to choose from, of one type.")],
) -> Annotated[T, Named("output"), Tip("What was chosen.")]:
    """Pass on one of many inputs by its number. The others are not computed."""
    if (chosen := values.get(f"value{index}")) is None:
        raise InputError("index", f"got {index}, but nothing is connected to value{index}")
    return chosen.get()


@node("ComfyAndNode", category="logic", title="And")
def and_node(
    ctx: Context, *, values: Annotated[Mapping[str, Any], Group("value_", min=1, max=100), Tip("Anything.")]
) -> Annotated[bool, Tip("Whether all of them are true: no empty text or list, not 0, not nothing.")]:
    """Whether all values are true."""
    return all(values.values())


@node("ComfyOrNode", category="logic", title="Or")
def or_node(
    ctx: Context, *, values: Annotated[Mapping[str, Any], Group("value_", min=1, max=100), Tip("Anything.")]
) -> Annotated[bool, Tip("Whether one of them is true: no empty text or list, not 0, not nothing.")]:
    """Whether one of several values is true."""
    return any(values.values())


@node("ComfyNotNode", category="logic", title="Not")
def not_node(
    ctx: Context, *, value: Annotated[Any, Tip("Anything.")]
) -> Annotated[bool, Named("output"), Tip("Whether it is an empty text or list, 0, no, or nothing.")]:
    """Whether a value is not true."""
    return not value
