"""What packs import: stand-ins by every way that Python has, and libraries that ask for ComfyUI's modules themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from graph.files import Folders
from tests.nodes.pack_bench import Bench, Written, open_bench

LIBRARY = """
import folder_paths
from nodes import MAX_RESOLUTION
from server import PromptServer

def base():
    from comfy.utils import ProgressBar
    return folder_paths.get_output_directory(), MAX_RESOLUTION, PromptServer.instance.last_prompt_id
"""
PACK = """
import importlib, importlib.util
from importlib import import_module
import a_library_of_packs
import execution

nodes = importlib.import_module("nodes")
assert import_module("comfy.utils").ProgressBar and importlib.util.find_spec("json")
assert importlib.import_module(".more", package=__name__).MORE == 1

class Odd(str):
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False

ODD = Odd("*")

class Tells:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {"any": (ODD)}, "hidden": {"prompt": "PROMPT"}}
    RETURN_TYPES = (ODD,)
    FUNCTION = "go"
    OUTPUT_NODE = True
    async def go(self, prompt, any=None):
        fine = await execution.validate_prompt("x", prompt)
        wrong = await execution.validate_prompt("x", {"1": {"class_type": "EmptyImage", "inputs": {"width": -1}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}, "3": {"class_type": "Nobody", "inputs": {}}})
        nothing = await execution.validate_prompt("x", {"1": {"class_type": "EmptyImage", "inputs": {}}})
        kinds = sorted(error["type"] for error in wrong[3]["1"]["errors"])
        told = [fine[0], fine[2], wrong[0], kinds, wrong[3]["1"]["dependent_outputs"], nothing[1]["type"]]
        return {"ui": {"told": [*told, *a_library_of_packs.base(), nodes.MAX_RESOLUTION]}, "result": (any,)}

NODE_CLASS_MAPPINGS = {"ImportsTells": Tells}
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    folders = Folders.standard(tmp_path / "base")
    pack = folders.base / "custom_nodes" / "imports"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(dedent(PACK))
    (pack / "more.py").write_text("import nodes\nMORE = 1 if nodes.MAX_RESOLUTION else 0")
    site = tmp_path / "site"
    site.mkdir()
    (site / "a_library_of_packs.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(str(site))
    with open_bench(folders) as opened:
        assert [it.problem for it in opened.packs.loaded] == [""]
        yield opened


def test_libraries_importlib_and_execution_have_the_stand_ins(bench: Bench) -> None:
    nodes: Written = {
        "t": ("ImportsTells", {"any": ["e", 0]}),
        "e": ("EmptyImage", {"width": 8, "height": 8, "batch_size": 1, "color": 0}),
        "s": ("SaveImage", {"images": ["t", 0], "filename_prefix": "x"}),
    }
    results = bench.run(nodes)
    output = str(bench.folders.output_dir)
    told: Any = results["t"].ui["told"]
    assert told[:2] == [True, ["t", "s"]] and told[2] is False and "value_smaller_than_min" in told[3]
    assert told[4:] == [["2"], "prompt_no_outputs", output, 16384, "run", 16384]
    assert results["s"].ui["images"], "a type that equals everything and has no hash goes into any input"


def test_a_library_is_nobody_else_s_when_the_packs_are_gone(bench: Bench) -> None:
    assert "a_library_of_packs" in sys.modules
    bench.packs._importer.__exit__()
    try:
        assert "a_library_of_packs" not in sys.modules
        assert sys.modules["nodes"].__path__, "ours is as it was"
    finally:
        bench.packs._importer.__enter__()
