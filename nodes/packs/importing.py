"""Importing packs: their modules see stand-ins where ComfyUI's own modules would be, and nobody else does.

`nodes` and `server` are packages of Darkroom and modules of ComfyUI. So every module of a pack gets an `__import__` of
its own, which knows the stand-ins; nothing that others import is changed. Libraries that packs are written with, and that
import ComfyUI's modules themselves, get it too, where a pack is the first to import them.
"""

from __future__ import annotations

import builtins
import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from nodes.packs.found import Pack

PREFIX = "custom_nodes."
SOURCE = Path(__file__).resolve().parents[2]


class StandIn(ModuleType):
    """A module that packs import by a name of ComfyUI's. What it lacks is said in its own words, and counted."""

    def __init__(self, name: str, names: Mapping[str, object], missed: Callable[[str], None]) -> None:
        super().__init__(name, f"Darkroom's stand-in for {name}.")
        self.__dict__.update(names)
        self.__path__: list[str] = []
        self._missed = missed

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        self._missed(f"{self.__name__}.{name}")
        raise AttributeError(f"Darkroom's stand-in for {self.__name__} has no {name!r}")


class Everywhere(StandIn):
    """A package each of whose modules holds the same names, whatever it is called."""

    def __getattr__(self, name: str) -> object:
        return self if name.startswith("nodes_") else super().__getattr__(name)


class AbsentError(ImportError):
    """A pack imports what no stand-in has."""


class _AbsentType(type):
    """The type of what stands for a name that Darkroom has not: it can be inherited from, and says so when it is used."""

    said: str

    def __call__(cls, *args: object, **given: object) -> object:
        raise AbsentError(cls.said)

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AbsentError(cls.said)


