"""Prompts with choices, as sd-dynamic-prompts has them: `{a|b}`, `{2$$a|b|c}`, `{3::a|b}`, `__wildcard__`."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

Lines = Callable[[str], Sequence[str]]
"""The name of a wildcard -> its lines. Raises DynamicPromptError."""

_WILDCARD = re.compile(r"__([\w \-./]+?)__")
_COUNT = re.compile(r"\s*(\d+)(?:-(\d+))?\$\$(?:([^$|{}]*)\$\$)?")
_SHARE = re.compile(r"\s*(\d+\.?\d*|\.\d+)::")
MOST = 1000  # choices in one text, so that wildcards which name themselves come to an end


class DynamicPromptError(Exception):
    """A sentence about what is wrong with a prompt."""


def expanded(text: str, chance: random.Random, lines: Lines) -> str:
    """The text with all its choices made, those within choices and wildcards too. Raises DynamicPromptError."""
    for _ in range(MOST):
        if (found := _WILDCARD.search(text)) is not None:
            options = lines(found[1])
            if not options:
                raise DynamicPromptError(f"the wildcard {found[1]} has no lines")
            text = text[: found.start()] + chance.choice(options) + text[found.end() :]
        elif (span := _innermost(text)) is not None:
            start, end = span
            text = text[:start] + _chosen(text[start + 1 : end], chance) + text[end + 1 :]
        else:
            return text
    raise DynamicPromptError(f"the prompt holds more than {MOST} choices; does a wildcard name itself?")


def _innermost(text: str) -> tuple[int, int] | None:
    """The first pair of braces without another pair in it."""
    start = -1
    for i, letter in enumerate(text):
        if letter == "{":
            start = i
        elif letter == "}" and start >= 0:
            return start, i
    return None


def _chosen(inside: str, chance: random.Random) -> str:
    """What comes of the inside of a pair of braces."""
    counts, joint = (1, 1), ", "
    if (found := _COUNT.match(inside)) is not None:
        counts = int(found[1]), int(found[2] or found[1])
        joint = joint if found[3] is None else found[3]
        inside = inside[found.end() :]
    options, shares = list[str](), list[float]()
    for option in inside.split("|"):
        share = _SHARE.match(option)
        options.append(option[share.end() :] if share else option)
        shares.append(float(share[1]) if share else 1.0)
    wanted = min(chance.randint(*sorted(counts)), len(options))
    taken: list[str] = []
    while len(taken) < wanted and sum(shares) > 0:
        [i] = chance.choices(range(len(options)), shares)
        taken.append(options.pop(i).strip() if wanted > 1 else options.pop(i))
        shares.pop(i)
    return joint.join(taken)
