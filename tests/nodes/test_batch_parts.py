"""A batch in slices: each item is what it would be in the whole batch, and all together are one node's result."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from graph.build import Graph, build
from graph.context import Run
from graph.document import parse
from graph.events import NodeStarted, Progress
from graph.files import Folders
from graph.result import Outputs
from graph.retelling import Retelling
from graph.slices import LargeBatch, largest_batch
from graph.split import in_slices
from models.levels import NoiseLevels
from models.noise import RULES, BatchPart, Noise
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES
from models.types import Latent
from nodes.batch_parts import joined, latent_part
from nodes.denoising import TOGETHER
from nodes.parcels import pack, unpack
from nodes.registry import builtin
from tests.engine import Engine, open_engine
from tests.models.flow import steps
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.nodes.test_workflow import TEXT_TO_IMAGE

PART = BatchPart(2, 5)
WHOLE, OWN = (5, 4, 3, 3), slice(2, 4)


def changed(*changes: tuple[str, str, object], **nodes: tuple[str, Mapping[str, object]]) -> dict[str, Any]:
    """The workflow with a batch of 5 and some inputs set, and with further nodes."""
    workflow = copy.deepcopy(TEXT_TO_IMAGE)
    workflow["5"]["inputs"]["batch_size"] = 5
    workflow |= {key: {"class_type": type_, "inputs": dict(inputs)} for key, (type_, inputs) in nodes.items()}
    for node, name, value in changes:
        workflow[node]["inputs"][name] = value
    return workflow


def built(workflow: Mapping[str, Any], folders: Folders) -> Graph:
    graph = build(parse(json.dumps(workflow)), builtin(), folders)
    assert not graph.errors, graph.errors
    return graph


@pytest.mark.parametrize("rule", RULES)
def test_the_noise_of_a_part_is_that_of_the_batch(rule: str) -> None:
    """Also of items whose numbers torch does not draw one after the other: 36 are no multiple of 16."""
    whole, part = Noise(3, rule=RULES[rule]), Noise(3, rule=RULES[rule], part=PART)
    x, level = torch.zeros(WHOLE), torch.tensor(1.0)
    assert torch.equal(part.upon(x[OWN]), whole.upon(x)[OWN])
    one, other = whole.stream(), part.stream()
    for _ in range(2):
        assert torch.equal(other(x[OWN], level, level), one(x, level, level)[OWN])
    sigmas = torch.tensor([10.0, 3.0, 1.0, 0.0])
    one, other = whole.path(x, sigmas), part.path(x[OWN], sigmas)
    for at in range(2):
        assert torch.equal(other(x[OWN], *sigmas[at : at + 2]), one(x, *sigmas[at : at + 2])[OWN])


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_bring_the_items_of_a_part_where_they_are_in_the_batch(name: str) -> None:
    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Unlike for each item, so that a sampler that looks at all of a batch is caught."""
        return torch.tanh(x * x.std(dim=(1, 2, 3), keepdim=True)) / (1 + sigma)

    x, sigmas = torch.randn(WHOLE, generator=torch.manual_seed(0)) * 15, SCHEDULES["karras"](NoiseLevels(), 6)
    x[2:4] *= 3
    whole = [step.x for step in steps(name, denoise, x, sigmas, Noise(1))][-1]
    part = [step.x for step in steps(name, denoise, x[OWN].clone(), sigmas, Noise(1, part=PART))][-1]
    assert torch.allclose(part, whole[OWN], rtol=1e-4, atol=1e-4) is (name not in TOGETHER["sampler_name"])


def test_parts_of_a_latent_are_the_latent_once_they_are_joined(place: Workplace) -> None:
    samples, mask = torch.rand(7, 4, 2, 2), torch.rand(7, 1, 16, 16)
    latent = Latent(samples, noise_mask=mask, batch_index=(3, 1, 1, 0, 9, 2, 4))
    parts = [latent_part(place.ctx(), samples=latent, number=at, of=3) for at in range(3)]
    assert [len(part.samples) for part in parts] == [2, 2, 3]
    assert parts[1].part == BatchPart(2, 7, latent.batch_index)
    [whole] = joined([Outputs((part,)) for part in parts]).values
    assert torch.equal(whole.samples, samples) and torch.equal(whole.noise_mask, mask)  # type: ignore[attr-defined]
    assert (whole.batch_index, whole.part) == (latent.batch_index, None)  # type: ignore[attr-defined]


def test_what_is_no_batch_is_not_joined() -> None:
    with pytest.raises(ValueError, match="int is no batch"):
        joined([Outputs((1,)), Outputs((2,))])


