"""`--require-safety`: what may be shown and saved, and what not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import pytest
import torch

import main
from graph.build import Graph, build
from graph.cache import Cache
from graph.context import Context, Run
from graph.errors import GraphErrors
from graph.execute import Executor
from graph.files import Folders
from graph.result import Outputs
from graph.spec import Registry, node
from models.precision import Precision
from models.residency import Residency
from models.types import Image, Latent, Mask, Model, SafetyModel, Vae, nbytes
from nodes.pictures import to_pil
from nodes.registry import builtin
from nodes.safety import require_safety
from nodes.services import Services
from tests.graph.stubs import doc, link


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A user directory with one picture."""
    folders = Folders.standard(tmp_path / "workspace")
    to_pil(torch.full((8, 8, 3), 0.5)).save(folders.input_dir / "good.png")
    return folders


@dataclass(frozen=True)
class Film:
    """A socket that nobody has heard of."""

    socket: ClassVar[str] = "FILM"


class Anything(str):
    """The socket that fits all."""

    socket: ClassVar[str] = "*"


class Parts(NamedTuple):
    """A picture and its size."""

    image: Image
    width: int


@node("Draw", category="stub")
def draw(ctx: Context[Services]) -> Image: ...  # type: ignore[empty-body]
@node("Scale", category="stub")
def scale(ctx: Context[Services], *, image: Image) -> Image: ...  # type: ignore[empty-body]
@node("Join", category="stub")
def join(ctx: Context[Services], *, a: Image, b: Image) -> Image: ...  # type: ignore[empty-body]
@node("Measure", category="stub")
def measure(ctx: Context[Services], *, image: Image) -> Parts: ...  # type: ignore[empty-body]
@node("AsMask", category="stub")
def as_mask(ctx: Context[Services], *, image: Image) -> Mask: ...  # type: ignore[empty-body]
@node("AsFilm", category="stub")
def as_film(ctx: Context[Services], *, image: Image) -> Film: ...  # type: ignore[empty-body]
@node("Pass", category="stub")
def pass_on(ctx: Context[Services], *, value: Anything) -> Anything: ...  # type: ignore[empty-body]
@node("Networks", category="stub")
def networks(ctx: Context[Services]) -> Model: ...  # type: ignore[empty-body]
@node("AnyCheck", category="stub")
def any_check(ctx: Context[Services]) -> SafetyModel: ...  # type: ignore[empty-body]
@node("Encode", category="stub")
def encode(ctx: Context[Services], *, image: Image, vae: Vae | None = None) -> Latent: ...  # type: ignore[empty-body]
@node("ShowMask", category="stub", terminal=True)
def show_mask(ctx: Context[Services], *, mask: Mask) -> Outputs: ...  # type: ignore[empty-body]
@node("SaveFilm", category="stub", terminal=True)
def save_film(ctx: Context[Services], *, film: Film) -> Outputs: ...  # type: ignore[empty-body]
@node("SaveModel", category="stub", terminal=True)
def save_model(ctx: Context[Services], *, model: Model) -> Outputs: ...  # type: ignore[empty-body]
@node("ShowAny", category="stub", terminal=True)
def show_any(ctx: Context[Services], *, value: Anything) -> Outputs: ...  # type: ignore[empty-body]
@node("Compare", category="stub", terminal=True)
def compare(ctx: Context[Services], *, a: Image, b: Image | None = None) -> Image: ...  # type: ignore[empty-body]
@node("Retouch", category="stub", terminal=True)
def retouch(ctx: Context[Services], *, image: Image, model: Model) -> Image: ...  # type: ignore[empty-body]
@node("Camera", category="stub", terminal=True)
def camera(ctx: Context[Services]) -> Image: ...  # type: ignore[empty-body]


STUBS = [
    draw, scale, join, measure, as_mask, as_film, pass_on, networks, any_check, encode,
    show_mask, save_film, save_model, show_any, compare, retouch, camera,
]  # fmt: skip
REGISTRY = Registry([*builtin().values(), *STUBS])

Shorthand = Mapping[str, tuple[str, Mapping[str, object]]]

