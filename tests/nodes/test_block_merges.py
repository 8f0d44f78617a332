"""Merges by blocks: each of a U-Net's blocks has a share of its own, in the names that users' workflows have."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from graph.build import build
from graph.document import Link, parse
from graph.result import Outputs
from models.types import Model
from nodes.loaders import checkpoint_loader_simple
from nodes.registry import builtin
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_checkpoint import save, tiny_networks, tiny_state
from tests.tiny_families import family_state


def models(place: Workplace, kind: str) -> tuple[Model, Model]:
    """Two of one shape."""
    root, opened = place.folders.roots("checkpoints")[0], []
    for seed in (0, 1):
        state = tiny_state(tiny_networks(seed)) if kind == "sd1" else family_state(kind, seed)  # type: ignore[arg-type]
        path = save(state, root / f"{kind}{seed}.safetensors")
        loaded = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", path.name))
        opened.append(loaded.model)
    return opened[0], opened[1]


@pytest.mark.parametrize(("kind", "node", "dot"), [("sd1", "SD1", "."), ("sd2", "SD2", "."), ("xl", "SDXL", "")])
def test_each_block_has_the_share_that_is_asked_for(place: Workplace, kind: str, node: str, dot: str) -> None:
    spec, (one, other) = builtin()[f"ModelMerge{node}"], models(place, kind)
    shares = {"time_embed.": 0.75, f"input_blocks.1{dot}": 0.25, f"middle_block.1{dot}": 0.0, "out.": 0.5}
    given: dict[str, Any] = {each.name: 1.0 for each in spec.inputs} | {"model1": one, "model2": other} | shares
    made = spec.run(place.ctx(), given)
    assert isinstance(made, Outputs)
    [merged] = made.values
    assert isinstance(merged, Model)
    use = place.services.residency.use
    with use(one) as first, use(other) as second, use(merged) as network:
        mine, yours, ours = (each.state_dict() for each in (first, second, network))
    assert {name.split(".")[0] for name in ours} >= {
        "time_embed",
        "input_blocks",
        "middle_block",
        "output_blocks",
        "out",
    }
    for name, weight in ours.items():
        share = next((share for start, share in shares.items() if name.startswith(start)), 1.0)
        torch.testing.assert_close(weight, share * mine[name] + (1 - share) * yours[name], rtol=1e-6, atol=1e-6)


def test_names_with_dots_are_inputs_like_others(place: Workplace) -> None:
    nodes = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "2": {"class_type": "PrimitiveFloat", "inputs": {"value": 0.5}},
        "3": {
            "class_type": "ModelMergeSD1",
            "inputs": {each.name: 1.0 for each in builtin()["ModelMergeSD1"].inputs}
            | {"model1": ["1", 0], "model2": ["1", 0], "input_blocks.1.": 0.25, "out.": ["2", 0]},
        },
        "4": {"class_type": "ModelSave", "inputs": {"model": ["3", 0], "filename_prefix": "x"}},
    }
    graph = build(parse(json.dumps(nodes)), builtin(), place.folders)
    assert graph.problems == ()
    bound = graph.nodes["3"].inputs
    assert (bound["input_blocks.1."], bound["out."]) == (0.25, Link("2", 0))
    nodes["3"]["inputs"] |= {"input_blocks.1.": 2.0}  # type: ignore[operator]
    told = build(parse(json.dumps(nodes)), builtin(), place.folders).problems
    assert [problem.input_name for problem in told] == ["input_blocks.1."]
