"""Places for the cards of a workflow: sources left, wires short and mostly uncrossed (Sugiyama et al. 1981)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor

from graph.node_shapes import InputShape, NodeShape

TITLE_HEIGHT = 30
ROW, FIELD, TEXT = 22, 29, 104
"""Heights of a socket, of a field, and of a field for several lines."""
_BETWEEN_CARDS, _BETWEEN_COLUMNS = 36, 70
_LETTER = 7
_ROUNDS = 8
_MOST = 2000
"""Cards that are arranged with care; more are put into their columns as they come."""
_MOST_BENDS = 20_000
"""Places that wires may take in columns which they cross; of more, long wires run as they like."""

Size = tuple[float, float]
Point = tuple[int, int]


def card_size(shape: NodeShape | None) -> tuple[int, int]:
    """Width and height of a card in pixels, without its title, as the editor makes them."""
    if shape is None:
        return 240, 80
    fields = [each for each in shape.inputs if each.is_field]
    sockets = len(shape.inputs) - len(fields)
    width, height = 240, max(sockets, len(shape.outputs)) * ROW + 14
    for each in fields:
        if _is_long(each):
            width, height = max(width, 300), height + TEXT
        else:
            height += FIELD * (2 if each.control else 1)
            value = max(len(str(each.default)) * _LETTER + 20, _room(each))
            width = max(width, min(360, len(each.name) * _LETTER + value + 44))
    measures = shape.is_terminal and bool(shape.outputs)
    takes_pictures = any(each.type == "IMAGE" for each in shape.inputs)
    if any(each.has_button for each in shape.inputs) or (shape.is_terminal and not measures and takes_pictures):
        width, height = max(width, 260), height + 220
    elif measures:
        width, height = max(width, 260), height + 40
    return width, height


def arrange(sizes: Mapping[str, Size], links: Iterable[tuple[str, str]]) -> dict[str, Point]:
    """The upper left corner below the title of each card. `sizes` are without titles; `links` lead from source to
    reader.
    """
    edges = list(dict.fromkeys((a, b) for a, b in links if a != b and a in sizes and b in sizes))
    columns = _Columns(list(sizes), edges)
    if len(sizes) <= _MOST:
        columns.untangle()
    heights = {node: height + TITLE_HEIGHT for node, (_, height) in sizes.items()}
    middles = columns.middles(heights)
    places: dict[str, Point] = {}
    left = 60.0
    for column in columns.order:
        cards = [item for item in column if isinstance(item, str)]
        widest = max((sizes[node][0] for node in cards), default=-_BETWEEN_COLUMNS)
        for node in cards:
            x = left + (widest - sizes[node][0]) / 2
            places[node] = _whole(x), _whole(middles[node] - heights[node] / 2) + TITLE_HEIGHT
        left += widest + _BETWEEN_COLUMNS
    top = min((y for _, y in places.values()), default=0)
    return {node: (places[node][0], places[node][1] - top + 60) for node in sizes}


@dataclass(frozen=True, slots=True)
class _Bend:
    """A place that a wire takes in a column which it crosses."""

    edge: tuple[str, str]
    column: int


_Item = str | _Bend


class _Columns:
    """Cards in columns. Wires that cross a column have a place of their own there, so that they run around cards."""

    def __init__(self, nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> None:
        ranks = _ranks(nodes, edges)
        self.order: list[list[_Item]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
        self._before: dict[_Item, list[_Item]] = {}
        self._after: dict[_Item, list[_Item]] = {}
        for node in nodes:
            self._put(node, ranks[node])
        bends = sum(max(0, ranks[reader] - ranks[source] - 1) for source, reader in edges)
        for source, reader in edges:
            span = ranks[reader] - ranks[source]
            if span < 1 or (span > 1 and bends > _MOST_BENDS):  # below 1: part of a circle
                continue
            last: _Item = source
            for column in range(ranks[source] + 1, ranks[reader]):
                bend = _Bend((source, reader), column)
                self._put(bend, column)
                self._join(last, bend)
                last = bend
            self._join(last, reader)

    def _put(self, item: _Item, column: int) -> None:
        self.order[column].append(item)
        self._before[item], self._after[item] = [], []

    def _join(self, source: _Item, reader: _Item) -> None:
        self._after[source].append(reader)
        self._before[reader].append(source)

    def untangle(self) -> None:
        """Order each column by where its neighbours are, to and fro, and keep the order with the fewest crossings."""
        best, fewest = [list(column) for column in self.order], self._crossings()
        for turn in range(_ROUNDS):
            if not fewest:
                break
            columns = range(1, len(self.order)) if turn % 2 == 0 else range(len(self.order) - 2, -1, -1)
            for column in columns:
                beside = self.order[column - 1 if turn % 2 == 0 else column + 1]
                self._sort(self.order[column], beside, self._before if turn % 2 == 0 else self._after)
            if (crossings := self._crossings()) < fewest:
                best, fewest = [list(column) for column in self.order], crossings
        self.order = best

    @staticmethod
    def _sort(column: list[_Item], beside: list[_Item], neighbours: Mapping[_Item, list[_Item]]) -> None:
        """By the mean place of the neighbours; what has none stays where it is."""
        place = {item: at for at, item in enumerate(beside)}
        share = len(beside) / max(1, len(column))
        means = {
            item: sum(place[each] for each in neighbours[item]) / len(neighbours[item])
            if neighbours[item]
            else at * share
            for at, item in enumerate(column)
        }
        column.sort(key=means.__getitem__)

    def _crossings(self) -> int:
        total = 0
        for column, following in pairwise(self.order):
            place = {item: at for at, item in enumerate(following)}
            ends = [end for item in column for end in sorted(place[each] for each in self._after[item])]
            total += _inversions(ends, len(following))
        return total

    def middles(self, heights: Mapping[str, float]) -> dict[_Item, float]:
        """The middle of each item in its column: as near to its neighbours as the others there let it be."""
        height = {item: heights.get(item, 0.0) if isinstance(item, str) else 0.0 for item in self._before}
        middles: dict[_Item, float] = {}
        for column in self.order:
            top = 0.0
            for item in column:
                middles[item] = top + height[item] / 2
                top += height[item] + _BETWEEN_CARDS
        for turn in range(_ROUNDS + 1 if len(heights) <= _MOST else 0):  # the last time from the left
            forward = turn % 2 == 0
            for column in self.order if forward else self.order[::-1]:
                wanted = [self._wanted(item, middles, forward) for item in column]
                for item, middle in zip(column, _apart(wanted, [height[item] for item in column]), strict=True):
                    middles[item] = middle
        return middles

    def _wanted(self, item: _Item, middles: Mapping[_Item, float], forward: bool) -> tuple[float, float]:
        """Where an item would best be, and how much that counts: most beside what was placed just before."""
        near, far = (self._before, self._after) if forward else (self._after, self._before)
        beside = near[item] or far[item]
        middle = sum(middles[each] for each in beside) / len(beside) if beside else middles[item]
        return middle, 1.0 if near[item] else 1e-6


def _whole(length: float) -> int:
    """The nearest pixel, halves up, as the editor counts them."""
    return floor(length + 0.5)


def _ranks(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The column of each node: behind all that it reads, and right before what reads it where it is free to move."""
    before: dict[str, list[str]] = {node: [] for node in nodes}
    after: dict[str, list[str]] = {node: [] for node in nodes}
    for source, reader in edges:
        before[reader].append(source)
        after[source].append(reader)
    unread = {node: len(sources) for node, sources in before.items()}
    order = [node for node in nodes if not unread[node]]
    placed = set(order)
    ranks: dict[str, int] = {}
    waiting = iter(nodes)
    at = 0
    while len(ranks) < len(nodes):
        if at == len(order):  # only circles are left: one of them begins somewhere
            start = next(node for node in waiting if node not in placed)
            order.append(start)
            placed.add(start)
        node = order[at]
        at += 1
        ranks[node] = max((ranks[source] + 1 for source in before[node] if source in ranks), default=0)
        for reader in after[node]:
            unread[reader] -= 1
            if not unread[reader] and reader not in placed:
                order.append(reader)
                placed.add(reader)
    for node in reversed(order):
        if len(after[node]) > len(before[node]):
            nearest = min(ranks[reader] for reader in after[node])
            ranks[node] = max(ranks[node], nearest - 1)
    return ranks


