"""Loading packs: each becomes node types, or a reason why it does not."""

from __future__ import annotations

import asyncio
import inspect
import logging
import tomllib
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from graph.replacements import Replacement
from graph.spec import NodeSpec, collect
from nodes.packs.checks import Check, check_of
from nodes.packs.found import Pack, digest
from nodes.packs.host import Host
from nodes.packs.importing import AbsentError, PackImporter
from nodes.packs.shim.core_nodes import node_class
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
    classes say of their inputs, by node type; `classes`: what other packs find of them in `NODE_CLASS_MAPPINGS`;
    `replacements`: what it says of node types that are gone, by these; `web`: what browsers load of it; `end`: lets go of what it runs in."""

    given: Permit
    specs: tuple[NodeSpec, ...] = ()
    problem: str = ""
    checks: Mapping[str, Check] = field(default_factory=dict)
    classes: Mapping[str, Any] = field(default_factory=dict)
    replacements: Mapping[str, Replacement] = field(default_factory=dict)
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
    before = dict(host.classes)
    try:
        try:
            module = importer.load(pack)
        except AbsentError:
            module = importer.load(pack, lenient=True)
    except (Exception, SystemExit) as error:
        _logger.debug("pack %s", pack.name, exc_info=error)
        return Loaded(permit, problem=f"could not be imported: {_words(error)}{_advice(error)}")
    finally:
        put = {name: cls for name, cls in host.classes.items() if before.get(name) is not cls}
        host.classes.clear()
        host.classes.update(before)
    specs: list[NodeSpec] = []
    problems: list[str] = []
    checks: dict[str, Check] = {}
    classes: dict[str, Any] = {}
    try:
        for declared in _declared(module, put, host):
            try:
                spec = replace(declared.make(), home=pack.module, version=permit.code)
            except Exception as error:  # noqa: BLE001
                problems.append(f"node {declared.name}: {_words(error)}")
                continue
            if spec.type in taken:
                problems.append(f"node {spec.type}: there is one of this name already")
            else:
                specs.append(spec)
                classes[spec.type] = declared.cls or node_class(spec, host)
                check = None if declared.cls is None else check_of(declared.cls)
                checks |= {spec.type: check} if check else {}
    except Exception as error:  # noqa: BLE001
        problems.append(_words(error))
    if not specs and not problems and getattr(module, "NODE_CLASS_MAPPINGS", None) is None:
        problems.append("declares no nodes: no NODE_CLASS_MAPPINGS, no comfy_entrypoint, no function with @node")
    replacements, web = dict(host.replacements), _web(pack, module, host.web)
    host.replacements.clear()
    host.web.clear()
    return Loaded(permit, tuple(specs), "; ".join(problems), checks, classes, replacements, web)


class _Declared(NamedTuple):
    """A node of a pack: its name, the class that it is of, if it is of one, and what makes a node type of it."""

    name: str
    cls: Any
    make: Callable[[], NodeSpec]


def _declared(module: ModuleType, put: Mapping[str, Any], host: Host) -> Iterator[_Declared]:
    """The nodes of a pack. put: classes that it has put into `nodes.NODE_CLASS_MAPPINGS` itself."""
    given = getattr(module, "NODE_CLASS_MAPPINGS", None)
    titles: Mapping[str, Any] = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}
    for name, cls in {**put, **dict(given or {})}.items():
        yield _Declared(name, cls, partial(v1_spec, name, cls, str(titles.get(name) or ""), host))
    entrypoint = getattr(module, "comfy_entrypoint", None)
    if given is None and entrypoint is not None:
        for cls in asyncio.run(_classes(entrypoint)):
            yield _Declared(cls.__name__, cls, partial(v3_spec, cls, host))
    for spec in collect(module):
        yield _Declared(spec.type, None, partial(replace, spec))


async def _classes(entrypoint: Callable[[], Any]) -> list[Any]:
    extension = entrypoint()
    if inspect.isawaitable(extension):
        extension = await extension
    await extension.on_load()
    classes: list[Any] = await extension.get_node_list()
    return classes


def _web(pack: Pack, module: ModuleType, added: Mapping[str, str]) -> Mapping[str, Path]:
    """The folders for browsers: that of `pyproject.toml` by the project's name, that of WEB_DIRECTORY by the pack's, and
    those that were `added` to EXTENSION_WEB_DIRS."""
    named = {**added, **_told_of_web(pack), pack.name: getattr(module, "WEB_DIRECTORY", None)}
    root = pack.folder.resolve()
    places = {name: (root / folder).resolve() for name, folder in named.items() if isinstance(folder, str) and folder}
    return {name: place for name, place in places.items() if place.is_dir() and place.is_relative_to(root)}


def _told_of_web(pack: Pack) -> Mapping[str, object]:
    """What `[tool.comfy] web` of a pack's project says; nothing where there is none that can be read."""
    if not pack.path.is_dir():
        return {}
    try:
        said = tomllib.loads((pack.path / "pyproject.toml").read_text("utf-8"))
        return {str(said["project"]["name"]): said["tool"]["comfy"]["web"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _words(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and "stand-in" not in str(error):
        return f" (the pack needs a package that is not installed; see its requirements.txt for {error.name})"
    return ""
