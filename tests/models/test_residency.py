"""Which networks stay in memory: least recently used out first, never one in use, never twice."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from models.checkpoint import Part, Weights, load_part, read_header
from models.family import SD1
from models.machine import in_words
from models.packed import Packed, can_pack
from models.precision import Precision
from models.residency import (
    OutOfMemory,
    Residency,
    choose_device,
    is_out_of_memory,
    memory_budget,
    network_bytes,
)
from models.types import Model, TextTower, Vae
from models.weights import CheckpointError, TensorFile, TensorInfo
from tests.tiny_checkpoint import tiny_clip, tiny_unet, tiny_vae, write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
VAE_BYTES = network_bytes(tiny_vae())  # what one of the networks below takes
MUCH = 2**40
needs_packing = pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN operations")


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return read_header(write_tiny_checkpoint(tmp_path / "tiny.safetensors"))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Which parts of which files were read."""
    seen: list[tuple[str, str]] = []

    def counted(weights: Weights, part: Part, **how: Any) -> nn.Module:
        seen.append((weights.path.name, part))
        return load_part(weights, part, **how)

    monkeypatch.setattr("models.residency.load_part", counted)
    return seen


def residency(budget: int = MUCH, precision: Precision | None = None) -> Residency:
    return Residency(CPU, precision or Precision(), budget)


def touch(place: Residency, handle: Model | TextTower | Vae) -> weakref.ref[nn.Module]:
    """Use a network for a moment; what is returned tells whether it is still in memory."""
    with place.use(handle) as network:
        return weakref.ref(network)


def test_each_part_is_the_network_of_the_file(weights: Weights) -> None:
    place = residency()
    with (
        place.use(Model(weights, "a")) as unet,
        place.use(TextTower(weights, "a")) as clip,
        place.use(Vae(weights, "a")) as vae,
    ):
        for loaded, written in ((unet, tiny_unet()), (clip, tiny_clip()), (vae, tiny_vae())):
            state = written.state_dict()
            assert loaded.state_dict().keys() == state.keys()
            assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
            assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
        assert place.resident_bytes == sum(map(network_bytes, (unet, clip, vae)))
        assert place.resident_files == {weights.path.name: place.resident_bytes}


def test_a_network_is_loaded_once(weights: Weights) -> None:
    place, vae = residency(), Vae(weights, "a")
    with place.use(vae) as first:
        pass
    weights.path.unlink()
    with place.use(vae) as second, place.use(Vae(weights, "a")) as third:
        assert first is second is third


def test_the_parts_of_one_file_are_loaded_apart(weights: Weights) -> None:
    place = residency()
    with place.use(Vae(weights, "a")):
        assert place.resident_bytes == VAE_BYTES


def test_a_replaced_file_is_another_network(weights: Weights) -> None:
    place = residency()
    with place.use(Vae(weights, "a")) as before:
        old = before.decoder.conv_in.weight.clone()
    replaced = read_header(write_tiny_checkpoint(weights.path, seed=1))
    with place.use(Vae(replaced, "b")) as after:
        assert torch.equal(after.decoder.conv_in.weight, tiny_vae(seed=1).decoder.conv_in.weight)
        assert not torch.equal(after.decoder.conv_in.weight, old)


@needs_packing
def test_weights_of_packed_layers_are_read_when_they_are_called(weights: Weights) -> None:
    place = Residency(CPU, Precision(), MUCH, packing=True)
    z = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), place.use(Vae(weights, "a")) as vae:
        assert place.resident_bytes == VAE_BYTES
        write_tiny_checkpoint(weights.path, seed=1)  # in its place; the old file stays open
        assert torch.allclose(vae.decode(z), tiny_vae().decode(z), atol=1e-5)
        assert {unread(vae.encoder), unread(vae.decoder)} == {True, False}
        weights.path.unlink()
        picture = torch.rand(1, 3, 16, 24)
        assert torch.allclose(vae.encode(picture), tiny_vae().encode(picture), atol=1e-5)
        assert not unread(vae)


