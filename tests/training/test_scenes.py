"""The drawn world: a function of seed and index, split cleanly, with captions that are true."""

from __future__ import annotations

import re

import numpy as np

from models.training.detector import detect
from models.training.scenes import COLOURS, SHAPES, UNSEEN_PAIRS, Scene, Split, draw, pictures, scene
from models.training.vae import to_tensor

COUNT = 400
COLOUR, SHAPE = f"({'|'.join(COLOURS)})", f"({'|'.join(SHAPES)})"
PAIR = re.compile(rf"{COLOUR} (?:small |large |big )?{SHAPE}")


def some(split: Split = Split.TRAIN) -> list[Scene]:
    return [scene(5, index, split) for index in range(COUNT)]


def test_a_scene_depends_on_seed_and_index_alone() -> None:
    again = [scene(5, index) for index in reversed(range(COUNT))]
    assert again[::-1] == some()
    assert scene(6, 0) != scene(5, 0)
    assert np.array_equal(pictures(5, 3, 2)[1], draw(scene(5, 4)))


def test_captions_name_exactly_what_is_drawn() -> None:
    for one in some():
        named = sorted(PAIR.findall(one.caption))
        assert named == sorted((thing.colour, thing.shape) for thing in one.things), one.caption


def test_captions_tell_true_places_and_sizes() -> None:
    for one in some():
        by_pair = {(thing.colour, thing.shape): thing for thing in one.things}
        for size, colour, shape in re.findall(rf"(small|large|big) {COLOUR} {SHAPE}", one.caption):
            assert by_pair[colour, shape].size == size.replace("big", "large"), one.caption
        for named in re.finditer(rf"{PAIR.pattern} (?:on|at) the (left|right|top|bottom)", one.caption):
            assert by_pair[named[1], named[2]].place == named[3], one.caption
        for relation, axis in (("above", "y"), ("to the left of", "x")):
            if relation in one.caption:
                first, second = (by_pair[pair] for pair in PAIR.findall(one.caption))
                assert getattr(first, axis) < getattr(second, axis), one.caption


def test_captions_tell_the_true_background() -> None:
    for one in some():
        told = re.search(r"(striped )?(\w+) (gradient )?background", one.caption)
        if told:
            assert told[2] == one.background.colour, one.caption
            assert bool(told[1]) == (one.background.pattern == "striped")
            assert bool(told[3]) == (one.background.pattern == "gradient")


def test_nothing_has_its_background_colour_and_all_stays_in_the_picture() -> None:
    for one in some():
        for thing in one.things:
            assert thing.colour != one.background.colour
            assert min(thing.x, thing.y, 64 - thing.x, 64 - thing.y) > thing.radius


def test_held_out_combinations_are_never_drawn_for_training() -> None:
    seen = {one.combination() for one in some()}
    assert not seen & {one.combination() for one in some(Split.HELD_OUT)}
    assert not any((thing.colour, thing.shape) in UNSEEN_PAIRS for one in some() for thing in one.things)


def test_the_detector_reads_drawn_scenes() -> None:
    held_out = some(Split.HELD_OUT)
    findings = [detect(draw(one)) for one in held_out]
    right = [
        finding.background == one.background.colour
        and finding.things == tuple(sorted((thing.colour, thing.shape) for thing in one.things))
        for finding, one in zip(findings, held_out, strict=True)
    ]
    assert np.mean(right) >= 0.98


def test_an_empty_picture_shows_nothing() -> None:
    finding = detect(np.full((64, 64, 3), 250, np.uint8))
    assert (finding.background, finding.things) == ("white", ())


def test_pictures_become_tensors_in_minus_one_to_one() -> None:
    x = to_tensor(np.array([[[[0, 255, 51]]]], np.uint8))
    assert x.flatten().tolist() == [-1.0, 1.0, np.float32(51 / 127.5 - 1)]