def _inversions(places: Sequence[int], count: int) -> int:
    """Pairs in the wrong order, by a tree of sums (Barth et al. 2004)."""
    size = 1
    while size < count:
        size *= 2
    sums = [0] * (2 * size)
    found = 0
    for place in places:
        at = place + size
        while at > 1:
            if at % 2 == 0:
                found += sums[at + 1]
            sums[at] += 1
            at //= 2
        sums[at] += 1
    return found


def _apart(wanted: Sequence[tuple[float, float]], heights: Sequence[float]) -> list[float]:
    """The middles nearest to those wanted, in the weighted least squares, that keep order and distance."""
    offsets = [0.0]
    for above, below in pairwise(heights):
        offsets.append(offsets[-1] + (above + below) / 2 + _BETWEEN_CARDS)
    blocks: list[tuple[float, float, int]] = []  # sum, weight and count of what stands together
    for (want, weight), offset in zip(wanted, offsets, strict=False):
        total, mass, count = (want - offset) * weight, weight, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / mass:
            more, heavier, several = blocks.pop()
            total, mass, count = total + more, mass + heavier, count + several
        blocks.append((total, mass, count))
    means = [total / mass for total, mass, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]


def _is_long(shape: InputShape) -> bool:
    return shape.type == "STRING" and shape.options.get("multiline") is True


def _room(shape: InputShape) -> int:
    """For a value beside its name."""
    return 74 if shape.choices or shape.type == "COMBO" else 36 if shape.type == "BOOLEAN" else 48