START: Shorthand = {
    "draw": ("Draw", {}),
    "other": ("Draw", {}),
    "weights": ("AnyCheck", {}),
    "check": ("SafetyCheck", {"image": link("draw", 0), "safety_model": link("weights", 0), "mode": "blur"}),
    "model": ("Networks", {}),
}
SAVE = "SaveImage"


def save(source: str, slot: int = 0) -> tuple[str, Mapping[str, object]]:
    """A SaveImage."""
    return SAVE, {"images": link(source, slot), "filename_prefix": "x"}


def ruled(folders: Folders, nodes: Shorthand, targets: list[str] | None = None) -> Graph:
    """What is left of a graph under the rule."""
    return build(doc({**START, **nodes}), REGISTRY, folders, targets, rules=[require_safety])


ALLOWED: dict[str, Shorthand] = {
    "straight": {"out": save("check")},
    "two sinks of one check": {"out": save("check"), "see": ("PreviewImage", {"images": link("check", 0)})},
    "scaled, then checked": {
        "scale": ("Scale", {"image": link("draw", 0)}),
        "last": ("SafetyCheck", {"image": link("scale", 0), "safety_model": link("weights", 0), "mode": "blur"}),
        "out": save("last"),
    },
    "joined, then checked": {
        "join": ("Join", {"a": link("draw", 0), "b": link("other", 0)}),
        "last": ("SafetyCheck", {"image": link("join", 0), "safety_model": link("weights", 0), "mode": "black"}),
        "out": save("last"),
    },
    "checked twice": {
        "last": ("SafetyCheck", {"image": link("check", 0), "safety_model": link("weights", 0), "mode": "blur"}),
        "out": save("last"),
    },
    "numbers and words": {
        "size": ("Measure", {"image": link("draw", 0)}),
        "width": ("ShowAny", {"value": link("size", 1)}),
        "why": ("ShowAny", {"value": link("check", 2)}),
    },
    "weights": {"out": ("SaveModel", {"model": link("model", 0)})},
    "a sink that hands checked pictures on": {"out": ("Compare", {"a": link("check", 0), "b": link("check", 0)})},
}


@pytest.mark.parametrize("nodes", ALLOWED.values(), ids=ALLOWED)
def test_allowed(folders: Folders, nodes: Shorthand) -> None:
    graph = ruled(folders, nodes)
    assert graph.problems == ()
    assert graph.blocked == ()
    assert graph.targets


REFUSED: dict[str, tuple[Shorthand, list[tuple[str, str, str]]]] = {
    # nodes, and what is wrong: the sink, its input, the node whose picture it would show
    "unchecked": ({"out": save("draw")}, [("out", "images", "draw")]),
    "a preview": ({"out": ("PreviewImage", {"images": link("draw", 0)})}, [("out", "images", "draw")]),
    "a file as it is": (
        {"load": ("LoadImage", {"image": "good.png"}), "out": save("load")},
        [("out", "images", "load")],
    ),
    "changed after the check": (
        {"scale": ("Scale", {"image": link("check", 0)}), "out": save("scale")},
        [("out", "images", "scale")],
    ),
    "far from the check": (
        {
            "one": ("Scale", {"image": link("draw", 0)}),
            "two": ("Scale", {"image": link("one", 0)}),
            "out": save("two"),
        },
        [("out", "images", "two")],
    ),
    "checked joined with unchecked": (
        {"join": ("Join", {"a": link("check", 0), "b": link("other", 0)}), "out": save("join")},
        [("out", "images", "join")],
    ),
    "one input of two": (
        {"out": ("Compare", {"a": link("check", 0), "b": link("other", 0)})},
        [("out", "b", "other")],
    ),
    "both inputs": (
        {"out": ("Compare", {"a": link("draw", 0), "b": link("other", 0)})},
        [("out", "a", "draw"), ("out", "b", "other")],
    ),
    "in disguise": (
        {"pass": ("Pass", {"value": link("check", 0)}), "out": save("pass")},
        [("out", "images", "pass")],
    ),
    "anything might be a picture": ({"out": ("ShowAny", {"value": link("draw", 0)})}, [("out", "value", "draw")]),
    "a mask": (
        {"mask": ("AsMask", {"image": link("check", 0)}), "out": ("ShowMask", {"mask": link("mask", 0)})},
        [("out", "mask", "mask")],
    ),
    "a latent": (
        {
            "encode": ("Encode", {"image": link("check", 0)}),
            "out": ("SaveLatent", {"samples": link("encode", 0), "filename_prefix": "x"}),
        },
        [("out", "samples", "encode")],
    ),
    "what nobody has heard of": (
        {"film": ("AsFilm", {"image": link("check", 0)}), "out": ("SaveFilm", {"film": link("film", 0)})},
        [("out", "film", "film")],
    ),
    "a sink that makes pictures of checked ones": (
        {"out": ("Retouch", {"image": link("check", 0), "model": link("model", 0)})},
        [("out", "", "")],
    ),
    "a sink that makes pictures of nothing": ({"out": ("Camera", {})}, [("out", "", "")]),
    "the second of two sinks": ({"good": save("check"), "out": save("other")}, [("out", "images", "other")]),
    "a sink within": (
        {"within": ("Compare", {"a": link("draw", 0)}), "out": ("ShowAny", {"value": link("within", 0)})},
        [("within", "a", "draw"), ("out", "value", "within")],
    ),
}


