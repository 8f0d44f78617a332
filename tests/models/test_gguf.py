"""GGUF files: numbers as GGML's own package reads them, networks that keep them as they are stored, and damaged files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.torch import save_file
from torch import Tensor, nn

from models.adapters import Adapter, read_adapter
from models.checkpoint import CheckpointError, read_header
from models.config import ClipConfig, UNetConfig
from models.ggml_blocks import BLOCKS, expanded
from models.packed import can_pack
from models.precision import Precision
from models.reading import Reading
from models.residency import Residency
from models.saving import single_network
from models.streaming import Streamed
from models.types import TEXT_TOWERS, Model
from models.unet import UNet
from models.weights import TensorFile, read_table, read_tensors
from tests.gguf_files import kinds, some_blocks, write_gguf
from tests.tiny_checkpoint import randomly
from tests.tiny_families import open_clip_state

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
MUCH = 2**40
PACKING = [False, pytest.param(True, marks=pytest.mark.skipif(not can_pack(), reason="no packing here"))]
NARROW = UNetConfig(
    model_channels=64, channel_mult=(1, 4), num_res_blocks=1, transformer_depth=(0, 1), middle_depth=1, context_dim=256
)
"""Wide enough for rows of 256."""


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    unet = randomly(lambda: UNet(NARROW), 0)
    return {"model.diffusion_model." + name: tensor for name, tensor in unet.state_dict().items()}


def called(place: Residency, wanted: Model) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x, context = (torch.randn(shape, generator=generator) for shape in ((2, 4, 8, 6), (2, 77, 256)))
    with torch.inference_mode(), place.use(wanted) as network:
        network(x, torch.tensor([500.0, 3.0]), Reading(context))
        made: Tensor = network(x, torch.tensor([500.0, 3.0]), Reading(context))
    return made


def model(path: Path, *patches: Adapter) -> Model:
    return Model(read_header(path), path.name, patches)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=lambda block: block.name)
def test_blocks_stand_for_the_same_numbers_to_the_bit(block) -> None:  # type: ignore[no-untyped-def]
    stored = some_blocks(block.name, 3000)
    expected = torch.from_numpy(dequantize(stored, GGMLQuantizationType[block.name])).flatten()
    assert torch.equal(expanded(torch.from_numpy(stored).flatten(), block, torch.float32), expected)
    assert torch.equal(expanded(torch.from_numpy(stored).flatten(), block, torch.bfloat16), expected.bfloat16())


@pytest.mark.parametrize("packing", PACKING)
@pytest.mark.parametrize(
    ("linear", "kept"),
    [
        *((kind, torch.float32) for kind in ("Q8_0", "Q5_K", "Q4_K", "Q6_K", "Q4_0", "Q5_1", "F16", "BF16", "F32")),
        ("Q8_0", torch.float16),
    ],
)
def test_a_unet_computes_what_it_does_with_the_same_weights_in_full(
    linear: str, kept: torch.dtype, packing: bool, state: dict[str, Tensor], tmp_path: Path
) -> None:
    meant = write_gguf(tmp_path / "small.gguf", state, kinds(linear))
    save_file(
        {name: torch.from_numpy(numbers.copy()) for name, numbers in meant.items()}, tmp_path / "full.safetensors"
    )
    small, full, streamed = (Residency(CPU, Precision(kept), MUCH, packing) for _ in range(3))
    assert torch.equal(
        called(small, model(tmp_path / "small.gguf")), called(full, model(tmp_path / "full.safetensors"))
    )
    with streamed.use(model(tmp_path / "small.gguf"), streamed=True):
        assert streamed.resident_bytes < full.resident_bytes
    assert torch.equal(
        called(streamed, model(tmp_path / "small.gguf")), called(full, model(tmp_path / "full.safetensors"))
    )


def test_names_as_diffusers_has_them_are_the_same_network(state: dict[str, Tensor], tmp_path: Path) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    config = {"layers_per_block": NARROW.num_res_blocks, "class_embed_type": None, "addition_embed_type": None}
    theirs = convert_ldm_unet_checkpoint(dict(state), config)
    meant = write_gguf(tmp_path / "small.gguf", {name: it.contiguous() for name, it in theirs.items()}, kinds("Q8_0"))
    full = {name: torch.from_numpy(numbers.copy()) for name, numbers in meant.items()}
    save_file(full, tmp_path / "full.safetensors")
    found = [
        called(Residency(CPU, Precision(), MUCH), model(tmp_path / it)) for it in ("small.gguf", "full.safetensors")
    ]
    assert torch.equal(*found)


def test_what_is_loaded_takes_as_much_as_it_does_in_the_file(state: dict[str, Tensor], tmp_path: Path) -> None:
    """Flattened convolutions are quantised too and have their shapes again; Q8_0 is 34 bytes for 32 numbers."""
    meant = write_gguf(tmp_path / "small.gguf", state, kinds("Q8_0"), flat=True)
    save_file(
        {name: torch.from_numpy(numbers.copy()) for name, numbers in meant.items()}, tmp_path / "full.safetensors"
    )
    small, full = Residency(CPU, Precision(), MUCH), Residency(CPU, Precision(), MUCH)
    with full.use(model(tmp_path / "full.safetensors")), small.use(model(tmp_path / "small.gguf")) as network:
        layers = [layer for layer in network.modules() if isinstance(layer, Streamed)]
        passing = 2 * max(layer.weight.numel() * 4 for layer in layers)
        assert small.resident_bytes - passing < 0.3 * full.resident_bytes
        assert sum(layer.held_bytes for layer in layers) < 0.28 * full.resident_bytes
    assert torch.equal(
        called(small, model(tmp_path / "small.gguf")), called(full, model(tmp_path / "full.safetensors"))
    )


@pytest.mark.parametrize("packing", PACKING)
def test_a_lora_changes_it_and_is_taken_off_to_the_bit(packing: bool, state: dict[str, Tensor], tmp_path: Path) -> None:
    meant = write_gguf(tmp_path / "small.gguf", state, kinds("Q8_0"))
    save_file(
        {name: torch.from_numpy(numbers.copy()) for name, numbers in meant.items()}, tmp_path / "full.safetensors"
    )
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, tensor in state.items():
        if ".attn1." in name and tensor.ndim == 2:
            stem = name.removeprefix("model.").removesuffix(".weight")
            tensors[f"{stem}.lora_up.weight"] = torch.randn(len(tensor), 2, generator=generator)
            tensors[f"{stem}.lora_down.weight"] = 0.1 * torch.randn(2, tensor.shape[1], generator=generator)
    save_file(tensors, tmp_path / "style.safetensors")
    style = Adapter(read_adapter(tmp_path / "style.safetensors"), "lora", 0.8)
    small, full = Residency(CPU, Precision(), MUCH, packing), Residency(CPU, Precision(), MUCH, packing)
    plain = called(small, model(tmp_path / "small.gguf"))
    changed = called(small, model(tmp_path / "small.gguf", style))
    assert torch.equal(changed, called(full, model(tmp_path / "full.safetensors", style)))
    assert not torch.equal(changed, plain)
    assert torch.equal(called(small, model(tmp_path / "small.gguf")), plain)


def test_a_text_tower_of_open_clip_is_read_in_pieces(tmp_path: Path) -> None:
    """Queries, keys and values are rows of one tensor, and the projection is stored transposed."""
    config = ClipConfig(width=64, layers=2, intermediate=128, activation="gelu", projection=64)
    written = open_clip_state(config, "conditioner.embedders.0.model.", 3)
    meant = write_gguf(tmp_path / "g.gguf", written, kinds("Q8_0"))
    assert kinds("Q8_0")("text_projection", written["conditioner.embedders.0.model.text_projection"]) == "Q8_0"
    save_file({name: torch.from_numpy(numbers.copy()) for name, numbers in meant.items()}, tmp_path / "g.safetensors")
    found = []
    for name in ("g.gguf", "g.safetensors"):
        tower = TEXT_TOWERS["clip_g"](read_header(tmp_path / name), name)
        with torch.inference_mode(), Residency(CPU, Precision(), MUCH).use(tower) as network:
            found.append(network(torch.arange(77)[None]))
    assert all(torch.equal(a, b) for a, b in zip(*(_tensors(one) for one in found), strict=True))


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for one in value for tensor in _tensors(one)] if isinstance(value, tuple | list) else []


def test_it_is_saved_in_sixteen_bits(state: dict[str, Tensor], tmp_path: Path) -> None:
    meant = write_gguf(tmp_path / "small.gguf", state, kinds("Q8_0"))
    entries = single_network(model(tmp_path / "small.gguf"))
    name = next(name for name in entries if name.endswith("attn1.to_q.weight"))
    assert entries[name].dtype == torch.float16
    assert torch.equal(entries[name].make(), torch.from_numpy(meant[name].copy()))


def damaged(change: Callable[[bytearray], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        buffer = bytearray(content)
        change(buffer)
        return bytes(buffer)

    return changed


def header(*pieces: bytes, tensors: int = 0, entries: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + b"".join(pieces)


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def tensor(kind: int, *sizes: int, offset: int = 0) -> bytes:
    return text(b"x") + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"GGUF", "is truncated: it ends inside its GGUF header"),
        (header()[:20], "is truncated: it ends inside its GGUF header"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "is a GGUF file of version 1,"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is a GGUF file of version 50331648, or of another byte order"),
        (header(tensors=2**63), "it would have 9223372036854775808 tensors"),
        (header(entries=2**40), "it would have 1099511627776 entries"),
        (header(struct.pack("<Q", 2**62), entries=1), "is truncated: it ends inside its GGUF header"),
        (
            header(text(b"a"), struct.pack("<IIQ", 9, 0, 2**62), entries=1),
            "is truncated: it ends inside its GGUF header",
        ),
        (header(text(b"a"), struct.pack("<IIQ", 9, 8, 2**62), entries=1), "it would have 4611686018427387904 values"),
        (header(text(b"a"), struct.pack("<I", 99), entries=1), "it has an entry of kind 99"),
        (
            header(text(b"a"), struct.pack("<I", 9), struct.pack("<IQ", 9, 1) * 20, entries=1),
            "it has an entry of kind 9",
        ),
        (header(tensor(99, 32), tensors=1), r"a kind of numbers that is not read (x: GGML's type 99)"),
        (header(tensor(8, 31), tensors=1), "are not whole blocks of 32"),
        (header(tensor(8, 32, 2**60), tensors=1), "is truncated: its tensors need"),
        (header(tensor(0, 32, 2), tensor(0, 2), tensors=2), "two tensors are called x"),
        (header(text(b"x"), struct.pack("<I", 2**31), tensors=1), "would have 2147483648 dimensions"),
        (header(tensor(0, 32, offset=2**63), tensors=1), "is truncated: its tensors need"),
    ],
)
def test_a_damaged_file_is_told_at_once(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(CheckpointError) as raised:
        read_table(tmp_path / "bad.gguf")
    assert told in str(raised.value) and str(raised.value).startswith("bad.gguf ")


def test_a_file_cut_off_anywhere_is_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    write_gguf(tmp_path / "whole.gguf", state, kinds("Q8_0"), flat=True)
    content = (tmp_path / "whole.gguf").read_bytes()
    for length in (*range(4, 4000, 97), len(content) // 2, len(content) - 64):
        (tmp_path / "cut.gguf").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"cut\.gguf is truncated"):
            read_table(tmp_path / "cut.gguf")


def test_plain_numbers_are_read_as_such(tmp_path: Path) -> None:
    written = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1.5])}
    write_gguf(tmp_path / "plain.gguf", written, lambda name, _: "F32" if name == "a" else "BF16")
    table: TensorFile = read_table(tmp_path / "plain.gguf")
    assert table.metadata["general.architecture"] == "sd1"
    read = dict(read_tensors(table, ["a", "b"], dtype=None, device=CPU))
    assert torch.equal(read["a"], written["a"]) and torch.equal(read["b"], written["b"].bfloat16())
    assert isinstance(nn.Parameter(read["a"], requires_grad=False), Tensor)
