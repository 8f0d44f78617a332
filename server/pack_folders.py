"""What packs have for clients in folders of their own: example workflows, subgraphs, translations, pages about nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graph.files import Folders
from server.listing import entries

EXAMPLES = ("example_workflows", "example_workflow", "examples", "example", "workflows", "workflow")
"""The folders that packs keep example workflows in."""
PICTURES = (".webp", ".png", ".jpg", ".jpeg")
TABLES = ("main", "nodeDefs", "commands", "settings")


def pack_folders(folders: Folders) -> dict[str, Path]:
    """The folders of packs by their names, whether they are loaded or not: what is read here is data."""
    return {
        entry.name: root / entry.name
        for root in reversed(folders.roots("custom_nodes"))
        for entry in entries(root) or ()
        if entry.is_directory and not entry.name.startswith((".", "__")) and not entry.name.endswith(".disabled")
    }


def example_names(folders: Folders) -> dict[str, list[str]]:
    """The names of the example workflows of each pack that has some."""
    found = {pack: sorted(path.stem for path in _examples(place)) for pack, place in pack_folders(folders).items()}
    return {pack: names for pack, names in found.items() if names}


def example_file(folders: Folders, pack: str, file: str) -> Path | None:
    """An example workflow of a pack, or the picture of the same name; None if there is none."""
    wanted = Path(file)
    for path in _examples(pack_folders(folders).get(pack, Path())) if file == wanted.name else ():
        if path.stem == wanted.stem:
            if wanted.suffix == ".json":
                return path
            pictures = (path.with_suffix(suffix) for suffix in PICTURES) if wanted.suffix in PICTURES else ()
            return next((it for it in pictures if it.is_file()), None)
    return None


def subgraphs(folders: Folders) -> dict[str, Path]:
    """The subgraphs of all packs. Ids are `PACK.NAME`: they stay over a restart, as front ends want it."""
    return {
        f"{pack}.{path.stem}": path
        for pack, place in sorted(pack_folders(folders).items())
        for path in _json_files(place / "subgraphs")
    }


def with_packs(texts: Mapping[str, Mapping[str, Any]], folders: Folders) -> dict[str, dict[str, Any]]:
    """Translations by language, with those that packs have for their own nodes, commands and settings.

    A file that cannot be read is passed over.
    """
    whole = {language: dict(tables) for language, tables in texts.items()}
    for place in pack_folders(folders).values():
        for language in entries(place / "locales") or ():
            for table in TABLES if language.is_directory else ():
                found = _object(place / "locales" / language.name / f"{table}.json")
                named = found if table == "main" else {table: found}
                if found:
                    whole[language.name] = _merged(whole.get(language.name, {}), named)
    return whole


def node_page_of(web: Mapping[str, Path], type_name: str, language: str) -> Path | None:
    """The page that a pack has for a node type, in this language or in no particular one; None if there is none.

    web: the folders of packs for browsers.
    """
    if not type_name or set(type_name + language) & set("/\\\0") or type_name.startswith("."):
        return None
    wanted = (f"{type_name}/{language}.md", f"{type_name}.md", f"{type_name}/en.md")
    return next((page for name in wanted for place in web.values() if (page := place / "docs" / name).is_file()), None)


def _examples(place: Path) -> Iterator[Path]:
    if place.name:
        for folder in EXAMPLES:
            yield from _json_files(place / folder)


def _json_files(folder: Path) -> Iterator[Path]:
    for file in entries(folder) or ():
        if not file.is_directory and file.name.endswith(".json"):
            yield folder / file.name


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both, and where both have an object under a name, both of these; else the second's."""
    whole = dict(first)
    for name, value in second.items():
        old = whole.get(name)
        whole[name] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return whole
