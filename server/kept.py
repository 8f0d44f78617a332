"""`/object_info` as bytes, kept for as long as what it was made from stands."""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from graph.files import Folders
from graph.folder_state import FolderState
from graph.inputs import Cases, Group
from graph.patient_json import dumps
from graph.sockets import Choice
from graph.spec import InputSpec, NodeSpec, Registry
from server.transcript import plain

_LEVEL = 6
"""Of gzip: the next levels take twice as long for a fiftieth less."""
LONGEST_SECONDS = 10.0
"""Files behind links may go without a trace in the directory: then the list is wrong for so long at most."""


@dataclass(frozen=True)
class Answer:
    """What is sent, and the digest of this version of it."""

    body: bytes
    digest: str

    @cached_property
    def packed(self) -> bytes:
        """The same by gzip (RFC 1952), made when it is first asked for."""
        return gzip.compress(self.body, _LEVEL, mtime=0)

    def etag(self, packed: bool) -> str:
        """The name of these bytes: packed ones are others (RFC 9110, section 8.8.1)."""
        return f'"{self.digest}-gzip"' if packed else f'"{self.digest}"'

    def is_among(self, etags: str) -> bool:
        """Whether `If-None-Match` names this version, packed or not."""
        names = {name.strip().removeprefix("W/") for name in etags.split(",")}
        return not names.isdisjoint((self.etag(False), self.etag(True)))


@dataclass(frozen=True, slots=True)
class _Made:
    answer: Answer
    specs: Sequence[NodeSpec]
    offered: Sequence[tuple[Callable[[], Sequence[str]], Sequence[str]]]
    files: FolderState
    until: float


class Kept:
    """One answer made of node types and folders. May be used from any thread."""

    def __init__(self, make: Callable[[Mapping[str, NodeSpec], Folders], object]) -> None:
        """make: gives what is sent, as JSON."""
        self._make = make
        self._made: _Made | None = None

    def answer(self, registry: Registry, folders: Folders) -> Answer:
        """The answer as it is now."""
        made = self._made
        if made is None or not _stands(made, registry):
            made = self._made = self._anew(registry, folders)
        return made.answer

    def _anew(self, registry: Registry, folders: Folders) -> _Made:
        """The state is taken first: what changes meanwhile is seen the next time."""
        types = dict(registry.items())
        files = FolderState(dict.fromkeys(root for folder in folders.folders.values() for root in folder.roots))
        offered = tuple((offer, offer()) for offer in _offers(types.values()))
        body = dumps(plain(self._make(types, folders))).encode()  # packs have bounds without end
        answer = Answer(body, hashlib.sha256(body).hexdigest()[:32])
        return _Made(answer, tuple(types.values()), offered, files, time.monotonic() + LONGEST_SECONDS)


def _stands(made: _Made, registry: Registry) -> bool:
    if time.monotonic() > made.until or len(made.specs) != len(registry):
        return False
    same = all(now is before for now, before in zip(registry.values(), made.specs, strict=False))
    return same and made.files.stands() and all(offer() == before for offer, before in made.offered)


def _offers(specs: Iterable[NodeSpec]) -> Iterator[Callable[[], Sequence[str]]]:
    """The choices that are functions: they may offer something else at any time."""
    for choice in (found for spec in specs for found in _choices(spec.inputs)):
        if callable(choice.choices):
            yield choice.options


def _choices(inputs: Iterable[InputSpec]) -> Iterator[Choice]:
    for declared in inputs:
        match declared.members:
            case Group(of=one):
                yield from _choices([one])
            case Cases(options=cases):
                for members in cases.values():
                    yield from _choices(members)
            case _:
                if isinstance(declared.widget, Choice):
                    yield declared.widget