def shared(engine: Engine, workflow: Mapping[str, Any], number: int) -> tuple[list[str], list[tuple[float, float]]]:
    """Run a workflow in slices, each result going through bytes: what the last piece ran, and the sampler's progress."""
    document, told = parse(json.dumps(workflow)), list[Any]()
    graph = build(document, builtin(), engine.folders)
    run = Run("run", document, told.append)
    cut = in_slices(run, graph, number)
    retelling, handed, last = Retelling(run, cut), dict[str, list[Outputs]](), list[Any]()
    retelling.begin()
    for piece in cut.pieces:
        last.clear()

        def tell(event: Any, piece: Any = piece) -> None:
            last.append(event)
            list(retelling.hear(piece, event))

        given = {name: joined(parts) for name, parts in handed.items()} if piece.gathers else {}
        share = replace(piece.share, given=given)
        made = engine.executor.execute(Run(piece.key, document, tell, share=share), graph)
        for name in share.handed:
            content = pack(made[name])
            assert content is not None
            handed.setdefault(name, []).append(unpack(content))
        engine.executor._cache.clear()  # as another process would have it
    retelling.end(None)
    assert sum(isinstance(it, NodeStarted) and it.node_id == "3" for it in told) == 1
    progress = [(it.done, it.total) for it in told if isinstance(it, Progress) and it.node_id == "3"]
    return [it.node_id for it in last if isinstance(it, NodeStarted)], progress


def pixels(base: Path) -> list[np.ndarray[Any, Any]]:
    """The saved pictures, in the order of their names."""
    return [np.asarray(PIL.Image.open(path)).astype(int) for path in sorted((base / "output").glob("**/*.png"))]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde", "uni_pc"])
def test_pictures_of_slices_are_those_of_one_process(sampler: str, tmp_path: Path, tiny_checkpoint: Path) -> None:
    """But for what torch makes of batches of another size, which is less than a step of a colour."""
    workflow = changed(("3", "sampler_name", sampler))
    for name in ("one", "two"):
        with open_engine(tmp_path / name) as engine:
            (engine.folders.roots("checkpoints")[0] / CHECKPOINT).write_bytes(tiny_checkpoint.read_bytes())
            if name == "one":
                engine.run(json.dumps(workflow))
            else:
                last, progress = shared(engine, workflow, 2)
    assert (last, progress[-1]) == (["9"], (8, 8))
    one, two = pixels(tmp_path / "one"), pixels(tmp_path / "two")
    assert len(one) == len(two) == 5
    assert max(abs(a - b).max() for a, b in zip(one, two, strict=True)) <= 1
    assert min(abs(a - b).max() for i, a in enumerate(one) for b in one[:i]) > 10


def test_which_nodes_work_through_a_batch_item_by_item(place: Workplace) -> None:
    assert largest_batch(built(changed(), place.folders)) == LargeBatch("5", 5, ("3", "8"), ("8",))
    latents = {"20": ("SaveLatent", {"samples": ["3", 0], "filename_prefix": "x"})}
    both = largest_batch(built(changed(**latents), place.folders))
    assert both is not None and set(both.exits) == {"3", "8"}
    larger = {"20": ("LatentUpscaleBy", {"samples": ["5", 0], "upscale_method": "bilinear", "scale_by": 2.0})}
    batch = largest_batch(built(changed(("3", "latent_image", ["20", 0]), **larger), place.folders))
    assert batch is not None and batch.inside == ("20", "3", "8")


@pytest.mark.parametrize(
    ("changes", "nodes"),
    [
        ([("5", "batch_size", 3)], {}),
        ([("3", "sampler_name", "dpm_adaptive")], {}),
        ([("5", "batch_size", {"__sweep__": [8, 16]})], {}),
        ([("5", "batch_size", ["20", 0])], {"20": ("PrimitiveInt", {"value": 8})}),
        (
            [("3", "model", ["20", 0])],
            {
                "20": (
                    "HyperTile",
                    {"model": ["4", 0], "tile_size": 256, "swap_size": 2, "max_depth": 0, "scale_depth": False},
                )
            },
        ),
        (
            [("3", "latent_image", ["20", 0])],
            {
                "20": ("SetLatentNoiseMask", {"samples": ["5", 0], "mask": ["21", 0]}),
                "21": ("SolidMask", {"value": 1.0, "width": 64, "height": 48}),
            },
        ),
    ],
)
def test_what_may_differ_between_items_is_not_cut(
    changes: list[tuple[str, str, object]], nodes: dict[str, Any], place: Workplace
) -> None:
    batch = largest_batch(built(changed(*changes, **nodes), place.folders))
    assert batch is None or "3" not in batch.inside


def test_what_was_sampled_before_it_was_repeated_is_not_sampled_by_each(place: Workplace) -> None:
    again = {**TEXT_TO_IMAGE["3"]["inputs"], "latent_image": ["20", 0], "denoise": 0.5}
    nodes = {"20": ("RepeatLatentBatch", {"samples": ["3", 0], "amount": 8}), "21": ("KSampler", again)}
    workflow = changed(("5", "batch_size", 1), ("8", "samples", ["21", 0]), **nodes)
    assert largest_batch(built(workflow, place.folders)) is None
    workflow["20"]["inputs"]["samples"] = ["5", 0]
    assert largest_batch(built(workflow, place.folders)) == LargeBatch("20", 8, ("21", "8"), ("8",))