@needs_packing
def test_a_file_overwritten_before_all_was_read_is_told_and_read_anew(weights: Weights) -> None:
    place = Residency(CPU, Precision(), MUCH, packing=True)
    z = torch.zeros(1, 4, 3, 5)
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors was changed"), place.use(Vae(weights, "a")) as vae:
        weights.path.write_bytes(weights.path.read_bytes())
        os.utime(weights.path, (0, 0))  # clocks of file systems are coarse
        vae.decode(z)
    with torch.inference_mode(), place.use(Vae(read_header(weights.path), "a")) as vae:
        assert torch.allclose(vae.decode(z), tiny_vae().decode(z), atol=1e-5)


def unread(network: nn.Module) -> bool:
    """Whether a packed layer of it still waits for its weight."""
    return any(
        bool(layer.weight.isnan().any())
        for layer in network.modules()
        if isinstance(layer, Packed) and not layer.weight.is_mkldnn
    )


def test_a_file_that_was_replaced_before_its_weights_were_read_is_refused(weights: Weights) -> None:
    asked: list[tuple[Path, str]] = []
    answers = iter([False, True])

    def is_same(path: Path, identity: str) -> bool:
        asked.append((path, identity))
        return next(answers)

    place = Residency(CPU, Precision(), MUCH, is_same=is_same)
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors was replaced"):
        touch(place, Vae(weights, "a"))
    assert place.resident_bytes == 0
    touch(place, Vae(weights, "a"))
    touch(place, Vae(weights, "a"))
    assert asked == [(weights.path, "a")] * 2, "asked when it is read, and not again"


def test_the_least_recently_used_goes_first(weights: Weights) -> None:
    place = residency(3 * VAE_BYTES)
    a, b, c, d = (Vae(weights, name) for name in "abcd")
    networks = [touch(place, handle) for handle in (a, b, c)]
    assert touch(place, a) == networks[0]  # so b is the one not used for longest
    networks.append(touch(place, d))
    assert [network() is not None for network in networks] == [True, False, True, True]


def test_no_more_go_than_must(weights: Weights) -> None:
    place = residency(network_bytes(tiny_clip()) + VAE_BYTES + 1000)  # the file has position ids besides
    small = [touch(place, Vae(weights, str(i))) for i in range(4)]
    touch(place, TextTower(weights, "big"))
    assert [network() is not None for network in small] == [False, False, False, True]


def test_the_budget_is_kept_exactly(weights: Weights) -> None:
    place = residency(2 * VAE_BYTES)
    with place.use(Vae(weights, "a")), place.use(Vae(weights, "b")):
        assert place.resident_bytes == 2 * VAE_BYTES
    short = residency(2 * VAE_BYTES - 1)
    with short.use(Vae(weights, "a")), short.use(Vae(weights, "b")):
        assert VAE_BYTES < short.resident_bytes < 2 * VAE_BYTES, "the second reads its weights at every call"


def test_a_network_in_use_is_not_dropped(weights: Weights) -> None:
    place = residency(2 * VAE_BYTES)
    oldest, other, new = (Vae(weights, name) for name in "abc")
    with place.use(oldest) as held:
        dropped = touch(place, other)
        touch(place, new)
        assert dropped() is None
        with place.use(oldest) as again:
            assert again is held


def test_a_network_used_twice_at_once_is_held_until_both_are_done(weights: Weights) -> None:
    place, vae = residency(VAE_BYTES), Vae(weights, "a")
    with place.use(vae):
        network = touch(place, vae)
        with pytest.raises(OutOfMemory):
            touch(place, Vae(weights, "b"))
    touch(place, Vae(weights, "b"))
    assert network() is None


def test_a_failure_while_using_lets_go(weights: Weights) -> None:
    place = residency(VAE_BYTES)
    with pytest.raises(ZeroDivisionError), place.use(Vae(weights, "a")):
        raise ZeroDivisionError
    with place.use(Vae(weights, "b")):
        assert place.resident_bytes == VAE_BYTES


