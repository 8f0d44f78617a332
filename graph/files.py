"""Named directories: what they hold, and the only way from a name in a document to a path."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from graph.errors import ValueRefused, brief, listing, suggestion
from graph.identity import FileIdentity
from graph.result import Ui

WEIGHTS = frozenset({".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf"})
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff"})
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
"""All that Pillow may open, wherever a picture comes in: it knows dozens more, some of which run programs."""
ANYTHING: frozenset[str] = frozenset()

ALIASES: Mapping[str, str] = MappingProxyType({"clip": "text_encoders", "unet": "diffusion_models"})
"""Older folder names that users' files and settings still have."""

_SEARCHED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "checkpoints": ("models/checkpoints",),
        "configs": ("models/configs",),
        "vae": ("models/vae",),
        "loras": ("models/loras",),
        "controlnet": ("models/controlnet",),
        "embeddings": ("models/embeddings",),
        "upscale_models": ("models/upscale_models",),
        "text_encoders": ("models/clip", "models/text_encoders"),
        "clip_vision": ("models/clip_vision",),
        "safety_checker": ("models/safety_checker",),
        "inception": ("models/inception",),
        "aesthetic": ("models/aesthetic",),
        "diffusion_models": ("models/unet", "models/diffusion_models"),
        "vae_approx": ("models/vae_approx",),
        "style_models": ("models/style_models",),
        "ipadapter": ("models/ipadapter",),
        "hypernetworks": ("models/hypernetworks",),
        "gligen": ("models/gligen",),
        "photomaker": ("models/photomaker",),
        "diffusers": ("models/diffusers",),
    }
)
_CREATED = (
    "custom_nodes",
    *(
        places[0]
        for name, places in _SEARCHED.items()
        if name
        in (
            "checkpoints",
            "vae",
            "loras",
            "controlnet",
            "embeddings",
            "upscale_models",
            "text_encoders",
            "clip_vision",
            "safety_checker",
        )
    ),
)
"""Directories made in a new base; the others are used where they exist."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file that was chosen by name from a named folder; it existed when the graph was built."""

    folder: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Folder:
    """Directories searched in order. Without `suffixes` every file counts."""

    roots: tuple[Path, ...]
    suffixes: frozenset[str] = WEIGHTS
    recursive: bool = True


