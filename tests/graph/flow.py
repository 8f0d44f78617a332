"""Nodes that choose what they read, expand, loop, and take lists: the stubs of what is not a plain node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeVar

from graph.document import DocNode, Link
from graph.errors import InputError
from graph.result import Blocked, Expand, Lazy, Made, Outputs, Result, Shown
from graph.sockets import Int
from graph.spec import Cases, Group, Raw, Registry, node
from tests.graph.stubs import REGISTRY, TIMEOUT, Ctx, Num, link

T = TypeVar("T")


@node("Choose", category="stub")
def choose(ctx: Ctx, *, first: bool, a: Lazy[T] | None = None, b: Lazy[T] | None = None) -> T:
    """One of two, and only that is computed."""
    chosen = a if first else b
    if chosen is None:
        raise InputError("a" if first else "b", "is not connected")
    return chosen.get()


@node("ChooseByNumber", category="stub")
def choose_by_number(ctx: Ctx, *, which: Num, a: Lazy[Num], b: Lazy[Num]) -> Num:
    """The same, where a computed number decides."""
    return a.get() if which.value else b.get()


@node("AskOnward", category="stub")
def ask_onward(ctx: Ctx, *, which: Lazy[Num], a: Lazy[Num], b: Lazy[Num]) -> Num:
    """Asks for one number to know which other to ask for."""
    return a.get() if which.get().value else b.get()


@node("ChooseInTime", category="stub")
async def choose_in_time(ctx: Ctx, *, first: bool, a: Lazy[Num], b: Lazy[Num]) -> Num:
    """The same, async."""
    await asyncio.sleep(0)
    return a.get() if first else b.get()


@node("ChooseOfMany", category="stub")
def choose_of_many(ctx: Ctx, *, which: str, branches: Annotated[Mapping[str, Lazy[T]], Group()]) -> T:
    """One of many, by its name."""
    return branches[which].get()


@node("Twice", category="stub")
def twice(ctx: Ctx, *, a: Annotated[Link, Raw()], plus: Annotated[int, Int()] = 0) -> Num | Expand:
    """Two sums one behind the other in place of itself."""
    nodes = {
        "first": DocNode("Add", {"a": a, "plus": plus}),
        "second": DocNode("Add", {"a": link("first"), "plus": plus}),
    }
    return Expand(nodes, (link("second"),))


@node("Down", category="stub")
def down(ctx: Ctx, *, a: Num, depth: Annotated[int, Int()]) -> Num | Expand:
    """Expands to itself until it is deep enough."""
    if depth == 0:
        return a
    nodes = {
        "sum": DocNode("Add", {"a": Made(a, f"down {depth} {a.value}", 0), "plus": 1}),
        "down": DocNode("Down", {"a": link("sum"), "depth": depth - 1}),
    }
    return Expand(nodes, (link("down"),))


@node("Repeat", category="stub")
def repeat(ctx: Ctx, *, a: Annotated[Link, Raw()], times: Annotated[int, Int()], show: bool) -> Num | Expand:
    """Adds one as often as it is told, one expansion after the other."""

    def turn(made: tuple[Made, ...], left: int) -> Result:
        if not left:
            return Outputs((made[0].value,))
        nodes = {"sum": DocNode("Add", {"a": made[0], "plus": 1})}
        if show:
            nodes["show"] = DocNode("Show", {"a": link("sum")})
        return Expand(nodes, (link("sum"),), lambda again: turn(again, left - 1))

    return Expand({}, (a,), lambda made: turn(made, times))


@node("Wrapped", category="stub")
def wrapped(ctx: Ctx, *, a: Annotated[Link, Raw()], times: Annotated[int, Int()]) -> Num | Expand:
    """A Repeat that shows, and a sum behind it, in place of itself."""
    nodes = {
        "inner": DocNode("Repeat", {"a": a, "times": times, "show": True}),
        "more": DocNode("Add", {"a": link("inner"), "plus": 1}),
    }
    return Expand(nodes, (link("more"),))


@node("Keep", category="stub")
def keep(ctx: Ctx, *, a: Annotated[Link, Raw()]) -> Num | Expand:
    """The same number, which is written to a file on the way."""
    return Expand({"write": DocNode("Write", {"a": a, "name": "kept.txt"})}, (a,))


@node("Around", category="stub")
def around(ctx: Ctx, *, outer: str, a: Num | None = None) -> Num | Expand:
    """Expands to a sum with a node that stands around it."""
    return Expand({"sum": DocNode("Add", {"a": link(outer)})}, (link("sum"),))


@node("Numbers", category="stub")
def numbers(
    ctx: Ctx, *, start: Annotated[int | None, Int()] = 0, count: Annotated[int | None, Int(0)] = 3
) -> list[Num]:
    """A list."""
    return [ctx.services.make((start or 0) + i) for i in range(count or 0)]


@node("Total", category="stub")
def total(ctx: Ctx, *, numbers: list[Num]) -> Num:
    """The sum of a list."""
    return ctx.services.make(sum(number.value for number in numbers))


class Halves(NamedTuple):
    """One list and one value."""

    each: list[Num]
    size: Num


@node("HalfOfEach", category="stub")
def half_of_each(ctx: Ctx, *, numbers: list[Num]) -> Halves:
    """A list in, a list and a number out."""
    return Halves([Num(number.value // 2) for number in numbers], Num(len(numbers)))


@node("Block", category="stub")
def block(ctx: Ctx, *, a: Num, above: Annotated[int, Int()], message: str) -> Num | Blocked:
    """The number, or what keeps its readers from running if it is too large."""
    return Blocked(message) if a.value > above else a


@node("Gather", category="stub")
def gather(ctx: Ctx, *, items: Annotated[Mapping[str, Num], Group("item", min=1, max=4)]) -> Num:
    """The sum of a group."""
    return Num(sum(number.value for number in items.values()))


@dataclass(frozen=True)
class Times:
    """So often."""

    times: Annotated[int, Int(0, 9)] = 2


@dataclass(frozen=True)
class Plus:
    """So much more."""

    plus: Annotated[int, Int()]
    also: Num | None = None


@node("Calculate", category="stub")
def calculate(ctx: Ctx, *, how: Annotated[Times | Plus, Cases({}, {"times": Times, "plus": Plus})], a: Num) -> Num:
    """Inputs that depend on a choice."""
    match how:
        case Times(times):
            return Num(a.value * times)
        case Plus(plus, also):
            return Num(a.value + plus + (also.value if also else 0))


@node("Meet", category="stub")
async def meet(ctx: Ctx, *, a: Num, of: Annotated[int, Int()] = 2) -> Num:
    """Ends when as many are under way at once as should be."""
    desk = ctx.services
    desk.sign(ctx.node_id)
    desk.met.append(a.value)
    while len(desk.met) < of:
        await asyncio.sleep(0.001)
    return a


@node("Sleep", category="stub", time_limit=0.01)
async def sleep(ctx: Ctx, *, a: Num) -> Num:
    """Takes longer than it may."""
    await asyncio.sleep(TIMEOUT)
    return a


@node("Wait", category="stub")
async def wait(ctx: Ctx, *, a: Num) -> Num:
    """Does not end by itself."""
    ctx.services.entered.set()
    await asyncio.sleep(TIMEOUT)
    return a


@node("FailInTime", category="stub")
async def fail_in_time(ctx: Ctx, *, a: Num) -> Num:
    """Fails later."""
    await asyncio.sleep(0)
    raise RuntimeError("out of paper")


@node("Unique", category="stub", idempotent=False)
def unique(ctx: Ctx, *, value: Annotated[int, Int()]) -> Num:
    """Never taken for an equal node."""
    return ctx.services.make(value)


@node("PlainNumber", category="stub")
def plain_number(ctx: Ctx, *, a: Num) -> int:
    """A number that a field takes."""
    return a.value


@node("ShowBoth", category="stub", terminal=True)
def show_both(ctx: Ctx, *, a: Num) -> Shown[Num]:
    """A number, for people and for other nodes."""
    return Shown(a, {"value": [a.value]})


FLOW = Registry(
    [
        *REGISTRY.values(),
        choose,
        choose_by_number,
        ask_onward,
        choose_in_time,
        choose_of_many,
        twice,
        down,
        repeat,
        wrapped,
        keep,
        around,
        numbers,
        total,
        half_of_each,
        block,
        gather,
        calculate,
        meet,
        sleep,
        wait,
        fail_in_time,
        unique,
        plain_number,
        show_both,
    ]
)
