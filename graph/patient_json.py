"""JSON of any size, read and written in bites: the C code of `json` keeps all other threads waiting until it is done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from typing import NamedTuple, TypeAlias

BITE = 2**15
"""Characters that are read at once: a fraction of a millisecond."""
NIBBLE = 2**9
"""Characters that are tried first, since each try copies them and most values are short."""
MAX_DEPTH = 64
"""Levels at which a list or object may be longer than a bite."""
_SMALL = 1000
"""Values that are written at once."""

_SPACE = re.compile(r"[ \t\n\r]*")
_plain = JSONDecoder()
_encode = JSONEncoder(allow_nan=False).encode

Pairs: TypeAlias = list[tuple[str, object]]


class Member(NamedTuple):
    """One member of an object, and where its value begins and ends."""

    key: str
    value: object
    start: int
    end: int


def loads(text: str, decoder: JSONDecoder = _plain) -> object:
    """What `decoder.decode(text)` returns, with its errors. Raises RecursionError for brackets nested too deeply."""
    reader = Reader(text, decoder)
    value, end = reader.value(reader.skip(0))
    reader.finish(end)
    return value


def dumps(value: object) -> str:
    """What `json.dumps` returns; keys have to be texts. Raises ValueError for numbers that JSON does not know."""
    return "".join(_pieces(value))


class Reader:
    """Reads values at given places of one text, as `decoder` would; raises JSONDecodeError and RecursionError."""

    def __init__(self, text: str, decoder: JSONDecoder = _plain) -> None:
        self._text = text
        self._scan: Callable[[str, int], tuple[object, int]] = decoder.scan_once  # type: ignore[attr-defined]
        self._make: Callable[[Pairs], object] | None = decoder.object_pairs_hook
        self._depth = 0

    def skip(self, place: int) -> int:
        """The place behind white space."""
        found = _SPACE.match(self._text, place)
        return place if found is None else found.end()

    def finish(self, place: int) -> None:
        """There has to be nothing more behind `place`."""
        if (rest := self.skip(place)) != len(self._text):
            raise JSONDecodeError("Extra data", self._text, rest)

    def value(self, place: int) -> tuple[object, int]:
        """The value that begins at `place`, and the place behind it."""
        text = self._text
        if place + BITE < len(text) and text[place] in '{["':
            for most in (NIBBLE, BITE):
                try:
                    value, end = self._scan(text[place : place + most], 0)
                    return value, place + end
                except (StopIteration, JSONDecodeError):
                    pass  # it is longer than this, or wrong: what reads on will see
            if text[place] != '"':
                return self._large(place)
            if text[place] == '"' and (end := text.find('"', place + 1)) > 0 and text.find("\\", place, end) < 0:
                pieces = (text[at : min(at + BITE, end)] for at in range(place + 1, end, BITE))
                return "".join([str(self._scan(f'"{piece}"', 0)[0]) for piece in pieces]), end + 1
        try:
            return self._scan(text, place)
        except StopIteration as error:
            raise JSONDecodeError("Expecting value", text, error.value) from None

    def members(self, place: int) -> tuple[list[Member], int]:
        """What the object that begins at `place` holds, in order, and the place behind it."""
        text = self._text
        found: list[Member] = []
        place = self.skip(place + 1)
        while text[place : place + 1] != "}":
            if text[place : place + 1] != '"':
                raise JSONDecodeError("Expecting property name enclosed in double quotes", text, place)
            key, place = self._scan(text, place)
            place = self.skip(place)
            if text[place : place + 1] != ":":
                raise JSONDecodeError("Expecting ':' delimiter", text, place)
            start = self.skip(place + 1)
            value, end = self.value(start)
            found.append(Member(str(key), value, start, end))
            place = self._next(end, "}", "property name enclosed in double quotes")
        return found, place + 1

    def _large(self, place: int) -> tuple[object, int]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecursionError
        if self._text[place] == "[":
            value, end = self._items(place)
        else:
            members, end = self.members(place)
            pairs = [(member.key, member.value) for member in members]
            value = dict(pairs) if self._make is None else self._make(pairs)
        self._depth -= 1
        return value, end

    def _items(self, place: int) -> tuple[object, int]:
        items: list[object] = []
        place = self.skip(place + 1)
        while self._text[place : place + 1] != "]":
            item, place = self.value(place)
            items.append(item)
            place = self._next(place, "]", "value")
        return items, place + 1

    def _next(self, place: int, closing: str, wanted: str) -> int:
        """Where the next of several begins, or `closing` stands."""
        text = self._text
        place = self.skip(place)
        if text[place : place + 1] == closing:
            return place
        if text[place : place + 1] != ",":
            raise JSONDecodeError("Expecting ',' delimiter", text, place)
        place = self.skip(place + 1)
        if text[place : place + 1] == closing:
            raise JSONDecodeError(f"Expecting {wanted}", text, place)
        return place


def _pieces(value: object) -> Iterator[str]:
    if isinstance(value, str) and len(value) > BITE:
        yield '"'
        yield from (_encode(value[at : at + BITE])[1:-1] for at in range(0, len(value), BITE))
        yield '"'
    elif isinstance(value, dict) and not _is_small(value):
        for number, (key, item) in enumerate(value.items()):
            yield f"{', ' if number else '{'}{_encode(key)}: "
            yield from _pieces(item)
        yield "}"
    elif isinstance(value, list | tuple) and not _is_small(value):
        for number, item in enumerate(value):
            yield ", " if number else "["
            yield from _pieces(item)
        yield "]"
    else:
        yield _encode(value)


def _is_small(value: object) -> bool:
    """Whether a value is written in a moment. Stops counting as soon as it is not."""
    size, pending = 0, [value]
    while pending and size < _SMALL:
        match pending.pop():
            case dict() as found:
                size += len(found)
                pending.extend(found.values() if size < _SMALL else ())
            case list() | tuple() as found:
                size += len(found)
                pending.extend(found if size < _SMALL else ())
            case str() as found:
                size += len(found) * _SMALL // BITE
    return size < _SMALL
