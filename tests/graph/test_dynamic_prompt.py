"""Prompts with choices."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from graph.dynamic_prompt import DynamicPromptError, expanded

LINES = {"colour": ["red", "blue"], "thing": ["a __colour__ {cat|dog}"], "again": ["__again__"], "empty": []}


def lines(name: str) -> Sequence[str]:
    if name not in LINES:
        raise DynamicPromptError(f"there is no {name}")
    return LINES[name]


def made(text: str, seed: int) -> str:
    return expanded(text, random.Random(seed), lines)


def test_a_choice_hangs_on_the_seed() -> None:
    found = {made("a {red|green|blue} {cat|dog}", seed) for seed in range(60)}
    assert found == {f"a {colour} {thing}" for colour in ("red", "green", "blue") for thing in ("cat", "dog")}
    assert made("a {red|green|blue}", 7) == made("a {red|green|blue}", 7)


def test_choices_within_choices_and_wildcards() -> None:
    assert {made("{a|{b|c}}", seed) for seed in range(40)} == {"a", "b", "c"}
    assert {made("__thing__", seed) for seed in range(40)} == {
        f"a {c} {t}" for c in ("red", "blue") for t in ("cat", "dog")
    }


def test_several_at_once_come_once_each() -> None:
    for seed in range(20):
        words = made("{2$$a|b|c}", seed).split(", ")
        assert len(words) == len(set(words)) == 2
        assert len(made("{2-3$$ and $$a|b|c}", seed).split(" and ")) in (2, 3)
        assert sorted(made("{9$$a|b}", seed).split(", ")) == ["a", "b"]


def test_shares_weigh_choices() -> None:
    counted = Counter(made("{3::a|b|0::c}", seed) for seed in range(400))
    assert counted["c"] == 0 and 240 < counted["a"] < 360


@pytest.mark.parametrize("text", ["__again__", "__nobody__", "__empty__"])
def test_what_cannot_be_chosen_is_told(text: str) -> None:
    with pytest.raises(DynamicPromptError):
        made(text, 1)


@pytest.mark.parametrize("text", ["a } b", "a { b", "plain __init", "", "{}"])
def test_letters_stay_letters(text: str) -> None:
    assert made(text, 1) == text.replace("{}", "")
