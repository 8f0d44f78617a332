"""A sweep in pieces: cells that are drawn alone, and a sheet of what others have drawn, are what one process makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from graph.build import build
from graph.context import Run
from graph.document import parse
from graph.events import Event, NodeFinished, NodeStarted, RunStarted
from graph.result import NodeWarning, Outputs
from graph.retelling import Retelling
from graph.split import split
from models.types import Cond, Conditioning, Image, Latent
from nodes.parcels import pack, unpack
from nodes.registry import builtin
from nodes.sheet_cell import Thumbnail
from tests.engine import Engine, open_engine

COLOURS = [0xFF0000, 0x00FF00, 0x0000FF]
EXTRA: Mapping[str, Any] = {"extra_pnginfo": {"workflow": {"nodes": [], "links": []}, "other": 1}}


def workflow() -> str:
    """Pictures of three colours and two heights, each saved, and a sheet of them all; and one that does not vary."""
    nodes: dict[str, Any] = {
        "1": (
            "EmptyImage",
            {"width": 64, "height": {"__sweep__": [48, 32]}, "batch_size": 1, "color": {"__sweep__": COLOURS}},
        ),
        "2": ("ContactSheet", {"images": ["1", 0], "cell_size": 64}),
        "7": ("EmptyImage", {"width": 32, "height": 32, "batch_size": 1, "color": 0x123456}),
        "8": ("SaveImage", {"images": ["7", 0], "filename_prefix": "once"}),
        "9": ("SaveImage", {"images": ["1", 0], "filename_prefix": "cell"}),
        "10": ("SaveImage", {"images": ["2", 0], "filename_prefix": "sheet"}),
    }
    return json.dumps({key: {"class_type": type_, "inputs": inputs} for key, (type_, inputs) in nodes.items()})


def files(base: Path) -> dict[str, list[bytes]]:
    """What lies in the output directory: the contents, by what the names begin with; numbers are given as cells are done."""
    found: dict[str, list[bytes]] = {}
    for path in (base / "output").glob("*.png"):
        found.setdefault(path.name.split("_")[0], []).append(path.read_bytes())
    return {name: sorted(contents) for name, contents in found.items()}


def together(engine: Engine, events: list[Event]) -> list[Event]:
    """Run the workflow piece by piece, each result going through bytes; what the last piece told."""
    document = parse(workflow())
    run = Run("run", document, events.append, extra=EXTRA)
    cut = split(run, build(document, builtin(), engine.folders))
    retelling, handed, last = Retelling(run, cut), dict[str, Outputs](), list[Event]()
    retelling.begin()
    for piece in cut.pieces:
        last.clear()

        def tell(event: Event, piece: Any = piece) -> None:
            last.append(event)
            list(retelling.hear(piece, event))

        share = replace(piece.share, given=handed) if piece.gathers else piece.share
        graph = build(piece.document, builtin(), engine.folders, piece.targets)
        made = engine.executor.execute(Run(piece.key, piece.document, tell, extra=piece.extra, share=share), graph)
        for name in share.handed:
            content = pack(made[name])
            assert content is not None
            handed[cut.copy(piece, name)] = unpack(content)
        engine.executor._cache.clear()  # as another process would have it
    retelling.end(None)
    return list(last)


def test_pieces_make_the_files_and_tell_the_events_of_one_run(tmp_path: Path) -> None:
    alone: list[Event] = []
    shared: list[Event] = []
    with open_engine(tmp_path / "one") as engine:
        document = parse(workflow())
        graph = build(document, builtin(), engine.folders)
        engine.executor.execute(Run("run", document, alone.append, extra=EXTRA), graph)
    with open_engine(tmp_path / "two") as engine:
        last = together(engine, shared)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert {len(found) for found in files(tmp_path / "one").values()} == {6, 1}
    assert [event.node_id for event in last if isinstance(event, NodeStarted)] == ["2", "10"]
    assert finished(shared) == finished(alone)
    [begun], [begun_alone] = ([it for it in told if isinstance(it, RunStarted)] for told in (shared, alone))
    assert (begun.axes, begun.copies) == (begun_alone.axes, begun_alone.copies)
    assert set(begun.nodes) == set(begun_alone.nodes)
    assert type(shared[-1]) is type(alone[-1])


def finished(events: list[Event]) -> list[tuple[str, str, str]]:
    """Node, cell, and what is shown: each copy that ran, once."""
    return sorted(
        (event.node_id, repr(event.cell), str(event.ui).split("_")[0])
        for event in events
        if isinstance(event, NodeFinished) and not event.cached
    )


def test_what_travels_arrives_as_it_was() -> None:
    cond = Cond(torch.rand(1, 77, 8), torch.rand(1, 8), strength=0.5)
    values = (Image(torch.rand(1, 4, 4, 3)), Conditioning((cond,)), Thumbnail(torch.ones(2, 3, 3, dtype=torch.uint8)))
    latent = Latent(torch.rand(2, 4, 2, 2), batch_index=(3, 1))
    content = pack(Outputs((*values, latent, 3, "ä", None), {}, (NodeWarning("half", "x"),)))
    assert content is not None
    (image, conds, small, latent_too, *plain), warnings = (there := unpack(content)).values, there.warnings
    assert torch.equal(image.pixels, values[0].pixels)  # type: ignore[attr-defined]
    assert torch.equal(conds.conds[0].tokens, cond.tokens)  # type: ignore[attr-defined]
    assert conds.conds[0].strength == 0.5  # type: ignore[attr-defined]
    assert torch.equal(small.pixels, values[2].pixels)  # type: ignore[attr-defined]
    assert torch.equal(latent_too.samples, latent.samples)  # type: ignore[attr-defined]
    assert latent_too.batch_index == (3, 1)  # type: ignore[attr-defined]
    assert (plain, warnings) == ([3, "ä", None], (NodeWarning("half", "x"),))


def test_what_is_of_use_in_its_own_process_alone_stays_there() -> None:
    assert pack(Outputs((object(),))) is None
    assert pack(Outputs((print,))) is None


@pytest.mark.parametrize("content", [b"", b"12345678{}", b"\xff" * 40, pack(Outputs((1,)))[:-3]])  # type: ignore[index]
def test_other_bytes_are_no_result(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack(content)
