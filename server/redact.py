"""Keeps the server's own paths out of what clients read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_ABSOLUTE = re.compile(
    r"(?<=')/[^'\n]+(?=')|(?<=\")/[^\"\n]+(?=\")|(?<![\w.:/>~-])(?:/[^\s/'\":;,()\[\]<>|]+)+/?|\b[A-Za-z]:\\[^\s'\":;,()\[\]<>|]+"
)


class Redactor:
    """Rewrites texts: paths below known places become relative to them, other absolute paths keep only their name."""

    def __init__(self, places: Mapping[Path, str]) -> None:
        """places: directory -> what to write for it; "" drops it."""
        known = {str(form): label for path, label in places.items() for form in (path, path.resolve())}
        self._labels = dict(sorted(known.items(), key=lambda entry: -len(entry[0])))
        self._known = re.compile("|".join(f"{re.escape(path)}(?=[/\\\\'\"\\s:,]|$)[/\\\\]?" for path in self._labels))

    def __call__(self, text: str) -> str:
        """`text` without paths of this machine."""
        if "/" not in text and "\\" not in text:
            return text
        shortened = self._known.sub(lambda found: self._label(found[0]), text) if self._labels else text
        return _ABSOLUTE.sub(lambda found: _name(found[0]), shortened)

    def each(self, texts: Iterable[str]) -> list[str]:
        """All of them."""
        return [self(text) for text in texts]

    def _label(self, found: str) -> str:
        label = self._labels[found.rstrip("/\\")]
        return f"{label}/" if label and found[-1] in "/\\" else label


def _name(path: str) -> str:
    return "…/" + re.split(r"[/\\]", path.rstrip("/\\"))[-1]
