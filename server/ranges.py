"""Who draws which cells of a sweep: neighbours, which share most of their work, stay with one worker while they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

Place: TypeAlias = Sequence[int | None]


class Ranges:
    """Numbers of cells in the order of the sweep. Each worker goes through a range of its own; one that has none left takes
    the second half of the longest range, cut where the slowest axis changes, if that is near the middle.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._own: dict[str, tuple[int, int]] = {}
        self._free: list[tuple[int, int]] = [(0, len(places))] if places else []

    def __len__(self) -> int:
        """How many are left."""
        return sum(end - start for start, end in [*self._own.values(), *self._free])

    def next(self, worker: str, may_take: Callable[[int, int], bool]) -> int | None:
        """The next cell for a worker, which then is not left any more; None if there is none for it. may_take: whether the
        worker should begin with a cell that so many of another worker's are left of.
        """
        if (own := self._own.get(worker)) is None and (own := self._another(may_take)) is None:
            return None
        start, end = own
        self._own[worker] = (start + 1, end)
        if start + 1 == end:
            del self._own[worker]
        return start

    def give_back(self, cell: int) -> None:
        """A cell was not drawn after all."""
        self._free.append((cell, cell + 1))

    def _another(self, may_take: Callable[[int, int], bool]) -> tuple[int, int] | None:
        """A range for a worker that has none: one that is free, or part of another's."""
        for found in self._free:
            if may_take(found[0], 0):
                self._free.remove(found)
                return found
        for worker in sorted(self._own, key=self._length, reverse=True):
            start, end = self._own[worker]
            cut = self._cut(start, end)
            if may_take(cut, end - start):
                if cut == start:
                    del self._own[worker]
                else:
                    self._own[worker] = (start, cut)
                return cut, end
        return None

    def _length(self, worker: str) -> int:
        start, end = self._own[worker]
        return end - start

    def _cut(self, start: int, end: int) -> int:
        """Where to cut a range in two, in its middle half; a range of one cell is not cut, but taken."""
        middle, quarter = (start + end) // 2, (end - start) // 4
        near = range(max(start + 1, middle - quarter), min(end - 1, middle + quarter) + 1)
        return min(near, key=lambda cell: (self._level(cell), abs(cell - middle)), default=start)

    def _level(self, cell: int) -> int:
        """The slowest axis on which a cell is elsewhere than the one before it."""
        pair = zip(self._places[cell - 1], self._places[cell], strict=False)
        return next((axis for axis, (before, after) in enumerate(pair) if before != after), 0)
