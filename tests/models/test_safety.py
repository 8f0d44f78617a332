"""The safety checker, against diffusers' with the same random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.checkpoint import CheckpointError, load_part, read_header
from models.config import SafetyConfig, safety_config
from models.precision import Precision
from models.residency import Residency
from models.safety import SafetyChecker, judge
from models.types import SafetyModel
from models.vision import clip_input
from tests.tiny_checker import TINY, tiny_checker

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
NEVER = 2.0  # a threshold that no cosine reaches
LIKE_PUBLISHED = replace(
    TINY, width=128, layers=2, patch=14, concepts=17, special_care=3
)  # diffusers has no other counts


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """[count, H, W, 3] in 0..1: noise of several scales, so that resizing has something to do."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 4, generator=generator)
    fine = torch.rand(count, 3, height, width, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return (0.7 * smooth + 0.3 * fine).movedim(1, -1).contiguous()


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of diffusers' checker by the names of CompVis's file; transformers 5 drops one level of them."""
    level = "vision_model."
    return {
        level + name if name.startswith(level) and not name.startswith(level * 2) else name: tensor.clone()
        for name, tensor in state.items()
    }


def load(path: Path) -> SafetyChecker:
    checker = load_part(read_header(path), "safety", dtype=torch.float32, device=CPU)
    assert isinstance(checker, SafetyChecker)
    return checker


@pytest.fixture
def theirs() -> Any:
    """diffusers' checker."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    c = LIKE_PUBLISHED
    vision = {
        "hidden_size": c.width,
        "intermediate_size": c.intermediate,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "image_size": c.image_size,
        "patch_size": c.patch,
    }
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=c.projection)).eval()
    weights = tiny_checker(c).state_dict()
    shorter = {name.replace("vision_model.vision_model.", "vision_model."): tensor for name, tensor in weights.items()}
    state = weights if weights.keys() == checker.state_dict().keys() else shorter
    checker.load_state_dict({name: tensor.clone() for name, tensor in state.items()})
    return checker


@pytest.fixture
def ours(theirs: Any, tmp_path: Path) -> SafetyChecker:
    """Ours, from a file of theirs."""
    path = tmp_path / "model.safetensors"
    save_file(published(theirs.state_dict()), path)
    return load(path)


def their_input(images: Tensor, size: int) -> Tensor:
    """What diffusers' pipeline hands to the checker: 8-bit PIL images through CLIP's image processor."""
    from diffusers.image_processor import VaeImageProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return processor(VaeImageProcessor.numpy_to_pil(images.numpy()), return_tensors="pt").pixel_values


def their_flags(checker: Any, clip_inputs: Tensor) -> list[bool]:
    return list(checker(clip_input=clip_inputs, images=torch.ones(len(clip_inputs), 2, 2, 3))[1])


@pytest.mark.parametrize(
    ("height", "width"),
    [(224, 224), (512, 512), (64, 64), (225, 223), (300, 517), (768, 224), (100, 301), (31, 33), (1, 5)],
)
def test_the_picture_is_prepared_as_by_clips_image_processor(height: int, width: int) -> None:
    images = pictures(1, height, width)
    assert torch.equal(clip_input(images[0], 224), their_input(images, 224)[0])


def test_pictures_out_of_range_or_of_no_numbers_are_prepared_as_they_would_be_shown() -> None:
    odd = torch.tensor([float("nan"), -1.0, 2.0, float("inf")])[:, None].expand(4, 3).reshape(2, 2, 3)
    shown = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None].expand(4, 3).reshape(2, 2, 3)
    assert torch.equal(clip_input(odd, 32), clip_input(shown, 32))


def test_cosines_equal_those_of_diffusers(theirs: Any, ours: SafetyChecker) -> None:
    from diffusers.pipelines.stable_diffusion.safety_checker import cosine_distance

    size = LIKE_PUBLISHED.image_size
    images = pictures(6, 90, 120)
    with torch.no_grad():
        vectors = theirs.visual_projection(theirs.vision_model(their_input(images, size)).pooler_output)
        concepts = cosine_distance(vectors, theirs.concept_embeds) - theirs.concept_embeds_weights
        care = cosine_distance(vectors, theirs.special_care_embeds) - theirs.special_care_embeds_weights
    assert concepts.std() > 0.1
    for image, expected, expected_care in zip(images, concepts, care, strict=True):
        verdict = ours.check(image)
        added = 0.01 if max(verdict.special_care) > 0 else 0.0
        first = next((i for i, score in enumerate(verdict.special_care) if score > 0), LIKE_PUBLISHED.special_care)
        late = torch.arange(LIKE_PUBLISHED.special_care) > first
        assert torch.allclose(torch.tensor(verdict.concepts), expected + added, atol=0.0005 + 1e-6, rtol=0)
        assert torch.allclose(torch.tensor(verdict.special_care), expected_care + 0.01 * late, atol=0.000501, rtol=0)
        unrounded = torch.nn.functional.cosine_similarity(ours(clip_input(image, size)[None]), ours.concept_embeds)
        assert torch.allclose(unrounded - ours.concept_embeds_weights, expected, atol=1e-6, rtol=0)


