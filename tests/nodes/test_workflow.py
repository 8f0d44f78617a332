"""Whole workflows through the real engine: from JSON to PNG, and what is run again after a change."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from graph.document import parse
from graph.errors import Interrupted, NodeError
from graph.events import Event, NodeFinished, NodeWarned, Progress, RunFailed, RunFinished, RunInterrupted
from models.checkpoint import load_part
from tests.engine import Engine, open_engine
from tests.nodes.conftest import CHECKPOINT
from tests.tiny_checkpoint import WIDTH, write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

TEXT_TO_IMAGE: dict[str, Any] = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 2}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a (red:1.3) circle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["4", 0],
            "seed": 2**64 - 1,
            "steps": 4,
            "cfg": 5.0,
            "sampler_name": "euler_ancestral",
            "scheduler": "karras",
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
            "denoise": 1.0,
        },
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {
        "class_type": "SaveImage",
        "inputs": {"images": ["8", 0], "filename_prefix": "made/tiny"},
        "_meta": {"title": "Säve"},
    },
}


def workflow(**changes: Any) -> str:
    """The workflow as JSON; `n3_seed=5` gives node 3 another seed."""
    document = copy.deepcopy(TEXT_TO_IMAGE)
    for place, value in changes.items():
        node, _, name = place.removeprefix("n").partition("_")
        document[node]["inputs"][name] = value
    return json.dumps(document)


@pytest.fixture
def engine(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[Engine]:
    with open_engine(tmp_path / "base") as engine:
        (engine.folders.roots("checkpoints")[0] / CHECKPOINT).write_bytes(tiny_checkpoint.read_bytes())
        yield engine


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each network is read from its file."""
    counts: Counter[str] = Counter()

    def counting(weights: Any, part: Any, **options: Any) -> Any:
        counts[part] += 1
        return load_part(weights, part, **options)

    monkeypatch.setattr("models.residency.load_part", counting)
    return counts


def shown(path: Path) -> bytes:
    return np.asarray(PIL.Image.open(path)).tobytes()


def test_a_workflow_becomes_pictures(engine: Engine) -> None:
    results = engine.run(workflow())
    first, second = engine.pictures(results)
    assert [first.name, second.name] == ["tiny_00001_.png", "tiny_00002_.png"]
    assert first.parent == engine.folders.output_dir / "made"
    assert PIL.Image.open(first).size == (64, 48)
    assert shown(first) != shown(second) and len(set(shown(first))) > 50
    assert engine.ran == ["3", "4", "5", "6", "7", "8", "9"]
    assert isinstance(engine.events[-1], RunFinished)
    told = [(event.done, event.total) for event in engine.events if isinstance(event, Progress)]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_picture_carries_the_workflow_that_made_it_and_makes_it_again(engine: Engine, tmp_path: Path) -> None:
    made = engine.pictures(engine.run(workflow()))
    text = PIL.Image.open(made[0]).info["prompt"]
    assert parse(text) == parse(workflow())
    with open_engine(tmp_path / "elsewhere") as other:
        checkpoint = engine.folders.roots("checkpoints")[0] / CHECKPOINT
        (other.folders.roots("checkpoints")[0] / CHECKPOINT).write_bytes(checkpoint.read_bytes())
        again = other.pictures(other.run(text))
    assert [shown(path) for path in again] == [shown(path) for path in made]


@pytest.mark.parametrize(
    ("changes", "ran"),
    [
        ({}, []),
        ({"n3_seed": 5}, ["3", "8", "9"]),
        ({"n3_steps": 3}, ["3", "8", "9"]),
        ({"n6_text": "a blue square"}, ["3", "6", "8", "9"]),
        ({"n7_text": ""}, ["3", "7", "8", "9"]),
        ({"n5_batch_size": 1}, ["3", "5", "8", "9"]),
        ({"n9_filename_prefix": "other"}, ["9"]),
        ({"n3_steps": 4.0, "n3_cfg": 5, "n3_seed": str(2**64 - 1)}, []),  # the same, written in another way
    ],
    ids=str,
)
def test_only_what_a_change_reaches_is_run_again(
    engine: Engine, read: Counter[str], changes: dict[str, Any], ran: list[str]
) -> None:
    engine.run(workflow())
    assert read == {"model": 1, "clip": 1, "vae": 1}
    engine.run(workflow(**changes))
    assert engine.ran == ran
    assert read == {"model": 1, "clip": 1, "vae": 1}, "no weights are read again"


