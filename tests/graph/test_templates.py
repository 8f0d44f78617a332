"""The workflow templates that ComfyUI's front end comes with."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph.document import Document, parse, write
from graph.flatten import flatten
from graph.litegraph import read_editor
from graph.node_shapes import Shapes, read_shape
from graph.unflatten import unflatten
from tests.editor_files import shape
from tests.known_types import known_types
from tests.templates import COUNT, needed, templates

pytestmark = needed


def test_all_of_them_convert() -> None:
    assert len(templates()) == COUNT
    for name, file in templates().items():
        made = flatten(read_editor(file), shape)
        assert not made.document.problems, name
        assert not [warning for warning in made.warnings if warning.code == "link_missing"], name


def test_drawn_anew_they_give_the_same_graph() -> None:
    for name, file in list(templates().items())[::12]:
        document = flatten(read_editor(file), shape).document
        again = flatten(read_editor(unflatten(document, shape)), shape).document
        for node_id, node in document.nodes.items():
            assert node.inputs.items() <= dict(again.nodes[node_id].inputs).items(), f"{name} {node_id}"
        assert parse(write(again)) == again, name


@pytest.mark.acceptance
def test_all_of_them_settle_after_one_way(tmp_path: Path) -> None:
    known = known_types(tmp_path)
    shapes = {name: read_shape(name, entry) for name, entry in known.items()}
    for name, file in templates().items():
        once = _there_and_back(flatten(read_editor(file), shapes.get).document, shapes.get)
        assert _there_and_back(once, shapes.get) == once, name


def _there_and_back(document: Document, shapes: Shapes) -> Document:
    """Drawn, and sent from there."""
    return flatten(read_editor(unflatten(document, shapes)), shapes).document
