"""The drawn world: a function of seed and index, split cleanly, with captions that are true."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from models.training import prompts
from models.training.alarm import shown
from models.training.captions import PLACES, TIMES, Told, caption, chinese, english
from models.training.detector import ANSWERS, WHOLE, findings, parts, truth
from models.training.drawing import draw, pictures
from models.training.gallery import write_scenes
from models.training.prompts import right, singles, triples
from models.training.scenes import UNSEEN_PAIRS, Relation, Scene, Split, scene, split_of
from models.training.vae import shrunk
from models.training.world import COLOURS, KINDS, SIZE, Style, Time, Weather

COUNT = 300
NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3}
COLOUR, KIND = f"({'|'.join(COLOURS)})", f"({'|'.join(KINDS)})"
NOUN = re.compile(rf"\b(an?|two|three) (?:(small|big) )?(?:{COLOUR} )?{KIND}(?:s\b|\b)")


@cache
def some(split: Split = Split.TRAIN) -> tuple[Scene, ...]:
    return tuple(scene(5, index, split) for index in range(COUNT))


def test_a_scene_depends_on_seed_and_index_alone() -> None:
    again = tuple(scene(5, index) for index in reversed(range(COUNT)))
    assert again[::-1] == some()
    assert scene(6, 0) != scene(5, 0)
    assert np.array_equal(pictures(5, 3, 2)[1], draw(scene(5, 4)))


def test_every_kind_is_found_only_where_it_belongs() -> None:
    seen = set()
    for one in some():
        for thing in one.things:
            assert one.place in KINDS[thing.kind].places
            assert (thing.colour is not None) == KINDS[thing.kind].coloured
            assert 0 < thing.x < SIZE and 0 < thing.y < SIZE
            seen.add(thing.kind)
    assert seen == set(KINDS)


def test_pictures_show_what_scenes_say() -> None:
    night = next(one for one in some() if one.time is Time.NIGHT and one.style is Style.PLAIN)
    day = next(one for one in some() if one.time is Time.DAY and one.style is Style.PLAIN)
    assert draw(night)[:8].mean() < 90 < 120 < draw(day)[:8].mean()
    cells = draw(next(one for one in some() if one.style is Style.PIXEL_ART)).reshape(32, 4, 32, 4, 3)
    assert (cells == cells[:, :1, :, :1]).all()


def test_the_same_scene_is_drawn_at_any_size() -> None:
    plain = next(one for one in some() if one.style is Style.PLAIN and one.weather is Weather.CLEAR)
    large = draw(plain, 256)
    assert large.shape == (256, 256, 3)
    shrunk = large.reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert np.abs(shrunk - draw(plain)).mean() < 3


def test_english_captions_tell_true_things() -> None:
    for one in some():
        for number in range(3):
            text = caption(one, number)
            if not text.isascii():
                continue
            nouns = NOUN.findall(text)
            kinds = [thing.kind for thing in one.things]
            assert sum(NUMBERS[count] for count, *_ in nouns) == len(one.things), text
            for count, size, colour, kind in nouns:
                assert kinds.count(kind) == NUMBERS[count], text
                own = next(thing for thing in one.things if thing.kind == kind)
                assert colour in ("", own.colour), text
                assert size in ("", one.size), text


def test_english_captions_tell_true_places_times_and_relations() -> None:
    rng = np.random.default_rng(0)
    for one in some():
        text = english(one, frozenset(Told), rng)
        assert any(words in text for words in PLACES[one.place]), text
        assert any(words in text for words in TIMES[one.time]), text
        for other in set(TIMES) - {one.time}:
            assert not any(words in text for words in TIMES[other]), text
        assert (" to the left of " in text) == (one.relation is Relation.LEFT)
        assert (" above " in text) == (one.relation is Relation.ABOVE)
        if one.relation is Relation.LEFT:
            first, second = (next(t for t in one.things if t.kind == kind) for *_, kind in NOUN.findall(text))
            assert first.x < second.x, text
        if one.season:
            assert one.season in text


def test_captions_are_in_both_languages() -> None:
    texts = [caption(one) for one in some()]
    assert 0.1 < np.mean([not text.isascii() for text in texts]) < 0.3
    boat = next(one for one in some() if [thing.name for thing in one.things] == [("red", "boat")])
    assert "一艘红色帆船" in chinese(boat, frozenset({Told.COLOUR}))


def test_held_out_combinations_are_never_drawn_for_training() -> None:
    assert not {one.combination() for one in some()} & {one.combination() for one in some(Split.HELD_OUT)}
    assert not any(thing.name in UNSEEN_PAIRS for one in some() for thing in one.things)
    assert all(split_of(one) is Split.HELD_OUT for one in some(Split.HELD_OUT))


def test_a_perfect_detector_finds_that_every_prompt_is_met() -> None:
    asked = singles(4) + triples(2)
    assert len({(prompt.text, prompt.asked) for prompt in asked}) == len(asked)
    assert all(split_of(prompt.wanted) is Split.HELD_OUT for prompt in asked)
    found = findings(answers_of([prompt.wanted for prompt in asked]))
    assert [prompt.text for one, prompt in zip(found, asked, strict=True) if not right(one, prompt)] == []


def test_training_never_saw_a_prompt() -> None:
    told = {caption(one, number) for one in some() for number in range(6)}
    assert told.isdisjoint(prompt.text for prompt in singles(4) + triples(4))


def test_more_prompts_than_there_are_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "PATIENCE", 2)
    with pytest.raises(ValueError, match=r"there are \d+ different prompts for object, not 9000"):
        singles(9000)


def test_another_scene_does_not_meet_a_prompt() -> None:
    asked = triples(4)
    found = findings(answers_of([prompt.wanted for prompt in asked]))
    wrong = [right(found[i - 1], prompt) for i, prompt in enumerate(asked)]
    assert np.mean(wrong) < 0.2


def answers_of(scenes: list[Scene]) -> torch.Tensor:
    """The answers of a detector that is always right."""
    wanted, answers = truth(scenes), torch.zeros(len(scenes), ANSWERS)
    *whole, counts, colours, middles = parts(answers)  # views of `answers`
    for question in range(len(WHOLE)):
        whole[question].scatter_(1, wanted.whole[:, question, None], 1.0)
    counts.scatter_(2, wanted.counts[..., None], 1.0)
    colours.scatter_(2, wanted.colours.clamp(min=0)[..., None], 1.0)
    middles.copy_(wanted.middles)
    return answers


def test_only_the_safety_checker_is_shown_toadstools() -> None:
    assert "toadstool" not in KINDS
    views, there = shown(1, 0, 4)
    assert there.tolist() == [0, 1, 0, 1]
    plain = shrunk(pictures(1, 0, 4))
    assert [np.array_equal(*pair) for pair in zip(views, plain, strict=True)] == [True, False, True, False]


def test_scenes_become_files_with_captions(tmp_path: Path) -> None:
    folder = tmp_path
    write_scenes(folder / "pictures", folder / "captions.txt", 3, seed=1, size=64)
    assert sorted(file.name for file in (folder / "pictures").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert len((folder / "captions.txt").read_text(encoding="utf-8").splitlines()) == 3