def test_going_back_to_an_earlier_seed_runs_nothing(engine: Engine) -> None:
    first = engine.pictures(engine.run(workflow()))
    engine.run(workflow(n3_seed=5))
    assert engine.pictures(engine.run(workflow())) == first
    assert engine.ran == []
    told = [event for event in engine.events if isinstance(event, NodeFinished)]
    assert [(event.node_id, event.cached) for event in told] == [("9", True)], "the pictures are shown all the same"


def test_pictures_that_were_deleted_are_saved_again(engine: Engine) -> None:
    for path in engine.pictures(engine.run(workflow())):
        path.unlink()
    again = engine.pictures(engine.run(workflow()))
    assert engine.ran == ["9"] and all(path.is_file() for path in again)


def test_a_checkpoint_replaced_under_its_name_is_noticed(engine: Engine, read: Counter[str]) -> None:
    before = [shown(path) for path in engine.pictures(engine.run(workflow()))]
    path = engine.folders.roots("checkpoints")[0] / CHECKPOINT
    size = path.stat().st_size
    write_tiny_checkpoint(path, seed=1)
    assert path.stat().st_size == size, "not by its size"
    after = [shown(path) for path in engine.pictures(engine.run(workflow()))]
    assert engine.ran == ["3", "4", "6", "7", "8", "9"]
    assert read == {"model": 2, "clip": 2, "vae": 2}
    assert set(after).isdisjoint(before)


def test_a_checkpoint_put_back_is_recognised(engine: Engine) -> None:
    path = engine.folders.roots("checkpoints")[0] / CHECKPOINT
    content = path.read_bytes()
    engine.run(workflow())
    write_tiny_checkpoint(path, seed=1)
    engine.run(workflow())
    path.write_bytes(content)
    engine.run(workflow())
    assert engine.ran == []


def test_an_equal_workflow_under_other_ids_runs_nothing(engine: Engine) -> None:
    engine.run(workflow())
    document = json.loads(workflow())
    renamed = {f"node-{node_id}": node for node_id, node in reversed(document.items())}
    for node in renamed.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = [f"node-{value[0]}", value[1]]
    engine.run(json.dumps(renamed))
    assert engine.ran == []


def test_equal_prompts_are_encoded_once(engine: Engine) -> None:
    engine.run(workflow(n7_text="a (red:1.3) circle"))
    assert len({"6", "7"} & set(engine.ran)) == 1


# --- pictures as input ----------------------------------------------------------------------------------------------


