"""Networks that do not fit in memory read their weights at every call: the same results to the bit, and little is held."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.adapters import Adapter, read_adapter
from models.checkpoint import CheckpointError, Part, Weights, read_header
from models.packed import Packed, can_pack
from models.precision import Precision
from models.reading import Reading
from models.residency import OutOfMemory, Residency, network_bytes
from models.streaming import Streamed
from models.types import TEXT_TOWERS, Model, ModelHandle, Vae
from tests.tiny_families import XL_UNET, family_state, write_family

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
MUCH = 2**40
PACKING = [False, pytest.param(True, marks=pytest.mark.skipif(not can_pack(), reason="no packing here"))]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return read_header(write_family(tmp_path_factory.mktemp("xl") / "xl.safetensors", "xl"))


def handle(weights: Weights, part: Part, *patches: Adapter) -> ModelHandle[nn.Module]:
    if part == "model":
        return Model(weights, "a", patches)
    return Vae(weights, "a") if part == "vae" else TEXT_TOWERS[part](weights, "a", patches)  # type: ignore[index]


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def unet(network: nn.Module) -> Tensor:
    dtype = next(network.parameters()).dtype
    given = (drawn(2, 77, XL_UNET.context_dim), drawn(2, XL_UNET.vector_dim), drawn(2, 4, 8, 6))
    context, vector, x = (it.to(dtype) for it in given)
    made: Tensor = network(x, torch.tensor([500.0, 3.0]), Reading(context, vector=vector))
    return made


CALLS: dict[Part, Callable[[nn.Module], Tensor]] = {
    "model": unet,
    "clip": lambda network: network(torch.arange(77)[None]),
    "clip_g": lambda network: network(torch.arange(77)[None]),
    "vae": lambda network: network.decode(drawn(1, 4, 4, 6)),  # type: ignore[operator]
}


def result(place: Residency, wanted: ModelHandle[nn.Module], call: Callable[[nn.Module], Tensor]) -> Tensor:
    with torch.inference_mode(), place.use(wanted) as network:
        call(network)
        return call(network)


@pytest.mark.parametrize("part", CALLS)
@pytest.mark.parametrize("packing", PACKING)
def test_the_same_to_the_bit(weights: Weights, part: Part, packing: bool) -> None:
    whole, streamed = (Residency(CPU, Precision(), MUCH, packing) for _ in range(2))
    expected = result(whole, handle(weights, part), CALLS[part])
    with streamed.use(handle(weights, part), streamed=True):
        pass
    assert torch.equal(result(streamed, handle(weights, part), CALLS[part]), expected)
    assert streamed.resident_bytes < whole.resident_bytes


@pytest.mark.parametrize("packing", PACKING)
def test_what_does_not_fit_is_streamed_and_stays_within_the_budget(weights: Weights, packing: bool) -> None:
    whole = Residency(CPU, Precision(), MUCH, packing)
    expected = result(whole, handle(weights, "model"), unet)
    budget = whole.resident_bytes * 2 // 3
    small = Residency(CPU, Precision(), budget, packing)
    assert torch.equal(result(small, handle(weights, "model"), unet), expected)
    assert small.resident_bytes <= budget
    with small.use(handle(weights, "model")) as network:
        held = sum(p.untyped_storage().nbytes() for p in network.parameters())
    assert held <= budget < network_bytes(network)


def passes(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and "embedding." not in name


def _style(weights: Weights, folder: Path) -> Adapter:
    """An adapter of every Linear of the U-Net."""
    layers = {name.removesuffix(".weight"): shape for name, shape in weights.shapes("model").items() if len(shape) == 2}
    tensors: dict[str, Tensor] = {}
    for name, (outside, inside) in layers.items():
        tensors[f"diffusion_model.{name}.lora_up.weight"] = drawn(outside, 1)
        tensors[f"diffusion_model.{name}.lora_down.weight"] = 0.1 * drawn(1, inside)
    save_file(tensors, folder / "style.safetensors")
    return Adapter(read_adapter(folder / "style.safetensors"), "lora", 0.8)


HALF = Precision(torch.float16, torch.float16, torch.float16)
EIGHT = Precision(torch.int8, torch.float16)


@pytest.mark.parametrize("part", CALLS)
@pytest.mark.parametrize("packing", PACKING)
def test_float16_on_a_cpu_is_how_weights_are_kept_not_what_computes(
    weights: Weights, part: Part, packing: bool
) -> None:
    whole, half = Residency(CPU, Precision(), MUCH, packing), Residency(CPU, HALF, MUCH, packing)
    expected = result(whole, handle(weights, part), CALLS[part])
    made = result(half, handle(weights, part), CALLS[part])
    assert made.dtype == torch.float32
    assert torch.equal(made, expected), "the file has 16 bits"
    with half.use(handle(weights, part)) as network:
        held = sum(layer.held_bytes for layer in network.modules() if isinstance(layer, Packed | Streamed))
    wide = sum(4 * math.prod(shape) for name, shape in weights.shapes(part).items() if passes(name, shape))
    assert held == wide / 2
    assert half.resident_bytes < whole.resident_bytes


@pytest.mark.parametrize("packing", PACKING)
def test_weights_kept_in_16_bits_take_adapters_and_are_streamed_where_they_do_not_fit(
    weights: Weights, packing: bool, tmp_path: Path
) -> None:
    adapter = _style(weights, tmp_path)
    whole, half = Residency(CPU, Precision(), MUCH, packing), Residency(CPU, HALF, MUCH, packing)
    expected = result(whole, handle(weights, "model", adapter), unet)
    unchanged = result(half, handle(weights, "model"), unet)
    budget = half.resident_bytes - 1
    made = result(half, handle(weights, "model", adapter), unet)
    rounding = float((made - expected).norm() / expected.norm())
    assert 0 < rounding < 5e-3 < float((expected - unchanged).norm() / expected.norm())
    small = Residency(CPU, HALF, budget, packing)
    assert torch.equal(result(small, handle(weights, "model", adapter), unet), made)
    assert small.resident_bytes <= budget


@pytest.mark.parametrize("packing", PACKING)
def test_weights_kept_in_8_bits_take_a_quarter(weights: Weights, packing: bool) -> None:
    whole, eight = Residency(CPU, Precision(), MUCH, packing), Residency(CPU, EIGHT, MUCH, packing)
    expected = result(whole, handle(weights, "model"), unet)
    made = result(eight, handle(weights, "model"), unet)
    assert float((made - expected).norm() / expected.norm()) < 6e-2, "bfloat16 alone, in so narrow a network, 2.5e-2"
    with eight.use(handle(weights, "model")) as network:
        held = sum(layer.held_bytes for layer in network.modules() if isinstance(layer, Packed | Streamed))
    numbers = sum(math.prod(shape) for name, shape in weights.shapes("model").items() if passes(name, shape))
    assert numbers < held < 1.1 * numbers


@pytest.mark.parametrize("packing", PACKING)
def test_weights_kept_in_8_bits_take_adapters_and_are_streamed_where_they_do_not_fit(
    weights: Weights, packing: bool, tmp_path: Path
) -> None:
    adapter = _style(weights, tmp_path)
    eight = Residency(CPU, EIGHT, MUCH, packing)
    unchanged = result(eight, handle(weights, "model"), unet)
    budget = eight.resident_bytes - 1
    made = result(eight, handle(weights, "model", adapter), unet)
    assert not torch.equal(made, unchanged)
    small = Residency(CPU, EIGHT, budget, packing)
    assert torch.equal(result(small, handle(weights, "model", adapter), unet), made)
    assert small.resident_bytes <= budget
    exact = Residency(CPU, Precision(), MUCH)
    with exact.use(handle(weights, "model", adapter)) as network, eight.use(handle(weights, "model", adapter)) as other:
        for name, layer in other.named_modules():
            if isinstance(layer, Packed | Streamed):
                weight = network.get_parameter(f"{name}.weight")
                assert layer._read is not None
                assert float((layer._read().float() - weight).norm() / weight.norm()) < 1e-2


def test_text_encoders_leave_before_a_unet_is_streamed_for_want_of_room(weights: Weights) -> None:
    sizes = {}
    for part in ("clip_g", "model"):
        place = Residency(CPU, Precision(), MUCH)
        with place.use(handle(weights, part)):
            sizes[part] = place.resident_bytes
    place = Residency(CPU, Precision(), sizes["model"] + sizes["clip_g"] - 1)
    with place.use(handle(weights, "clip_g")):
        pass
    with place.use(handle(weights, "model")):
        assert place.resident_bytes == sizes["model"]


@pytest.mark.parametrize("packing", PACKING)
def test_adapters_count_in_streamed_weights(weights: Weights, packing: bool, tmp_path: Path) -> None:
    adapter = _style(weights, tmp_path)
    whole, plain = (Residency(CPU, Precision(), MUCH, packing) for _ in range(2))
    expected = result(whole, handle(weights, "model", adapter), unet)
    unchanged = result(plain, handle(weights, "model"), unet)
    small = Residency(CPU, Precision(), plain.resident_bytes - 1, packing)
    assert torch.equal(result(small, handle(weights, "model", adapter), unet), expected)
    assert torch.equal(result(small, handle(weights, "model"), unet), unchanged)
    assert not torch.equal(expected, unchanged)


def test_weights_of_eight_bits_with_scales_are_streamed_too(tmp_path: Path) -> None:
    state = {}
    for name, tensor in family_state("xl").items():
        if name.startswith("model.diffusion_model.") and tensor.ndim == 2:
            state[name] = (tensor * 4).to(torch.float8_e4m3fn)
            state[name.removesuffix("weight") + "scale_weight"] = torch.tensor(0.25)
        else:
            state[name] = tensor.half().contiguous()
    save_file(state, tmp_path / "eight.safetensors")
    wanted = Model(read_header(tmp_path / "eight.safetensors"), "a")
    whole = Residency(CPU, Precision(), MUCH)
    expected = result(whole, wanted, unet)
    small = Residency(CPU, Precision(), whole.resident_bytes * 2 // 3)
    assert torch.equal(result(small, wanted, unet), expected)


def test_a_file_that_is_written_to_meanwhile_is_told(tmp_path: Path) -> None:
    path = write_family(tmp_path / "xl.safetensors", "xl")
    place, wanted = Residency(CPU, Precision(), MUCH), Model(read_header(path), "a")
    with (
        pytest.raises(CheckpointError, match=r"xl\.safetensors was changed"),
        place.use(wanted, streamed=True) as network,
    ):
        unet(network)
        with path.open("r+b") as file:
            file.truncate(10_000)
        unet(network)


def test_a_network_that_was_whole_is_streamed_when_that_is_asked_for(weights: Weights) -> None:
    place, wanted = Residency(CPU, Precision(), MUCH), handle(weights, "model")
    with place.use(wanted):
        whole = place.resident_bytes
    with place.use(wanted, streamed=True):
        assert place.resident_bytes < whole
    with place.use(wanted):
        assert place.resident_bytes < whole, "it is not loaded once more"


def test_what_does_not_fit_even_so_is_told(weights: Weights) -> None:
    with (
        pytest.raises(OutOfMemory, match="the weights need"),
        Residency(CPU, Precision(), 1000).use(handle(weights, "model")),
    ):
        pass


def test_the_file_lies_beside_what_is_read_of_it(weights: Weights) -> None:
    """A weight is read where the header says: no copy of the whole is made."""
    names = weights.names("model")
    stored = load_file(weights.path)
    with Residency(CPU, Precision(), MUCH).use(handle(weights, "model"), streamed=True) as network:
        layer = network.get_submodule("time_embed.0")
        assert torch.equal(layer._read(), stored[names["time_embed.0.weight"]].float())  # type: ignore[operator]