def test_dropped_weights_are_given_back_at_once(weights: Weights) -> None:
    place = residency(VAE_BYTES)
    with place.use(Vae(weights, "a")) as vae:
        network, tensor = weakref.ref(vae), weakref.ref(vae.decoder.conv_in.weight)
    del vae
    gc.disable()
    try:
        assert network() is not None, "kept for the next use"
        touch(place, Vae(weights, "b"))
        assert network() is None and tensor() is None, "no reference and no cycle holds them"
    finally:
        gc.enable()


def test_a_damaged_file_leaves_what_is_there_usable(weights: Weights, tmp_path: Path) -> None:
    place, good = residency(), Vae(weights, "good")
    with place.use(good) as before:
        pass
    broken = read_header(write_tiny_checkpoint(tmp_path / "broken.safetensors"))
    with (tmp_path / "broken.safetensors").open("r+b") as file:
        file.truncate(1000)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"broken\.safetensors"), place.use(Vae(broken, "broken")):
            pass
    with place.use(good) as after:
        assert after is before
    assert place.resident_bytes == VAE_BYTES


def of_shape(count: int) -> Weights:
    """The header of a file whose U-Net has `count` numbers."""
    info = TensorInfo(torch.float16, (count,), (1,), 0)
    other = TensorInfo(torch.float32, (10**12,), (1,), 0)
    tensors = {"model.diffusion_model.x": info, "first_stage_model.y": other}
    prefixes = {"model": "model.diffusion_model.", "vae": "first_stage_model."}
    return Weights(TensorFile(Path("big.safetensors"), "safetensors", (0, 0), tensors, frozenset()), prefixes, SD1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        *((0, "0 B"), (102, "102 B"), (103, "0.10 KiB"), (2**20, "1.00 MiB"), (107_000_000, "102.04 MiB")),
        *((107_400_000, "0.10 GiB"), (2**40, "1024.00 GiB")),
    ],
)
def test_sizes_show_digits_that_count(size: int, words: str) -> None:
    assert in_words(size) == words


def test_what_cannot_fit_is_told_with_its_sizes() -> None:
    place = residency(2 * 2**30)
    with pytest.raises(OutOfMemory, match=r"need 3\.20 GiB on cpu.* 2\.00 GiB .* 0 B are in use"):
        touch(place, Model(of_shape(859_520_964), "big"))


def test_room_is_counted_in_the_precision_of_use() -> None:
    half = residency(2 * 2**30, Precision(model=torch.bfloat16))
    with pytest.raises(CheckpointError, match=r"big\.safetensors"):  # it fits, but there is no such file
        touch(half, Model(of_shape(859_520_964), "big"))


def test_what_can_never_fit_drops_nothing(weights: Weights) -> None:
    place = residency(2 * VAE_BYTES)
    network = touch(place, Vae(weights, "a"))
    with pytest.raises(OutOfMemory):
        touch(place, TextTower(weights, "a"))
    assert network() is not None


def test_each_part_has_the_precision_it_was_given(weights: Weights) -> None:
    place = residency(precision=Precision(torch.bfloat16, torch.float32, torch.float64))
    with (
        place.use(Model(weights, "a")) as unet,
        place.use(TextTower(weights, "a")) as clip,
        place.use(Vae(weights, "a")) as vae,
    ):
        for network, dtype in ((unet, torch.bfloat16), (clip, torch.float32), (vae, torch.float64)):
            assert {p.dtype for p in network.parameters()} == {dtype}


@pytest.mark.parametrize("kept", [torch.float16, torch.int8])
def test_what_a_network_computes_in_is_not_what_its_weights_are_kept_in(weights: Weights, kept: torch.dtype) -> None:
    place = residency(precision=Precision(kept))
    handle = Model(weights, "a")
    with place.use(handle) as unet:
        assert place.computes(handle) == next(unet.parameters()).dtype != kept


# --- room for activations -------------------------------------------------------------------------------------------