EDGES = (-0.0111, -0.01051, -0.01049, -0.00951, -0.00949, -0.0091, -0.00051, 0.0, 0.00049, 0.00051, 0.00149, 0.3)
"""How far a cosine lies above its threshold: around where rounding and the 0.01 decide, apart by more than noise."""


@pytest.mark.parametrize("care", [None, 0, 2], ids=["no special care", "the first", "the last"])
@pytest.mark.parametrize("care_edge", [0.00049, 0.00051])
def test_flags_equal_those_of_diffusers_at_every_edge(
    theirs: Any, ours: SafetyChecker, care: int | None, care_edge: float
) -> None:
    image = pictures(1, 64, 80)[0]
    prepared = clip_input(image, LIKE_PUBLISHED.image_size)[None]
    vector = ours(prepared)
    cosines = torch.nn.functional.cosine_similarity(vector, ours.concept_embeds)
    care_cosines = torch.nn.functional.cosine_similarity(vector, ours.special_care_embeds)
    flags = []
    for i, edge in enumerate(EDGES):
        thresholds, care_thresholds = torch.full((17,), NEVER), torch.full((3,), NEVER)
        thresholds[i] = cosines[i] - edge
        if care is not None:
            care_thresholds[care] = care_cosines[care] - care_edge
        for checker in (theirs, ours):
            with torch.no_grad():
                checker.concept_embeds_weights.copy_(thresholds)
                checker.special_care_embeds_weights.copy_(care_thresholds)
        flags.append(ours.check(image).flagged)
        assert their_flags(theirs, prepared) == flags[-1:], edge
    assert sum(flags) == (8 if care is not None and care_edge > 0.0005 else 3)


def test_one_special_concept_lowers_the_bar_of_those_after_it() -> None:
    verdict = judge(torch.tensor([-0.0094, -0.0096]), torch.tensor([-0.005, 0.001, -0.0094, -0.02]))
    assert verdict.special_care == (-0.005, 0.001, 0.001, -0.01)
    assert verdict.concepts == (0.001, 0.0)
    assert verdict.flagged


def test_special_care_alone_flags_nothing() -> None:
    assert not judge(torch.tensor([-0.5]), torch.tensor([0.5])).flagged
    assert not judge(torch.tensor([-0.5]), torch.tensor([])).flagged


def test_scores_are_rounded_as_numpy_rounds_float32() -> None:
    halves = torch.arange(-60, 60) / 2000
    scores = torch.cat(
        [halves, torch.nextafter(halves, torch.tensor(1.0)), torch.nextafter(halves, torch.tensor(-1.0))]
    )
    expected = [round(float(round(np.float32(score), 3)), 3) for score in scores.tolist()]
    assert list(judge(scores, torch.tensor([])).concepts) == expected


def test_nothing_is_changed(theirs: Any, ours: SafetyChecker) -> None:
    with torch.no_grad():
        for checker in (theirs, ours):
            checker.concept_embeds_weights.fill_(-NEVER)
    images = pictures(2, 40, 40)
    before = images.clone()
    weights = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    assert ours.check(images[0]).flagged
    assert torch.equal(images, before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in ours.state_dict().items())
    theirs(clip_input=their_input(images, LIKE_PUBLISHED.image_size), images=images)
    assert not images.any()  # diffusers' own


def as_published(state: dict[str, Tensor], path: Path) -> None:
    save_file(published(state), path)


def as_diffusers_writes_now(state: dict[str, Tensor], path: Path) -> None:
    save_file({name.replace("vision_model.vision_model.", "vision_model."): x for name, x in state.items()}, path)


