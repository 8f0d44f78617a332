"""Adapters of every kind on SDXL's layers, in the names that trainers use for it, against what LyCORIS and PEFT compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.adapter_names import normalized, taken_apart
from models.adapters import Adapter, read_adapter
from models.checkpoint import Weights, read_header
from models.diffusers_names import diffusers_name
from models.family import Tower
from models.precision import Precision
from models.residency import Residency
from models.types import TEXT_TOWERS
from models.unet import UNet
from tests.models.oracles import relative_error
from tests.models.test_adapter_kinds import LYCORIS, Layers, assert_same, randomized
from tests.models.test_families import padded, theirs
from tests.tiny_checkpoint import CLIP
from tests.tiny_families import UNETS, G, family_state, write_family

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]

KINDS = ("locon-tucker", "dora", "loha", "loha-dora", "lokr", "lokr-whole", "glora", "full", "norms", "oft", "boft")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    path = tmp_path_factory.mktemp("xl") / "xl.safetensors"
    return read_header(write_family(path, "xl", dtype=torch.float32))


@pytest.fixture
def layers() -> Layers:
    unet = UNet(UNETS["xl"])
    state = family_state("xl")
    unet.load_state_dict({name: state[f"model.diffusion_model.{name}"] for name in unet.state_dict()})
    return Layers(unet)


def trained(network: nn.Module, kind: str, path: Path) -> dict[str, Tensor]:
    """Have LyCORIS adapt a network; gives what it writes."""
    from lycoris import LycorisNetwork, create_lycoris

    options = {"linear_dim": 2, "conv_dim": 2, "linear_alpha": 3, "conv_alpha": 3, **LYCORIS[kind]}
    LycorisNetwork.apply_preset({"target_name": [".*"], "enable_conv": True})
    made = create_lycoris(network, 1.0, warn_on_unmatched=False, **options)
    made.apply_to()
    randomized(made.named_parameters(), 0.05 if "oft" in kind else 0.2)
    made.eval()
    made.save_weights(str(path), None, {})
    return load_file(path)


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_lycoris_in_the_names_of_diffusers_and_of_the_checkpoint(
    weights: Weights, layers: Layers, tmp_path: Path, kind: str
) -> None:
    names = {normalized(name): module for name, module in layers.named_modules() if hasattr(module, "weight")}
    state = trained(layers, kind, tmp_path / "a.safetensors")
    changed = assert_same(weights, tmp_path / "a.safetensors", names)
    assert changed > 20

    own = {normalized(diffusers_name(name, 1)): name for name in owned(weights)}
    renamed = {}
    for name, tensor in state.items():
        stem, field = taken_apart(name)
        assert field
        layer = own[normalized(stem)]
        renamed[f"lora_unet_{layer.replace('.', '_')}{name.removeprefix(stem)}"] = tensor
    assert any(name.startswith("lora_unet_label_emb_0_0") for name in renamed) or kind == "norms"
    save_file(renamed, tmp_path / "b.safetensors")
    assert assert_same(weights, tmp_path / "b.safetensors", names) == changed


def owned(weights: Weights) -> list[str]:
    return [name.removesuffix(".weight") for name in weights.shapes("model") if name.endswith(".weight")]


@pytest.mark.parametrize("kind", ["loha", "lokr", "dora"])
def test_files_of_lycoris_for_both_towers(weights: Weights, tmp_path: Path, kind: str) -> None:
    """Of each, the layer before the last, as SDXL reads it."""
    state, written = family_state("xl"), dict[str, Tensor]()
    first = theirs(type(G)(CLIP.width, 3, CLIP.intermediate), state, "conditioner.embedders.0.transformer.")
    second = theirs(G, state, "conditioner.embedders.1.model.")
    towers: list[tuple[Tower, Any, str, int]] = [("clip", first, "lora_te1", 49407), ("clip_g", second, "lora_te2", 0)]
    for _, network, prefix, _ in towers:
        made = trained(network.text_model.encoder, kind, tmp_path / f"{prefix}.safetensors")
        written |= {name.replace("lycoris_", f"{prefix}_text_model_encoder_"): x for name, x in made.items()}
    save_file(written, tmp_path / "style.safetensors")
    adapter = Adapter(read_adapter(tmp_path / "style.safetensors"), "a", 1.0)
    used = [adapter.opened.used_by(weights.shapes(part), part) for part, *_ in towers]
    assert adapter.opened.unused(*used) == []
    place = Residency(torch.device("cpu"), Precision(), 2**40)
    for part, network, _, padding in towers:
        ids = padded("a fox", padding)
        handle = TEXT_TOWERS[part](weights, "w", (adapter,))
        with torch.inference_mode(), place.use(handle) as ours:
            found, _ = ours.encode_until(ours.embed(ids), -2, normed=False)
            assert relative_error(found, network(ids, output_hidden_states=True).hidden_states[-2]) <= 1e-5


def test_a_lora_of_peft_on_the_unet(weights: Weights, layers: Layers, tmp_path: Path) -> None:
    import peft

    config = peft.LoraConfig(
        r=3, lora_alpha=6, use_dora=True, target_modules=".*(attn1.to_q|ff.net.2|proj_in|linear_1)"
    )
    model = peft.get_peft_model(layers, config)
    randomized(iter([(name, x) for name, x in model.named_parameters() if x.requires_grad]))
    model.save_pretrained(str(tmp_path))
    names = {normalized(name): module for name, module in layers.named_modules() if hasattr(module, "weight")}
    model.eval()
    assert assert_same(weights, tmp_path / "adapter_model.safetensors", names) > 10
