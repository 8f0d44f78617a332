"""A1111's prompt language: brackets whose weights multiply, texts that change from step to step, AND and BREAK.

`(a)` counts 1.1 times as much, `[a]` 1 / 1.1 times, `(a:1.3)` 1.3 times, each times what is around it. `[a:b:0.5]` is a
for the first half of the steps and b after, `[b:5]` begins at step 5, `[a::5]` ends there, `[a|b]` takes turns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from models.prompt import Piece

ROUND, SQUARE = 1.1, 1 / 1.1
_TOKEN = re.compile(r"\\.|[()\[\]:|]|[^\\()\[\]:|]+|\\", re.DOTALL)
_AND = re.compile(r"\bAND\b")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_WEIGHT = re.compile(r"^((?:\s|.)*?)(?:\s*:\s*([-+]?(?:\d+\.?\d*|\.\d+)))?\s*$")
_NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*")


@dataclass(frozen=True)
class Part:
    """One of the prompts that AND joins: its text, and how much it counts."""

    text: str
    weight: float = 1.0


def joined_by_and(text: str) -> list[Part]:
    """The prompts that AND joins. `a AND b:0.5`: the second counts half."""
    parts = []
    for piece in _AND.split(text):
        found = _WEIGHT.match(piece)
        words, weight = (found[1], found[2]) if found else (piece, None)
        parts.append(Part(words.strip() if weight else piece.strip(), float(weight) if weight else 1.0))
    return parts


def broken(text: str) -> list[str]:
    """The texts between BREAKs, each of which begins a new part of 75 tokens."""
    return _BREAK.split(text)


@dataclass(frozen=True)
class Stretch:
    """A text, and the steps during which it holds, from `first` up to `last`, counted from 0."""

    text: str
    first: int
    last: int


def by_steps(text: str, steps: int) -> list[Stretch]:
    """What a prompt says at each of so many steps; steps that say the same are one stretch."""
    tree = _read(_TOKEN.findall(text))
    stretches: list[Stretch] = []
    for i in range(steps):
        said = "".join(_said(tree, i, steps))
        if stretches and stretches[-1].text == said:
            stretches[-1] = Stretch(said, stretches[-1].first, i)
        else:
            stretches.append(Stretch(said, i, i))
    return stretches


@dataclass
class _Square:
    """A square bracket: what stands in it, cut at its colons and at its bars."""

    parts: list[list[_Node]]
    signs: list[str]


_Node = str | _Square


def _read(tokens: list[str]) -> list[_Node]:
    """Texts and square brackets. A bracket that has no other half is a letter; colons and bars within round ones are."""
    stack: list[_Square] = [_Square([[]], [])]
    depth = [0]
    for token in tokens:
        top = stack[-1]
        if token == "[":
            stack.append(_Square([[]], []))
            depth.append(0)
        elif token == "]" and len(stack) > 1:
            depth.pop()
            stack[-2].parts[-1].append(stack.pop())
        elif token in (":", "|") and len(stack) > 1 and depth[-1] == 0:
            top.signs.append(token)
            top.parts.append([])
        else:
            depth[-1] += {"(": 1, ")": -1}.get(token, 0)
            depth[-1] = max(depth[-1], 0)
            top.parts[-1].append(token)
    while len(stack) > 1:
        rest = stack.pop()
        stack[-1].parts[-1] += ["[", *_flat(rest)]
    return stack[0].parts[0]


def _flat(square: _Square) -> Iterator[_Node]:
    yield from square.parts[0]
    for sign, part in zip(square.signs, square.parts[1:], strict=True):
        yield sign
        yield from part


def _said(nodes: list[_Node], i: int, steps: int) -> Iterator[str]:
    """What the nodes say at step i."""
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif node.signs and set(node.signs) == {"|"}:
            yield from _said(node.parts[i % len(node.parts)], i, steps)
        elif (when := _when(node, steps)) is not None:
            before = node.parts[0] if len(node.parts) == 3 else []
            yield from _said(before if i < when else node.parts[-2], i, steps)
        else:
            yield "["
            yield from _said(list(_flat(node)), i, steps)
            yield "]"


def _when(square: _Square, steps: int) -> int | None:
    """The first step after the change that a bracket says, if it says one."""
    if len(square.parts) not in (2, 3) or "|" in square.signs:
        return None
    last = square.parts[-1]
    words = "".join(part for part in last if isinstance(part, str))
    if len(words) == 0 or any(not isinstance(part, str) for part in last) or not _NUMBER.fullmatch(words):
        return None
    number = float(words)
    return int(number * steps) if ("." in words and number <= 1) or 0 < number < 1 else int(number)


def pieces(text: str) -> list[Piece]:
    """Cut a text without changes into pieces of one weight; backslashes make letters of brackets."""
    found: list[list[object]] = []
    round_, square = list[int](), list[int]()

    def multiply(start: int, factor: float) -> None:
        for piece in found[start:]:
            piece[1] = float(str(piece[1])) * factor

    for token in re.findall(r"\\.|[()\[\]]|:\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*\)|[^\\()\[\]:]+|\\|:", text, re.DOTALL):
        if token == "(":
            round_.append(len(found))
        elif token == "[":
            square.append(len(found))
        elif token.startswith(":") and token.endswith(")") and round_:
            multiply(round_.pop(), float(token[1:-1]))
        elif token == ")" and round_:
            multiply(round_.pop(), ROUND)
        elif token == "]" and square:
            multiply(square.pop(), SQUARE)
        else:
            found.append([token[1:] if token[0] == "\\" and len(token) > 1 else token, 1.0])
    for start in round_:
        multiply(start, ROUND)
    for start in square:
        multiply(start, SQUARE)
    return _merged([Piece(str(words), float(str(weight))) for words, weight in found])


def _merged(found: list[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in found:
        if merged and math.isclose(merged[-1].weight, piece.weight, rel_tol=1e-12):
            merged[-1] = Piece(merged[-1].text + piece.text, piece.weight)
        else:
            merged.append(piece)
    return merged
