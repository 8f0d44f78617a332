"""How nodes save memory."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class Thrift(IntEnum):
    """How a node is to save memory, after it ran out: each step includes those before it."""

    NONE = 0
    EVICT = 1
    TILE = 2
    APART = 3
    STREAM = 4

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS: Mapping[Thrift, str] = MappingProxyType(
    {
        Thrift.NONE: "as usual",
        Thrift.EVICT: "without the networks that nobody uses",
        Thrift.TILE: "with pictures in tiles",
        Thrift.APART: "with the positive and the negative prompt apart",
        Thrift.STREAM: "with weights read from their file at every step",
    }
)
