"""What editors compute when a workflow is queued."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import pytest

from graph.document import as_json, read
from graph.litegraph import read_editor
from graph.queue_time import choose, next_seeds, resolve_texts
from tests.editor_files import cases, shape

NOW = datetime(2026, 3, 4, 5, 6, 7)


def chance() -> random.Random:
    """The same chances every time."""
    return random.Random(1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", {"plain"}),
        ("{a|b} cat", {"a cat", "b cat"}),
        ("{a|{b|c}}", {"a", "b", "c"}),
        ("{|x}y", {"y", "xy"}),
        (r"\{a\|b\}", {"{a|b}"}),
        ("a /* no {x|y} */b", {"a b"}),
        ("a // no\nb", {"a \nb"}),
        ("see https://example.org", {"see https://example.org"}),
        ("open {a|b", {"open a|b"}),
        ("a|b}", {"a|b}"}),
    ],
)
def test_one_alternative_is_chosen(text: str, expected: set[str]) -> None:
    dice = chance()
    assert {choose(text, dice) for _ in range(60)} == expected


def test_braces_nested_without_end_are_no_trouble() -> None:
    assert choose("{" * 5000, chance()) == "{" * 4900


def test_texts_are_resolved_where_editors_resolve_them() -> None:
    document = read(
        {
            "3": {"class_type": "KSampler", "inputs": {"seed": 77, "cfg": 6.5}, "_meta": {"title": "Draws"}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "{cat}"}},
            "7": {"class_type": "Show", "inputs": {"text": "{cat}"}},
            "9": {
                "class_type": "SaveImage",
                "inputs": {
                    "filename_prefix": "%date:yyyy-MM-dd%/%date:yy d hh:m s%_%KSampler.seed%_%Draws.cfg%_%No.x%_%width%"
                },
            },
            "10": {"class_type": "Prefix", "inputs": {"filename_prefix": "%KSampler.seed%"}},
        }
    )
    made = resolve_texts(document, shape, chance(), NOW).nodes
    assert made["6"].inputs["text"] == "cat"
    assert made["7"].inputs["text"] == "{cat}"  # its field is not one of those
    assert made["9"].inputs["filename_prefix"] == "2026-03-04/26 4 05_6 7_77_6.5_%No.x%_%width%"
    assert made["10"].inputs["filename_prefix"] == "%KSampler.seed%"


def test_of_several_texts_each_is_resolved_by_itself() -> None:
    several = {"__sweep__": ["{cat}", "{dog}", 3], "axis": "animal"}
    counted = {"__seeds__": {"from": 1, "count": 2}}
    document = read(
        {
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": several}},
            "7": {"class_type": "CLIPTextEncode", "inputs": {"text": counted}},
            "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": {"__sweep__": ["%date:yyyy%", "a"]}}},
        }
    )
    made = as_json(resolve_texts(document, shape, chance(), NOW))
    assert made["6"]["inputs"] == {"text": {"__sweep__": ["cat", "dog", 3], "axis": "animal"}}
    assert made["7"]["inputs"] == {"text": counted}
    assert made["9"]["inputs"] == {"filename_prefix": {"__sweep__": ["2026", "a"]}}
    broken = {"__sweep__": ["{cat}"], "other": 1}
    faulty = read({"6": {"class_type": "CLIPTextEncode", "inputs": {"text": broken}}})
    assert resolve_texts(faulty, shape, chance(), NOW) == faulty


def stepped(name: str, type_: str) -> list[list[Any]]:
    """The lists of all nodes of a type, once all seeds were stepped."""
    file: Any = next_seeds(read_editor(cases()[name]["file"]), shape, chance())
    return [node["widgets_values"] for node in file["nodes"] if node["type"] == type_]


def test_seeds_follow_their_control_words() -> None:
    assert stepped("plain", "KSampler") == [[7, "fixed", 20, 8, "euler", "normal", 1]]
    [drawn] = stepped("seed_control", "KSampler")
    assert drawn[0] != 11
    assert drawn[1:] == ["randomize", 20, 8, "euler", "normal", 1]
    [[_, number, _, _]] = stepped("noise_seed", "NoiseSeeded")
    assert number == 34
    assert [values[0] for values in stepped("number_control", "Seeder")][1] == 12
    assert [values[0] for values in stepped("combo_control", "Chooser")] == ["blue", "blue"]


def test_linked_seeds_stay() -> None:
    (before,) = (n["widgets_values"] for n in cases()["linked_field"]["file"]["nodes"] if n["type"] == "KSampler")
    assert stepped("linked_field", "KSampler") == [before]


def test_everything_else_of_the_file_stays() -> None:
    file = cases()["unknown_keys"]["file"]
    assert next_seeds(read_editor(file), shape, chance()) == file
