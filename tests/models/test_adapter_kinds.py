"""Every kind of adapter, in the files that PEFT, diffusers and LyCORIS write today, against what these libraries compute."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.adapter_names import normalized
from models.adapters import Adapter, read_adapter
from models.checkpoint import Weights, read_header
from models.diffusers_names import diffusers_name
from models.precision import Precision
from models.residency import Residency
from models.types import Model
from models.weights import CheckpointError
from tests.tiny_checkpoint import tiny_unet, write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

LINEAR = ("attn1.to_q", "attn2.to_out.0", "ff.net.2")
CONV = ("resnets.0.conv1", "attentions.0.proj_in")
NORM = ("resnets.0.norm1", "transformer_blocks.0.norm2")


class Layers(nn.Module):
    """The layers of a U-Net by diffusers' names, nothing that connects them."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        for own, module in unet.named_modules():
            if hasattr(module, "weight"):
                *path, name = diffusers_name(own, 1).split(".")
                place: nn.Module = self
                for step in path:
                    if step not in dict(place.named_children()):
                        place.add_module(step, nn.Module())
                    place = place.get_submodule(step)
                place.add_module(name, copy.deepcopy(module).requires_grad_(True))


@pytest.fixture
def layers() -> Layers:
    return Layers(tiny_unet())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return read_header(write_tiny_checkpoint(tmp_path_factory.mktemp("w") / "w.safetensors", dtype=torch.float32))


def ends(names: tuple[str, ...]) -> str:
    """PEFT's pattern for layers whose names end so."""
    return ".*(" + "|".join(names) + ")"


