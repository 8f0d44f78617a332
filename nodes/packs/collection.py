"""All packs of a program: found, permitted, imported, and adapted to node types."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from graph.build import Graph
from graph.errors import GraphError
from graph.files import Folders
from graph.spec import NodeSpec, Registry
from nodes.packs.checks import checking
from nodes.packs.found import Pack, find_packs, stamp
from nodes.packs.host import Host
from nodes.packs.importing import PackImporter
from nodes.packs.loading import Loaded, load, permits, prestart
from nodes.packs.shim.modules import modules
from nodes.packs.shim.prompt_server import Route, Routes
from nodes.packs.trust import Ask, PackList

FILE = "packs.toml"
_logger = logging.getLogger(__name__)


class Packs:
    """What became of them, and of those that change while the program runs."""

    def __init__(self, host: Host, importer: PackImporter, routes: Routes, known: Path, only: Collection[str]) -> None:
        self.host = host
        self.loaded: tuple[Loaded, ...] = ()
        self._importer = importer
        self._routes = routes
        self._known = known
        self._only = only
        self._stamps: dict[str, tuple[object, ...]] = {}
        self._said: tuple[int, int] | None = None

    @property
    def specs(self) -> Iterator[NodeSpec]:
        """The node types of all packs."""
        return (spec for loaded in self.loaded for spec in loaded.specs)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The addresses that packs answer."""
        return tuple(self._routes.added)

    @property
    def web(self) -> Mapping[str, Path]:
        """The folders of files for browsers, by the names of packs."""
        return {name: place for loaded in self.loaded for name, place in loaded.web.items()}

    def rule(self, graph: Graph) -> Iterable[GraphError]:
        """What packs say of their nodes' inputs."""
        return checking({name: check for loaded in self.loaded for name, check in loaded.checks.items()}, self.host)(
            graph
        )

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
            kept = {
                name: it for name, it in kept.items() if it.given.standing == known.standing(it.pack, it.given.code)
            }
        for it in self.loaded:
            if it.pack.name not in kept:
                self._importer.forget(it.pack)
        new = list(permits((found[name] for name in found if name not in kept), known, ask))
        prestart((permit.pack for permit in new if not permit.refused), self._importer)
        taken = dict(self.host.specs) | {spec.type: spec for it in kept.values() for spec in it.specs}
        loaded = dict(kept)
        for permit in new:
            it = loaded[permit.pack.name] = load(permit, self._importer, self.host, taken)
            taken |= {spec.type: spec for spec in it.specs}
            _tell(it)
        self.loaded = tuple(loaded[name] for name in found)
        self._stamps, self._said = stamps, _written(self._known)
        return True


@contextmanager
def open_packs(
    folders: Folders,
    builtin: Registry,
    ask: Ask,
    send: Callable[[str, object, str | None], None] | None = None,
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
        packs.refresh(ask)
        yield packs


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