def test_room_for_activations_drops_what_nobody_uses_oldest_first(weights: Weights) -> None:
    place = residency(3 * VAE_BYTES)
    networks = [touch(place, Vae(weights, name)) for name in "abc"]
    with place.use(Vae(weights, "c")), place.room(VAE_BYTES):
        assert [network() is not None for network in networks] == [False, True, True]
        with place.use(Vae(weights, "d")):
            assert networks[1]() is None, "room that is reserved is not given away"
            assert not place.has_room(1) and place.has_room(0)
            with pytest.raises(OutOfMemory, match=r"the activations need 1 B on cpu"), place.room(1):
                pass
    assert place.has_room(3 * VAE_BYTES)


@pytest.mark.parametrize("error", [ZeroDivisionError, OutOfMemory])
def test_room_is_given_back_after_a_failure(weights: Weights, error: type[Exception]) -> None:
    place = residency(2 * VAE_BYTES)
    with pytest.raises(error), place.use(Vae(weights, "a")), place.room(VAE_BYTES):
        raise error
    assert place.has_room(2 * VAE_BYTES) and place.resident_bytes == VAE_BYTES


def test_room_that_cannot_be_had_drops_nothing(weights: Weights) -> None:
    place = residency(2 * VAE_BYTES)
    network = touch(place, Vae(weights, "a"))
    with place.use(Vae(weights, "b")), pytest.raises(OutOfMemory), place.room(VAE_BYTES + 1):
        pass
    assert network() is not None


def test_of_nested_uses_none_stays_pinned_when_one_does_not_fit(weights: Weights) -> None:
    place = residency(2 * VAE_BYTES)
    with pytest.raises(OutOfMemory):  # noqa: SIM117
        with place.use(Vae(weights, "a")), place.use(Vae(weights, "b")), place.use(Vae(weights, "c")):
            pass
    assert place.has_room(2 * VAE_BYTES)


def test_switching_between_two_checkpoints_that_fit_loads_each_network_once(
    weights: Weights, loads: list[tuple[str, str]]
) -> None:
    whole = sum(network_bytes(network) for network in (tiny_unet(), tiny_clip(), tiny_vae()))
    place = residency(2 * whole + 1000)
    for name in "abababab":
        for handle in (TextTower(weights, name), Model(weights, name), Vae(weights, name)):
            touch(place, handle)
    assert len(loads) == 6
    assert place.resident_bytes == 2 * whole


def test_all_that_is_not_in_use_can_be_dropped(weights: Weights) -> None:
    place = residency()
    touch(place, TextTower(weights, "a"))
    with place.use(Vae(weights, "a")):
        place.clear()
        assert place.resident_bytes == VAE_BYTES
    place.clear()
    assert place.resident_bytes == 0


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (OutOfMemory("x"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("DefaultCPUAllocator: x"), False),
    ],
)
def test_it_is_known_when_memory_ran_out(error: Exception, verdict: bool) -> None:
    assert is_out_of_memory(error) is verdict


def test_it_is_known_when_the_cpu_has_no_memory_left() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


# --- device and precision -------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine whose accelerators the test says."""
    here = SimpleNamespace(accelerator=None, count=0)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: here.accelerator)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: here.count)
    return here


def test_without_an_accelerator_it_is_the_cpu(machine: SimpleNamespace) -> None:
    assert choose_device() == CPU
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_the_accelerator_is_chosen_where_there_is_one(machine: SimpleNamespace, kind: str) -> None:
    machine.accelerator, machine.count = torch.device(kind), 2
    assert choose_device() == torch.device(kind)
    assert choose_device("cpu") == CPU
    assert choose_device(f"{kind}:1") == torch.device(kind, 1)


@pytest.mark.parametrize("name", ["cuda:2", "mps", "cpu:1", "gpu", "", "cuda:x"])
def test_a_device_that_is_not_there_is_refused_by_name(machine: SimpleNamespace, name: str) -> None:
    machine.accelerator, machine.count = torch.device("cuda"), 2
    with pytest.raises(ValueError, match=f"{name!r}"):
        choose_device(name)


def test_the_budget_leaves_a_tenth_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10 * 2**30))
    assert memory_budget(CPU) == 9 * 2**30
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda device: (10 * 2**30, 16 * 2**30))
    assert memory_budget(torch.device("cuda")) == 9 * 2**30