@pytest.mark.parametrize(("nodes", "expected"), REFUSED.values(), ids=REFUSED)
def test_refused(folders: Folders, nodes: Shorthand, expected: list[tuple[str, str, str]]) -> None:
    graph = ruled(folders, nodes)
    found = [(problem.node_id, problem.input_name) for problem in graph.errors]
    assert sorted(found) == sorted((sink, name) for sink, name, _ in expected)
    assert all(problem.code == "unchecked_picture" for problem in graph.errors)
    for problem in graph.errors:
        [maker] = [maker for sink, name, maker in expected if (sink, name) == (problem.node_id, problem.input_name)]
        assert not maker or f"node {maker} (" in problem.message
        assert "--require-safety" in problem.message
    assert "out" not in graph.targets and "out" in graph.blocked and "out" not in graph.nodes
    assert graph.targets == (("good",) if "good" in nodes else ())
    assert set(graph.nodes) == ({"good", "check", "draw", "weights"} if "good" in nodes else set())
    assert build(doc({**START, **nodes}), REGISTRY, folders).errors == ()  # without the rule


def test_the_error_reads_well(folders: Folders) -> None:
    [error] = ruled(folders, {"out": save("draw")}).errors
    assert str(error) == (
        "node out (SaveImage), input 'images': would show the pictures of node draw (Draw) unchecked; "
        "--require-safety wants a SafetyCheck right before this node"
    )
    [error] = ruled(folders, REFUSED["a latent"][0]).errors
    assert str(error) == (
        "node out (SaveLatent), input 'samples': would give out LATENT of node encode (Encode), which no SafetyCheck "
        "can look at; --require-safety lets only checked pictures out"
    )


def test_sinks_that_do_not_run_are_not_asked(folders: Folders) -> None:
    graph = ruled(folders, {"good": save("check"), "out": save("draw")}, ["good"])
    assert (graph.problems, graph.targets) == ((), ("good",))


def test_no_door_leads_around_the_rule(folders: Folders) -> None:
    document = doc({"1": ("LoadImage", {"image": "good.png"}), "9": save("1")})
    unruled = build(document, REGISTRY, folders)
    assert unruled.targets == ("9",)
    services = Services(Residency(torch.device("cpu"), Precision(), 2**24), folders)
    with Executor(services, REGISTRY, folders, Cache(2**24, nbytes), rules=[require_safety]) as executor:
        for graph in (None, unruled):
            with pytest.raises(GraphErrors, match=r"node 9 \(SaveImage\), input 'images'"):
                executor.submit(Run("run", document), graph)
    assert not list(folders.output_dir.iterdir())


def test_the_command_line(folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "good.png"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(prompt))
    command = ["run", str(file), "--base-directory", str(folders.base), "--cpu"]
    assert main.main([*command, "--require-safety"]) == 2
    assert (
        "node 9 (SaveImage), input 'images': would show the pictures of node 1 (LoadImage)" in capsys.readouterr().err
    )
    assert not list(folders.output_dir.iterdir())
    assert main.main(command) == 0
    assert len(list(folders.output_dir.iterdir())) == 1
