"""Names for results, by how they are made."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from types import NoneType
from typing import NewType

from graph.build import BoundNode, Graph, Input
from graph.document import Link, NodeId
from graph.errors import GraphError, GraphErrors
from graph.files import FileRef, Folders
from graph.reads import Reading, Reads
from graph.result import Made

Fingerprint = NewType("Fingerprint", str)

_FORMAT = 2
"""Of marshal's formats the newest that writes equal values as equal bytes, whoever else holds them."""

_SCALARS = frozenset({int, str, bool, NoneType})


def _nowhere(node_id: NodeId) -> Fingerprint:
    raise KeyError(node_id)


def fingerprints(graph: Graph, folders: Folders, salt: str = "") -> dict[NodeId, Fingerprint]:
    """Name every node's outputs by how they are made. Raises GraphErrors if a file is gone."""
    return Namer(folders, salt).name(graph)


class Namer:
    """Names the results of one run, and knows which files it looked at for that.

    Equal names mean equal code (`salt`, and the `version` of the type), type, freshness, literals, file contents and upstream; ids do not matter, but
    for nodes that are not idempotent. The directories that files are written to count for terminal nodes only. A lazy node
    that has read the same as one before has the name of that one's result, as far as `reads` knows.
    """

    def __init__(self, folders: Folders, salt: str = "", reads: Reads | None = None) -> None:
        self._looked: list[tuple[Path, str]] = []
        identity = folders.identity.noting(lambda path, identity: self._looked.append((path, identity)))
        self._folders = replace(folders, identity=identity)
        self._identity = folders.identity
        self._salt = salt
        self._writes = (str(folders.output_dir), str(folders.temp_dir)), None, None
        self._files: dict[Fingerprint, tuple[tuple[Path, str], ...]] = {}
        self._reads = Reads() if reads is None else reads
        self._readings: dict[Fingerprint, Reading] = {}

    def name(
        self, graph: Graph, outer: Callable[[NodeId], Fingerprint] = _nowhere, origin: str = ""
    ) -> dict[NodeId, Fingerprint]:
        """The names of all nodes of `graph`, in one pass from sources to sinks. Raises GraphErrors if a file is gone.

        outer: the name of a node elsewhere that a link leads to. origin: what the graph comes from, which names those
        values in it that JSON cannot hold.
        """
        names: dict[NodeId, Fingerprint] = {}
        salt, nodes, looked = self._salt, graph.nodes, self._looked
        for node_id in graph.order:
            node = nodes[node_id]
            spec = node.spec
            special = None if spec.is_pure else self._writes if spec.only_writes else self._special(node, origin)
            recipe: list[tuple[str, object]] = []
            for name, value in node.inputs.items():
                if type(value) is Link:
                    source = value.node
                    recipe.append((name, (names[source] if source in names else outer(source), value.slot)))
                elif type(value) in _SCALARS:
                    recipe.append((name, value))
                elif type(value) is float:
                    recipe.append((name, _finite(value)))
                else:
                    recipe.append((name, self._other(value, node, (origin, node_id, name))))
            recipe.sort()
            made = Fingerprint(_digest((salt, spec.type, spec.version, special, recipe)))
            if not spec.is_eager:
                made = self._as_read(made, node, (salt, spec.type, spec.version, special), recipe)
            names[node_id] = made
            if looked:
                self._files[made] = tuple(looked)
                looked.clear()
        return names

    def stands(self, name: Fingerprint) -> bool:
        """Whether the files that were looked at for `name` still are what they were: a node may have read others."""
        files = self._files.get(name)
        return files is None or all(self._identity.still(path, identity) for path, identity in files)

    def read(self, name: Fingerprint, sources: Collection[Fingerprint]) -> None:
        """Note that a node has made the result `name` of these, and asked for no others."""
        if (reading := self._readings.get(name)) is not None:
            self._reads.note(name, reading, sources)

    def _as_read(
        self, made: Fingerprint, node: BoundNode, kind: tuple[object, ...], recipe: Sequence[tuple[str, object]]
    ) -> Fingerprint:
        """The name of what a lazy node gives: `made`, or that of a result for which the same was read."""
        inputs = zip(node.input_specs, node.inputs.items(), strict=True)
        links = {name: spec.lazy and not spec.raw for spec, (name, value) in inputs if type(value) is Link}
        sources = {name: (it[0], it[1]) for name, it in recipe if name in links and isinstance(it, tuple)}
        lazy = {name: source for name, source in sources.items() if links[name]}
        if not lazy:
            return made
        certain = _digest((*kind, [part for part in recipe if part[0] not in lazy], sorted(lazy)))
        at_hand = frozenset(source[0] for name, source in sources.items() if name not in lazy)
        reading = Reading(certain, lazy, at_hand)
        made = Fingerprint(self._reads.name(made, reading))
        self._readings[made] = reading
        return made

    def _special(self, node: BoundNode, origin: str) -> object:
        """What else names the result of a node that is more than a function of its inputs."""
        spec, fresh = node.spec, None
        if (freshness := spec.freshness) is not None:
            fresh = _looking(node, lambda: freshness(node.id, node.inputs, self._folders))
        return (
            self._writes[0] if spec.terminal else None,
            _plain(fresh),
            None if spec.idempotent else (origin, node.id),
        )

    def _other(self, value: Input, node: BoundNode, place: tuple[str, str, str]) -> object:
        """Tagged, so that no value equals a link or a file."""
        match value:
            case Made(source=source, slot=slot):
                return source, slot
            case FileRef(path=path):
                return "file", _looking(node, lambda: self._folders.identity(path))
            case tuple() | list() | dict() | int() | float() | str():
                return "value", _plain(value)
            case _:
                return "in", *place


def _digest(parts: tuple[object, ...]) -> str:
    return sha256(marshal.dumps(parts, _FORMAT)).hexdigest()  # type: ignore[arg-type]


def _looking(node: BoundNode, look: Callable[[], object]) -> object:
    try:
        return look()
    except OSError as error:
        message = f"cannot read {error.filename}: {error.strerror or error}"
        raise GraphErrors([GraphError("file_unreadable", message, node.id, node.spec.type)]) from error


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError(f"{value!r} is no number that JSON can hold, and equals nothing, so it has no name")
    return value


def _plain(value: object) -> object:
    """What JSON can hold, as marshal knows it; the order of an object's keys does not count."""
    match value:
        case dict():
            return "object", *((str(key), _plain(value[key])) for key in sorted(value, key=str))
        case tuple() | list():
            return "list", *map(_plain, value)
        case bool() | None:
            return value
        case int():
            return int(value)
        case float():
            return _finite(float(value))
        case _:
            return str(value)
