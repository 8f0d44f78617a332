"""Which input the output of a bypassed node goes on with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from graph.litegraph import EditorNode
from graph.node_shapes import InputShape, fits
from graph.sockets import ANY


@dataclass(frozen=True, slots=True)
class Passage:
    """An input, by what it takes and the link that ends there."""

    type: str
    link: str | None


def passage(
    node: EditorNode, inputs: Iterable[InputShape], outputs: tuple[str, ...], slot: int, wanted: str
) -> Passage | None:
    """The input that output number `slot` goes on with, for a reader that takes `wanted`.

    That of the same number if its type fits both, else the first of just the type that is wanted, else the first that
    fits both; a reader that takes anything gets that of the same number, or the first.
    """
    ends = _ends(node, inputs)
    given = outputs[slot] if 0 <= slot < len(outputs) else ANY
    same = ends[slot] if 0 <= slot < len(ends) else None
    if wanted == ANY:
        return same or (ends[0] if ends else None)
    if same and fits(same.type, given) and fits(same.type, wanted):
        return same
    exact = (end for end in ends if end.type == wanted)
    near = (end for end in ends if fits(end.type, given) and fits(end.type, wanted))
    return next(exact, None) or next(near, None)


def _ends(node: EditorNode, inputs: Iterable[InputShape]) -> list[Passage]:
    """A node's inputs as an editor lists them: sockets in their order, then fields, then what only the file knows."""
    links = {slot.name: slot.link for slot in reversed(node.inputs)}
    shapes = sorted(inputs, key=lambda shape: shape.is_field)
    known = {shape.name for shape in shapes}
    ends = [Passage(shape.type, links.get(shape.name)) for shape in shapes]
    return ends + [Passage(slot.type, slot.link) for slot in node.inputs if slot.name not in known]
