"""The fixed prompts that a checkpoint is judged by: true of scenes that training never showed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from models.training.captions import Told, english
from models.training.detector import Finding
from models.training.scenes import Scene, Split, has_unseen_pair, scene
from models.training.world import Style, Weather

PROMPT_SEED = 64  # of the world that the prompts are taken from
LOOKED_THROUGH = 300  # scenes for each prompt, before it is said that there are no more
UNSEEN_SHARE = 10  # one prompt in so many may ask for a colour and kind that training never joined


@dataclass(frozen=True)
class Prompt:
    """A text and the scene that it is true of. `asked`: the names of the attributes that are judged."""

    text: str
    wanted: Scene
    asked: tuple[str, ...]


def _groups(one: Scene) -> tuple[tuple[str | None, str, int], ...]:
    """(colour, kind, how many), as a detector finds them."""
    names = list(dict.fromkeys(thing.name for thing in one.things))
    return tuple((colour, kind, sum(thing.name == (colour, kind) for thing in one.things)) for colour, kind in names)


def _colours_right(found: Finding, one: Scene) -> bool:
    wanted = {kind: colour for colour, kind, _ in _groups(one)}
    seen = {kind: colour for colour, kind, _ in found.things}
    return all(seen.get(kind, "") == colour for kind, colour in wanted.items() if colour)


RIGHT: Mapping[str, Callable[[Finding, Scene], bool]] = MappingProxyType(
    {
        "object": lambda found, one: {kind for _, kind, _ in found.things} == {kind for _, kind, _ in _groups(one)},
        "colour": _colours_right,
        "count": lambda found, one: sorted(n for *_, n in found.things) == sorted(n for *_, n in _groups(one)),
        "relation": lambda found, one: (
            (found.relation, found.side) == (one.relation, one.side)
            and [kind for _, kind, _ in found.things] == [kind for _, kind, _ in _groups(one)]
        ),
        "place": lambda found, one: found.place == one.place,
        "time": lambda found, one: found.time == one.time,
        "weather": lambda found, one: found.weather == one.weather,
        "season": lambda found, one: found.season == one.season,
        "style": lambda found, one: found.style == one.style,
    }
)
"""Attribute -> whether a picture has it as the scene has."""

TELLING: Mapping[str, Told | None] = MappingProxyType({
    "object": None, "count": None, "colour": Told.COLOUR, "relation": Told.RELATION, "place": Told.PLACE,
    "time": Told.TIME, "weather": Told.WEATHER, "season": Told.SEASON, "style": Told.STYLE,
})  # fmt: skip
SINGLE = ("object", "colour", "count", "relation", "time", "weather", "season", "style")
THREE = (
    ("object", "colour", "time"),
    ("object", "colour", "place"),
    ("object", "colour", "count"),
    ("object", "colour", "weather"),
    ("object", "colour", "style"),
    ("object", "relation", "time"),
)


def singles(each: int) -> list[Prompt]:
    """`each` prompts for every attribute alone; an object is always named, since without one there is no picture."""
    return [prompt for name in SINGLE for prompt in _prompts((name,), each)]


def triples(count: int) -> list[Prompt]:
    """`count` prompts for three attributes each."""
    share = -(-count // len(THREE))
    return [prompt for asked in THREE for prompt in _prompts(asked, share)][:count]


def right(found: Finding, prompt: Prompt) -> bool:
    """Whether a picture shows all that was asked for."""
    return all(RIGHT[name](found, prompt.wanted) for name in prompt.asked)


def _prompts(asked: tuple[str, ...], count: int) -> list[Prompt]:
    """Prompts from held-out scenes in which there is something to tell of all that is asked.

    Raises ValueError if there are not as many different ones.
    """
    chosen: dict[str, Prompt] = {}
    index = unseen = 0
    while len(chosen) < count:
        if index > LOOKED_THROUGH * count:
            raise ValueError(f"only {len(chosen)} different prompts for {' and '.join(asked)}, not {count}")
        one = scene(PROMPT_SEED, index, Split.HELD_OUT)
        index += 1
        if not all(_tellable(name, one) for name in asked):
            continue
        if has_unseen_pair(one):
            if unseen >= count / UNSEEN_SHARE:
                continue
            unseen += 1
        told = frozenset(telling for name in asked if (telling := TELLING[name]))
        text = english(one, told, np.random.default_rng([PROMPT_SEED, index]))
        chosen.setdefault(text, Prompt(text, one, asked))
    return list(chosen.values())


def _tellable(name: str, one: Scene) -> bool:
    match name:
        case "colour":
            return any(thing.colour for thing in one.things)
        case "count":
            return one.relation is None
        case "relation":
            return bool(one.relation or one.side)
        case "weather":
            return one.weather is not Weather.CLEAR
        case "season":
            return one.season is not None
        case "style":
            return one.style is not Style.PLAIN
        case _:
            return True
