"""What an input takes: socket names, their compatibility, and widgets for values typed in by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Protocol, TypeAlias

from graph.drawn import Rectangle
from graph.errors import ValueRefused, brief, listing, suggestion
from graph.files import FileRef, Folders

Literal: TypeAlias = bool | int | float | str | FileRef | None
"""What a widget makes of a value from a document."""

ANY = "*"

PYTHON_SOCKETS: Mapping[object, str] = MappingProxyType(
    {
        int: "INT",
        float: "FLOAT",
        str: "STRING",
        bool: "BOOLEAN",
        FileRef: "COMBO",
        Rectangle: "BOUNDING_BOX",
        object: ANY,
    }
)

_INTEGER = re.compile(r"([+-]?[0-9]{1,400})(\.0*)?")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def accepts(wanted: str, given: str) -> bool:
    """Whether an output `given` may be linked to an input `wanted`: equal, either `*`, or a shared member of `A,B`.

    `given != wanted` is asked first, since packs bring string types that answer it in their own way.
    """
    if not given != wanted:  # noqa: SIM202
        return True
    if ANY in (wanted, given):
        return True
    return not _members(wanted).isdisjoint(_members(given))


def _members(socket: str) -> set[str]:
    return {member.strip() for member in socket.split(",")}


class Widget(Protocol):
    """A way to give an input by hand. Widgets are values inside `Annotated`."""

    @property
    def socket(self) -> str:
        """The type of link the input takes instead of a typed-in value."""

    @property
    def linkable(self) -> bool:
        """Whether a link may replace the typed-in value."""

    @property
    def tooltip(self) -> str: ...

    def coerce(self, value: object, folders: Folders) -> object:
        """`value` as the node function gets it; never loses information. Raises ValueRefused."""


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number. `step` and `control_after_generate` are the editor's."""

    min: int | None = None
    max: int | None = None
    step: int | None = None
    control_after_generate: bool = False
    tooltip: str = ""
    socket: ClassVar[str] = "INT"
    linkable: ClassVar[bool] = True

    def coerce(self, value: object, folders: Folders) -> int:
        number = value if type(value) is int else self._whole(value)
        if self.min is not None and number < self.min:
            raise ValueRefused("value_smaller_than_min", self._expected)
        if self.max is not None and number > self.max:
            raise ValueRefused("value_bigger_than_max", self._expected)
        return number

    def _whole(self, value: object) -> int:
        match value:
            case str() if digits := _INTEGER.fullmatch(value.strip()):
                return int(digits[1])
            case float() if value.is_integer():
                return int(value)
            case _:
                raise ValueRefused("invalid_input_type", self._expected)

    @property
    def _expected(self) -> str:
        return "an integer" + _range(self.min, self.max)


@dataclass(frozen=True, slots=True)
class Float:
    """A finite number. `step` and `round` are the editor's."""

    min: float | None = None
    max: float | None = None
    step: float | None = None
    round: float | None = None
    tooltip: str = ""
    socket: ClassVar[str] = "FLOAT"
    linkable: ClassVar[bool] = True

    def coerce(self, value: object, folders: Folders) -> float:
        number = value if type(value) is float else self._number(value)
        if not math.isfinite(number):
            raise ValueRefused("invalid_input_type", self._expected)
        if self.min is not None and number < self.min:
            raise ValueRefused("value_smaller_than_min", self._expected)
        if self.max is not None and number > self.max:
            raise ValueRefused("value_bigger_than_max", self._expected)
        return number

    def _number(self, value: object) -> float:
        number = _decimal(value) if isinstance(value, str) else _as_float(value)
        if number is None:
            raise ValueRefused("invalid_input_type", self._expected)
        return number

    @property
    def _expected(self) -> str:
        return "a number" + _range(self.min, self.max)


@dataclass(frozen=True, slots=True)
class Text:
    """A string; numbers are taken as they are written."""

    multiline: bool = False
    dynamic_prompts: bool = False
    tooltip: str = ""
    socket: ClassVar[str] = "STRING"
    linkable: ClassVar[bool] = True

    def coerce(self, value: object, folders: Folders) -> str:
        match value:
            case str() if value.isascii() or _is_unicode(value):
                return value
            case bool():
                raise ValueRefused("invalid_input_type", "a text")
            case int() | float() if _is_finite(value):
                return str(value)
            case _:
                raise ValueRefused("invalid_input_type", "a text")


@dataclass(frozen=True, slots=True)
class Toggle:
    """true or false; nothing else is near enough to guess."""

    tooltip: str = ""
    socket: ClassVar[str] = "BOOLEAN"
    linkable: ClassVar[bool] = True

    def coerce(self, value: object, folders: Folders) -> bool:
        match value:
            case bool():
                return value
            case str() if (word := value.strip().lower()) in ("true", "false"):
                return word == "true"
            case _:
                raise ValueRefused("invalid_input_type", "true or false")


