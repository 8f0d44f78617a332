"""All packs of a program: found, permitted, imported, and adapted to node types."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from torch import Tensor

from graph.build import Graph
from graph.errors import GraphError
from graph.files import Folders
from graph.replacements import Replacement
from graph.spec import NodeSpec, Registry
from nodes.packs.checks import checking
from nodes.packs.found import Pack, digest, find_packs, stamp
from nodes.packs.host import Host, Send
from nodes.packs.importing import PackImporter
from nodes.packs.isolated.adapt import load_apart
from nodes.packs.loading import Loaded, Permit, load, permits, prestart
from nodes.packs.shim.modules import modules
from nodes.packs.shim.prompt_server import Route, Routes
from nodes.packs.submitted import amended
from nodes.packs.trust import Ask, PackList

FILE = "packs.toml"
SELDOM = 20
"""How many times as long as a look at the packs takes, none is taken again."""
_logger = logging.getLogger(__name__)


class Packs:
    """What became of them, and of those that change while the program runs."""

    def __init__(
        self,
        host: Host,
        importer: PackImporter,
        routes: Routes,
        known: Path,
        only: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host
        self.loaded: tuple[Loaded, ...] = ()
        self._importer = importer
        self._routes = routes
        self._known = known
        self._only = only
        self._stamps: dict[str, tuple[object, ...]] = {}
        self._said: tuple[int, int] | None = None
        self._clock = clock
        self._next = 0.0

    @property
    def specs(self) -> Iterator[NodeSpec]:
        """The node types of all packs."""
        return (spec for loaded in self.loaded for spec in loaded.specs)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The addresses that packs answer."""
        return tuple(self._routes.added)

    def amended(self, body: bytes) -> bytes:
        """A submitted workflow as packs want it. See `submitted.amended`."""
        return amended(body, tuple(self._routes.on_prompt))

    @property
    def replacements(self) -> Mapping[str, Replacement]:
        """What packs say of node types that are gone, by these."""
        return {old: found for loaded in self.loaded for old, found in loaded.replacements.items()}

    @property
    def web(self) -> Mapping[str, Path]:
        """The folders of files for browsers, by the names of packs."""
        return {name: place for loaded in self.loaded for name, place in loaded.web.items()}

    def rule(self, graph: Graph) -> Iterable[GraphError]:
        """What packs say of their nodes' inputs."""
        return checking({name: check for loaded in self.loaded for name, check in loaded.checks.items()}, self.host)(
            graph
        )

    def decide(self, name: str, decision: str) -> None:
        """Write down what the owner says of a pack: "allow", "isolate" or "disable"; the next `refresh` heeds it.

        Raises KeyError for a name that no pack has, ValueError or OSError if `packs.toml` cannot be changed.
        """
        pack = next(it.pack for it in self.loaded if it.pack.name == name) if name in self._stamps else None
        if pack is None:
            raise KeyError(name)
        self._next = 0.0
        known = PackList(self._known)
        if decision == "disable":
            known.disable(name)
        else:
            known.isolate(name, isolated=decision == "isolate")
            known.allow(pack, digest(pack))

    def look(self, ask: Ask) -> bool:
        """As `refresh`, but looking takes a twentieth of the time at most, however often this is called: a thousand files
        are not asked for their times before every one of many small jobs."""
        begun = self._clock()
        if begun < self._next:
            return False
        changed = self.refresh(ask)
        ended = self._clock()
        self._next = ended if changed else ended + SELDOM * (ended - begun)
        return changed

    def refresh(self, ask: Ask) -> bool:
        """Load what is new, load anew what has changed, and let go of what is gone or may not be here any more; whether
        there was anything.

        To be called while no node runs. Raises ValueError if `packs.toml` cannot be read.
        """
        packs = find_packs(self.host.folders.roots("custom_nodes"))
        found = {pack.name: pack for pack in packs if not self._only or pack.name in self._only}
        stamps = {name: _stamp(pack) for name, pack in found.items()}
        said = _written(self._known)
        if (stamps, said) == (self._stamps, self._said):
            return False
        known = PackList(self._known)
        kept = {it.pack.name: it for it in self.loaded if stamps.get(it.pack.name) == self._stamps.get(it.pack.name)}
        if said != self._said:  # the owner has changed the list: what was refused may be wanted now, and the reverse
            kept = {name: it for name, it in kept.items() if _is_as_said(it.given, known)}
        old = [self._routes.of(it.pack.module) for it in self.loaded if it.pack.name not in kept]
        for it in self.loaded:
            if it.pack.name not in kept:
                it.end()
                for name in it.classes:
                    self.host.classes.pop(name, None)
                self._importer.forget(it.pack)
        new = list(permits((found[name] for name in found if name not in kept), known, ask))
        prestart((it.pack for it in new if not it.refused and it.isolation is None), self._importer)
        taken = dict(self.host.specs) | {spec.type: spec for it in kept.values() for spec in it.specs}
        loaded = dict(kept)
        for permit in new:
            it = loaded[permit.pack.name] = self._load(permit, taken)
            taken |= {spec.type: spec for spec in it.specs}
            self.host.classes.update(it.classes)
            _tell(it)
        for routes in old:  # they answer until there are others
            self._routes.drop(routes)
        self.loaded = tuple(loaded[name] for name in found)
        self.host.brought.clear()
        self.host.brought.update({spec.type: spec for spec in self.specs})
        self._stamps, self._said = stamps, _written(self._known)
        return True

    def _load(self, permit: Permit, taken: Mapping[str, NodeSpec]) -> Loaded:
        if permit.isolation is None or permit.refused:
            return load(permit, self._importer, self.host, taken)
        return load_apart(permit, permit.isolation, self.host, taken)

    def close(self) -> None:
        """Let go of what packs run in."""
        for it in self.loaded:
            it.end()


