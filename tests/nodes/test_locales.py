"""The Chinese of node types: what clients get, and that nothing is missing or left over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nodes
from graph.files import Folders
from graph.object_info import object_info
from nodes.registry import builtin
from server.translations import inputs_of, translations

LOCALES = Path(nodes.__file__).parent / "locales"


@pytest.fixture
def described(tmp_path: Path) -> dict[str, Any]:
    """All node types, as clients read of them."""
    return object_info(builtin(), Folders.standard(tmp_path / "base"))


def test_clients_read_the_chinese_of_a_node(described: dict[str, Any]) -> None:
    chinese = translations(LOCALES, described)["zh"]
    sampler = chinese["nodeDefs"]["KSampler"]
    assert sampler["display_name"] == "K 采样器"
    assert sampler["inputs"]["steps"]["name"] == "步数"
    assert "去噪" in sampler["description"] and sampler["outputs"]["0"]["tooltip"]
    assert chinese["nodeCategories"]["sampling"] == "采样"


def test_english_has_words_for_identifiers_that_read_badly(described: dict[str, Any]) -> None:
    tables = json.loads((LOCALES / "en.json").read_text("utf-8"))
    known = {name for node in described.values() for _, name, _ in inputs_of(node)}
    assert set(tables["inputs"]) - known == set(), "words for inputs that no node has"
    loader = translations(LOCALES, described)["en"]["nodeDefs"]["CheckpointLoaderSimple"]
    assert loader["inputs"]["ckpt_name"]["name"] == "checkpoint"
    merge = translations(LOCALES, described)["en"]["nodeDefs"]["ModelMergeSDXL"]["inputs"]
    assert [name for name in merge if "." in merge[name].get("name", name)] == [], "dots are for files, not for people"


def test_what_is_not_translated_is_left_out(described: dict[str, Any], tmp_path: Path) -> None:
    tables: dict[str, dict[str, str]] = {"names": {}, "texts": {}, "inputs": {}, "categories": {}}
    (tmp_path / "xx.json").write_text(json.dumps(tables))
    node = translations(tmp_path, described)["xx"]["nodeDefs"]["VAEDecode"]
    assert node == {"inputs": {"samples": {}, "vae": {}}, "outputs": {"0": {}}}


@pytest.mark.acceptance
def test_every_text_has_its_chinese_and_none_is_left_over(described: dict[str, Any]) -> None:
    tables = json.loads((LOCALES / "zh.json").read_text("utf-8"))
    wanted: dict[str, set[str]] = {
        "names": set(),
        "texts": set(),
        "inputs": set(),
        "outputs": set(),
        "categories": set(),
    }
    for node in described.values():
        wanted["names"].add(node["display_name"])
        wanted["categories"].update(node["category"].split("/"))
        wanted["texts"].update([node["description"], *filter(None, node.get("output_tooltips", ()))])
        wanted["outputs"].update(set(node["output_name"]) - set(node["output"]))
        for _, name, tooltip in inputs_of(node):
            wanted["inputs"].add(name)
            wanted["texts"].update([tooltip] if tooltip else [])
    for table, words in wanted.items():
        assert words - set(tables[table]) == set(), f"{table} without their Chinese"
        assert set(tables[table]) - words == set(), f"{table} that no node has"
