"""`folder_paths`: the user's folders, as packs ask for them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from graph.files import WEIGHTS, files_below
from nodes.output_files import expand, highest
from nodes.packs.host import Host

Known = dict[str, tuple[list[str], set[str]]]
"""Folder name -> directories and suffixes. Packs add to it, and read their own folders only."""

_logger = logging.getLogger(__name__)
_ANNOTATED = re.compile(r"(?P<name>.*) \[(?P<folder>input|output|temp)\]", re.DOTALL)


def names(host: Host) -> Mapping[str, object]:
    """What the module holds."""
    folders = host.folders
    known: Known = {
        name: ([str(root) for root in folder.roots], set(folder.suffixes)) for name, folder in folders.folders.items()
    }
    places = {"input": folders.input_dir, "output": folders.output_dir, "temp": folders.temp_dir}
    return {
        "base_path": str(folders.base),
        "models_dir": str(folders.base / "models"),
        "input_directory": str(folders.input_dir),
        "output_directory": str(folders.output_dir),
        "temp_directory": str(folders.temp_dir),
        "supported_pt_extensions": set(WEIGHTS),
        "folder_names_and_paths": known,
        "get_input_directory": lambda: str(folders.input_dir),
        "get_output_directory": lambda: str(folders.output_dir),
        "get_temp_directory": lambda: str(folders.temp_dir),
        "get_user_directory": lambda: str(folders.base / "user"),
        "get_directory_by_type": lambda kind: str(places[kind]) if kind in places else None,
        **_models(known, frozenset(known)),
        **_annotated(places),
        "get_save_image_path": _save_path,
        "filter_files_content_types": _of_types,
        "filter_files_extensions": lambda files, extensions: sorted(it for it in files if _fits(it, set(extensions))),
        "recursive_search": _searched,
    }


def _models(known: Known, ours: frozenset[str]) -> Mapping[str, Callable[..., object]]:
    """ours: the folders that nodes of Darkroom read, too."""

    def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
        paths, _ = known.setdefault(folder_name, ([], set()))
        if full_folder_path not in paths:
            if folder_name in ours:
                told = "a pack adds %s to the folders of %s: nodes of packs look there, and those of Darkroom where settings say"
                _logger.warning(told, full_folder_path, folder_name)
            paths.insert(0 if is_default else len(paths), full_folder_path)

    def get_folder_paths(folder_name: str) -> list[str]:
        return list(_of(known, folder_name)[0])

    def get_filename_list(folder_name: str) -> list[str]:
        paths, suffixes = _of(known, folder_name)
        return sorted({name for path in paths for name in _below(path) if _fits(name, suffixes)})

    def get_full_path(folder_name: str, filename: str) -> str | None:
        if folder_name not in known:
            return None
        relative = os.path.relpath(os.path.join("/", filename), "/")  # noqa: PTH118 - no way up or around
        for path in known[folder_name][0]:
            if (whole := Path(path, relative)).is_file():
                return str(whole)
        return None

    def get_full_path_or_raise(folder_name: str, filename: str) -> str:
        if (path := get_full_path(folder_name, filename)) is None:
            raise FileNotFoundError(f"there is no file {filename!r} in {folder_name}")
        return path

    functions = (add_model_folder_path, get_folder_paths, get_filename_list, get_full_path, get_full_path_or_raise)
    return {function.__name__: function for function in functions}


def _annotated(places: Mapping[str, Path]) -> Mapping[str, Callable[..., object]]:
    def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
        if parts := _ANNOTATED.fullmatch(name):
            return str(places[parts["folder"]] / parts["name"])
        return str(Path(default_dir or places["input"]) / name)

    def exists_annotated_filepath(name: str) -> bool:
        return Path(get_annotated_filepath(name)).exists()

    def annotated_filepath(name: str) -> tuple[str, str | None]:
        parts = _ANNOTATED.fullmatch(name)
        return (parts["name"], str(places[parts["folder"]])) if parts else (name, None)

    functions = (get_annotated_filepath, exists_annotated_filepath, annotated_filepath)
    return {function.__name__: function for function in functions}


def _save_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Folder, stem, next number, subfolder and the prefix as it was given. Raises InputError for one that leads out."""
    place = expand(filename_prefix, Path(output_dir), {"width": image_width, "height": image_height})
    place.folder.mkdir(parents=True, exist_ok=True)
    return str(place.folder), place.stem, highest(place) + 1, place.subfolder, filename_prefix


def _searched(directory: str, excluded_dir_names: Sequence[str] | None = None) -> tuple[list[str], dict[str, float]]:
    """The files below a folder by their places in it, without those in folders of some names; and when folders changed."""
    skipped = set(excluded_dir_names or ())
    names = [name for name in _below(directory) if skipped.isdisjoint(Path(name).parts[:-1])]
    folders = {str(Path(directory, name).parent) for name in names} | {directory}
    return names, {folder: Path(folder).stat().st_mtime for folder in folders if Path(folder).is_dir()}


def _of_types(files: Sequence[str], content_types: Sequence[str]) -> list[str]:
    from mimetypes import guess_type

    kinds = ((file, (guess_type(file)[0] or "").partition("/")[0]) for file in files)
    return [
        file for file, kind in kinds if kind in content_types or (kind == "application" and "model" in content_types)
    ]


def _of(known: Known, folder_name: str) -> tuple[list[str], set[str]]:
    name = {"unet": "diffusion_models", "clip": "text_encoders"}.get(folder_name, folder_name)
    return known[name]


def _below(path: str) -> list[str]:
    return list(files_below(Path(path)))


def _fits(name: str, suffixes: set[str]) -> bool:
    return not suffixes or Path(name).suffix.lower() in suffixes
