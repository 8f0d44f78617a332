"""What workflows need that is not here."""

from __future__ import annotations

from typing import Annotated, Any

from graph.build import build
from graph.context import Context
from graph.files import FileRef, Folders
from graph.needs import MissingModel, MissingType, Needs, needs_of
from graph.node_shapes import shapes_of
from graph.result import Outputs
from graph.sockets import File
from graph.spec import Registry, node
from graph.workflow import read_workflow


@node("Loads", category="", terminal=True)
def loads(ctx: Context[Any], *, name: Annotated[FileRef, File("checkpoints")]) -> Outputs:
    """Take a file."""
    return Outputs()


KNOWN = Registry([loads])
URL = "https://example.org/big.safetensors"


def needs(raw: object, folders: Folders) -> Needs:
    """Of a workflow, with one known type."""
    workflow = read_workflow(raw, shapes_of(KNOWN, folders))
    return needs_of(workflow, build(workflow.document, KNOWN, folders).problems, KNOWN, folders)


def drawn(id_: int, type_: str, values: list[object], **properties: object) -> dict[str, object]:
    """A node of a file."""
    inputs = [{"name": "from", "type": "*", "link": id_}]  # links that are gone, so that it counts as joined to others
    return {"id": id_, "type": type_, "widgets_values": values, "inputs": inputs, "properties": properties}


def test_unknown_types_are_told_once_each_with_the_pack_that_the_file_names(folders: Folders) -> None:
    nodes = [
        drawn(1, "FancySampler", [], cnr_id="fancy-pack"),
        drawn(2, "FancySampler", [], cnr_id="fancy-pack"),
        drawn(3, "Lods", [], aux_id="someone/some-pack"),
        drawn(4, "Nowhere", []),
    ]
    assert needs({"nodes": nodes, "links": []}, folders).types == (
        MissingType("FancySampler", ("1", "2"), "fancy-pack"),
        MissingType("Lods", ("3",), "someone/some-pack", " (did you mean 'Loads'?)"),
        MissingType("Nowhere", ("4",)),
    )


def test_types_inside_subgraphs_are_told_by_the_ids_that_they_are_sent_by(folders: Folders) -> None:
    inner = {"id": "s", "nodes": [drawn(3, "Fancy", [], cnr_id="fancy-pack")], "links": []}
    file = {"nodes": [drawn(1, "s", []), drawn(2, "s", [])], "links": [], "definitions": {"subgraphs": [inner]}}
    assert needs(file, folders).types == (MissingType("Fancy", ("1:3", "2:3"), "fancy-pack"),)


def test_missing_models_are_told_with_their_address(folders: Folders) -> None:
    models = [{"name": "big.safetensors", "url": URL, "directory": "checkpoints"}]
    other = [{"name": "vae.safetensors", "url": "https://example.org/vae", "directory": "vae"}]
    nodes = [drawn(1, "Loads", ["sub/big.safetensors"], models=models), drawn(2, "Loads", ["sub/big.safetensors"])]
    assert needs({"nodes": nodes, "links": [], "models": other}, folders).models == (
        MissingModel("sub/big.safetensors", "checkpoints", URL),
        MissingModel("vae.safetensors", "vae", "https://example.org/vae"),
    )


def test_models_that_are_here_are_not_told_wherever_they_lie(folders: Folders) -> None:
    place = folders.roots("checkpoints")[0] / "mine"
    place.mkdir(parents=True)
    (place / "big.safetensors").write_bytes(b"x")
    models = [{"name": "big.safetensors", "url": URL, "directory": "checkpoints"}]
    file = {"nodes": [drawn(1, "Loads", ["mine\\big.safetensors"], models=models)], "links": []}
    assert not needs(file, folders)


def test_the_api_format_tells_types_and_files_alone(folders: Folders) -> None:
    prompt = {
        "1": {"class_type": "Loads", "inputs": {"name": "a.safetensors"}},
        "2": {"class_type": "Unheard", "inputs": {}},
    }
    found = needs(prompt, folders)
    assert found.types == (MissingType("Unheard", ("2",)),)
    assert found.models == (MissingModel("a.safetensors", "checkpoints"),)
