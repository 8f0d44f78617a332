"""The conversion in Python beside the editor's own in TypeScript, which node runs where node is there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from graph.document import write
from graph.flatten import flatten
from graph.litegraph import read_editor
from tests.editor_files import cases, random_files, shape, types

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

AHEAD = frozenset(
    {
        "dynamic_choice",
        "field_from_muted",
        "link_missing",
        "named_and_list",
        "nested_promoted_middle",
        "old_class_name",
        "promoted_muted_source",
        "reroute_muted",
        "subgraph_inner_kinds",
        "type_unknown_listed",
        "type_unknown_named",
        "windows_separators",
    }
)
"""Files for which the editor's code is behind: the graph that they give here is what the official one sends."""

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not ROLLDOWN.exists(),
    reason="NOT CHECKED: that the conversion is the editor's own; needs node, and `npm ci` in web/",
)


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """From files to what the editor would send, by the editor's own code."""
    folder = tmp_path_factory.mktemp("typescript")
    bundle = folder / "bundle.mjs"
    entry = folder / "entry.ts"
    entry.write_text(ENTRY.replace("./src", (WEB / "src").as_posix()), "utf-8")
    command = [str(ROLLDOWN), str(entry), "--file", str(bundle), "--platform", "node"]
    subprocess.run(command, cwd=WEB, check=True, capture_output=True)

    def convert(files: list[Any]) -> list[Any]:
        given, known, out = folder / "files.json", folder / "types.json", folder / "out.json"
        given.write_text(json.dumps(files), "utf-8")
        known.write_text(json.dumps(types()), "utf-8")
        subprocess.run(["node", str(bundle), str(known), str(given), str(out)], check=True)
        made: list[Any] = json.loads(out.read_text("utf-8"))
        return made

    return convert


def test_the_corpus_gives_the_same_graphs(typescript: Any) -> None:
    names = [name for name in cases() if name not in AHEAD]
    theirs = typescript([cases()[name]["file"] for name in names])
    assert {name: made for name, made in zip(names, theirs, strict=True) if made != cases()[name]["api"]} == {}


def test_random_files_give_the_same_graphs(typescript: Any) -> None:
    files = list(random_files(400, seed=2, modes=(0, 0, 4)))
    theirs = typescript(files)
    for file, made in zip(files, theirs, strict=True):
        ours = json.loads(write(flatten(read_editor(file), shape).document))
        assert ours == made, json.dumps(file)[:2000]