@contextmanager
def open_packs(
    folders: Folders,
    builtin: Registry,
    ask: Ask,
    send: Send | None = None,
    only: Collection[str] = (),
) -> Iterator[Packs]:
    """Load the packs below the folder `custom_nodes`, as `packs.toml` in the base directory and `ask` permit.

    only: the names of those that are loaded, where not all are.
    What packs import later they can import as long as this is open. Raises ValueError if `packs.toml` cannot be read.
    """
    specs: Mapping[str, NodeSpec] = MappingProxyType(dict(builtin))
    host = Host(folders, specs) if send is None else Host(folders, specs, send)
    routes = Routes()
    with PackImporter(modules(host, routes), host.miss) as importer:
        packs = Packs(host, importer, routes, folders.base / FILE, only)
        try:
            packs.refresh(ask)
            yield packs
        finally:
            packs.close()


@contextmanager
def open_one(
    pack: Pack, code: str, folders: Folders, builtin: Registry, send: Send
) -> Iterator[tuple[Loaded, Host, Routes]]:
    """One pack that may be loaded, and the addresses that it would answer: for a process that is its alone."""
    host, routes = Host(folders, MappingProxyType(dict(builtin)), send, own=_as_it_is), Routes()
    with PackImporter(modules(host, routes), host.miss) as importer:
        permit = Permit(pack, code)
        prestart([pack], importer)
        yield load(permit, importer, host, host.specs), host, routes


def _as_it_is(tensor: Tensor) -> Tensor:
    """What came to the process of a pack is the pack's already."""
    return tensor


def _is_as_said(permit: Permit, known: PackList) -> bool:
    """Whether the owner's list still says of a pack what it said."""
    try:
        isolation = known.isolation(permit.pack.name)
    except ValueError:
        return False
    return permit.standing == known.standing(permit.pack, permit.code) and permit.isolation == isolation


def _stamp(pack: Pack) -> tuple[object, ...]:
    try:
        return stamp(pack)
    except OSError as error:  # it changes while it is looked at: the next look sees what came of it
        return (str(error),)


def _written(file: Path) -> tuple[int, int] | None:
    """When the owner's list was written, and its size; None if there is none."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _tell(it: Loaded) -> None:
    if it.problem:
        _logger.warning("pack %s %s", it.pack.name, it.problem)
    if it.specs:
        _logger.info("pack %s brings %d node types", it.pack.name, len(it.specs))