@dataclass(frozen=True, slots=True)
class Anything:
    """Whatever the document has, as it is."""

    tooltip: str = ""
    socket: ClassVar[str] = ANY
    linkable: ClassVar[bool] = True

    def coerce(self, value: object, folders: Folders) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few names. A mapping offers its keys, a function what it returns now.

    `typed` selects the newer of the two forms that `/object_info` has for lists.
    """

    choices: Mapping[str, object] | Sequence[str] | Callable[[], Sequence[str]]
    tooltip: str = ""
    typed: bool = False
    socket: ClassVar[str] = "COMBO"
    linkable: ClassVar[bool] = True

    def options(self) -> Sequence[str]:
        """The names on offer, in their order."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    def coerce(self, value: object, folders: Folders) -> str:
        options = self.choices() if callable(self.choices) else self.choices
        if isinstance(value, str) and value in options:
            return value
        expected = f"one of {listing(tuple(options))}" if options else "a choice, of which there is none now"
        near = suggestion(value, options) if isinstance(value, str) else ""
        raise ValueRefused("value_not_in_list", expected, f"got {brief(value)}, expected {expected}{near}")


_ANNOTATION = re.compile(r"(?P<name>.+) \[(?P<folder>input|output|temp)\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a named folder; the node function gets a FileRef. Only chosen, never linked: who would check a link?

    `suffixes` replaces those of the folder. `annotated` also takes `name [output]`, which editors write
    for a file of another directory. `when_empty` says what to put into a folder that holds nothing yet.
    `image_upload` is the editor's. `named`: further names, each with the file of another folder that it stands for.
    """

    folder: str
    tooltip: str = ""
    suffixes: tuple[str, ...] | None = None
    annotated: bool = False
    when_empty: str = ""
    image_upload: bool = False
    typed: bool = False
    named: Callable[[Folders], Mapping[str, FileRef]] | None = None
    socket: ClassVar[str] = "COMBO"
    linkable: ClassVar[bool] = False

    def options(self, folders: Folders) -> Sequence[str]:
        """The names on offer now."""
        return *folders.list(self.folder, self.suffixes), *(self.named(folders) if self.named else ())

    def coerce(self, value: object, folders: Folders) -> FileRef:
        try:
            return self._find(value, folders)
        except ValueRefused as refused:
            if not self.when_empty or self.options(folders):
                raise
            message = refused.message or f"got {brief(value)}, expected {refused.expected}"
            raise ValueRefused(refused.code, refused.expected, f"{message}; {self.when_empty}") from None

    def _find(self, value: object, folders: Folders) -> FileRef:
        if not isinstance(value, str):
            raise ValueRefused("invalid_input_type", f"the name of a file in {self.folder}")
        if self.named and (found := self.named(folders).get(value)):
            return found
        if self.annotated and (parts := _ANNOTATION.fullmatch(value)):
            return folders.find(parts["folder"], parts["name"], self.suffixes)
        return folders.find(self.folder, value, self.suffixes)


@dataclass(frozen=True, slots=True)
class Directory(File):
    """A directory below a named folder, one that has a file called `holding`; the node function gets a FileRef with the
    directory's name and that file's path."""

    holding: str = ""

    def options(self, folders: Folders) -> Sequence[str]:
        """The names on offer now."""
        names = (name.rpartition("/") for name in folders.list(self.folder, (Path(self.holding).suffix,)))
        return [directory for directory, _, name in names if name == self.holding and directory]

    def coerce(self, value: object, folders: Folders) -> FileRef:
        offered = self.options(folders)
        expected = f"one of the directories in {self.folder}: {listing(offered)}"
        if not offered:
            places = " or ".join(str(root) for root in folders.roots(self.folder))
            expected = f"a directory in {places} that has a {self.holding}"
        if not isinstance(value, str) or value not in offered:
            near = suggestion(value, offered) if isinstance(value, str) else ""
            raise ValueRefused("value_not_in_list", expected, f"got {brief(value)}, expected {expected}{near}")
        return replace(folders.find(self.folder, f"{value}/{self.holding}", (Path(self.holding).suffix,)), name=value)


def _range(low: float | None, high: float | None) -> str:
    match low, high:
        case None, None:
            return ""
        case _, None:
            return f" of at least {low}"
        case None, _:
            return f" of at most {high}"
        case _:
            return f" from {low} to {high}"


def _decimal(text: str) -> float | None:
    """The finite number that `text` spells."""
    if len(text) > 400 or not _DECIMAL.fullmatch(text.strip()):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _as_float(value: object) -> float | None:
    """The float equal to an integer; beyond 2**53 there may be none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number == value else None


def _is_finite(value: int | float) -> bool:
    return value.bit_length() < 10_000 if isinstance(value, int) else math.isfinite(value)


def _is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can spell but no text contains."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
