"""Pictures for ControlNets, against OpenCV and scikit-image, within one step of 255."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from skimage.filters import threshold_otsu
from torch import Tensor

from models.annotators import PATCH, dark_parts, lines, luminance, otsu, scribbled, shuffled, tiled, with_short_side
from models.types import Image
from nodes import preprocessors

STEP = 1 / 255
CTX: Any = None


def picture(height: int = 64, width: int = 96, seed: int = 0) -> Tensor:
    """[1, H, W, 3], whole numbers of 255: smooth colours, and dark strokes."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    x = torch.stack([rows, columns, (rows + columns) / 2], dim=-1)
    x = x + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    x[height // 2, 5:-5] = 0.05
    return (x.clamp(0, 1) * 255).round()[None] / 255


def cv(x: Tensor) -> Any:
    return (x[0].numpy() * 255).round().astype(np.uint8)


@pytest.mark.parametrize("halvings", [1, 3])
def test_tiles(halvings: int) -> None:
    x = picture()
    theirs: Any = cv2.resize(x[0].numpy(), (96 >> halvings, 64 >> halvings), interpolation=cv2.INTER_AREA)
    for _ in range(halvings):
        theirs = cv2.pyrUp(theirs)
    assert np.abs(tiled(x, halvings)[0].numpy() - theirs).max() < 1e-5


def test_shuffles() -> None:
    x, chance = picture(80, 300), np.random.RandomState(7)

    def disk() -> Any:
        noise: Any = chance.uniform(0, 1, (80 // PATCH + 2, 300 // PATCH + 2, 1))
        noise = cv2.resize(noise, (300 + 2 * PATCH, 80 + 2 * PATCH), interpolation=cv2.INTER_CUBIC)
        noise = noise[PATCH : PATCH + 80, PATCH : PATCH + 300]
        return (noise - noise.min()) / (noise.max() - noise.min())

    columns, rows = disk() * 299, disk() * 79
    flow = np.stack([columns, rows], axis=-1).astype(np.float32)
    remap: Any = cv2.remap
    theirs = remap(x[0].numpy(), flow, None, cv2.INTER_LINEAR)
    assert np.abs(shuffled(x, 7)[0].numpy() - theirs).max() < 4 * STEP  # it rounds places to 1/32
    assert not torch.equal(shuffled(x, 7), shuffled(x, 8))


@pytest.mark.parametrize("threshold", [0, 100, 255])
def test_dark_parts(threshold: int) -> None:
    x = picture()
    gray = cv2.cvtColor(cv(x), cv2.COLOR_RGB2GRAY)
    kind = cv2.THRESH_BINARY_INV + (cv2.THRESH_OTSU if threshold in (0, 255) else 0)
    _, theirs = cv2.threshold(gray, threshold, 255, kind)
    found = dark_parts(x, threshold)[0, ..., 0].numpy() * 255
    assert (found != theirs).mean() < 0.01 and 0 < theirs.mean() < 255
    assert abs(otsu(torch.from_numpy(gray).float()) - threshold_otsu(gray)) <= 1


def test_scribbles() -> None:
    x = picture()
    assert np.array_equal(scribbled(x)[0, ..., 0].numpy() > 0, cv(x).min(axis=2) < 127)
    assert set(scribbled(x).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_brightness(gamma: float) -> None:
    x = torch.cat([picture(), torch.zeros(1, 64, 96, 3), torch.ones(1, 64, 96, 3)])
    theirs = (rgb2lab(x.numpy())[..., 0] / 100) ** gamma
    assert np.abs(luminance(x, gamma)[..., 1].numpy() - theirs).max() < STEP


def test_lines() -> None:
    x = picture()
    array = cv(x).astype(np.float32)
    away = np.min(cv2.GaussianBlur(array, (0, 0), 3.0) - array, axis=2).clip(0, 255)
    theirs = (away / max(16, np.median(away[away > 8])) * 127).clip(0, 255) / 255
    found = lines(x, 3.0, 8)[0, ..., 2].numpy()
    assert np.abs(found - theirs).max() < 2 * STEP
    assert found[32].mean() > 3 * found[40].mean()
    assert float(lines(torch.ones(1, 8, 8, 3), 6.0, 8).max()) == 0, "an empty page, smaller than the blur"


def test_the_short_side_of_what_comes_out() -> None:
    x = picture(64, 96)
    assert with_short_side(x, 64) is x
    assert with_short_side(x, 32).shape == (1, 32, 48, 3) and with_short_side(x, 128).shape == (1, 128, 192, 3)
    nodes: list[Any] = [
        preprocessors.tile_preprocessor, preprocessors.shuffle_preprocessor, preprocessors.binary_preprocessor,
        preprocessors.scribble_preprocessor, preprocessors.image_luminance_detector,
        preprocessors.lineart_standard_preprocessor,
    ]  # fmt: skip
    for node in nodes:
        made: Image = node(CTX, image=Image(torch.cat([x, x], dim=0)), resolution=128)
        assert made.pixels.shape == (2, 128, 192, 3) and made.pixels.min() >= 0 and made.pixels.max() <= 1
