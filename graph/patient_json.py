"""JSON of any size, read and written in bites: the C code of `json` keeps all other threads waiting until it is done."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from json.scanner import make_scanner
from typing import NamedTuple, TypeAlias, TypeVar

BITE = 2**15
"""Characters that are read at once: a fraction of a millisecond."""
NIBBLE = 2**9
"""Characters that are tried first, since each try copies them and most values are short."""
MAX_DEPTH = 64
"""Levels at which a list or object may be longer than a bite."""
MAX_ELEMENTS = 100_000
"""Of one list or object: one of more is made, and let go again, by C code that takes too long at once."""
_TRIES = 3
"""Places at which the elements of a list or object are cut, in the hope that one ends there."""
_SMALL = 1000
"""Values that are written at once."""
_SHORT = frozenset({int, float, bool, type(None)})

_FEW = 100
"""Elements that are let go at once."""

_HEAD = re.compile(r'(?:"[^"\\]*"[ \t\n\r]*:[ \t\n\r]*)?(.)', re.DOTALL)
"""The first character of a value, behind its key if it has one."""
_SPACE = re.compile(r"[ \t\n\r]*")
_plain = JSONDecoder()
_encode = JSONEncoder(allow_nan=False).encode

T = TypeVar("T")
Pairs: TypeAlias = list[tuple[str, object]]
Scan: TypeAlias = Callable[[str, int], tuple[T, int]]
"""From a text and a place, to what stands there and the place behind it."""


_KEY = "property name enclosed in double quotes"


class TooLarge(ValueError):
    """A list or object of more elements than are read."""


class Member(NamedTuple):
    """One member of an object, and where its value begins and ends."""

    key: str
    value: object
    start: int
    end: int


def loads(text: str, decoder: JSONDecoder = _plain) -> object:
    """What `decoder.decode(text)` returns, with its errors. Raises RecursionError for brackets nested too deeply, and
    TooLarge.
    """
    reader = Reader(text, decoder)
    value, end = reader.value(reader.skip(0))
    reader.finish(end)
    return value


def dumps(value: object) -> str:
    """What `json.dumps` returns; keys have to be texts. Raises ValueError for numbers that JSON does not know."""
    return "".join(_pieces(value))


def let_go(held: object) -> None:
    """Empty a list, or an object and the lists in it, in bites. Nobody else may read it any more."""
    if isinstance(held, list):
        while held:
            del held[-_FEW:]
    elif isinstance(held, dict):
        while held:
            _, value = held.popitem()
            if isinstance(value, list):
                let_go(value)


class Reader:
    """Reads values at given places of one text, as `decoder` would; raises JSONDecodeError, RecursionError and
    TooLarge.
    """

    def __init__(self, text: str, decoder: JSONDecoder = _plain) -> None:
        self._text = text
        self._scan: Scan[object] = decoder.scan_once  # type: ignore[attr-defined]
        hook: Callable[[Pairs], object] | None = decoder.object_pairs_hook
        self._make = dict if hook is None else hook
        self._depth = 0
        self._decoder = decoder
        self._overheard: Pairs = []

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

    def members(self, place: int, most: int) -> tuple[list[Member], int]:
        """What the object that begins at `place` holds, in order, and the place behind it: `most` members at most."""
        found: list[Member] = []
        place = self.skip(place + 1)
        while self._text[place : place + 1] != "}":
            member = self._member(place)
            found.append(member)
            if len(found) > most:
                raise TooLarge(f"an object has more than {most} members here")
            place = self._next(member.end, "}", _KEY)
        return found, place + 1

    def _member(self, place: int) -> Member:
        text = self._text
        if text[place : place + 1] != '"':
            raise JSONDecodeError(f"Expecting {_KEY}", text, place)
        key, place = self._scan(text, place)
        place = self.skip(place)
        if text[place : place + 1] != ":":
            raise JSONDecodeError("Expecting ':' delimiter", text, place)
        start = self.skip(place + 1)
        value, end = self.value(start)
        return Member(str(key), value, start, end)

    def _large(self, place: int) -> tuple[object, int]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecursionError
        value: object
        if self._text[place] == "[":
            value, end = self._elements(place, "[]", "value", self._several_items, self.value)
        else:
            pairs, end = self._elements(place, "{}", _KEY, self._several_pairs, self._one_pair)
            value = self._make(pairs)
        self._depth -= 1
        return value, end

    def _elements(
        self, place: int, brackets: str, wanted: str, several: Scan[list[T]], one: Callable[[int], tuple[T, int]]
    ) -> tuple[list[T], int]:
        """What stands between the brackets that open at `place`, and the place behind them. Where a bite's worth cannot
        be read by `several`, it is read one by one.
        """
        found: list[T] = []
        singly = place = self.skip(place + 1)
        while self._text[place : place + 1] != brackets[1]:
            run = self._run(place, brackets, several) if place >= singly else None
            if run is not None:
                elements, place, closed = run
                found += elements
                if closed:
                    return found, place
            else:
                singly = max(singly, place + BITE) if place >= singly else singly
                element, place = one(place)
                found.append(element)
            if len(found) > MAX_ELEMENTS:
                raise TooLarge(f"a list or object has more than {MAX_ELEMENTS} elements")
            place = self._next(place, brackets[1], wanted)
        return found, place + 1

    def _run(self, place: int, brackets: str, several: Scan[list[T]]) -> tuple[list[T], int, bool] | None:
        """The elements from `place` on that a bite holds, the place behind them, and whether the brackets close there.
        None if it is not found where one ends.
        """
        window = self._text[place : place + BITE]
        for cut in _cuts(window):
            whole = f"{brackets[0]}{window[:cut]}{brackets[1]}"
            try:
                elements, end = several(whole, 0)
            except (StopIteration, JSONDecodeError):
                continue
            return (elements, place + cut, False) if end == len(whole) else (elements, place + end - 1, True)
        return None

    def _several_items(self, text: str, place: int) -> tuple[list[object], int]:
        items, end = self._scan(text, place)
        assert isinstance(items, list)
        return items, end

    @cached_property
    def _scan_overheard(self) -> Scan[object]:
        overhearing = copy.copy(self._decoder)
        overhearing.object_pairs_hook = self._overhear
        scan: Scan[object] = make_scanner(overhearing)  # type: ignore[arg-type]  # it takes decoders
        return scan

    def _several_pairs(self, text: str, place: int) -> tuple[Pairs, int]:
        _, end = self._scan_overheard(text, place)
        return self._overheard, end

    def _overhear(self, pairs: Pairs) -> object:
        """The outermost object is made last."""
        self._overheard = pairs
        return self._make(pairs)

    def _one_pair(self, place: int) -> tuple[tuple[str, object], int]:
        member = self._member(place)
        return (member.key, member.value), member.end

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
    elif isinstance(value, dict) and _size(value) >= _SMALL:
        comma = ""
        yield "{"
        for members, are_small in _portions(value.items(), lambda member: member[1]):
            if are_small:
                yield comma + _encode(dict(members))[1:-1]
            else:
                ((key, item),) = members
                yield f"{comma}{_encode(key)}: "
                yield from _pieces(item)
            comma = ", "
        yield "}"
    elif isinstance(value, list | tuple) and _size(value) >= _SMALL:
        comma = ""
        yield "["
        for elements, are_small in _portions(value, lambda element: element):
            yield comma
            if are_small:
                yield _encode(elements)[1:-1]
            else:
                yield from _pieces(elements[0])
            comma = ", "
        yield "]"
    else:
        yield _encode(value)


def _portions(elements: Iterable[T], value_of: Callable[[T], object]) -> Iterator[tuple[list[T], bool]]:
    """All elements in order: as many as are small together, with True, or one that is not small, with False."""
    several: list[T] = []
    room = _SMALL
    for element in elements:
        size = _size(value_of(element))
        if size > room:
            if several:
                yield several, True
            several, room = [], _SMALL
        if size >= _SMALL:
            yield [element], False
            continue
        several.append(element)
        room -= size
    if several:
        yield several, True


def _size(value: object) -> int:
    """How long a value takes to write, as the number of short values that take so long; counts no further than
    `_SMALL`.
    """
    pending: list[Iterable[object]] = [(value,)]
    size = 0
    while pending and size < _SMALL:
        for found in pending.pop():
            kind = type(found)
            if kind in _SHORT:
                size += 1
            elif isinstance(found, str):
                size += 1 + len(found) * _SMALL // BITE
            elif isinstance(found, dict):
                size += 1
                pending.append(found.values())
            elif isinstance(found, list | tuple):
                size += 1
                pending.append(found)
            if size >= _SMALL:
                break
    return size


def _cuts(window: str) -> Iterator[int]:
    """Where an element may end, the last places first: before commas behind what the first element ends with."""
    head = _HEAD.match(window)
    ending = {"[": "],", "{": "},", '"': '",'}.get(head[1] if head else "", ",")
    end = len(window)
    for _ in range(_TRIES):
        at = window.rfind(ending, 0, end)
        end = at + len(ending) - 1
        if at < 0 or end == 0:
            return
        yield end
