"""Captions: true sentences about a scene, in a closed vocabulary of words that are one CLIP token each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np

PLACE_PHRASES: Mapping[str, str] = MappingProxyType(
    {
        "left": "on the left",
        "right": "on the right",
        "top": "at the top",
        "bottom": "at the bottom",
        "centre": "in the centre",
    }
)


class ThingLike(Protocol):
    """What a caption tells of a thing."""

    @property
    def shape(self) -> str: ...
    @property
    def colour(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def place(self) -> str: ...


class BackgroundLike(Protocol):
    """What a caption tells of a background."""

    @property
    def colour(self) -> str: ...
    @property
    def pattern(self) -> str: ...


def describe(rng: np.random.Generator, things: Sequence[ThingLike], background: BackgroundLike) -> str:
    """A caption of things in reading order; sizes, places and the background are told only sometimes."""
    nouns = [_noun(rng, thing) for thing in things]
    ground = _ground(background)
    style = rng.random()
    if style < 0.1:  # a list of keywords, as people type them
        return ", ".join([*nouns, ground])
    nouns = [_with_article(noun) for noun in nouns]
    told = _alone(rng, nouns[0], things[0]) if len(things) == 1 else _together(rng, nouns, things)
    if style < 0.25:
        return told
    ground = _with_article(ground)
    return f"{told}, {ground}" if style < 0.35 else f"{told} on {ground}"


def _noun(rng: np.random.Generator, thing: ThingLike) -> str:
    size = {"small": "small", "large": ("large", "big")[rng.integers(2)]}[thing.size]
    told = rng.random()
    if told < 0.65:
        return f"{thing.colour} {thing.shape}"
    return f"{size} {thing.colour} {thing.shape}" if told < 0.95 else f"{thing.colour} {size} {thing.shape}"


def _ground(background: BackgroundLike) -> str:
    match background.pattern:
        case "plain":
            return f"{background.colour} background"
        case "gradient":
            return f"{background.colour} gradient background"
        case pattern:
            return f"{pattern} {background.colour} background"


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun.startswith("orange") else f"a {noun}"


def _alone(rng: np.random.Generator, noun: str, thing: ThingLike) -> str:
    phrase = PLACE_PHRASES[thing.place]
    if thing.place == "centre" and rng.random() < 0.5:
        phrase = "in the center"
    return f"{noun} {phrase}" if rng.random() < 0.5 else noun


def _together(rng: np.random.Generator, nouns: Sequence[str], things: Sequence[ThingLike]) -> str:
    """Two things; where no place is told they are named in reading order."""
    first, second = nouns
    placed = [f"{noun} {PLACE_PHRASES[thing.place]}" for noun, thing in zip(nouns, things, strict=True)]
    before, after = ("to the left of", "to the right of") if things[0].place == "left" else ("above", "below")
    tellings = (
        f"{first} and {second}",
        f"{placed[0]} and {placed[1]}",
        f"{placed[1]} and {placed[0]}",
        f"{first} {before} {second}",
        f"{second} {after} {first}",
    )
    return tellings[rng.choice(len(tellings), p=(0.5, 0.15, 0.1, 0.15, 0.1))]
