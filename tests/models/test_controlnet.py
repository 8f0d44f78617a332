"""Control networks against diffusers' ControlNetModel with the same weights, in both layouts of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.checkpoint import CheckpointError, load_part, read_header
from models.config import UNetConfig
from models.controlnet import ControlNet, ControlNetUnion, control, control_config, hint_widths
from models.reading import Reading, Residuals
from models.sinusoids import timestep_embedding
from tests.models.oracles import SINUSOIDS, randomized, relative_error
from tests.models.steering_peers import HINT_WIDTHS, diffusers_controlnet, narrow_controlnet

CONFIG = UNetConfig(model_channels=32, context_dim=24)
T = torch.tensor([999.0, 321.0])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, CONTEXT, HINT = normal(2, 4, 9, 16), normal(2, 77, 24, seed=1), normal(2, 3, 72, 128, seed=2).sigmoid()


@pytest.fixture(scope="module")
def network() -> ControlNet:
    return narrow_controlnet(CONFIG)


@pytest.fixture(scope="module")
def theirs(network: ControlNet) -> Any:
    return diffusers_controlnet(network.state_dict(), CONFIG)


def answers(network: ControlNet) -> Residuals:
    with torch.inference_mode():
        return control(network, network, X, T, network.input_hint_block(HINT), Reading(CONTEXT))


def test_the_answer_is_diffusers(network: ControlNet, theirs: Any) -> None:
    found = answers(network)
    with torch.inference_mode():
        skips, middle = theirs(X, T, CONTEXT, controlnet_cond=HINT, return_dict=False)
    assert len(found.skips) == len(skips) == 12 and not found.inputs
    for ours, expected in zip((*found.skips, found.middle), (*skips, middle), strict=True):
        assert ours is not None and relative_error(ours, expected) < 1e-5


POOLED = 16
XL = UNetConfig(4, 4, 32, (1, 2, 4), 2, (0, 1, 2), 2, 40, linear=True, vector_dim=POOLED + 6 * SINUSOIDS)


@pytest.mark.parametrize("layout", ["published", "diffusers"])
def test_one_for_sdxl_reads_the_vector_too(layout: str, tmp_path: Path) -> None:
    ours = narrow_controlnet(XL)
    peer: Any = diffusers_controlnet(ours.state_dict(), XL)
    state = (ours if layout == "published" else peer).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "c.safetensors")
    weights = read_header(tmp_path / "c.safetensors")
    assert weights.parts() == {"controlnet"} and weights.unused() == []
    loaded = load_part(weights, "controlnet", dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(loaded, ControlNet) and replace(loaded.config, out_channels=4) == XL
    context, pooled, sizes = normal(2, 77, 40, seed=3), normal(2, POOLED, seed=4), torch.full((2, 6), 64.0)
    vector = torch.cat([pooled, timestep_embedding(sizes.flatten(), SINUSOIDS).view(2, -1)], dim=1)
    with torch.inference_mode():
        found = control(loaded, loaded, X, T, loaded.input_hint_block(HINT), Reading(context, vector=vector))
        added = {"text_embeds": pooled, "time_ids": sizes}
        skips, middle = peer(X, T, context, controlnet_cond=HINT, added_cond_kwargs=added, return_dict=False)
    for one, other in zip((*found.skips, found.middle), (*skips, middle), strict=True):
        assert one is not None and relative_error(one, other) < 1e-5


def test_the_published_shapes_are_read_from_the_weights(network: ControlNet) -> None:
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    assert replace(control_config(shapes), out_channels=4) == CONFIG
    assert hint_widths(shapes) == (*HINT_WIDTHS, 32)
    with torch.device("meta"):
        full = ControlNet(UNetConfig(), (*HINT_WIDTHS, 320))
    assert sum(p.numel() for p in full.parameters()) == 361_279_120  # of lllyasviel's files
    assert full.input_hint_block[14].weight.shape == (320, 256, 3, 3)


@pytest.mark.parametrize("layout", ["published", "with a whole checkpoint", "diffusers"])
def test_files_of_every_layout_are_read(network: ControlNet, theirs: Any, layout: str, tmp_path: Path) -> None:
    state = network.state_dict()
    if layout == "diffusers":
        state = theirs.state_dict()
    elif layout == "with a whole checkpoint":
        state = {f"control_model.{name}": tensor for name, tensor in state.items()}
        state["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, 4, 3, 3)
    save_file({name: tensor.half() for name, tensor in state.items()}, tmp_path / "c.safetensors")
    weights = read_header(tmp_path / "c.safetensors")
    assert weights.parts() - {"model"} == {"controlnet"}
    assert not weights.unused() or layout == "with a whole checkpoint"
    loaded = load_part(weights, "controlnet", dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(loaded, ControlNet)
    expected = {name: tensor.half().float() for name, tensor in network.state_dict().items()}
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_a_damaged_file_is_told_by_name(network: ControlNet, tmp_path: Path) -> None:
    state = network.state_dict()
    del state["zero_convs.3.0.weight"]
    save_file(state, tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match=r"c\.safetensors lacks 1 tensor of its ControlNet: zero_convs\.3\.0"):
        load_part(read_header(tmp_path / "c.safetensors"), "controlnet", dtype=None, device=torch.device("cpu"))


@pytest.mark.parametrize("kind", [0, 3])
def test_a_network_for_several_kinds_of_pictures_is_diffusers(kind: int, tmp_path: Path) -> None:
    from diffusers import ControlNetUnionModel

    theirs = ControlNetUnionModel(
        block_out_channels=(32, 64), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), layers_per_block=1,
        cross_attention_dim=24, norm_num_groups=8, attention_head_dim=8, addition_time_embed_dim=16, num_control_type=4,
        num_trans_channel=32, num_proj_channel=32, num_trans_layer=2, conditioning_embedding_out_channels=(8, 8, 16, 16),
    ).eval()  # fmt: skip
    randomized(theirs)
    for layer in theirs.transformer_layes:
        layer.attn.batch_first = True  # as it is, it looks across the items of a batch, and not from hint to latent
    for module in theirs.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = min(32, module.num_channels // 4)
    save_file(
        {name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}, tmp_path / "union.safetensors"
    )
    weights = read_header(tmp_path / "union.safetensors")
    assert weights.parts() == {"controlnet"} and not weights.unused()
    ours = load_part(weights, "controlnet", dtype=None, device=torch.device("cpu"))
    assert isinstance(ours, ControlNetUnion)
    flags = torch.zeros(2, 4)
    flags[:, kind] = 1
    with torch.inference_mode():
        found = control(ours, ours, X, T, ours.input_hint_block(HINT), Reading(CONTEXT), kinds=(kind,))
        skips, middle = theirs(
            X, T, CONTEXT, controlnet_cond=[HINT], control_type=flags, control_type_idx=[kind],
            conditioning_scale=[1.0], return_dict=False,
        )  # fmt: skip
    for one, expected in zip((*found.skips, found.middle), (*skips, middle), strict=True):
        assert one is not None and relative_error(one, expected) < 1e-5
    with torch.inference_mode():
        other = control(ours, ours, X, T, ours.input_hint_block(HINT), Reading(CONTEXT), kinds=())
    assert other.middle is not None and relative_error(other.middle, middle) > 1e-3
