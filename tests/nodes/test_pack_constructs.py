"""Constructs of packs that an engine may get wrong; all of them, through the server: tests/acceptance/server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graph.errors import NodeError
from graph.files import Folders
from nodes.safety import require_safety
from tests.nodes.pack_bench import Bench, Written, open_bench

PACKS = Path(__file__).parents[1] / "data" / "execution_packs"
IMAGE = ("ExStubImage", {"content": "WHITE", "height": 8, "width": 8, "batch_size": 1})


def folders_with_pack(base: Path) -> Folders:
    folders = Folders.standard(base)
    shutil.copytree(PACKS, folders.base / "custom_nodes", dirs_exist_ok=True)
    return folders


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with open_bench(folders_with_pack(tmp_path_factory.mktemp("constructs") / "base")) as opened:
        yield opened


def shown(bench: Bench, nodes: Written, link: Any) -> str:
    """What a link comes to."""
    return str(bench.run({**nodes, "show": ("ExShow", {"value": link})})["show"].ui["text"][0])


@pytest.mark.parametrize("rounds", [1, 4])
def test_a_counted_loop_gives_numbers_to_conditions_and_values_to_hidden_inputs(bench: Bench, rounds: int) -> None:
    nodes: Written = {
        "a": ("ExStubInt", {"value": 10}),
        "open": ("ExForOpen", {"remaining": rounds, "initial_value1": ["a", 0]}),
        "more": ("ExIntMath", {"a": ["open", 2], "b": ["open", 1], "operation": "add"}),
        "close": ("ExForClose", {"flow_control": ["open", 0], "initial_value1": ["more", 0]}),
    }
    assert shown(bench, nodes, ["close", 0]) == str(10 + sum(range(1, rounds + 1)))


def test_inputs_that_nobody_declared_are_lists_where_all_are_and_lazy_where_their_dictionary_says_so(
    bench: Bench,
) -> None:
    nodes: Written = {
        "a": ("ExStubInt", {"value": 11}),
        "b": ("ExStubInt", {"value": 12}),
        "l": ("ExMakeList", {"value1": ["a", 0], "value2": ["b", 0], "value7": ["a", 0]}),
        "t": ("ExTakesList", {"values": ["l", 0], "sep": "+"}),
    }
    assert shown(bench, nodes, ["t", 0]) == "'11+12+11@t'"


def test_an_async_class_is_asked_for_lazy_inputs_by_an_async_function(bench: Bench) -> None:
    nodes: Written = {
        "a": ("ExStubInt", {"value": 21}),
        "b": ("ExStubInt", {"value": 22}),
        "l": ("ExAsyncLazy", {"condition": False, "input1": ["a", 0], "input2": ["b", 0]}),
    }
    assert shown(bench, nodes, ["l", 0]) == "22"
    assert "a" not in bench.ran


def test_an_expansion_hands_values_to_nodes_that_write_unless_pictures_must_be_checked(
    bench: Bench, tmp_path: Path
) -> None:
    assert shown(bench, {"i": IMAGE, "e": ("ExSavesOnTheWay", {"image": ["i", 0]})}, ["e", 0]) == "[1, 8, 8, 3] 1.0000"
    with open_bench(folders_with_pack(tmp_path / "base"), rules=[require_safety]) as strict:
        number: Written = {
            "i": IMAGE,
            "e": ("ExSavesOnTheWay", {"image": ["i", 0]}),
            "b": ("ExToBool", {"value": ["e", 0]}),
            "show": ("PreviewAny", {"source": ["b", 0]}),
        }
        with pytest.raises(NodeError, match="gets a value of unknown origin"):
            strict.run(number)


def test_a_cycle_in_an_expansion_is_told_once(bench: Bench) -> None:
    nodes: Written = {"i": IMAGE, "c": ("ExDependencyCycle", {"input1": ["i", 0], "input2": ["i", 0]})}
    with pytest.raises(NodeError, match="depends on itself") as caught:
        bench.run({**nodes, "show": ("ExShow", {"value": ["c", 0]})})
    assert caught.value.node_id == "c" and "does not exist" not in caught.value.message


def test_an_error_has_the_lines_of_the_pack_and_none_of_ours(bench: Bench) -> None:
    with pytest.raises(NodeError) as caught:
        bench.run({"a": ("ExStubInt", {"value": 1}), "e": ("ExSyncError", {"value": ["a", 0]}),
                   "show": ("ExShow", {"value": ["e", 0]})})  # fmt: skip
    [frame] = caught.value.frames
    assert "execution-constructs/plain.py" in frame and "in go" in frame and "raise RuntimeError" in frame


def test_its_nodes_are_of_the_pack_whichever_file_and_base_they_have(bench: Bench) -> None:
    modules = {spec.module for spec in bench.packs.specs}
    assert modules == {"custom_nodes.execution-constructs"}
