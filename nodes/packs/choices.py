"""Choices as packs know them: of texts, numbers and truths, which stay what they are, one or several at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graph.files import Folders
from graph.sockets import Choice


@dataclass(frozen=True, slots=True)
class AnyChoice(Choice):
    """One of a few values."""

    def coerce(self, value: object, folders: Folders) -> Any:
        """The value that was offered; a text that says the same as it will do."""
        offered: tuple[Any, ...] = tuple(self.options())
        for same in (_is_equal, _says_the_same):
            for option in offered:
                if same(option, value):
                    return option
        return Choice(tuple(map(str, offered)), typed=self.typed).coerce(value, folders)


@dataclass(frozen=True, slots=True)
class OpenChoice(AnyChoice):
    """The same, whose class says itself what else may be chosen."""

    def coerce(self, value: object, folders: Folders) -> Any:
        """The value that was offered, or any other as it is."""
        return next((option for option in self.options() if _is_equal(option, value)), value)


@dataclass(frozen=True, slots=True)
class SeveralChoices(AnyChoice):
    """Any number of a few values."""

    def coerce(self, value: object, folders: Folders) -> Any:
        """Those that were offered, in the order in which they were chosen. One alone will do."""
        chosen = value if isinstance(value, list | tuple) else (value,)
        return tuple(AnyChoice(self.choices, typed=self.typed).coerce(one, folders) for one in chosen)


def _is_equal(option: object, value: object) -> bool:
    return type(option) is type(value) and option == value


def _says_the_same(option: object, value: object) -> bool:
    return str(option) == str(value)
