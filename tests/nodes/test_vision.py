"""CLIP's eyes and T2I-Adapter's style model, against transformers and torch's own layers with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from graph.errors import InputError
from models.config import ContrastiveConfig, VisionConfig
from models.style_adapter import StyleAdapter, StyleConfig
from models.types import ClipVisionOutput, Cond, Conditioning, Image
from models.vision import CLIP_MEAN, CLIP_STD, ContrastiveModel, VisionModel, tower_config, vision_input
from nodes.vision import clip_vision_encode, clip_vision_loader, style_model_apply, style_model_loader
from tests.models.oracles import randomized, relative_error
from tests.models.vision_peers import transformers_vision
from tests.nodes.conftest import CHECKPOINT, Workplace

TOWER = VisionConfig(width=64, layers=3, intermediate=96, patch=8, grid=4, projection=32)
STYLE = StyleConfig(width=64, context=8, layers=2, tokens=5)
PICTURES = torch.rand(2, 40, 56, 4, generator=torch.Generator().manual_seed(1))


def build(network: type[nn.Module], config: object) -> Any:
    with torch.device("meta"):
        made = network(config)
    return randomized(made)


def stored(place: Workplace, folder: str, name: str, network: nn.Module) -> Any:
    path: Path = place.folders.roots(folder)[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), path)
    return place.file(folder, name)


def encoded(place: Workplace, crop: str = "center") -> ClipVisionOutput:
    file = stored(place, "clip_vision", "tower.safetensors", build(VisionModel, TOWER))
    tower = clip_vision_loader(place.ctx(), clip_name=file)
    made: ClipVisionOutput = clip_vision_encode(place.ctx(), clip_vision=tower, image=Image(PICTURES), crop=crop)
    return made


def test_what_clip_sees_is_what_transformers_sees(place: Workplace) -> None:
    seen = encoded(place).seen
    theirs = transformers_vision(build(VisionModel, TOWER))
    expected = theirs(vision_input(PICTURES, TOWER.image_size, crop=True), output_hidden_states=True)
    assert relative_error(seen.vector, expected.image_embeds) < 1e-5
    assert relative_error(seen.last, expected.last_hidden_state) < 1e-5
    assert relative_error(seen.before, expected.hidden_states[-2]) < 1e-5
    assert not place.warnings


def test_laion_s_towers_have_the_exact_gelu() -> None:
    shapes = {name: tuple(t.shape) for name, t in build(VisionModel, TOWER).state_dict().items()}
    assert tower_config(shapes) == TOWER
    with torch.device("meta"):
        large = VisionModel(VisionConfig(width=1280, layers=1, intermediate=8, projection=1024))
    found = tower_config({name: tuple(t.shape) for name, t in large.state_dict().items()})
    assert (found.activation, found.heads) == ("gelu", 16)


def test_the_tower_of_a_whole_clip(place: Workplace) -> None:
    whole = build(ContrastiveModel, ContrastiveConfig(vision=TOWER))
    tower = clip_vision_loader(place.ctx(), clip_name=stored(place, "clip_vision", "clip.safetensors", whole))
    seen = clip_vision_encode(place.ctx(), clip_vision=tower, image=Image(PICTURES), crop="none").seen
    x = vision_input(PICTURES, TOWER.image_size, crop=False)
    assert relative_error(seen.vector, whole.visual_projection(whole.vision_model(x))) < 1e-5


def test_pictures_are_cropped_or_squeezed_and_rounded_to_8_bits() -> None:
    grey = torch.full((1, 20, 60, 3), 0.6)
    mean, std = (np.array(values, np.float32) for values in (CLIP_MEAN, CLIP_STD))
    for crop in (True, False):
        x = vision_input(grey, 32, crop)
        assert x.shape == (1, 3, 32, 32)
        assert np.allclose(x[0, :, 5, 5], (153 / 255 - mean) / std, atol=1e-6)
    sides = grey.clone()
    sides[:, :, :20], sides[:, :, 40:] = 0.0, 1.0
    middle, whole = (vision_input(sides, 32, crop) * torch.tensor(std)[:, None, None] for crop in (True, False))
    assert middle[0, 0, 16, 16] == whole[0, 0, 16, 16]
    assert float(whole[0, 0, 16, 1]) == pytest.approx(-mean[0], abs=1e-6), "the left side is black"
    assert float(middle[0, 0, 16, 16]) == pytest.approx(153 / 255 - mean[0], abs=1e-6)
    exact = torch.rand(1, 32, 32, 3)
    kept = vision_input(exact, 32, True) * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
    assert torch.allclose(kept * 255, (exact * 255).round().movedim(-1, 1), atol=1e-3)


def by_torch(style: StyleAdapter, seen: Tensor) -> Tensor:
    """The style model written with torch's own multi-head attention, tokens first, as its paper's code has it."""
    x = torch.cat([seen, style.style_embedding.expand(len(seen), -1, -1)], dim=1)
    x = style.ln_pre(x).permute(1, 0, 2)
    for block in style.transformer_layes.children():
        layer = nn.MultiheadAttention(STYLE.width, 8)
        state = block.get_submodule("attn").state_dict()
        layer.load_state_dict(state)
        h = block.get_submodule("ln_1")(x)
        x = x + layer(h, h, h, need_weights=False)[0]
        mlp = block.get_submodule("mlp").state_dict()
        h = F.linear(block.get_submodule("ln_2")(x), mlp["c_fc.weight"], mlp["c_fc.bias"])
        x = x + F.linear(h * torch.sigmoid(1.702 * h), mlp["c_proj.weight"], mlp["c_proj.bias"])
    return style.ln_post(x.permute(1, 0, 2)[:, -STYLE.tokens :, :]) @ style.proj


def test_a_style_is_words_at_the_end_of_the_text(place: Workplace) -> None:
    style, output = build(StyleAdapter, STYLE), encoded(place)
    file = stored(place, "style_models", "style.safetensors", style)
    model = style_model_loader(place.ctx(), style_model_name=file)
    text = Conditioning((Cond(torch.randn(1, 77, 8), torch.zeros(1, 8)),))

    def styled(**given: Any) -> Tensor:
        made: Conditioning = style_model_apply(
            place.ctx(),
            **{"conditioning": text, "style_model": model, "clip_vision_output": output, "strength": 0.5,
               "strength_type": "multiply", **given},
        )  # fmt: skip
        return made.conds[0].tokens

    words = by_torch(style, output.seen.last).flatten(0, 1)[None]
    assert torch.equal(styled()[:, :77], text.conds[0].tokens)
    assert relative_error(styled()[:, 77:], words * 0.5) < 1e-5
    assert relative_error(styled(strength=1.0, strength_type="attn_bias")[:, 77:], words) < 1e-5
    with pytest.raises(InputError, match="attn_bias"):
        styled(strength_type="attn_bias")
    wide = Conditioning((Cond(torch.randn(1, 77, 12), torch.zeros(1, 12)),))
    with pytest.raises(InputError, match=r"width 12.*style\.safetensors makes words of width 8"):
        styled(conditioning=wide)
    other = ClipVisionOutput(output.seen._replace(last=torch.zeros(1, 5, 48)), "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors.*width 48.*style\.safetensors.*width 64"):
        styled(clip_vision_output=other)


def test_other_files_are_refused_by_name(place: Workplace) -> None:
    file = place.file("checkpoints", CHECKPOINT)
    with pytest.raises(InputError, match=r"tiny\.safetensors holds no vision tower"):
        clip_vision_loader(place.ctx(), clip_name=file)
    with pytest.raises(InputError, match=r"tiny\.safetensors holds no style model"):
        style_model_loader(place.ctx(), style_model_name=file)
