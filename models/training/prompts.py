"""The fixed prompts that a checkpoint is judged by: each names a combination that training never showed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from models.training.captions import Told, english
from models.training.detector import Finding
from models.training.scenes import Scene, Split, has_unseen_pair, scene
from models.training.world import Style, Weather

WATCHED, JUDGED = 64, 65  # seeds of the worlds that prompts are taken from: looked at during training, and after it
NAMED = frozenset({Told.COLOUR, Told.PLACE, Told.TIME})  # beside things and their number, what the split goes by
PATIENCE = 1000  # scenes without a new prompt, before it is said that there are no more
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


def singles(each: int, seed: int = JUDGED) -> list[Prompt]:
    """`each` prompts of which one attribute is judged, for every attribute. Raises ValueError if there are not as many."""
    return [prompt for name in SINGLE for prompt in _prompts((name,), each, seed)]


def triples(each: int, seed: int = JUDGED) -> list[Prompt]:
    """`each` prompts of which three attributes are judged, for every set of `THREE`. Raises ValueError like `singles`."""
    return [prompt for asked in THREE for prompt in _prompts(asked, each, seed)]


def right(found: Finding, prompt: Prompt) -> bool:
    """Whether a picture shows all that was asked for."""
    return all(RIGHT[name](found, prompt.wanted) for name in prompt.asked)


def _prompts(asked: tuple[str, ...], count: int, seed: int) -> list[Prompt]:
    """Prompts from held-out scenes in which there is something to tell of all that is asked.

    Things, colours, number, place and time are told whatever is asked: without one of them the rest is no held-out
    combination, and the text may be a caption of training.
    """
    told = NAMED | {telling for name in asked if (telling := TELLING[name])}
    chosen: dict[str, Prompt] = {}
    index = zlib.crc32("".join(asked).encode()) % 2**20  # scenes of its own for each set of attributes
    unseen = fruitless = 0
    while len(chosen) < count:
        if fruitless > PATIENCE:
            raise ValueError(f"there are {len(chosen)} different prompts for {' and '.join(asked)}, not {count}")
        one = scene(seed, index, Split.HELD_OUT)
        index += 1
        fruitless += 1
        if not all(_tellable(name, one) for name in asked):
            continue
        if has_unseen_pair(one) and unseen >= count / UNSEEN_SHARE:
            continue
        text = english(one, told, np.random.default_rng([seed, index]))
        if text not in chosen:
            chosen[text] = Prompt(text, one, asked)
            unseen += has_unseen_pair(one)
            fruitless = 0
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