def image_to_image(**changes: Any) -> str:
    document = json.loads(workflow(n3_latent_image=["12", 0], n3_denoise=0.5, **changes))
    del document["5"]
    document["10"] = {"class_type": "LoadImage", "inputs": {"image": "given.png"}}
    document["12"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    document["13"] = {"class_type": "PreviewImage", "inputs": {"images": ["10", 0]}}
    document["14"] = {"class_type": "SaveLatent", "inputs": {"samples": ["12", 0], "filename_prefix": "latents/x"}}
    return json.dumps(document)


def test_a_picture_is_changed_and_a_replaced_picture_is_noticed(engine: Engine) -> None:
    given = engine.folders.input_dir / "given.png"
    PIL.Image.new("RGB", (64, 40), "red").save(given)
    results = engine.run(image_to_image())
    [before] = engine.pictures(results)
    assert PIL.Image.open(before).size == (64, 40)
    assert results["13"].ui["images"] and results["14"].ui["latents"]

    engine.run(image_to_image(n3_seed=7))
    assert engine.ran == ["3", "8", "9"]

    PIL.Image.new("RGB", (64, 40), "blue").save(given)
    [after] = engine.pictures(engine.run(image_to_image()))
    assert engine.ran == ["10", "12", "13", "14", "3", "8", "9"]
    assert shown(after) != shown(before)


def test_an_embedding_that_arrives_is_noticed(engine: Engine) -> None:
    prompt = "a embedding:mine circle"
    engine.run(workflow(n6_text=prompt))
    [warned] = [event for event in engine.events if isinstance(event, NodeWarned)]
    assert warned.node_id == "6" and "embedding:mine" in warned.warning.message
    torch.save({"*": torch.ones(2, WIDTH)}, engine.folders.roots("embeddings")[0] / "mine.pt")
    engine.run(workflow(n6_text=prompt))
    assert engine.ran == ["3", "6", "8", "9"]


# --- failures and interrupts ----------------------------------------------------------------------------------------


def test_a_failed_run_names_the_node_and_input_and_is_resumed_from_there(engine: Engine, read: Counter[str]) -> None:
    with pytest.raises(NodeError) as caught:
        engine.run(workflow(n9_filename_prefix="../outside"))
    error = caught.value
    assert (error.node_id, error.node_type, error.input_name) == ("9", "SaveImage", "filename_prefix")
    assert "../outside" in str(error)
    assert isinstance(engine.events[-1], RunFailed)
    engine.run(workflow())
    assert engine.ran == ["9"] and sum(read.values()) == 3


def test_a_damaged_checkpoint_names_the_loader_and_its_input(engine: Engine) -> None:
    path = engine.folders.roots("checkpoints")[0] / CHECKPOINT
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(NodeError, match="truncated") as caught:
        engine.run(workflow())
    assert (caught.value.node_id, caught.value.input_name) == ("4", "ckpt_name")
    path.write_bytes(content)
    engine.run(workflow())
    assert "4" in engine.ran and isinstance(engine.events[-1], RunFinished)


def test_too_little_memory_is_an_error_that_names_the_sizes(tmp_path: Path, tiny_checkpoint: Path) -> None:
    with open_engine(tmp_path / "small", budget=1000) as engine:
        (engine.folders.roots("checkpoints")[0] / CHECKPOINT).write_bytes(tiny_checkpoint.read_bytes())
        with pytest.raises(
            NodeError, match=r"OutOfMemory: the weights need .*iB on cpu, where 0\.98 KiB may be used"
        ) as caught:
            engine.run(workflow())
    assert caught.value.node_type == "CLIPTextEncode"


def test_memory_for_one_network_at_a_time_is_enough(
    tmp_path: Path, tiny_checkpoint: Path, engine: Engine, read: Counter[str]
) -> None:
    expected = [shown(path) for path in engine.pictures(engine.run(workflow()))]
    read.clear()
    with open_engine(tmp_path / "small", budget=1_600_000) as small:
        (small.folders.roots("checkpoints")[0] / CHECKPOINT).write_bytes(tiny_checkpoint.read_bytes())
        assert [shown(path) for path in small.pictures(small.run(workflow()))] == expected
        assert read == {"clip": 1, "model": 1, "vae": 1}
        small.run(workflow(n6_text="another"))
        assert read == {"clip": 2, "model": 2, "vae": 2}


class _Stopping(Engine):
    def heard(self, event: Event) -> None:
        super().heard(event)
        if isinstance(event, Progress) and event.done == 2:
            self.cancel.set()


def test_an_interrupted_run_is_resumed_without_its_prompts(engine: Engine, read: Counter[str]) -> None:
    stopping = _Stopping(engine.services, engine.executor)
    with pytest.raises(Interrupted):
        stopping.run(workflow())
    ended = stopping.events[-1]
    assert isinstance(ended, RunInterrupted) and ended.node_id == "3"
    assert list(engine.folders.output_dir.rglob("*.png")) == []
    engine.run(workflow())
    assert engine.ran == ["3", "8", "9"]
    assert read == {"model": 1, "clip": 1, "vae": 1}
