"""Pictures in files of one's choice, read back by other programs' libraries."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from graph.context import Context
from graph.document import parse
from graph.errors import InputError
from graph.events import Progress
from models.types import Image
from nodes.image import save_image_websocket
from nodes.image_files import Avif, Exr, Moving, Png, Still, save_image_advanced
from tests.nodes.conftest import Workplace

WORKFLOW = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 5}}})


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def saved(place: Workplace, pixels: Tensor, kind: Any, ctx: Context[Any] | None = None) -> Mapping[str, Any]:
    shown = save_image_advanced(ctx or place.ctx(), images=Image(pixels), filename_prefix="x/a", format=kind)
    assert shown.value.pixels is pixels
    ui: Mapping[str, Any] = shown.ui
    return ui


def opencv(path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OPENCV_IO_ENABLE_OPENEXR", "1")
    import cv2

    picture = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture if picture.ndim == 2 else picture[..., [2, 1, 0, 3][: picture.shape[-1]]]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_what_opencv_reads(place: Workplace, monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    pixels = noise(2, 19, 37, channels)
    ui = saved(place, pixels, Png("16-bit"), place.ctx(WORKFLOW))
    assert [each["filename"] for each in ui["images"]] == ["a_00001_.png", "a_00002_.png"]
    for i, each in enumerate(ui["images"]):
        path = place.output / "x" / each["filename"]
        levels = opencv(path, monkeypatch)
        assert levels.dtype == np.uint16
        assert np.abs(levels.reshape(19, 37, channels) - pixels[i].double().numpy() * 65535).max() < 0.505  # float32
        with PIL.Image.open(path) as picture:
            picture.load()
            assert json.loads(picture.info["prompt"])["3"]["inputs"]["seed"] == 5


def test_8_bits_are_those_of_save_image(place: Workplace) -> None:
    pixels = noise(1, 9, 7, 3)
    [each] = saved(place, pixels, Png())["images"]
    with PIL.Image.open(place.output / "x" / each["filename"]) as picture:
        assert np.array_equal(np.asarray(picture), (pixels[0] * 255).to(torch.uint8).numpy())


def srgb_to_light(x: Any) -> Any:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def light_of_hlg(x: Any) -> Any:
    """By inverting the other direction, which the standard gives first, with bisection."""
    low, high = np.zeros_like(x), np.ones_like(x)
    for _ in range(60):
        middle = (low + high) / 2
        dark = np.sqrt(3 * middle)
        bright = 0.17883277 * np.log(np.maximum(12 * middle - 0.28466892, 1e-9)) + 0.55991073
        above = np.where(middle <= 1 / 12, dark, bright) < x
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return low


@pytest.mark.parametrize("depth", ["16-bit float", "32-bit float"])
@pytest.mark.parametrize("space", ["sRGB", "HDR", "linear", "linear ACEScg"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_light_is_what_opencv_reads(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, depth: str, space: str, channels: int
) -> None:
    pixels = noise(1, 37, 21, channels)
    if space.startswith("linear"):
        pixels[..., 0] *= 7  # brighter than white
    [each] = saved(place, pixels, Exr(depth, space), place.ctx(WORKFLOW))["images"]
    path = place.output / "x" / each["filename"]
    found = opencv(path, monkeypatch).reshape(37, 21, channels)
    given = pixels[0].numpy().astype(np.float64)
    to_light = {"sRGB": srgb_to_light, "HDR": light_of_hlg}.get(space, lambda x: x)
    expected = np.concatenate([to_light(given[..., :3]), given[..., 3:]], -1)
    if depth == "16-bit float":
        assert np.abs(found - expected).max() <= 8 * 2**-11
    else:
        assert np.abs(found - expected).max() < 2e-6
    assert b'"seed"' in path.read_bytes() or b'"KSampler"' in path.read_bytes()


def test_smooth_pictures_become_small(place: Workplace) -> None:
    ramp = torch.linspace(0, 1, 256).expand(1, 256, 256)[..., None].expand(-1, -1, -1, 3)
    [each] = saved(place, ramp, Exr("32-bit float"))["images"]
    assert (place.output / "x" / each["filename"]).stat().st_size < 256 * 256 * 12 / 4


def test_avif_still_and_moving(place: Workplace) -> None:
    pixels = torch.nn.functional.interpolate(noise(3, 3, 4, 4), (64, 64), mode="bilinear").movedim(1, -1)
    ui = saved(place, pixels, Avif(save_mode=Still()), place.ctx(WORKFLOW))
    assert len(ui["images"]) == 3 and "animated" not in ui
    sizes = []
    for i, each in enumerate(ui["images"]):
        with PIL.Image.open(place.output / "x" / each["filename"]) as picture:
            assert np.abs(np.asarray(picture) / 255 - pixels[i].numpy()).mean() < 0.02
            assert str(picture.getexif()[0x0110]).startswith("prompt:")
            sizes.append((place.output / "x" / each["filename"]).stat().st_size)
    [coarse, *_] = saved(place, pixels, Avif(crf=60, save_mode=Still()))["images"]
    assert (place.output / "x" / coarse["filename"]).stat().st_size < sizes[0]
    ctx = place.ctx()
    ui = saved(place, pixels, Avif(save_mode=Moving(4.0, 2)), ctx)
    [each] = ui["images"]
    assert ui["animated"] == [True] and "loops" in ctx.warnings[0].message
    with PIL.Image.open(place.output / "x" / each["filename"]) as picture:
        assert picture.n_frames == 3  # type: ignore[attr-defined]


def test_channels_that_a_format_cannot_keep_are_told(place: Workplace) -> None:
    for kind, channels in ((Png("16-bit"), 2), (Exr(), 2), (Avif(save_mode=Still()), 4)):
        with pytest.raises(InputError, match=f"has {channels} channels"):
            saved(place, torch.zeros(1, 4, 4, channels), kind)
    assert not list(place.output.rglob("*.*"))


def test_pictures_are_sent_whole_and_nothing_is_saved(place: Workplace) -> None:
    pixels = noise(2, 700, 16, 3)
    save_image_websocket(place.ctx(), images=Image(pixels))
    sent = [event.preview() for event in place.events if isinstance(event, Progress) and event.preview]
    assert len(sent) == 2
    for i, content in enumerate(sent):
        assert isinstance(content, bytes)
        with PIL.Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "PNG"
            assert np.array_equal(np.asarray(picture), (pixels[i] * 255).to(torch.uint8).numpy())
    assert not list(place.output.rglob("*.png"))


def test_the_workflow_says_which_format(place: Workplace) -> None:
    from graph.build import build
    from nodes.registry import builtin

    document = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {
            "class_type": "SaveImageAdvanced",
            "inputs": {
                "images": ["1", 0], "filename_prefix": "x", "format": "avif", "format.bit_depth": "auto",
                "format.input_color_space": "sRGB", "format.crf": 30, "format.save_mode": "animated",
                "format.save_mode.fps": 3.0, "format.save_mode.loop_count": 0,
            },
        },
    }  # fmt: skip
    graph = build(parse(json.dumps(document)), builtin(), place.folders)
    assert not graph.problems
    node = graph.nodes["2"]
    node.spec.run(place.ctx(), {**node.inputs, "images": Image(torch.zeros(2, 8, 8, 3))})
    assert (place.output / "x_00001_.avif").exists()
