"""From the API format to files of the editor, and the way there and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.document import Document, Link, as_json, read
from graph.flatten import flatten
from graph.layout import TITLE_HEIGHT, arrange, card_size
from graph.litegraph import read_editor
from graph.unflatten import unflatten
from tests.editor_files import cases, random_files, shape

Box = tuple[float, float, float, float]


def there_and_back(document: Document) -> Document:
    """Drawn, and sent from there."""
    return flatten(read_editor(unflatten(document, shape)), shape).document


@pytest.mark.parametrize("name", cases())
def test_every_graph_comes_back_from_its_drawing(name: str) -> None:
    document = read(cases()[name]["api"])
    again = there_and_back(document)
    for node_id, node in document.nodes.items():
        assert node.inputs.items() <= dict(again.nodes[node_id].inputs).items()
        assert again.nodes[node_id].meta == node.meta
    assert there_and_back(again) == again


def test_random_graphs_settle_after_one_way() -> None:
    for file in random_files(80, seed=3):
        once = there_and_back(flatten(read_editor(file), shape).document)
        assert there_and_back(once) == once


def test_a_file_has_what_an_editor_reads() -> None:
    document = read(
        {
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
            "12:3": {"class_type": "NobodyKnows", "inputs": {"from": ["6", 0], "size": 5}, "_meta": {"title": "T"}},
        }
    )
    file: Any = unflatten(document, shape)
    loader, words, unknown = file["nodes"]
    assert (file["last_node_id"], file["last_link_id"], file["version"]) == (6, 2, 0.4)
    assert file["links"] == [[1, 4, 1, 6, 0, "CLIP"], [2, 6, 0, "12:3", 0, "CONDITIONING"]]
    assert loader["outputs"][1] == {"name": "CLIP", "type": "CLIP", "links": [1], "slot_index": 1}
    assert words["widgets_values"] == ["a cat"]
    assert words["inputs"] == [{"name": "clip", "type": "CLIP", "link": 1}]
    assert (unknown["id"], unknown["title"], unknown["widgets_values"]) == ("12:3", "T", {"size": 5})
    assert [node["order"] for node in file["nodes"]] == [0, 1, 2]


def test_seeds_stay_as_they_are() -> None:
    file: Any = unflatten(read(cases()["plain"]["api"]), shape)
    (sampler,) = (node for node in file["nodes"] if node["type"] == "KSampler")
    assert sampler["widgets_values"] == [7, "fixed", 20, 8, "euler", "normal", 1]


def boxes(sizes: dict[str, tuple[float, float]], links: list[tuple[str, str]]) -> dict[str, Box]:
    """Each card with its title: left, top, right, bottom."""
    places = arrange(sizes, links)
    return {node: (x, y - TITLE_HEIGHT, x + sizes[node][0], y + sizes[node][1]) for node, (x, y) in places.items()}


@given(st.integers(1, 25), st.integers(0, 60), st.randoms(use_true_random=False))
def test_cards_never_lie_on_each_other_and_wires_lead_to_the_right(count: int, wires: int, chance: Any) -> None:
    sizes = {str(node): (chance.randrange(140, 400), chance.randrange(40, 400)) for node in range(count)}
    links = [tuple(map(str, sorted(chance.choices(range(count), k=2)))) for _ in range(wires)]
    placed = boxes(sizes, links)  # type: ignore[arg-type]
    for source, reader in links:
        assert source == reader or placed[source][2] < placed[reader][0]
    found = list(placed.values())
    for at, one in enumerate(found):
        for other in found[at + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_chain_lies_on_one_line_beside_its_side_way() -> None:
    sizes = dict.fromkeys("abcdx", (200.0, 100.0))
    places = arrange(sizes, [("a", "b"), ("b", "c"), ("c", "d"), ("x", "d")])
    assert len({places[node][1] for node in "abc"}) == 1
    assert places["x"][0] == places["c"][0]  # right before what reads it


def test_wires_that_would_cross_do_not() -> None:
    sizes = dict.fromkeys(["a", "b", "c", "A", "B", "C"], (200.0, 100.0))
    places = arrange(sizes, [("a", "C"), ("b", "B"), ("c", "A")])
    sources = sorted("abc", key=lambda node: places[node][1])
    readers = sorted("ABC", key=lambda node: places[node][1])
    assert [{"a": "C", "b": "B", "c": "A"}[node] for node in sources] == readers


def test_circles_and_large_graphs_are_laid_out() -> None:
    assert len(arrange(dict.fromkeys("ab", (100.0, 50.0)), [("a", "b"), ("b", "a")])) == 2
    many = {str(node): (200.0, 100.0) for node in range(5000)}
    placed = boxes(many, [(str(node), str(node + 1)) for node in range(4999)] + [("0", str(n)) for n in range(9, 4999)])
    assert len({box[0] for box in placed.values()}) == 5000


def test_cards_are_as_large_as_the_editor_makes_them() -> None:
    assert card_size(None) == (240, 80)
    assert card_size(shape("CLIPTextEncode")) == (300, 140)
    assert card_size(shape("KSampler"))[1] == 4 * 22 + 14 + 7 * 29


def test_links_to_nodes_that_are_not_there_are_left_out() -> None:
    document = Document(read({"1": {"class_type": "Show", "inputs": {"text": ["9", 0]}}}).nodes)
    file: Any = unflatten(document, shape)
    assert file["links"] == []
    assert document.nodes["1"].inputs["text"] == Link("9", 0)
    assert as_json(there_and_back(document))["1"]["inputs"] == {"text": "nothing"}
