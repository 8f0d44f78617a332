"""Whole workflows in too little memory: what helps is done, what does not help fails, and nothing stays behind."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from graph.context import Cancel, Run
from graph.document import parse
from graph.errors import Interrupted, NodeError
from graph.events import Event, NodeFinished, NodeRetried
from graph.thrift import Thrift
from models.activations import decode_bytes, unet_bytes
from models.residency import network_bytes
from models.types import Image, Latent
from models.unet import UNet
from models.vae import AutoencoderKL
from tests.engine import Engine, open_engine
from tests.nodes.conftest import CHECKPOINT
from tests.nodes.test_workflow import workflow
from tests.tiny_checkpoint import UNET, VAE, tiny_clip, tiny_unet, tiny_vae, write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

F32 = torch.float32
WEIGHTS = {
    network: network_bytes(build()) for network, build in (("unet", tiny_unet), ("clip", tiny_clip), ("vae", tiny_vae))
}


def opened(tmp_path: Path, budget: int) -> Any:
    write_tiny_checkpoint(tmp_path / "models/checkpoints" / CHECKPOINT)
    return open_engine(tmp_path, budget)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path, 2**30) as engine:
        yield engine


def rungs(engine: Engine) -> list[tuple[str, Thrift]]:
    return [(event.node_id, event.thrift) for event in engine.events if isinstance(event, NodeRetried)]


def decoding(latent: int) -> str:
    """A workflow that decodes an empty latent of that many cells a side."""
    return json.dumps(
        {
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
            "5": {
                "class_type": "EmptyLatentImage",
                "inputs": {"width": latent * 8, "height": latent * 8, "batch_size": 1},
            },
            "8": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["4", 2]}},
            "9": {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}},
        }
    )


class FullDevice:
    """A device that has less than the budget says: networks raise what torch raises when it cannot allocate."""

    def __init__(self, engine: Engine, capacity: int) -> None:
        self.residency = engine.services.residency
        self.capacity = capacity
        self.made: list[weakref.ref[Tensor]] = []
        self.at_failure: Callable[[], None] = lambda: None

    def take(self, needed: int) -> None:
        held = torch.zeros(1000)
        self.made.append(weakref.ref(held))
        if self.residency.resident_bytes + needed > self.capacity:
            self.at_failure()
            raise torch.OutOfMemoryError(f"tried to allocate {needed} bytes of {self.capacity}")


@pytest.fixture
def device(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> FullDevice:
    device = FullDevice(engine, 2**30)
    forward, decode = UNet.forward, AutoencoderKL.decode

    def unet(self: UNet, x: Tensor, *more: Any) -> Tensor:
        device.take(unet_bytes(UNET, len(x), x.shape[-2], x.shape[-1], F32))
        return forward(self, x, *more)

    def vae(self: AutoencoderKL, z: Tensor, *more: Any) -> Tensor:
        device.take(decode_bytes(VAE, z.shape[-2], z.shape[-1], F32))
        return decode(self, z, *more)

    monkeypatch.setattr(UNet, "forward", unet)
    monkeypatch.setattr(AutoencoderKL, "decode", vae)
    return device


def test_in_enough_memory_nothing_is_tried_twice(engine: Engine, device: FullDevice) -> None:
    engine.run(workflow())
    assert not rungs(engine)


def test_networks_that_nobody_uses_leave_first(engine: Engine, device: FullDevice) -> None:
    device.capacity = WEIGHTS["unet"] + unet_bytes(UNET, 4, 6, 8, F32)
    engine.run(workflow())
    assert rungs(engine) == [("3", Thrift.EVICT), ("8", Thrift.EVICT)]


def test_then_pictures_are_decoded_in_tiles(engine: Engine, device: FullDevice) -> None:
    whole = engine.run(decoding(66))["9"]
    device.capacity = WEIGHTS["vae"] + decode_bytes(VAE, 64, 64, F32)
    engine.executor._cache.clear()
    in_tiles = engine.run(decoding(66))["9"]
    assert rungs(engine) == [("8", Thrift.EVICT), ("8", Thrift.TILE)]
    assert whole.ui.keys() == in_tiles.ui.keys()


def test_then_prompts_are_evaluated_apart(engine: Engine, device: FullDevice) -> None:
    together = engine.run(workflow(), ["8"])["8"].values[0]
    device.capacity = WEIGHTS["unet"] + unet_bytes(UNET, 2, 6, 8, F32)
    engine.executor._cache.clear()
    apart = engine.run(workflow(), ["8"])["8"].values[0]
    assert rungs(engine)[:3] == [("3", Thrift.EVICT), ("3", Thrift.TILE), ("3", Thrift.APART)]
    assert isinstance(together, Image) and isinstance(apart, Image)
    torch.testing.assert_close(apart.pixels, together.pixels, atol=1e-4, rtol=0)


def test_at_last_weights_are_read_at_every_step(engine: Engine, device: FullDevice) -> None:
    usual = engine.run(workflow(), ["3"])["3"].values[0]
    device.capacity = WEIGHTS["unet"] + unet_bytes(UNET, 1, 6, 8, F32)
    engine.executor._cache.clear()
    streamed = engine.run(workflow(), ["3"])["3"].values[0]
    assert rungs(engine) == [("3", thrift) for thrift in list(Thrift)[1:]]
    assert isinstance(usual, Latent) and isinstance(streamed, Latent)
    assert (streamed.samples - usual.samples).norm() <= 1e-3 * usual.samples.norm(), "prompts apart round otherwise"


def test_when_nothing_helps_it_fails_with_the_sizes_and_nothing_stays(engine: Engine, device: FullDevice) -> None:
    device.capacity = unet_bytes(UNET, 1, 6, 8, F32)
    with pytest.raises(NodeError, match=rf"tried to allocate {unet_bytes(UNET, 2, 6, 8, F32)} bytes"):
        engine.run(workflow())
    assert not [ref for ref in device.made if ref() is not None], "the failure keeps no tensor"
    assert engine.services.residency.has_room(2**30), "neither pins nor room"
    device.capacity = 2**30
    engine.run(workflow())
    assert not rungs(engine)


def test_an_interrupt_while_it_is_tried_again_ends_it(engine: Engine, device: FullDevice) -> None:
    engine.cancel = Cancel()
    device.capacity, device.at_failure = 0, engine.cancel.set
    with pytest.raises(Interrupted):
        engine.run(workflow())
    assert not rungs(engine) or rungs(engine) == [("3", Thrift.EVICT)]
    assert engine.services.residency.has_room(2**30)
    assert not [ref for ref in device.made if ref() is not None]


# --- the budget itself ----------------------------------------------------------------------------------------------


def test_a_picture_too_large_for_the_budget_is_decoded_in_tiles_at_once(tmp_path: Path) -> None:
    with opened(tmp_path, WEIGHTS["vae"] + decode_bytes(VAE, 64, 64, F32) + 2**16) as engine:
        engine.run(decoding(66))
        assert not rungs(engine)


def test_prompts_are_evaluated_apart_when_the_budget_is_too_small(tmp_path: Path) -> None:
    with opened(tmp_path, WEIGHTS["unet"] + unet_bytes(UNET, 3, 32, 32, F32)) as engine:
        engine.run(workflow(n5_width=256, n5_height=256, n3_steps=1), ["3"])
        assert rungs(engine)[-1] == ("3", Thrift.APART)


def test_what_no_thrift_can_fit_names_the_sizes(tmp_path: Path) -> None:
    with opened(tmp_path, 2**16) as engine, pytest.raises(NodeError, match=r"64\.00 KiB may be used"):
        engine.run(workflow())


def test_a_checkpoint_replaced_in_the_middle_of_a_run_does_not_mix_with_the_old_one(engine: Engine) -> None:
    path = engine.folders.roots("checkpoints")[0] / CHECKPOINT
    text = workflow()

    def replace(event: Event) -> None:
        if isinstance(event, NodeFinished) and event.node_id == "3":
            write_tiny_checkpoint(path.with_name("new.safetensors"), seed=1).replace(path)

    with pytest.raises(NodeError, match="was replaced while it was in use") as caught:
        engine.executor.execute(Run("run", parse(text), replace))
    assert caught.value.node_id == "8" and caught.value.input_name == "vae"
    engine.run(text)
    assert set("3468") <= set(engine.ran), "the next run uses the new one only"


def test_a_lora_file_replaced_between_its_loader_and_its_use_is_not_used(engine: Engine) -> None:
    place = engine.folders.roots("loras")[0]
    place.mkdir(parents=True, exist_ok=True)
    stem = "lora_te_text_model_encoder_layers_0_mlp_fc1"

    def write(name: str, value: float) -> Path:
        factors = {f"{stem}.lora_up.weight": torch.full((16, 1), value), f"{stem}.lora_down.weight": torch.ones(1, 8)}
        save_file(factors, place / name)
        return place / name

    file = write("style.safetensors", 0.1)
    document = json.loads(workflow(n6_clip=["20", 1]))
    document["20"] = {
        "class_type": "LoraLoader",
        "inputs": {
            "model": ["4", 0],
            "clip": ["4", 1],
            "lora_name": file.name,
            "strength_model": 1.0,
            "strength_clip": 1.0,
        },
    }
    text = json.dumps(document)

    def replace(event: Event) -> None:
        if isinstance(event, NodeFinished) and event.node_id == "20":
            write("new.safetensors", 9.0).replace(file)

    with pytest.raises(NodeError, match=r"style\.safetensors was replaced while it was in use"):
        engine.executor.execute(Run("run", parse(text), replace))
    engine.run(text)
    assert {"20", "6"} <= set(engine.ran), "the next run uses the new one"


def test_a_renamed_checkpoint_is_opened_again_but_nothing_drawn_again(engine: Engine) -> None:
    place = engine.folders.roots("checkpoints")[0]
    engine.run(workflow())
    (place / CHECKPOINT).rename(place / "renamed.safetensors")
    engine.run(workflow(n4_ckpt_name="renamed.safetensors"))
    assert engine.ran == []
    engine.run(workflow(n4_ckpt_name="renamed.safetensors", n3_seed=5))
    assert engine.ran == ["3", "4", "8", "9"]


def test_another_seed_loads_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.run(workflow())
    monkeypatch.setattr("models.residency.load_part", None)
    engine.run(workflow(n3_seed=5))
    assert "3" in engine.ran
