"""What editors compute when a workflow is queued: alternatives in prompts, dates and values in file names, next seeds."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from graph.document import DocNode, Document, NodeId
from graph.litegraph import EditorFile, EditorNode, objects, read_node
from graph.node_shapes import InputShape, NodeShape, Shapes
from graph.sweep import Sweep
from graph.widget_values import active_inputs, bind, place_of, value_of

PREFIXED = frozenset(
    {
        "SaveImage", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM", "SaveAudio", "SaveGLB", "CLIPSave", "VAESave",
        "ModelSave", "LoraSave", "SaveLatent", "SaveImageAdvanced",
    }
)  # fmt: skip
"""Node types in whose `filename_prefix` editors put dates and values."""
_WIDEST = 2**50
"""Editors draw random numbers from no wider a range."""
_COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)
_DATE = re.compile(r"yyyy|yy|dd?|MM?|hh?|mm?|ss?")
_FORBIDDEN = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def resolve_texts(document: Document, shapes: Shapes, chance: random.Random, now: datetime) -> Document:
    """The document as it is queued: one alternative of each `{a|b}`, and `%date:…%` and `%Node.field%` filled in.

    Of several values for one input each is resolved by itself.
    """

    def resolved(node: DocNode, field: InputShape, value: object) -> object:
        if isinstance(value, Sweep):
            return value.mapped(lambda one: resolved(node, field, one))
        if isinstance(value, str) and field.options.get("dynamicPrompts") is True:
            return choose(value, chance)
        if isinstance(value, str) and field.name == "filename_prefix" and node.class_type in PREFIXED:
            return fill_prefix(value, document.nodes, now)
        return value

    nodes = {}
    for node_id, node in document.nodes.items():
        shape = shapes(node.class_type)
        inputs = dict(node.inputs)
        for each in active_inputs(shape.inputs, inputs) if shape else ():
            if each.name in inputs:
                inputs[each.name] = resolved(node, each, inputs[each.name])
        nodes[node_id] = node if inputs == node.inputs else replace(node, inputs=inputs)
    return replace(document, nodes=nodes)


def choose(text: str, chance: random.Random) -> str:
    r"""One alternative of each `{a|b}`, nested ones too; comments go, and `\{ \| \}` are letters."""
    rest = iter(re.findall(r"\\[{|}]|[{|}]|[^{|}\\]+|\\", _COMMENT.sub("", text)))

    def read(depth: int) -> str:
        options = [""]
        for piece in rest:
            if piece[0] == "\\" and len(piece) == 2:
                options[-1] += piece[1]
            elif piece == "{" and depth < 100:
                options[-1] += read(depth + 1)
            elif piece == "}" and depth:
                return chance.choice(options)
            elif piece == "|" and depth:
                options.append("")
            else:
                options[-1] += piece
        return "|".join(options)

    return read(0)


def fill_prefix(text: str, nodes: Mapping[NodeId, DocNode], now: datetime) -> str:
    """A file name with `%date:yyyy-MM-dd%` and `%Node.field%` filled in; a node goes by its type or its title."""

    def filled(found: re.Match[str]) -> str:
        if found[1].startswith("date:"):
            return _FORBIDDEN.sub("_", _date(found[1][5:], now))
        name, dot, field = found[1].partition(".")
        meant = [node for node in nodes.values() if name == node.class_type]
        meant += [node for node in nodes.values() if name == node.meta.get("title")]
        value = next((node.inputs.get(field) for node in meant), None)
        is_plain = isinstance(value, str | int | float | bool)
        return _FORBIDDEN.sub("_", str(value)) if dot and is_plain else found[0]

    return re.sub("%([^%]+)%", filled, text)


def next_seeds(file: EditorFile, shapes: Shapes, chance: random.Random) -> Mapping[str, object]:
    """The file with every number and choice stepped as the control word behind it says; linked ones stay."""
    return _stepped(file.raw, shapes, chance)


def _stepped(level: Mapping[str, object], shapes: Shapes, chance: random.Random) -> Mapping[str, object]:
    """One level of a file, and the definitions of subgraphs in it."""
    nodes = level.get("nodes")
    made = dict(level)
    if isinstance(nodes, list):
        made["nodes"] = [_next_values(raw, shapes, chance) if isinstance(raw, Mapping) else raw for raw in nodes]
    held = level.get("definitions")
    if isinstance(held, Mapping) and objects(held.get("subgraphs")):
        inside = [_stepped(each, shapes, chance) for each in objects(held.get("subgraphs"))]
        made["definitions"] = {**held, "subgraphs": inside}
    return made


def _next_values(raw: Mapping[str, object], shapes: Shapes, chance: random.Random) -> Mapping[str, object]:
    node = read_node(raw)
    shape = shapes(node.type)
    if shape is None or not isinstance(node.values, list):
        return raw
    values, named = list(node.values), dict(node.named)
    for each, word in _controlled(node, shape):
        place = place_of(shape, node.values, each.name)
        if place is not None and place < len(values):
            values[place] = _step(each, values[place], word, chance)
            if each.name in named:
                named[each.name] = values[place]
    if values == node.values:
        return raw
    return {**raw, "widgets_values": values} | ({"widgets_values_named": named} if named else {})


def _controlled(node: EditorNode, shape: NodeShape) -> Iterator[tuple[InputShape, str]]:
    bound = bind(node, shape)
    linked = {slot.widget or slot.name for slot in node.inputs if slot.link is not None}
    for each in active_inputs(shape.inputs, bound.values):
        word = bound.controls.get(each.name)
        word = "randomize" if word is True else word
        if each.control and each.name not in linked and isinstance(word, str) and word != "fixed":
            yield each, word


def _step(shape: InputShape, value: object, word: str, chance: random.Random) -> object:
    if shape.control == "combo":
        choices = list(shape.choices)
        at = choices.index(value) if value in choices else -1
        places = {
            "increment": min(at + 1, len(choices) - 1),
            "increment-wrap": (at + 1) % max(1, len(choices)),
            "decrement": max(at - 1, 0),
            "randomize": chance.randrange(max(1, len(choices))),
        }
        return choices[places[word]] if choices and word in places else value
    number = (
        value
        if isinstance(value, int) and not isinstance(value, bool)
        else _whole(value_of(shape, {shape.name: value}))
    )
    low, high, by = (
        _whole(shape.options.get(key), other) for key, other in (("min", 0), ("max", _WIDEST), ("step", 1))
    )
    match word:
        case "increment":
            return max(low, min(number + by, high))
        case "decrement":
            return max(low, min(number - by, high))
        case "randomize":
            return chance.randint(max(low, -_WIDEST), min(high, _WIDEST))
        case _:
            return value


def _whole(value: object, otherwise: int = 0) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _date(form: str, now: datetime) -> str:
    parts = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def part(found: re.Match[str]) -> str:
        token = found[0]
        if token[0] == "y":
            return str(now.year)[-len(token) :]
        return str(parts[token[0]]).zfill(len(token))

    return _DATE.sub(part, form)
