"""From files of the editor to the API format."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from graph.document import Document, Link, parse, write
from graph.errors import GraphErrors
from graph.flatten import Flattened, flatten
from graph.litegraph import EditorLink, read_editor
from graph.replacements import Replacement, replacements_json
from tests.editor_files import cases, random_files, shape


def converted(file: object, **more: Any) -> Flattened:
    """What comes of a file, with the node types of the corpus."""
    return flatten(read_editor(file), shape, **more)


def api(document: Document) -> dict[str, Any]:
    """The document as JSON has it."""
    made: dict[str, Any] = json.loads(write(document))
    return made


@pytest.mark.parametrize("name", cases())
def test_every_file_gives_its_graph(name: str) -> None:
    case = cases()[name]
    assert api(converted(case["file"]).document) == case["api"], case["about"]


def test_there_are_files_for_every_construct() -> None:
    assert len(cases()) >= 60
    forms = [case["file"] for case in cases().values()]
    assert {file["version"] for file in forms} == {0.4, 1}
    assert sum("definitions" in file for file in forms) >= 12


def test_what_is_written_is_read_back_as_the_same_document() -> None:
    for file in random_files(60, seed=1):
        document = converted(file).document
        again = parse(write(document))
        assert again == document


def test_a_link_that_is_not_in_the_file_is_told() -> None:
    file = cases()["link_missing"]["file"]
    (warning,) = converted(file | {"links": [link for link in file["links"] if link[0] != 3]}).warnings
    assert str(warning) == "node 5 (KSampler), input 'model': link 999 is not in the file"
    assert warning.severity == "warning"


def test_values_that_nothing_names_are_told() -> None:
    node = {"id": 1, "type": "NobodyKnows", "widgets_values": [1, 2, 3], "outputs": [{}]}
    reader = {"id": 2, "type": "Show", "inputs": [{"name": "text", "type": "STRING", "link": 1}]}
    made = converted({"nodes": [node, reader], "links": [[1, 1, 0, 2, 0, "STRING"]]})
    assert api(made.document)["1"]["inputs"] == {}
    assert [warning.code for warning in made.warnings] == ["unnamed_values"]


def test_things_of_the_canvas_that_packs_bring_are_left_out() -> None:
    """Labels, buttons that bypass groups: unknown, and joined to nothing."""
    nodes = [{"id": number, "type": "Label (rgthree)"} for number in range(3)] + [{"id": 9, "type": "Show"}]
    made = converted({"nodes": nodes, "links": []})
    assert list(made.document.nodes) == ["9"]
    assert [(warning.code, warning.node_type) for warning in made.warnings] == [("left_out", "Label (rgthree)")]


def test_values_are_set_and_got_by_name() -> None:
    """SetNode and GetNode, also from inside a subgraph, and a reroute of a pack."""
    inner = {
        "id": "s",
        "nodes": [
            {"id": 11, "type": "GetNode", "widgets_values": ["words"], "outputs": [{}]},
            {"id": 12, "type": "Show", "inputs": [{"name": "text", "type": "STRING", "link": 1}]},
        ],
        "links": [[1, 11, 0, 12, 0, "STRING"]],
    }
    nodes = [
        {"id": 1, "type": "Typed", "widgets_values": ["a", "b"], "outputs": [{}]},
        {
            "id": 2,
            "type": "SetNode",
            "widgets_values": ["words"],
            "inputs": [{"name": "S", "link": 1}],
            "outputs": [{}],
        },
        {"id": 3, "type": "GetNode", "widgets_values": ["words"], "outputs": [{}]},
        {"id": 4, "type": "Reroute (rgthree)", "inputs": [{"name": "", "link": 2}], "outputs": [{}]},
        {"id": 5, "type": "Show", "inputs": [{"name": "text", "type": "STRING", "link": 3}]},
        {"id": 6, "type": "Show", "inputs": [{"name": "text", "type": "STRING", "link": 4}]},
        {"id": 7, "type": "s"},
        {"id": 8, "type": "GetNode", "widgets_values": ["nobody"], "outputs": [{}]},
        {"id": 9, "type": "Show", "widgets_values": ["own"], "inputs": [{"name": "text", "type": "STRING", "link": 5}]},
    ]
    links = [
        [1, 1, 0, 2, 0, "*"],
        [2, 3, 0, 4, 0, "*"],
        [3, 4, 0, 5, 0, "*"],
        [4, 2, 0, 6, 0, "*"],
        [5, 8, 0, 9, 0, "*"],
    ]
    made = converted({"nodes": nodes, "links": links, "definitions": {"subgraphs": [inner]}}).document.nodes
    assert list(made) == ["1", "5", "6", "7:12", "9"]
    assert all(made[key].inputs["text"] == Link("1", 0) for key in ("5", "6", "7:12"))
    assert made["9"].inputs["text"] == "own"


def test_json_that_is_no_file_is_refused() -> None:
    wrongs: list[object] = [[], {}, {"nodes": {}}, None, "x"]
    for wrong in wrongs:
        with pytest.raises(GraphErrors, match="expected a workflow of the editor"):
            read_editor(wrong)


def test_damaged_parts_are_passed_over() -> None:
    file = {
        "nodes": [None, 5, {"type": "Show"}, {"id": 1, "type": "Show", "inputs": "x", "outputs": 5, "mode": "4x"}],
        "links": [[1], {"id": 1}, "x", [1, 2, "y", None, {}], {}],
        "definitions": {"subgraphs": [None, {"id": 5}]},
        "extra": {"groupNodes": {"a": None, "b": {"nodes": 5, "links": [[None, "x", 9], 7]}}},
    }
    assert api(converted(file).document) == {
        "1": {"class_type": "Show", "inputs": {"text": "nothing"}, "_meta": {"title": "Show"}}
    }


def nested(levels: int, each: int) -> dict[str, Any]:
    """Subgraphs in subgraphs, each with several instances of the next."""
    definitions = [
        {"id": f"s{level}", "nodes": [{"id": n, "type": f"s{level + 1}"} for n in range(each)], "links": []}
        for level in range(levels)
    ]
    definitions.append({"id": f"s{levels}", "nodes": [{"id": 1, "type": "Show"}], "links": []})
    return {"nodes": [{"id": 1, "type": "s0"}], "links": [], "definitions": {"subgraphs": definitions}}


def test_subgraphs_that_multiply_are_bounded() -> None:
    assert len(converted(nested(3, 4)).document.nodes) == 64
    with pytest.raises(GraphErrors, match="unfolds to more than 20000 nodes"):
        converted(nested(30, 10))


def test_empty_subgraphs_that_multiply_are_bounded() -> None:
    file = nested(40, 4)
    file["definitions"]["subgraphs"][-1]["nodes"] = []
    with pytest.raises(GraphErrors, match="more than"):
        converted(file)


def test_a_subgraph_that_holds_itself_is_refused() -> None:
    file = nested(2, 1)
    file["definitions"]["subgraphs"][-1]["nodes"][0]["type"] = "s0"
    with pytest.raises(GraphErrors, match="does one hold itself"):
        converted(file)


def test_long_ways_back_are_gone_once() -> None:
    """Each of 3,000 nodes looks through a chain of 3,000 reroutes."""
    count = 3000
    nodes: list[dict[str, Any]] = [{"id": 0, "type": "Typed", "outputs": [{}]}]
    links = []
    for number in range(1, count):
        nodes.append({"id": number, "type": "Reroute", "inputs": [{"name": "", "link": number}]})
        links.append([number, number - 1, 0, number, 0, "*"])
    for number in range(count, 2 * count):
        nodes.append({"id": number, "type": "Show", "inputs": [{"name": "text", "type": "STRING", "link": number}]})
        links.append([number, count - 1, 0, number, 0, "*"])
    file = read_editor({"nodes": nodes, "links": links})
    looked_at = _Counting(file.root.links)
    made = flatten(replace(file, root=replace(file.root, links=looked_at)), shape).document
    assert made.nodes[str(count)].inputs["text"] == Link("0", 0)
    assert made.nodes[str(2 * count - 1)].inputs["text"] == Link("0", 0)
    assert looked_at.times < 8 * count


class _Counting(dict[str, EditorLink]):
    """A mapping that counts how often it is asked."""

    times = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.times += 1
        return super().get(key, default)


def test_replacements_take_over_values_and_outputs() -> None:
    old = {"id": 1, "type": "Former", "widgets_values": [5, "fixed", "w"], "outputs": [{}, {}]}
    new = {"id": 2, "type": "Show", "inputs": [{"name": "text", "type": "STRING", "link": 1}]}
    file = {"nodes": [old, new], "links": [[1, 1, 1, 2, 0, "STRING"]]}
    table = {
        "Former": Replacement(
            "Former", "Typed", ("number", "letters"), {"words": "letters"}, {"mode": "a"}, outputs={1: 0}
        )
    }
    made = api(converted(file, replacements=table).document)
    assert made["1"] == {"class_type": "Typed", "inputs": {"words": "w", "mode": "a"}, "_meta": {"title": "Former"}}
    assert made["2"]["inputs"] == {"text": ["1", 0]}
    assert replacements_json(table) == {
        "Former": [
            {
                "new_node_id": "Typed",
                "old_node_id": "Former",
                "old_widget_ids": ["number", "letters"],
                "input_mapping": [{"new_id": "words", "old_id": "letters"}, {"new_id": "mode", "set_value": "a"}],
                "output_mapping": [{"new_idx": 0, "old_idx": 1}],
            }
        ]
    }


def test_a_type_that_is_known_is_not_replaced() -> None:
    table = {"Typed": Replacement("Typed", "Show")}
    file = {"nodes": [{"id": 1, "type": "Typed", "widgets_values": ["a", "w"]}], "links": []}
    assert api(converted(file, replacements=table).document)["1"]["class_type"] == "Typed"


def test_a_sweep_passes_through_as_it_is() -> None:
    swept = {"__sweep__": [1, 2], "axis": "x"}
    file = {"nodes": [{"id": 1, "type": "TakesInt", "widgets_values": [swept]}], "links": []}
    assert api(converted(file).document)["1"]["inputs"]["own"] == swept
