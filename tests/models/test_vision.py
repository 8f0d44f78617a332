"""CLIP with both towers, against transformers' CLIPModel with the same random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.checkpoint import CheckpointError, Part, load_part, read_header
from models.config import Activation, ClipConfig, ContrastiveConfig, VisionConfig, contrastive_config
from models.tokenizer import EOS, ClipTokenizer
from models.vision import ContrastiveModel, clip_input
from tests.models.oracles import randomized, relative_error

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = ContrastiveConfig(
    ClipConfig(width=64, layers=2, intermediate=96),
    VisionConfig(width=128, layers=2, intermediate=160, patch=8, grid=4, projection=48),
)
TEXTS = ("", "a red boat", "two white sheep below the moon, as a woodcut", "one word after the other " * 20)


def clip(config: ContrastiveConfig = SMALL) -> ContrastiveModel:
    with torch.device("meta"):
        model = ContrastiveModel(config)
    randomized(model)
    return model


def theirs(ours: ContrastiveModel, activation: Activation, width_per_head: int = 64) -> Any:
    from transformers import CLIPConfig, CLIPModel

    text, vision = ours.config, ours.vision
    config = CLIPConfig(
        text_config={
            "hidden_size": text.width,
            "intermediate_size": text.intermediate,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.width // 64,
            "hidden_act": activation,
            "bos_token_id": EOS - 1,
            "eos_token_id": EOS,
        },
        vision_config={
            "hidden_size": vision.width,
            "intermediate_size": vision.intermediate,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.width // width_per_head,
            "image_size": vision.image_size,
            "patch_size": vision.patch,
            "hidden_act": activation,
        },
        projection_dim=vision.projection,
    )
    model = CLIPModel(config).eval()
    missing, unexpected = model.load_state_dict(ours.state_dict(), strict=False)
    assert not unexpected and {name.rpartition(".")[2] for name in missing} <= {"logit_scale", "position_ids"}
    return model


def write(path: Path, model: Any) -> Path:
    """A file as transformers writes it."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def load(path: Path, part: Part) -> ContrastiveModel:
    model = load_part(read_header(path), part, dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(model, ContrastiveModel)
    return model


def pictures(count: int) -> Tensor:
    return torch.rand(count, 37, 50, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("part", "activation"), [("clip_model", "quick_gelu"), ("open_clip", "gelu")])
@torch.inference_mode()
def test_pictures_and_texts_get_the_vectors_of_transformers(tmp_path: Path, part: Part, activation: Activation) -> None:
    peer = theirs(clip(), activation)
    ours = load(write(tmp_path / "clip.safetensors", peer), part)
    tokenizer = ClipTokenizer()
    for text in TEXTS:
        ids = tokenizer.encode(text)
        tokens = torch.tensor([[EOS - 1, *ids[:75], *[EOS] * (76 - len(ids[:75]))]])
        expected = peer.get_text_features(tokens)
        assert relative_error(ours.read(ids), getattr(expected, "pooler_output", expected)[0]) < 2e-6
    for picture in pictures(3):
        expected = peer.get_image_features(clip_input(picture, SMALL.vision.image_size)[None])
        assert relative_error(ours.see(picture), getattr(expected, "pooler_output", expected)[0]) < 2e-6


@torch.inference_mode()
def test_the_other_activation_gives_other_vectors(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.safetensors", clip())
    [picture] = pictures(1)
    quick, exact = (load(path, part).see(picture) for part in ("clip_model", "open_clip"))
    assert relative_error(quick, exact) > 1e-4


def test_the_shape_is_read_from_the_file(tmp_path: Path) -> None:
    for config in (SMALL, ContrastiveConfig()):
        with torch.device("meta"):
            model = ContrastiveModel(config)
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        assert contrastive_config(shapes, "quick_gelu") == config


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (1024, 16), (1280, 16), (1408, 16), (1664, 16), (32, 1)])
def test_heads_of_the_published_towers(width: int, heads: int) -> None:
    assert VisionConfig(width=width).heads == heads


@torch.inference_mode()
def test_a_tower_whose_heads_are_wider_than_64() -> None:
    small = ContrastiveConfig(SMALL.text, replace(SMALL.vision, width=1280, layers=1, intermediate=64))
    ours = clip(small)
    [picture] = pictures(1)
    expected = theirs(ours, "quick_gelu", width_per_head=80).get_image_features(clip_input(picture, 32)[None])
    assert relative_error(ours.see(picture), getattr(expected, "pooler_output", expected)[0]) < 2e-6


def test_half_a_clip_and_other_files_are_told_from_a_whole_one(tmp_path: Path) -> None:
    state = clip().state_dict()
    texts = {name: tensor for name, tensor in state.items() if name.startswith("text")}
    save_file(texts, tmp_path / "text.safetensors")
    with pytest.raises(CheckpointError, match=r"text.safetensors holds no CLIP with both towers, only a text encoder"):
        load(tmp_path / "text.safetensors", "clip_model")
    sees = {name: tensor for name, tensor in state.items() if name.startswith("vis")}
    save_file(sees, tmp_path / "vision.safetensors")
    assert read_header(tmp_path / "vision.safetensors").parts() == {"clip_vision"}
    with torch.device("meta"):
        wide = ContrastiveModel(ContrastiveConfig(ClipConfig(width=1024, layers=1), replace(SMALL.vision, layers=1)))
    state = {name: torch.zeros(tensor.shape, dtype=torch.float16) for name, tensor in wide.state_dict().items()}
    save_file(state, tmp_path / "h.safetensors")
    assert {"clip_model", "open_clip"} <= read_header(tmp_path / "h.safetensors").parts()
