"""Who draws which cells: all of them once, neighbours by one worker, and nobody waits while there are some left."""

from __future__ import annotations

import random
from itertools import pairwise, product

import pytest

from server.ranges import Ranges


def drawn(places: list[tuple[int, ...]], workers: int, seed: int = 0) -> dict[str, list[int]]:
    """The cells of each worker, when they take one after the other in random order."""
    chance, ranges = random.Random(seed), Ranges(places)
    found: dict[str, list[int]] = {f"w{at}": [] for at in range(workers)}
    for name in found:  # all begin at once
        found[name] += [at] if (at := ranges.next(name, lambda cell, left: True)) is not None else []
    while (at := ranges.next(name := chance.choice(list(found)), lambda cell, left: True)) is not None:
        found[name].append(at)
    assert len(ranges) == 0
    return found


@pytest.mark.parametrize("cells", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_cell_is_drawn_once(cells: int, workers: int) -> None:
    found = drawn([(at,) for at in range(cells)], workers)
    assert sorted(cell for own in found.values() for cell in own) == list(range(cells))
    assert sum(bool(own) for own in found.values()) == min(cells, workers)


def test_cells_of_one_checkpoint_stay_together() -> None:
    places: list[tuple[int, ...]] = list(product(range(3), range(200)))
    changes = 0
    for own in drawn(places, 3).values():
        checkpoints = [places[cell][0] for cell in own]
        changes += 1 + sum(a != b for a, b in pairwise(checkpoints))
    assert changes <= 5


def test_what_was_not_drawn_after_all_is_drawn_by_whoever_comes_next() -> None:
    ranges = Ranges([(0,), (1,)])
    assert ranges.next("a", lambda cell, left: True) == 0
    assert ranges.next("b", lambda cell, left: True) == 1
    assert ranges.next("a", lambda cell, left: True) is None
    ranges.give_back(0)
    assert len(ranges) == 1
    assert ranges.next("b", lambda cell, left: True) == 0


def test_a_worker_that_would_have_to_load_more_than_waiting_costs_takes_none_of_anothers_cells() -> None:
    ranges = Ranges([(at,) for at in range(10)])
    assert ranges.next("a", lambda cell, left: left == 0) == 0
    assert ranges.next("b", lambda cell, left: left == 0) is None
    assert ranges.next("b", lambda cell, left: left > 5) == 5
