"""Nodes that judge pictures: the numbers they give, what they show, and what they say of wrong inputs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from graph.errors import InputError
from graph.events import Progress
from graph.files import Folders
from graph.result import Shown
from models.frechet import frechet_distance, gathered
from models.tokenizer import ClipTokenizer
from models.types import AestheticModel, ClipModel, Features, Image, OpenClipModel
from models.watermark import V1
from nodes.compare import image_compare
from nodes.picture_folders import stamps
from nodes.quality import (
    aesthetic_predictor_loader,
    aesthetic_score,
    clip_model_loader,
    clip_score,
    fid,
    folder_features,
    inception_loader,
)
from nodes.safety import safety_checker_loader
from nodes.watermark import watermark_detect, watermark_embed
from tests.engine import open_engine
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_judges import tiny_clip_model, tiny_predictor, write


def picture(height: int = 40, width: int = 40, batch: int = 1, seed: int = 0, channels: int = 3) -> Image:
    return Image(torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed)))


def save(folder: Path, pictures: Image) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(pictures.pixels):
        PIL.Image.fromarray((pixels * 255).byte().numpy()).save(folder / f"{i}.png")
    return folder


def as_saved(pixels: Tensor) -> Tensor:
    return (pixels * 255).byte().float() / 255


@pytest.fixture
def clip(place: Workplace) -> ClipModel:
    write(place.folders.roots("clip_vision")[0] / "clip.safetensors", tiny_clip_model())
    model: ClipModel = clip_model_loader(place.ctx(), clip_model=place.file("clip_vision", "clip.safetensors"))
    return model


@pytest.fixture
def predictor(place: Workplace) -> AestheticModel:
    write(place.base / "models/aesthetic/linear.safetensors", tiny_predictor())
    model: AestheticModel = aesthetic_predictor_loader(
        place.ctx(), aesthetic=place.file("aesthetic", "linear.safetensors")
    )
    return model


# --- scores ---------------------------------------------------------------------------------------------------------


def test_the_clip_score_is_the_mean_of_a_hundred_cosines(place: Workplace, clip: ClipModel) -> None:
    network, ids = tiny_clip_model(), ClipTokenizer().encode("three birds")
    images = picture(batch=3)
    cosines = [F.cosine_similarity(network.see(each), network.read(ids), dim=0) for each in images.pixels]
    expected = [max(0.0, 100 * cosine.item()) for cosine in cosines]
    given: Shown[float] = clip_score(place.ctx(), image=images, clip_model=clip, text="three birds")
    assert given.value == pytest.approx(sum(expected) / 3, abs=1e-4)
    assert given.ui["scores"] == pytest.approx(expected, abs=1e-4)
    assert given.ui["text"][0] == f"CLIP score {given.value:.2f} ({', '.join(f'{score:.2f}' for score in expected)})"
    json.dumps(given.ui)


def test_the_aesthetic_score_is_the_predictors(place: Workplace, clip: ClipModel, predictor: AestheticModel) -> None:
    images = picture(batch=2)
    expected = tiny_predictor()(torch.stack([tiny_clip_model().see(each) for each in images.pixels]))
    given: Shown[float] = aesthetic_score(place.ctx(), image=images, clip_model=clip, aesthetic_model=predictor)
    assert given.value == pytest.approx(expected.mean().item(), abs=1e-5)
    assert given.ui["scores"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_predictor_for_another_clip_is_refused(place: Workplace, clip: ClipModel) -> None:
    write(place.base / "models/aesthetic/wide.safetensors", tiny_predictor(width=768))
    wide = aesthetic_predictor_loader(place.ctx(), aesthetic=place.file("aesthetic", "wide.safetensors"))
    with pytest.raises(InputError, match="sees vectors of 16, the predictor reads 768"):
        aesthetic_score(place.ctx(), image=picture(), clip_model=clip, aesthetic_model=wide)


def test_laions_activation_is_another_network_of_the_same_file(place: Workplace, clip: ClipModel) -> None:
    other = clip_model_loader(place.ctx(), clip_model=place.file("clip_vision", "clip.safetensors"), activation="gelu")
    assert isinstance(other, OpenClipModel)
    scores = [
        clip_score(place.ctx(), image=picture(seed=3), clip_model=each, text="three birds").value
        for each in (clip, other)
    ]
    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    ("loader", "name"),
    [(clip_model_loader, "clip_model"), (inception_loader, "inception"), (aesthetic_predictor_loader, "aesthetic")],
)
def test_a_file_of_another_kind_is_refused(place: Workplace, loader: Any, name: str) -> None:
    with pytest.raises(InputError, match=f"{CHECKPOINT} is not ") as caught:
        loader(place.ctx(), **{name: place.file("checkpoints", CHECKPOINT)})
    assert caught.value.input_name == name


def test_a_clip_is_no_safety_checker(place: Workplace, clip: ClipModel) -> None:
    with pytest.raises(InputError, match="is not a safety checker"):
        safety_checker_loader(place.ctx(), safety_checker=place.file("clip_vision", "clip.safetensors"))


def test_damaged_weights_give_an_error_and_no_score(place: Workplace) -> None:
    broken = tiny_clip_model()
    broken.visual_projection.weight[0, 0] = math.nan
    write(place.folders.roots("clip_vision")[0] / "broken.safetensors", broken)
    clip = clip_model_loader(place.ctx(), clip_model=place.file("clip_vision", "broken.safetensors"))
    with pytest.raises(InputError, match="no numbers"):
        clip_score(place.ctx(), image=picture(), clip_model=clip, text="three birds")
    save(place.folders.input_dir / "set", picture(batch=2))
    with pytest.raises(InputError, match="no numbers"):
        folder_features(place.ctx(), model=clip, folder="set")


# --- FID ------------------------------------------------------------------------------------------------------------


def test_fid_compares_folders_of_the_input_and_the_output_directory(place: Workplace, clip: ClipModel) -> None:
    first, second = picture(batch=30, seed=1), Image(picture(batch=20, seed=2).pixels * 0.5)
    save(place.folders.input_dir / "real", first)
    save(place.output / "made/cfg 4", second)
    (place.folders.input_dir / "real/notes.txt").write_text("no picture")
    features: Features = folder_features(place.ctx(), model=clip, folder="made/cfg 4 [output]")
    reference: Features = folder_features(place.ctx(), model=clip, folder="real")
    assert (features.count, reference.count) == (20, 30)
    network = tiny_clip_model()
    seen = [gathered(network.see(as_saved(each)) for each in images.pixels) for images in (second, first)]
    given: Shown[float] = fid(place.ctx(), features=features, reference=reference)
    assert given.value == pytest.approx(frechet_distance(*seen), rel=1e-5) and given.value > 0
    assert given.ui["text"] == [f"FID {given.value:.3f} (20 pictures against 30)"]
    same: Shown[float] = fid(place.ctx(), features=reference, reference=reference)
    assert same.value == pytest.approx(0, abs=1e-6)


def test_progress_is_told_for_each_picture(place: Workplace, clip: ClipModel) -> None:
    save(place.folders.input_dir / "set", picture(batch=3))
    folder_features(place.ctx(), model=clip, folder="set")
    told = [(event.done, event.total) for event in place.events if isinstance(event, Progress)]
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("nowhere", "no folder 'nowhere' in the input directory; there are empty, one, text"),
        ("nowhere [output]", "no folder 'nowhere' in the output directory"),
        ("a" * 300, "there is no folder"),
        ("../output", r"holds '\.\.'"),
        ("/etc", "is an absolute path"),
        ("empty", "holds no pictures"),
        ("one", "two or more"),
        ("text", "1.png cannot be read as a picture"),
    ],
)
def test_a_wrong_folder_is_blamed(place: Workplace, clip: ClipModel, folder: str, said: str) -> None:
    (place.folders.input_dir / "empty").mkdir()
    save(place.folders.input_dir / "one", picture())
    save(place.folders.input_dir / "text", picture())
    (place.folders.input_dir / "text/1.png").write_text("no picture")
    with pytest.raises(InputError, match=said) as caught:
        folder_features(place.ctx(), model=clip, folder=folder)
    assert caught.value.input_name == "folder"


def test_features_of_two_networks_are_not_compared(place: Workplace) -> None:
    with pytest.raises(InputError, match="another network: 8 numbers, not 4"):
        fid(
            place.ctx(),
            features=Features(2, torch.zeros(4), torch.eye(4)),
            reference=Features(2, torch.zeros(8), torch.eye(8)),
        )


def test_a_folder_is_looked_at_again_only_when_its_pictures_change(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path)
    save(folders.input_dir / "set", picture(batch=2))
    write(folders.roots("clip_vision")[0] / "clip.safetensors", tiny_clip_model())
    workflow = {
        "1": {
            "class_type": "CLIPModelLoader",
            "inputs": {"clip_model": "clip.safetensors", "activation": "quick_gelu"},
        },
        "2": {"class_type": "FolderFeatures", "inputs": {"model": ["1", 0], "folder": "set"}},
        "3": {"class_type": "FID", "inputs": {"features": ["2", 0], "reference": ["2", 0]}},
    }
    with open_engine(tmp_path) as engine:
        text = json.dumps(workflow)
        shown = engine.run(text)["3"].ui
        assert engine.ran == ["1", "2", "3"] and shown["text"] == ["FID 0.000 (2 pictures against 2)"]
        engine.run(text)
        assert engine.ran == []
        save(folders.input_dir / "set", picture(batch=3))
        assert engine.run(text)["3"].ui["text"] == ["FID 0.000 (3 pictures against 3)"]
        assert engine.ran == ["2", "3"]


def test_a_folder_that_comes_over_a_link_is_always_looked_at(place: Workplace) -> None:
    linked = {"folder": object()}
    assert stamps("1", linked, place.folders) != stamps("1", linked, place.folders)


# --- comparison and watermark ---------------------------------------------------------------------------------------


def test_pictures_are_compared_with_one_or_with_as_many(place: Workplace) -> None:
    images = picture(batch=2)
    same: Shown[Any] = image_compare(place.ctx(), image=images, reference=images)
    assert same.value == (math.inf, pytest.approx(1.0)) and same.ui["text"] == ["PSNR ∞ dB, SSIM 1.0000"]
    grey, black = (Image(torch.full((1, 16, 16, 3), value)) for value in (0.1, 0.0))
    given: Shown[Any] = image_compare(place.ctx(), image=grey, reference=black)
    assert given.value[0] == pytest.approx(20)
    one: Shown[Any] = image_compare(place.ctx(), image=images, reference=picture(batch=1))
    assert one.value[0] == math.inf  # the mean of an equal one and another


@pytest.mark.parametrize(
    ("image", "reference", "said"),
    [
        (picture(40, 40), picture(40, 48), "is 48x40, the picture is 40x40; ImageScale"),
        (picture(40, 40), picture(40, 40, channels=4), "with 4 channels"),
        (picture(batch=2), picture(batch=3), "holds 3 pictures for 2"),
        (picture(8, 40), picture(8, 40), "a window of 11x11 pixels"),
    ],
)
def test_what_cannot_be_compared_is_said(place: Workplace, image: Image, reference: Image, said: str) -> None:
    with pytest.raises(InputError, match=said):
        image_compare(place.ctx(), image=image, reference=reference)


def test_a_watermark_is_found_where_it_was_written_also_after_saving(place: Workplace) -> None:
    grey = Image(torch.full((2, 256, 320, 3), 0.5) + 0.1 * torch.rand(256, 320, 1))
    before: Shown[Any] = watermark_detect(place.ctx(), image=grey)
    marked: Image = watermark_embed(place.ctx(), image=grey)
    assert torch.equal(torch.from_numpy((marked.pixels * 255).byte().numpy() / np.float32(255)), marked.pixels)
    after: Shown[Any] = watermark_detect(place.ctx(), image=marked)
    assert not before.value[0] and before.value[1] < 0.8
    assert after.value == (True, 1.0, V1)
    assert after.ui["text"] == ["found: 'StableDiffusionV1', 100.0% of the bits"]
    assert (marked.pixels - grey.pixels).abs().max() < 0.15
    other: Shown[Any] = watermark_detect(place.ctx(), image=marked, text="StableDiffusionV2")
    assert not other.value[0] and 0.9 < other.value[1] < 1


@pytest.mark.parametrize(
    ("image", "text", "said"),
    [
        (picture(255, 256), V1, "is 256x255; a watermark of 17 bytes takes 256x256 pixels or more"),
        (picture(4, 16384 * 2), V1, "takes 256x256 pixels"),
        (picture(256, 256, channels=4), V1, "has 4 channels"),
        (picture(256, 256), "", "is 0 bytes long"),
        (picture(256, 256), "字" * 22, "is 66 bytes long"),
    ],
)
def test_what_cannot_carry_a_watermark_is_said(place: Workplace, image: Image, text: str, said: str) -> None:
    for node in (watermark_embed, watermark_detect):
        with pytest.raises(InputError, match=said):
            node(place.ctx(), image=image, text=text)
