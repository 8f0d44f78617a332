"""The conversion in Python beside the editor's own in TypeScript, which node runs where node is there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graph.document import write
from graph.flatten import flatten
from graph.layout import TITLE_HEIGHT, Size, arrange
from graph.litegraph import read_editor
from graph.node_shapes import read_shape
from tests.editor_files import cases, random_files, shape, types
from tests.known_types import known_types
from tests.templates import COUNT, needed, template_texts, templates

WEB = Path(__file__).parents[2] / "web"
ROLLDOWN = WEB / "node_modules" / ".bin" / "rolldown"
ENTRY = """
import { readFileSync, writeFileSync } from 'node:fs'
import { toApi } from './src/io/api'
import { parseJson, writeJson } from './src/io/json'
import { readUi } from './src/io/ui'
import { readDefinitions } from './src/model/definitions'

const [types, files, out] = process.argv.slice(2)
const known = readDefinitions(parseJson(readFileSync(types, 'utf-8')))
const made = parseJson(readFileSync(files, 'utf-8')).map(file => toApi(readUi(file, known), known))
writeFileSync(out, writeJson(made))
"""
SAVE = """
import { readFileSync, writeFileSync } from 'node:fs'
import { indentOf, parseJson, writeJson, writeLike } from './src/io/json'
import { readUi, writeUi } from './src/io/ui'
import { readDefinitions } from './src/model/definitions'
import { subgraphsOf } from './src/model/document'
import { openSubgraph, putSubgraph } from './src/model/subgraphs'

const [types, files, out] = process.argv.slice(2)
const known = readDefinitions(parseJson(readFileSync(types, 'utf-8')))
const put = (doc, id) => putSubgraph(doc, id, openSubgraph(doc, id, known), known)
const saved = parseJson(readFileSync(files, 'utf-8')).map(text => {
  const opened = readUi(parseJson(text), known)
  const doc = [...subgraphsOf(opened.file).keys()].reduce(put, opened)
  return writeLike(text, writeUi(doc, known), indentOf(text)) === text
})
writeFileSync(out, writeJson(saved))
"""
ARRANGE = """
import { readFileSync, writeFileSync } from 'node:fs'
import { placesOf } from './src/model/columns'

const [, graphs, out] = process.argv.slice(2)
const made = JSON.parse(readFileSync(graphs, 'utf-8')).map(([sizes, links]) =>
  Object.fromEntries(placesOf(new Map(Object.entries(sizes)), links)))
writeFileSync(out, JSON.stringify(made))
"""

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not ROLLDOWN.exists(),
    reason="NOT CHECKED: that the conversion is the editor's own; needs node, and `npm ci` in web/",
)


Run = Callable[[Any, list[Any]], list[Any]]


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The editor's own code behind an entry: from node types and files to what it makes of each."""

    def bundle(entry: str) -> Run:
        folder = tmp_path_factory.mktemp("typescript")
        made = folder / "bundle.mjs"
        (folder / "entry.ts").write_text(entry.replace("./src", (WEB / "src").as_posix()), "utf-8")
        command = [str(ROLLDOWN), str(folder / "entry.ts"), "--file", str(made), "--platform", "node"]
        subprocess.run(command, cwd=WEB, check=True, capture_output=True)

        def run(known: Any, files: list[Any]) -> list[Any]:
            paths = [folder / name for name in ("types.json", "files.json", "out.json")]
            paths[0].write_text(json.dumps(known), "utf-8")
            paths[1].write_text(json.dumps(files), "utf-8")
            subprocess.run(["node", str(made), *map(str, paths)], check=True)
            answer: list[Any] = json.loads(paths[2].read_text("utf-8"))
            return answer

        return run

    return bundle


@pytest.fixture(scope="module")
def convert(bundled: Callable[[str], Run]) -> Run:
    """From files to what the editor would send."""
    return bundled(ENTRY)


def test_the_corpus_gives_the_same_graphs(convert: Run) -> None:
    theirs = convert(types(), [case["file"] for case in cases().values()])
    assert {name: made for name, made in zip(cases(), theirs, strict=True) if made != cases()[name]["api"]} == {}


def test_random_files_give_the_same_graphs(convert: Run) -> None:
    files = list(random_files(400, seed=2))
    for file, made in zip(files, convert(types(), files), strict=True):
        ours = json.loads(write(flatten(read_editor(file), shape).document))
        assert ours == made, json.dumps(file)[:2000]


@needed
@pytest.mark.acceptance
def test_the_templates_of_the_official_editor_give_the_same_graphs(convert: Run, tmp_path: Path) -> None:
    known = known_types(tmp_path)
    shapes = {name: read_shape(name, entry) for name, entry in known.items()}
    theirs = convert(known, list(templates().values()))
    assert len(theirs) == COUNT
    for name, made in zip(templates(), theirs, strict=True):
        ours = flatten(read_editor(templates()[name]), shapes.get).document
        assert json.loads(write(ours)) == made, name


@needed
@pytest.mark.acceptance
def test_opening_and_saving_changes_no_byte_of_them(bundled: Callable[[str], Run], tmp_path: Path) -> None:
    """Also after each subgraph was opened, and put back."""
    saved = bundled(SAVE)(known_types(tmp_path), list(template_texts().values()))
    assert len(saved) == COUNT
    assert [name for name, same in zip(template_texts(), saved, strict=True) if not same] == []


def test_cards_are_laid_out_by_the_same_rule(bundled: Callable[[str], Run]) -> None:
    graphs = [_boxes(case["file"]) for case in cases().values()] + [_boxes(file) for file in random_files(60, seed=5)]
    theirs = bundled(ARRANGE)({}, [[{key: [w, h + TITLE_HEIGHT] for key, (w, h) in s.items()}, ls] for s, ls in graphs])
    for (sizes, links), made in zip(graphs, theirs, strict=True):
        ours = arrange(sizes, links)
        assert {key: [x - 60, y - 60] for key, (x, y) in ours.items()} == made


def _boxes(file: Any) -> tuple[dict[str, Size], list[tuple[str, str]]]:
    """The cards of a file by id, each of another size, and what links join."""
    graph = read_editor(file).root
    sizes: dict[str, Size] = {
        f"n{key}": (200 + len(node.type), 40 + 29 * len(node.inputs)) for key, node in graph.nodes.items()
    }
    return sizes, [(f"n{link.origin}", f"n{link.target}") for link in graph.links.values()]