def randomized(tensors: Iterator[tuple[str, Tensor]], spread: float = 0.2) -> None:
    """Give every tensor of an adapter numbers, so that all of them show."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in sorted(tensors):
        around = tensor if any(word in name for word in ("magnitude", "dora_scale", "rescale")) else 0.0
        with torch.no_grad():
            tensor.copy_(around + spread * torch.randn(tensor.shape, generator=generator))


def assert_same(
    weights: Weights, file: Path, theirs: Mapping[str, Callable[[Tensor], Tensor]], within: float = 1e-5
) -> int:
    """Our network with the file, layer by layer, against what theirs gives on random input. Returns how many changed."""
    adapter = Adapter(read_adapter(file), "a", 1.0)
    assert adapter.opened.unused(adapter.opened.used_by(weights.shapes("model"), "model")) == []
    plain = Model(weights, "w")
    place, changed = Residency(torch.device("cpu"), Precision(), 2**40), 0
    with place.use(Model(weights, "w", (adapter,))) as ours, place.use(plain) as base, torch.no_grad():
        for own, layer in ours.named_modules():
            if hasattr(layer, "weight"):
                x = inputs_of(layer)
                before, expected = base.get_submodule(own)(x), theirs[normalized(diffusers_name(own, 1))](x)
                error = (layer(x) - expected).norm() / expected.norm()
                assert error <= within, (own, error)
                changed += not torch.equal(layer(x), before)
    assert changed == len(
        {part.target.rpartition(".")[0] for part in adapter.opened.parts(weights.shapes("model"), "model")}
    )
    return changed


def inputs_of(layer: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    match layer:
        case nn.Conv2d():
            shape: tuple[int, ...] = (2, layer.in_channels, 5, 5)
        case nn.GroupNorm():
            shape = (2, layer.num_channels, 5, 5)
        case _:
            shape = (3, layer.weight.shape[-1])
    return torch.randn(shape, generator=generator)


# --- PEFT -------------------------------------------------------------------------------------------------------------


def peft_configs() -> dict[str, Callable[[], Any]]:
    import peft

    both, linear = ends(LINEAR + CONV), ends(LINEAR)
    return {
        "lora": lambda: peft.LoraConfig(r=3, lora_alpha=6, target_modules=both),
        "rank-stabilized": lambda: peft.LoraConfig(r=4, lora_alpha=3, target_modules=both, use_rslora=True),
        "patterns": lambda: peft.LoraConfig(
            r=3,
            lora_alpha=6,
            target_modules=both,
            rank_pattern={"to_q": 2},
            alpha_pattern={"attn1.to_q": 1, "up_blocks.*conv1": 9},
        ),
        "dora": lambda: peft.LoraConfig(r=3, lora_alpha=6, target_modules=both, use_dora=True),
        "lora-bias": lambda: peft.LoraConfig(r=3, lora_alpha=3, target_modules=ends(LINEAR[1:]), lora_bias=True),
        "saved-whole": lambda: peft.LoraConfig(r=3, target_modules=linear, modules_to_save=["proj_in", "norm2"]),
        "bias-trained": lambda: peft.LoraConfig(r=3, target_modules=linear, bias="lora_only"),
        "loha": lambda: peft.LoHaConfig(r=3, alpha=6, target_modules=both),
        "loha-tucker": lambda: peft.LoHaConfig(r=3, alpha=6, target_modules=both, use_effective_conv2d=True),
        "lokr": lambda: peft.LoKrConfig(r=3, alpha=6, target_modules=both),
        "lokr-whole": lambda: peft.LoKrConfig(r=64, alpha=32, target_modules=both),
        "lokr-split": lambda: peft.LoKrConfig(
            r=1, alpha=6, target_modules=both, decompose_both=True, decompose_factor=4, use_effective_conv2d=True
        ),
        "oft": lambda: peft.OFTConfig(r=0, oft_block_size=4, target_modules=linear, use_cayley_neumann=False),
        "oft-series": lambda: peft.OFTConfig(r=0, oft_block_size=4, target_modules=linear),
        "oft-shared": lambda: peft.OFTConfig(r=0, oft_block_size=4, target_modules=linear, block_share=True),
        "boft": lambda: peft.BOFTConfig(boft_block_size=4, target_modules=linear),
        "hra": lambda: peft.HRAConfig(r=2, target_modules=linear),
        "hra-orthogonal": lambda: peft.HRAConfig(r=2, target_modules=linear, apply_GS=True),
        "ia3": lambda: peft.IA3Config(target_modules=both, feedforward_modules=ends(LINEAR[2:])),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", sorted(peft_configs()))
def test_files_of_peft(weights: Weights, layers: Layers, tmp_path: Path, kind: str) -> None:
    import peft

    model = peft.get_peft_model(layers, peft_configs()[kind]())
    adapted = [(n, t) for n, t in model.named_parameters() if t.requires_grad]
    randomized(iter(adapted), 0.05 if "oft" in kind else 0.2)
    model.save_pretrained(str(tmp_path))
    names = {normalized(name): module for name, module in layers.named_modules() if hasattr(module, "weight")}
    model.eval()
    assert assert_same(weights, tmp_path / "adapter_model.safetensors", names) > 3


# --- LyCORIS ----------------------------------------------------------------------------------------------------------

LYCORIS: dict[str, dict[str, Any]] = {
    "locon": {"algo": "lora"},
    "locon-tucker": {"algo": "lora", "use_tucker": True},
    "locon-rank-stabilized": {"algo": "lora", "rs_lora": True},
    "locon-trained-scalar": {"algo": "lora", "use_scalar": True},
    "dora": {"algo": "lora", "weight_decompose": True},
    "dora-by-columns": {"algo": "lora", "weight_decompose": True, "wd_on_output": False},
    "loha": {"algo": "loha"},
    "loha-tucker": {"algo": "loha", "use_tucker": True},
    "loha-dora": {"algo": "loha", "weight_decompose": True},
    "lokr": {"algo": "lokr", "factor": 4},
    "lokr-tucker": {"algo": "lokr", "factor": 4, "use_tucker": True, "linear_dim": 1, "conv_dim": 1},
    "lokr-split": {"algo": "lokr", "factor": 4, "decompose_both": True, "linear_dim": 1, "conv_dim": 1},
    "lokr-whole": {"algo": "lokr", "factor": 4, "full_matrix": True},
    "lokr-dora": {"algo": "lokr", "factor": 4, "weight_decompose": True},
    "glora": {"algo": "glora"},
    "glora-tucker": {"algo": "glora", "use_tucker": True},
    "ia3": {"algo": "ia3"},
    "ia3-on-input": {"algo": "ia3", "train_on_input": True},
    "full": {"algo": "full"},
    "norms": {"algo": "lora", "train_norm": True},
    "oft": {"algo": "diag-oft"},
    "oft-constrained": {"algo": "diag-oft", "constraint": 0.001},
    "oft-rescaled": {"algo": "diag-oft", "rescaled": True},
    "boft": {"algo": "boft", "linear_dim": 4, "conv_dim": 4},
    "boft-rescaled": {"algo": "boft", "rescaled": True, "linear_dim": 4, "conv_dim": 4},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", sorted(LYCORIS))
def test_files_of_lycoris(weights: Weights, layers: Layers, tmp_path: Path, kind: str) -> None:
    from lycoris import LycorisNetwork, create_lycoris

    options = {"linear_dim": 2, "conv_dim": 2, "linear_alpha": 3, "conv_alpha": 3, **LYCORIS[kind]}
    LycorisNetwork.apply_preset({"target_name": [".*"], "enable_conv": True})
    network = create_lycoris(layers, 1.0, warn_on_unmatched=False, **options)
    names = {normalized(name): module for name, module in layers.named_modules() if hasattr(module, "weight")}
    network.apply_to()
    randomized(network.named_parameters(), 0.05 if "oft" in kind else 0.2)
    network.eval()
    network.save_weights(str(tmp_path / "a.safetensors"), None, {})
    assert assert_same(weights, tmp_path / "a.safetensors", names) > 10


# --- diffusers --------------------------------------------------------------------------------------------------------


def test_what_diffusers_says_in_the_header_counts(weights: Weights, tmp_path: Path) -> None:
    """`save_lora_weights` keeps alpha, its patterns and rslora in the header only, for each network under its prefix."""
    from diffusers import StableDiffusionPipeline

    query, conv = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.resnets.0.conv1"
    tensors = {}
    for name, width in ((query, 32), (conv, 32 * 9)):
        tensors[f"{name}.lora_A.weight"] = torch.randn(4, width)
        tensors[f"{name}.lora_B.weight"] = torch.randn(32, 4)
    text = {
        f"text_model.encoder.layers.0.mlp.fc1.lora_{s}.weight": torch.ones(n)
        for s, n in (("A", (1, 8)), ("B", (16, 1)))
    }
    said = {"lora_alpha": 16, "r": 4, "use_rslora": True, "alpha_pattern": {"resnets.0.conv1": 2}, "rank_pattern": {}}
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        tensors,
        text,
        unet_lora_adapter_metadata=said,
        text_encoder_lora_adapter_metadata={"lora_alpha": 3, "r": 1},
    )
    adapter = Adapter(read_adapter(tmp_path / "pytorch_lora_weights.safetensors"), "a", 1.0)
    scales = {}
    for name, own in ((query, "middle_block.1.transformer_blocks.0.attn1.to_q"), (conv, "middle_block.0.in_layers.2")):
        change = adapter.changes(weights.shapes("model"), "model")[own + ".weight"]
        delta = (tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]).flatten()
        scales[name] = (change(torch.zeros(weights.shapes("model")[own + ".weight"])).flatten() / delta).median().item()
    assert scales == {query: pytest.approx(16 / 2), conv: pytest.approx(2 / 2)}
    shapes = weights.shapes("clip")
    change = adapter.changes(shapes, "clip")["text_model.encoder.layers.0.mlp.fc1.weight"]
    assert torch.equal(change(torch.zeros(16, 8)), torch.full((16, 8), 3.0))


def test_a_damaged_note_in_the_header_is_an_error(tmp_path: Path) -> None:
    for text in ("{", "[]", '"' + "["):
        save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"lora_adapter_metadata": text})
        with pytest.raises(CheckpointError, match=r"a\.safetensors's header is damaged"):
            read_adapter(tmp_path / "a.safetensors")


# --- strength ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.3, -1.5])
def test_strength_is_how_far_a_weight_goes(weights: Weights, tmp_path: Path, strength: float) -> None:
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{name}.lora_A.weight": torch.randn(4, 32), f"{name}.lora_B.weight": torch.randn(32, 4)}
    save_file(tensors | {f"{name}.lora_magnitude_vector": torch.rand(32)}, tmp_path / "a.safetensors")
    file = read_adapter(tmp_path / "a.safetensors")
    own, weight = "middle_block.1.transformer_blocks.0.attn1.to_q.weight", torch.randn(32, 32)
    whole, part = (
        Adapter(file, "a", s).changes(weights.shapes("model"), "model")[own](weight) for s in (1.0, strength)
    )
    torch.testing.assert_close(part, weight + strength * (whole - weight))


def test_blocks_have_factors_of_their_own(weights: Weights, tmp_path: Path) -> None:
    query, conv = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q", "lora_unet_conv_out"
    save_file(
        {f"{query}.diff": torch.ones(32, 32), f"{conv}.diff": torch.ones(4, 16, 3, 3)}, tmp_path / "a.safetensors"
    )
    adapter = Adapter(
        read_adapter(tmp_path / "a.safetensors"), "a", 2.0, (("", 1.0), ("middle_block", 0.25), ("out", 0.0))
    )
    changes = adapter.changes(weights.shapes("model"), "model")
    assert list(changes) == ["middle_block.1.transformer_blocks.0.attn1.to_q.weight"]  # the other is not even loaded
    [change] = changes.values()
    assert torch.equal(change(torch.zeros(32, 32)), torch.full((32, 32), 0.5))


def test_taken_away_the_weights_are_the_same_to_the_bit(weights: Weights, tmp_path: Path) -> None:
    save_file({"lora_unet_conv_out.diff": torch.ones(4, 16, 3, 3)}, tmp_path / "a.safetensors")
    adapter = Adapter(read_adapter(tmp_path / "a.safetensors"), "a", 1e4)
    place = Residency(torch.device("cpu"), Precision(), 2**40)
    with place.use(Model(weights, "w")) as unet:
        before = {name: tensor.clone() for name, tensor in unet.named_parameters()}
    with place.use(Model(weights, "w", (adapter,))):
        pass
    with place.use(Model(weights, "w")) as unet:
        assert all(torch.equal(tensor, before[name]) for name, tensor in unet.named_parameters())
