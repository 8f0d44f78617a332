"""What lazy nodes read: their results are found again by that, whatever else leads to the inputs they did not ask for."""

from __future__ import annotations

import marshal
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import TypeAlias, TypeVar

T = TypeVar("T")

MOST = 20_000
"""Entries that are kept; each is a few short texts."""

WAYS = 8
"""Sets of inputs that are kept for one node, where what it asks for first decides what it asks for then."""

Source: TypeAlias = tuple[str, int]
"""The name of a result, and which of its values."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a lazy node has to read from. `certain` stands for all but its lazy links: code, literals, other inputs, and what
    the lazy links are called. `lazy` says where these lead. `at_hand`: results that it is given in any case.
    """

    certain: str
    lazy: Mapping[str, Source]
    at_hand: frozenset[str]

    def read(self, sources: Collection[str]) -> tuple[str, ...]:
        """The lazy inputs whose values were there, if these results were."""
        return tuple(sorted(name for name, (source, _) in self.lazy.items() if source in sources))

    def key(self, read: Collection[str]) -> str:
        """What its result depends on, if it asks for the inputs `read`."""
        known = self.at_hand.union(self.lazy[name][0] for name in read)
        parts = [(name, *self.lazy[name]) for name in self.read(known)]
        return sha256(marshal.dumps((self.certain, parts), 2)).hexdigest()


class Reads:
    """Under which name the result of a lazy node was made first that read the same. May be used from any thread.

    A node that is given the same asks for the same, and if that is the same too, so is its result.
    """

    def __init__(self) -> None:
        self._asked: OrderedDict[str, tuple[tuple[str, ...], ...]] = OrderedDict()
        self._names: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def name(self, made: str, reading: Reading) -> str:
        """The name of its result: `made`, unless a node of another name has read the same."""
        with self._lock:
            if made in self._names:
                return made
            found = (self._names.get(reading.key(asked)) for asked in self._asked.get(reading.certain, ()))
            return next((name for name in found if name is not None), made)

    def note(self, made: str, reading: Reading, sources: Collection[str]) -> None:
        """The result `made` was made from these results."""
        read = reading.read(sources)
        with self._lock:
            others = (asked for asked in self._asked.get(reading.certain, ()) if asked != read)
            _keep(self._asked, reading.certain, (read, *islice(others, WAYS - 1)))
            _keep(self._names, made, made)
            key = reading.key(read)
            _keep(self._names, key, self._names.get(key, made))


def _keep(entries: OrderedDict[str, T], key: str, value: T) -> None:
    entries[key] = value
    entries.move_to_end(key)
    if len(entries) > MOST:
        entries.popitem(last=False)