class PackImporter(MetaPathFinder):
    """Imports packs with `modules` in the place of ComfyUI's. To be used as a context: it is among Python's finders
    as long as it is open, since packs import of themselves at any time."""

    def __init__(self, modules: Mapping[str, StandIn], missed: Callable[[str], None]) -> None:
        self._modules = _linked(modules)
        self._missed = missed
        self._roots = {name.partition(".")[0] for name in modules} - {"nodes", "server"} | {
            "comfy_api_nodes",
        }
        self._parent = ModuleType(PREFIX.rstrip("."), "The packs.")
        self._parent.__path__ = []
        self._lenient: dict[str, dict[str, StandIn]] = {}  # the stand-ins of packs that are not told what is absent
        self._builtins = {**vars(builtins), "__import__": self._import}
        self._asking = ContextVar("the pack that imports", default="")
        self._borrowed: list[str] = []
        names = "|".join(sorted(re.escape(name) for name in {*self._roots, "nodes", "server"}))
        self._asks = re.compile(rf"^\s*(?:from|import)\s+(?:{names})\b", re.MULTILINE)

    def __enter__(self) -> PackImporter:
        sys.meta_path.insert(0, self)
        sys.modules[self._parent.__name__] = self._parent
        return self

    def __exit__(self, *exc: object) -> None:
        sys.meta_path.remove(self)
        for name in [name for name in sys.modules if name == self._parent.__name__ or name.startswith(PREFIX)]:
            del sys.modules[name]  # whoever opens packs next reads their files anew
        for name in self._borrowed:
            sys.modules.pop(name, None)

    def load(self, pack: Pack, file_name: str = "", lenient: bool = False) -> ModuleType:
        """Run a pack's main file, or another of its files, as a module. Raises whatever it raises.

        Names that no stand-in has raise AbsentError where they are imported, for packs that know what else to do; or,
        if `lenient`, where they are used.
        """
        self._lenient.pop(pack.module, None)
        if lenient:
            own = {name: type(module)(name, vars(module), self._missed) for name, module in self._modules.items()}
            self._lenient[pack.module] = _linked(own)
        file = pack.folder / file_name if file_name else pack.main_file
        name = pack.module + (f".{file.stem}" if file_name else "")
        package = [str(pack.path)] if pack.path.is_dir() and not file_name else None
        spec = spec_from_file_location(
            name, file, loader=_PackLoader(name, str(file), self._builtins), submodule_search_locations=package
        )
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            self.forget(pack)
            raise
        return module

    def forget(self, pack: Pack) -> None:
        """Take the pack's modules out of Python's table, so that they are read anew."""
        for name in [name for name in sys.modules if name == pack.module or name.startswith(pack.module + ".")]:
            del sys.modules[name]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The submodules of packs get the packs' `__import__` too, and so does what they import if it asks for stand-ins."""
        is_theirs = fullname.startswith(PREFIX) and path is not None
        if not is_theirs and (fullname.startswith(PREFIX) or not self._asking.get()):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or spec.origin is None:
            return spec if is_theirs else None
        if not is_theirs:
            file = Path(spec.origin)
            if file.is_relative_to(SOURCE) and "site-packages" not in file.parts:
                return None
            if not self._asks.search(file.read_text("utf-8", errors="replace")):
                return None
            self._borrowed.append(fullname)
        spec.loader = _PackLoader(fullname, spec.origin, self._builtins)
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`import` as the modules of packs have it."""
        first = name.partition(".")[0]
        own = str((globals or {}).get("__name__", ""))
        pack = ".".join(own.split(".")[:2]) if own.startswith(PREFIX) else self._asking.get()
        if level or (name not in self._modules and first not in self._roots):
            token = self._asking.set(pack)
            try:
                if not level and pack == PREFIX + first:  # a pack that calls itself by the name of its folder
                    whole = __import__(PREFIX + name, globals, locals, fromlist or (), 0)
                    return whole if fromlist else sys.modules[pack]
                found = __import__(name, globals, locals, fromlist or (), level)
                return self._importlib(pack) if found is importlib else found
            finally:
                self._asking.reset(token)
        modules = self._lenient.get(pack)
        module = _found(self._modules if modules is None else modules, name)
        if module is None and modules is not None:
            module = _added(modules, name, self._missed)
        if module is None:
            raise self._absent(name)
        for item in fromlist or ():
            if item != "*" and not hasattr(module, item):
                if modules is None:
                    raise self._absent(f"{name}.{item}")
                self._missed(f"{name}.{item}")
                setattr(module, item, _AbsentType(item, (), {"said": f"Darkroom has no stand-in for {name}.{item}"}))
        return module if fromlist else (modules or self._modules)[name.partition(".")[0]]

    def _importlib(self, pack: str) -> ModuleType:
        """`importlib` for a pack: by `import_module` it gets what `import` gets."""

        def import_module(name: str, package: str | None = None) -> ModuleType:
            if name.partition(".")[0] in self._roots | {"nodes", "server"}:
                return self._import(name, {"__name__": pack}, None, ("*",))
            token = self._asking.set(pack)
            try:
                return importlib.import_module(name, package)
            finally:
                self._asking.reset(token)

        made = ModuleType("importlib", importlib.__doc__)
        made.__dict__.update(vars(importlib), import_module=import_module)
        return made

    def _absent(self, name: str) -> AbsentError:
        self._missed(name)
        return AbsentError(f"Darkroom has no stand-in for {name}", name=name)


def _found(modules: Mapping[str, StandIn], name: str) -> StandIn | None:
    """The stand-in of this name; a package's own where that is everywhere."""
    around = modules.get(name.partition(".")[0])
    return modules.get(name) or (around if isinstance(around, Everywhere) else None)


def _added(modules: dict[str, StandIn], name: str, missed: Callable[[str], None]) -> StandIn:
    """An empty stand-in among `modules`, and those around it that are not there."""
    missed(name)
    module = modules[name] = StandIn(name, {}, missed)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(modules.get(parent) or _added(modules, parent, missed), child, module)
    return module


def _linked(modules: Mapping[str, StandIn]) -> dict[str, StandIn]:
    """The same modules, each an attribute of the one before its last dot."""
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    return dict(modules)


class _PackLoader(SourceFileLoader):
    """Runs a module with builtins of its own."""

    def __init__(self, name: str, path: str, names: Mapping[str, object]) -> None:
        super().__init__(name, path)
        self._names = names

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = dict(self._names)
        super().exec_module(module)
