"""Loading packs: each becomes node types, or a reason why it does not."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from graph.spec import NodeSpec, collect
from nodes.packs.checks import Check, check_of
from nodes.packs.found import Pack, digest
from nodes.packs.host import Host
from nodes.packs.importing import AbsentError, PackImporter
from nodes.packs.trust import Answer, Ask, Isolation, PackList, Standing
from nodes.packs.v1 import v1_spec
from nodes.packs.v3 import v3_spec

PRESTART = "prestartup_script.py"
_logger = logging.getLogger(__name__)


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a pack. `problem`: why it, or some of its nodes, are not here; `checks`: what its
    classes say of their inputs, by node type; `web`: what browsers load of it; `end`: lets go of what it runs in."""

    given: Permit
    specs: tuple[NodeSpec, ...] = ()
    problem: str = ""
    checks: Mapping[str, Check] = field(default_factory=dict)
    web: Mapping[str, Path] = field(default_factory=dict)
    end: Callable[[], None] = _nothing

    @property
    def pack(self) -> Pack:
        """The pack."""
        return self.given.pack


@dataclass(frozen=True, slots=True)
class Permit:
    """Whether a pack may be loaded. code: the digest of its files; standing: what the owner's list says of it, once it was
    asked about; refused: why it may not; isolation: what it may do in a process of its own, None within the program."""

    pack: Pack
    code: str
    standing: Standing | None = None
    refused: str = ""
    isolation: Isolation | None = None


def permits(packs: Iterable[Pack], known: PackList, ask: Ask) -> Iterator[Permit]:
    """What the owner says of each pack."""
    for pack in packs:
        try:
            state = digest(pack)
        except OSError as error:
            yield Permit(pack, "", None, f"cannot be read: {error.strerror or error}")
            continue
        standing = known.standing(pack, state)
        answer = ask(pack, standing) if standing in (Standing.UNKNOWN, Standing.CHANGED) else None
        if answer is Answer.YES:
            known.allow(pack, state)
        elif answer is not None:
            known.note(pack, state)
        is_fine = standing is Standing.ALLOWED or answer in (Answer.YES, Answer.ONCE)
        try:
            isolation = known.isolation(pack.name)
        except ValueError as error:
            yield Permit(pack, state, known.standing(pack, state), str(error))
            continue
        yield Permit(pack, state, known.standing(pack, state), "" if is_fine else standing.value, isolation)


def prestart(packs: Iterable[Pack], importer: PackImporter) -> None:
    """Run what packs want to have run before all others are imported. Failures are told in the log."""
    for pack in packs:
        if pack.path.is_dir() and (pack.folder / PRESTART).is_file():
            try:
                importer.load(pack, PRESTART)
            except (Exception, SystemExit) as error:  # noqa: BLE001
                _logger.warning("%s of pack %s failed: %s", PRESTART, pack.name, _words(error))


def load(permit: Permit, importer: PackImporter, host: Host, taken: Mapping[str, NodeSpec]) -> Loaded:
    """Import a pack and adapt its nodes. Names that are `taken` stay who has them. Never raises."""
    pack = permit.pack
    if permit.refused:
        return Loaded(permit, problem=f"is not loaded: {permit.refused}")
    try:
        try:
            module = importer.load(pack)
        except AbsentError:
            module = importer.load(pack, lenient=True)
    except (Exception, SystemExit) as error:
        _logger.debug("pack %s", pack.name, exc_info=error)
        return Loaded(permit, problem=f"could not be imported: {_words(error)}{_advice(error)}")
    specs: list[NodeSpec] = []
    problems: list[str] = []
    checks: dict[str, Check] = {}
    try:
        for name, make, check in _nodes(module, host):
            try:
                spec = replace(make(), home=pack.module, version=permit.code)
            except Exception as error:  # noqa: BLE001
                problems.append(f"node {name}: {_words(error)}")
                continue
            if spec.type in taken:
                problems.append(f"node {spec.type}: there is one of this name already")
            else:
                specs.append(spec)
                checks |= {spec.type: check} if check else {}
    except Exception as error:  # noqa: BLE001
        problems.append(_words(error))
    if not specs and not problems:
        problems.append("declares no nodes: no NODE_CLASS_MAPPINGS, no comfy_entrypoint, no function with @node")
    return Loaded(permit, tuple(specs), "; ".join(problems), checks, _web(pack, module))


def _nodes(module: ModuleType, host: Host) -> Iterator[tuple[str, Callable[[], NodeSpec], Check | None]]:
    """The names of a pack's nodes, what makes each of them, and how it checks its inputs."""
    classes = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if classes is not None:
        titles: Mapping[str, Any] = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}
        for name, cls in dict(classes).items():
            title = str(titles.get(name) or "")
            yield name, partial(v1_spec, name, cls, title, host), check_of(cls)
    elif (entrypoint := getattr(module, "comfy_entrypoint", None)) is not None:
        for cls in asyncio.run(_classes(entrypoint)):
            yield cls.__name__, partial(v3_spec, cls, host), check_of(cls)
    for spec in collect(module):
        yield spec.type, partial(replace, spec), None


async def _classes(entrypoint: Callable[[], Any]) -> list[Any]:
    extension = entrypoint()
    if inspect.isawaitable(extension):
        extension = await extension
    await extension.on_load()
    classes: list[Any] = await extension.get_node_list()
    return classes


def _web(pack: Pack, module: ModuleType) -> Mapping[str, Path]:
    folder = getattr(module, "WEB_DIRECTORY", None)
    if not isinstance(folder, str):
        return {}
    place = (pack.folder / folder).resolve()
    return {pack.name: place} if place.is_dir() and place.is_relative_to(pack.folder.resolve()) else {}


def _words(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and "stand-in" not in str(error):
        return f" (the pack needs a package that is not installed; see its requirements.txt for {error.name})"
    return ""
