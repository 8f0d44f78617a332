"""Why a node ran: what named its result, compared with what named it when it ran before."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from graph.document import NodeId
from graph.errors import brief
from graph.recipe import Part, Recipe

Key: TypeAlias = tuple[NodeId, str]
"""A node of a document, and its type: under this its recipes are kept."""

MOST_ROOTS = 3
"""Changes that are named of what a node reads."""
SHOWN = 60  # characters of a value in a sentence


class Kind(StrEnum):
    """What a reason is about; editors word it in the user's language."""

    FIRST = "first"  # it never ran before
    VALUE = "value"  # `input` is `after` now, and was `before`
    FILE = "file"  # the file `after` in `input` has another content
    LINK = "link"  # `input` comes from elsewhere: `after` now, `before` then
    UPSTREAM = "upstream"  # `node`, which `input` comes from, gave something new
    CODE = "code"  # the node type has another version
    SURROUNDINGS = "surroundings"  # torch, device or precision: `after` now, `before` then
    BESIDE = "beside"  # files that it looks at besides its inputs
    DESTINATION = "destination"  # files go to `after` now, and went to `before`
    RESTARTED = "restarted"  # nothing changed; results are kept in memory, and the program was started anew
    EVICTED = "evicted"  # nothing changed; its result had made room for others
    FILES_GONE = "files_gone"  # nothing changed; the files it wrote are not there any more


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, as a kind with what belongs to it, and as `words`."""

    kind: Kind
    words: str
    input: str = ""
    before: str = ""
    after: str = ""
    node: NodeId = ""


class Ledger(Protocol):
    """What named the results of nodes when they ran before."""

    def newest(self, key: Key) -> Iterator[Recipe]:
        """The recipes under a key, newest first, read as far as they are looked at."""

    def named(self, key: Key, name: str) -> Recipe | None:
        """The one under a key that named a result so."""

    def keep(self, recipes: Iterable[Recipe]) -> None:
        """Remember what has run now."""


@dataclass(slots=True)
class MemoryLedger:
    """A ledger for the length of a process."""

    kept: dict[Key, list[Recipe]] = field(default_factory=dict)

    def newest(self, key: Key) -> Iterator[Recipe]:
        return iter(list(self.kept.get(key, ())))

    def named(self, key: Key, name: str) -> Recipe | None:
        return next((one for one in self.kept.get(key, ()) if one.name == name), None)

    def keep(self, recipes: Iterable[Recipe]) -> None:
        for recipe in recipes:
            others = [one for one in self.kept.get((recipe.node, recipe.type), []) if one.name != recipe.name]
            self.kept[recipe.node, recipe.type] = [recipe, *others]


class Comparison:
    """The recipes of one run against those of older ones."""

    def __init__(self, recipes: Iterable[Recipe], ledger: Ledger) -> None:
        self._recipes = {recipe.name: recipe for recipe in recipes}
        self._ledger = ledger
        self._old: dict[tuple[Key, str], Recipe | None] = {}
        self._roots: dict[tuple[str, str], tuple[Reason, ...]] = {}

    def reasons(self, recipe: Recipe, terminal: bool) -> tuple[Reason, ...]:
        """Why the node ran instead of having its result at hand."""
        key = recipe.node, recipe.type
        if (same := self._named(key, recipe.name)) is not None:
            return (_not_kept(recipe, same, terminal),)
        if (nearest := _nearest(recipe, self._ledger.newest(key))) is None:
            return (Reason(Kind.FIRST, "it ran for the first time"),)
        self._old[key, nearest.name] = nearest
        return tuple(self._changes(recipe, nearest))

    def _named(self, key: Key, name: str) -> Recipe | None:
        """An older recipe, looked up once."""
        if (key, name) not in self._old:
            self._old[key, name] = self._ledger.named(key, name)
        return self._old[key, name]

    def _changes(self, now: Recipe, then: Recipe) -> Iterator[Reason]:
        """What is otherwise, this node's own before what it reads."""
        yield from _own(now, then)
        for name, part in now.inputs.items():
            if (source := _changed_source(part, then.inputs.get(name))) is not None:
                yield from self._upstream(name, str(part[1]), *source)

    def _upstream(self, name: str, node: NodeId, now: str, then: str) -> Iterator[Reason]:
        """The changes further up that reached this input, each blamed on the node where it was made."""
        roots = self._found(now, then)
        if not roots:
            yield Reason(Kind.UPSTREAM, f"node {node} gave something new", name, node=node)
        for root in roots:
            yield Reason(Kind.UPSTREAM, root.words, name, root.before, root.after, root.node)

    def _found(self, now: str, then: str) -> tuple[Reason, ...]:
        """The changes that made one result another, nearest the sources. Does not recurse: graphs may be deep."""
        pending = [(now, then)]
        while pending:
            pair = pending[-1]
            new = self._recipes.get(pair[0])
            old = None if new is None else self._named((new.node, new.type), pair[1])
            if pair in self._roots or new is None or old is None:
                self._roots.setdefault(pair, ())
                pending.pop()
                continue
            sources = [
                source
                for name, part in new.inputs.items()
                if (source := _changed_source(part, old.inputs.get(name))) is not None
            ]
            if missing := [source for source in sources if source not in self._roots]:
                pending.extend(missing)
                continue
            place = f"node {new.node} ({new.type})"
            own = [
                Reason(one.kind, f"at {place} {one.words}", one.input, one.before, one.after, new.node)
                for one in _own(new, old)
            ]
            further = (root for source in sources for root in self._roots[source])
            self._roots[pair] = tuple(dict.fromkeys((*further, *own)))[:MOST_ROOTS]
            pending.pop()
        return self._roots[now, then]