@dataclass(frozen=True, slots=True)
class Folders:
    """The user's directories by name. Reads the disk anew each time, so a file that just arrived is there."""

    base: Path
    folders: Mapping[str, Folder]
    input_dir: Path
    output_dir: Path
    temp_dir: Path
    identity: FileIdentity

    @staticmethod
    def standard(
        base: Path,
        *,
        source_tree: Path | None = None,
        models_dir: Path | None = None,
        input_dir: Path | None = None,
        output_dir: Path | None = None,
        temp_dir: Path | None = None,
    ) -> Folders:
        """The layout that Stable Diffusion users have, created where it is missing; a new base is its user's alone.

        Raises ValueError if `base` is `source_tree`, whose `models/` is code.
        """
        base = base.absolute()
        if source_tree is not None and base.resolve() == source_tree.resolve():
            raise ValueError(f"{base} is the program's own source tree; choose another base directory")
        if not base.exists():
            base.mkdir(mode=0o700, parents=True)
        place_in, place_out, place_temp = (
            (given or base / name).absolute()
            for given, name in ((input_dir, "input"), (output_dir, "output"), (temp_dir, "temp"))
        )
        models = (models_dir or base / "models").absolute()

        def placed(name: str) -> Path:
            return models / name.removeprefix("models/") if name.startswith("models/") else base / name

        for made in (*map(placed, _CREATED), place_in, place_out, place_temp):
            made.mkdir(parents=True, exist_ok=True)
        folders = {name: Folder(tuple(map(placed, places))) for name, places in _SEARCHED.items()}
        folders["custom_nodes"] = Folder((base / "custom_nodes",), ANYTHING)
        folders["input"] = Folder((place_in,), IMAGES, recursive=False)
        folders["output"] = Folder((place_out,), IMAGES)
        folders["temp"] = Folder((place_temp,), IMAGES)
        return Folders(base, MappingProxyType(folders), place_in, place_out, place_temp, FileIdentity())

    def extended(self, extra: Mapping[str, Sequence[Path]], *, first: bool = False) -> Folders:
        """The same with more directories: searched after those known so far, or before them. New names are added."""
        folders = dict(self.folders)
        for name, paths in extra.items():
            known = self.folders.get(_canonical(name), Folder(()))
            added = tuple(path.absolute() for path in paths)
            roots = (*added, *known.roots) if first else (*known.roots, *added)
            folders[_canonical(name)] = replace(known, roots=tuple(dict.fromkeys(roots)))
        return replace(self, folders=MappingProxyType(folders))

    def roots(self, folder: str) -> tuple[Path, ...]:
        """The directories of `folder`, in the order they are searched; some may not exist."""
        return self._folder(folder).roots

    def list(self, folder: str, suffixes: Collection[str] | None = None) -> Sequence[str]:
        """Names of the files in `folder`, sorted, with `/` between directories; `resolve` takes each of them."""
        known = self._folder(folder)
        wanted = known.suffixes if suffixes is None else suffixes
        names = {name for root in known.roots for name in files_below(root, known.recursive)}
        return sorted(name for name in names if _has_suffix(name, wanted) and not objection(name))

    def resolve(self, folder: str, name: str, suffixes: Collection[str] | None = None) -> Path:
        """The file that `name` stands for: in the first directory that has it, and never outside of them.

        Links that the operator placed in a directory are followed. Raises ValueRefused.
        """
        known = self._folder(folder)
        if reason := objection(name):
            near = suggestion(name.replace("\\", "/"), self.list(folder, suffixes))
            raise ValueRefused("invalid_path", f"a file in {folder}", f"got {brief(name)}, which {reason}{near}")
        if _has_suffix(name, known.suffixes if suffixes is None else suffixes):
            for root in known.roots:
                if os.path.isfile(path := root / name):  # noqa: PTH113 - Path.is_file raises for too long ones
                    return path
        raise self._absent(folder, name, suffixes)

    def find(self, folder: str, name: str, suffixes: Collection[str] | None = None) -> FileRef:
        """`resolve`, with the name kept."""
        return FileRef(folder, name, self.resolve(folder, name, suffixes))

    def shown_files(self, ui: Ui) -> tuple[Path, ...]:
        """The files that `ui` names, where they were written."""
        places = {"input": self.input_dir, "output": self.output_dir, "temp": self.temp_dir}
        entries = [entry for shown in ui.values() for entry in shown if isinstance(entry, Mapping)]
        return tuple(
            places[kind] / str(entry.get("subfolder", "")) / str(entry["filename"])
            for entry in entries
            if "filename" in entry and (kind := str(entry.get("type", "output"))) in places
        )

    def has_files(self, ui: Ui) -> bool:
        """Whether every file that `ui` names is still there."""
        return all(os.path.isfile(path) for path in self.shown_files(ui))  # noqa: PTH113 - Path.is_file raises

    def _folder(self, name: str) -> Folder:
        if (folder := self.folders.get(_canonical(name))) is None:
            raise KeyError(f"no folder is called {name!r}{suggestion(name, self.folders)}")
        return folder

    def _absent(self, folder: str, name: str, suffixes: Collection[str] | None) -> ValueRefused:
        names = self.list(folder, suffixes)
        if not names:
            places = " or ".join(str(root) for root in self.roots(folder))
            message = f"got {brief(name)}, but there is no file yet in {places}"
            return ValueRefused("value_not_in_list", f"a file in {places}", message)
        expected = f"one of the files in {folder}: {listing(names)}"
        return ValueRefused(
            "value_not_in_list", expected, f"got {brief(name)}, expected {expected}{suggestion(name, names)}"
        )


def _canonical(folder: str) -> str:
    return ALIASES.get(folder, folder)


def _has_suffix(name: str, suffixes: Collection[str]) -> bool:
    return not suffixes or Path(name).suffix.lower() in suffixes


def objection(name: str) -> str:
    """Why `name` is no safe relative path on every system, or nothing. Also keeps `list` to what `resolve` takes."""
    if _CONTROL.search(name) or not _encodable(name):
        return "holds a character that no file name should have"
    if "\\" in name:
        return "holds a backslash: write / between directories"
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "is an absolute path: give the name below the folder"
    for part in name.split("/"):
        if part in ("", ".", ".."):
            return f"holds {part!r} between its slashes: no way up or around is allowed"
        if part != part.rstrip(". "):
            return "holds a part that ends in a dot or a space, which Windows would drop"
        if _WINDOWS_DEVICE.fullmatch(part):
            return f"holds {part!r}, a device name on Windows"
    return ""


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def files_below(root: Path, recursive: bool = True) -> Iterator[str]:
    """Files below `root`. Links are followed; one that leads back to a directory above itself is not."""
    pending: list[tuple[str, str, frozenset[str]]] = [(str(root), "", frozenset())]
    while pending:
        directory, prefix, above = pending.pop()
        real = os.path.realpath(directory)
        if real in above:
            continue
        try:
            with os.scandir(directory) as listing:
                entries = list(listing)
        except OSError:  # missing, or not ours to read: it offers nothing
            continue
        for entry in entries:
            if _leads_to(entry.is_file):
                yield prefix + entry.name
            elif recursive and _leads_to(entry.is_dir):
                pending.append((entry.path, f"{prefix}{entry.name}/", above | {real}))


def _leads_to(test: Callable[[], bool]) -> bool:
    """What `test` says; a link that leads in a circle, or to what may not be looked at, leads to nothing."""
    try:
        return test()
    except OSError:
        return False