def as_pytorch_model_bin(state: dict[str, Tensor], path: Path) -> None:
    ids = torch.arange(TINY.grid**2 + 1)[None]  # older files hold them
    torch.save({**published(state), "vision_model.vision_model.embeddings.position_ids": ids}, path)


def as_a_file_before_torch_1_6(state: dict[str, Tensor], path: Path) -> None:
    torch.save(published(state), path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    "write", [as_published, as_diffusers_writes_now, as_pytorch_model_bin, as_a_file_before_torch_1_6]
)
def test_every_layout_gives_the_same_scores(tmp_path: Path, write: Callable[[dict[str, Tensor], Path], None]) -> None:
    made = tiny_checker()
    write(made.state_dict(), tmp_path / "file")
    assert read_header(tmp_path / "file").parts() == {"safety"}
    image = pictures(1, 50, 40)[0]
    assert load(tmp_path / "file").check(image) == made.check(image)


def test_the_published_shape_is_read_from_its_tensors() -> None:
    with torch.device("meta"):
        checker = SafetyChecker(SafetyConfig())
    assert safety_config({name: tuple(x.shape) for name, x in checker.state_dict().items()}) == SafetyConfig()
    assert SafetyConfig().image_size == 224
    assert SafetyConfig().heads == 16
    tower = checker.get_submodule("vision_model")
    assert sum(weight.numel() for weight in tower.parameters()) == 303_179_776  # of CLIP ViT-L/14's


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, concepts=5, special_care=0),
        replace(TINY, width=32, projection=7),
        replace(TINY, width=192, layers=3, patch=5, grid=3),
    ],
)
def test_a_checker_of_any_size_loads(tmp_path: Path, config: SafetyConfig) -> None:
    as_published(tiny_checker(config).state_dict(), tmp_path / "file")
    checker = load(tmp_path / "file")
    assert checker.config == config
    verdict = checker.check(pictures(1, 30, 30)[0])
    assert (len(verdict.concepts), len(verdict.special_care)) == (config.concepts, config.special_care)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"concept_embeds": torch.zeros(0, 16), "concept_embeds_weights": torch.zeros(0)}, "no concept to look for"),
        ({"concept_embeds_weights": None}, "lacks 1 tensor of its safety checker: concept_embeds_weights"),
        ({"special_care_embeds": None}, "lacks 1 tensor of its safety checker: special_care_embeds"),
        ({"concept_embeds_weights": torch.zeros(3)}, r"concept_embeds_weights has the shape \[3\], expected \[2\]"),
        ({"visual_projection.weight": None}, "lacks 1 tensor of its safety checker: visual_projection.weight"),
        ({"vision_model.vision_model.embeddings.patch_embedding.weight": torch.zeros(64, 1, 8, 8)}, "in colour"),
        ({"vision_model.vision_model.embeddings.position_embedding.weight": torch.zeros(16, 64)}, "square"),
        ({"vision_model.vision_model.embeddings.patch_embedding.weight": torch.zeros(100, 3, 8, 8)}, "multiple of 64"),
        ({"concept_embeds_weights": torch.zeros(2, dtype=torch.int32)}, "expected floating-point numbers"),
    ],
)
def test_a_checker_that_could_find_nothing_is_refused(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    state = tiny_checker().state_dict() | change
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, tmp_path / "file")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "file")


@pytest.mark.parametrize("name", ["concept_embeds", "concept_embeds_weights", "special_care_embeds_weights"])
def test_weights_that_are_no_numbers_never_let_a_picture_pass(name: str) -> None:
    checker = tiny_checker()
    checker.get_parameter(name).view(-1)[0] = float("nan")
    with pytest.raises(CheckpointError, match="no numbers"):
        checker.check(pictures(1, 30, 30)[0])


def test_residency_keeps_it_in_32_bits_beside_half_precision_networks(tmp_path: Path) -> None:
    path = tmp_path / "model.fp16.safetensors"
    save_file({name: tensor.half() for name, tensor in tiny_checker().state_dict().items()}, path)
    half = torch.float16
    residency = Residency(CPU, Precision(half, half, half), 2**24)
    with residency.use(SafetyModel(read_header(path), "a")) as checker:
        assert {weight.dtype for weight in checker.parameters()} == {torch.float32}
        assert checker.check(pictures(1, 30, 30)[0]).concepts
    weights = 4 * sum(x.numel() for x in tiny_checker().state_dict().values())
    assert residency.resident_bytes == pytest.approx(weights, rel=0.01)  # and a table of positions