def _changed_source(now: Part, then: Part | None) -> tuple[str, str] | None:
    """The names of what a link brings now and brought then, if it is the same link with another result."""
    if then is None or now[0] != "link" or then[:3] != now[:3] or then[3] == now[3]:
        return None
    return str(now[3]), str(then[3])


def _own(now: Recipe, then: Recipe) -> Iterator[Reason]:
    """What changed at the node itself."""
    for name, part in now.inputs.items():
        before = then.inputs.get(name)
        if before is None:
            yield Reason(Kind.VALUE, f"{name} is {_shown(part)} now, and was not there", name, "", _shown(part))
        elif before != part and _changed_source(part, before) is None:
            yield _changed(name, part, before)
    if now.code != then.code:
        yield Reason(Kind.CODE, f"the code of {now.type} has changed")
    if now.beside != then.beside:
        yield Reason(Kind.BESIDE, "files that it looks at besides its inputs have changed")
    if now.surroundings != then.surroundings:
        words = f"it is computed with {now.surroundings} now, and was with {then.surroundings}"
        yield Reason(Kind.SURROUNDINGS, words, "", then.surroundings, now.surroundings)
    if now.destination != then.destination:
        words = "its files go to another directory"
        yield Reason(Kind.DESTINATION, words, "", then.destination, now.destination)


def _changed(name: str, now: Part, then: Part) -> Reason:
    after, before = _shown(now), _shown(then)
    if "link" in (now[0], then[0]):
        return Reason(Kind.LINK, f"{name} is {after} now, and was {before}", name, before, after)
    if now[:2] == then[:2] and now[0] == "file":
        return Reason(Kind.FILE, f"the file {now[1]} has changed", name, before, after)
    if after == before:
        return Reason(Kind.VALUE, f"{name} has changed: {after}", name, before, after)
    return Reason(Kind.VALUE, f"{name} is {after} now, and was {before}", name, before, after)


def _shown(part: Part) -> str:
    match part:
        case ("link", node, slot, *_):
            return f"output {slot} of node {node}"
        case ("file", name, *_):
            return str(name)
        case (_, str() as text, digest):
            return brief(_read(text)) if not digest else f"{text[:SHOWN]}…"
        case _:
            return ""


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _nearest(now: Recipe, known: Iterator[Recipe]) -> Recipe | None:
    """The one that differs in the fewest parts; of equally near ones the newest counts, which comes first. None is nearer
    than in one part, since all have other names.
    """
    nearest, least = None, sys.maxsize
    for one in known:
        if (distance := _distance(now, one)) < least:
            nearest, least = one, distance
        if least <= 1:
            break
    return nearest


def _distance(now: Recipe, then: Recipe) -> int:
    """In how many parts two recipes differ."""
    names = {*now.inputs, *then.inputs}
    parts = sum(now.inputs.get(name) != then.inputs.get(name) for name in names)
    pairs = ((now.code, then.code), (now.beside, then.beside), (now.surroundings, then.surroundings))
    return parts + sum(a != b for a, b in pairs) + (now.destination != then.destination)


def _not_kept(now: Recipe, then: Recipe, terminal: bool) -> Reason:
    if now.session != then.session:
        words = "nothing has changed, but results are kept in memory and Darkroom was started anew"
        return Reason(Kind.RESTARTED, words)
    if terminal:
        return Reason(Kind.FILES_GONE, "nothing has changed, but the files that it wrote are not there any more")
    return Reason(Kind.EVICTED, "nothing has changed, but its result was no longer in memory")
