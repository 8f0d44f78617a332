"""LoadImage: what becomes of the many kinds of picture files."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from graph.errors import InputError, ValueRefused
from graph.files import FileRef
from nodes.image import Picture, load_image
from tests.models.golden import GOLDEN
from tests.nodes.conftest import Workplace

WIDTH, HEIGHT = 20, 10
NOT_TRANSPARENT = (1, 64, 64)


def load(place: Workplace, name: str) -> tuple[Tensor, Tensor]:
    picture: Picture = load_image(place.ctx(), image=place.file("input", name))
    pixels, mask = picture.image.pixels, picture.mask.values
    assert pixels.dtype == mask.dtype == torch.float32
    assert pixels.ndim == 4 and pixels.shape[-1] == 3 and mask.ndim == 3 and len(mask) == len(pixels)
    assert all(values.min() >= 0 and values.max() <= 1 for values in (pixels, mask))
    return pixels, mask


def plain(mode: str = "RGB", colour: object = "red") -> PIL.Image.Image:
    return PIL.Image.new(mode, (WIDTH, HEIGHT), colour)  # type: ignore[arg-type]


def of(colour: tuple[int, int, int]) -> Tensor:
    return torch.tensor(colour) / 255


@pytest.fixture
def inputs(place: Workplace) -> Path:
    return place.folders.input_dir


@pytest.mark.parametrize("ext", ["png", "jpg", "jfif", "webp", "avif", "bmp", "gif", "tiff"])
def test_a_picture_is_pixels_in_0_to_1_and_no_mask(place: Workplace, inputs: Path, ext: str) -> None:
    picture = plain()
    picture.paste((0, 0, 255), (0, 0, 8, HEIGHT))
    picture.save(inputs / f"a.{ext}", {"jfif": "JPEG"}.get(ext), lossless=True)
    pixels, mask = load(place, f"a.{ext}")
    assert pixels.shape == (1, HEIGHT, WIDTH, 3)
    torch.testing.assert_close(pixels[0, 5, 15], of((255, 0, 0)), atol=0.03, rtol=0)
    torch.testing.assert_close(pixels[0, 5, 2], of((0, 0, 255)), atol=0.03, rtol=0)
    assert mask.shape == NOT_TRANSPARENT and not mask.any()


def test_every_level_of_a_png_is_kept_exactly(place: Workplace, inputs: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    PIL.Image.fromarray(levels).save(inputs / "levels.png")
    pixels, _ = load(place, "levels.png")
    assert torch.equal(pixels[0], torch.from_numpy(levels.astype(np.float32) / 255))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ext", ["jpg", "png", "webp"])
def test_a_picture_taken_sideways_is_turned_upright(place: Workplace, inputs: Path, ext: str, orientation: int) -> None:
    upright = plain(colour="white")
    upright.paste((0, 0, 0), (0, 0, WIDTH // 2, HEIGHT // 2))  # black in the upper left
    turn = PIL.Image.Transpose
    as_stored = {  # how a camera must store the upright picture under each orientation
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
    }
    stored = upright.transpose(as_stored[orientation]) if orientation > 1 else upright
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored.save(inputs / f"camera.{ext}", exif=exif, quality=100)
    pixels, _ = load(place, f"camera.{ext}")
    assert pixels.shape == (1, HEIGHT, WIDTH, 3)
    dark = (pixels[0].mean(dim=-1) < 0.5).float()
    assert dark[: HEIGHT // 2 - 1, : WIDTH // 2 - 1].all()
    assert not dark[HEIGHT // 2 + 1 :].any() and not dark[:, WIDTH // 2 + 1 :].any()


# --- transparency ---------------------------------------------------------------------------------------------------


def test_the_mask_is_1_where_the_picture_is_transparent(place: Workplace, inputs: Path) -> None:
    picture = plain("RGBA", (10, 20, 30, 255))
    picture.paste((40, 50, 60, 0), (0, 0, 5, HEIGHT))
    picture.paste((70, 80, 90, 64), (5, 0, 10, HEIGHT))
    picture.save(inputs / "rgba.png")
    pixels, mask = load(place, "rgba.png")
    assert mask.shape == (1, HEIGHT, WIDTH)
    assert mask[0, 3, [0, 7, 15]].tolist() == pytest.approx([1, 1 - 64 / 255, 0])
    for x, colour in ((0, (40, 50, 60)), (7, (70, 80, 90)), (15, (10, 20, 30))):
        torch.testing.assert_close(pixels[0, 3, x], of(colour))  # colours are kept under the transparency


def test_grey_with_alpha(place: Workplace, inputs: Path) -> None:
    plain("LA", (100, 64)).save(inputs / "la.png")
    pixels, mask = load(place, "la.png")
    torch.testing.assert_close(pixels[0, 0, 0], of((100, 100, 100)))
    torch.testing.assert_close(mask, torch.full((1, HEIGHT, WIDTH), 1 - 64 / 255))


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_a_palette_colour_that_is_transparent(place: Workplace, inputs: Path, transparency: int | bytes) -> None:
    picture = PIL.Image.new("P", (WIDTH, HEIGHT))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.paste(1, (0, 0, 5, HEIGHT))
    picture.save(inputs / "palette.png", transparency=transparency)
    pixels, mask = load(place, "palette.png")
    assert mask.shape == (1, HEIGHT, WIDTH)
    assert mask[0, 0, :5].tolist() == [1] * 5 and not mask[0, :, 5:].any()
    torch.testing.assert_close(pixels[0, 0, 9], of((255, 0, 0)))


def test_a_palette_without_transparency_has_no_mask(place: Workplace, inputs: Path) -> None:
    plain().convert("P").save(inputs / "palette.png")
    assert load(place, "palette.png")[1].shape == NOT_TRANSPARENT


def test_one_colour_named_transparent(place: Workplace, inputs: Path) -> None:
    picture = plain(colour=(1, 2, 3))
    picture.paste((9, 9, 9), (0, 0, 5, HEIGHT))
    picture.save(inputs / "key.png", transparency=(9, 9, 9))
    mask = load(place, "key.png")[1]
    assert mask[0, :, :5].all() and not mask[0, :, 5:].any()


def test_a_channel_called_a_that_is_a_colour_is_no_transparency(place: Workplace, inputs: Path) -> None:
    plain("LAB", (50, 60, 70)).save(inputs / "lab.tiff")
    assert load(place, "lab.tiff")[1].shape == NOT_TRANSPARENT


def test_the_recorded_picture_with_alpha(place: Workplace, inputs: Path) -> None:
    shutil.copy(GOLDEN / "golden_input_rgba.png", inputs)
    pixels, mask = load(place, "golden_input_rgba.png")
    stored = np.asarray(PIL.Image.open(GOLDEN / "golden_input_rgba.png"))
    assert stored.shape[-1] == 4 and len(np.unique(stored[..., 3])) > 1
    torch.testing.assert_close(pixels[0], torch.from_numpy(stored[..., :3] / np.float32(255)))
    torch.testing.assert_close(mask[0], torch.from_numpy(1 - stored[..., 3] / np.float32(255)))


# --- deep and strange colours ---------------------------------------------------------------------------------------


def test_32_bit_grey_is_divided_by_255_as_in_comfyui(place: Workplace, inputs: Path) -> None:
    values = np.array([[0, 254, 255, 10_200, 65_025] * 4] * HEIGHT, dtype=np.int32)
    PIL.Image.fromarray(values).save(inputs / "grey.tiff")
    assert PIL.Image.open(inputs / "grey.tiff").mode == "I"
    pixels, _ = load(place, "grey.tiff")
    assert (pixels[0, 0, :5, 0] * 255).tolist() == pytest.approx([0, 0, 1, 40, 255])


@pytest.mark.parametrize("name", ["grey.png", "grey.tiff", "big-endian.tiff"])
def test_16_bit_grey_is_0_to_1_by_its_own_range(place: Workplace, inputs: Path, name: str) -> None:
    values = np.array([[0, 100, 255, 256, 65535] * 4] * HEIGHT, dtype=np.uint16)
    PIL.Image.fromarray(values.astype(">u2") if name.startswith("big") else values).save(inputs / name)
    assert PIL.Image.open(inputs / name).mode.startswith("I;16")
    pixels, mask = load(place, name)
    assert pixels[0, 0, :5].tolist() == [pytest.approx([v / 65535] * 3) for v in (0, 100, 255, 256, 65535)]
    assert mask.shape == NOT_TRANSPARENT


def test_one_deep_grey_named_transparent(place: Workplace, inputs: Path) -> None:
    values = np.array([[0, 300, 301] * 5] * HEIGHT, dtype=np.uint16)
    PIL.Image.fromarray(values).save(inputs / "key.png", transparency=300)
    assert load(place, "key.png")[1][0, 0, :3].tolist() == [0, 1, 0]


def test_floating_point_grey_is_0_to_1_as_it_stands(place: Workplace, inputs: Path) -> None:
    values = np.array([[0, 0.25, 1, 2, -1, np.nan, np.inf] * 3] * HEIGHT, dtype=np.float32)
    PIL.Image.fromarray(values).save(inputs / "float.tiff")
    assert PIL.Image.open(inputs / "float.tiff").mode == "F"
    assert load(place, "float.tiff")[0][0, 0, :7, 0].tolist() == [0, 0.25, 1, 1, 0, 0, 1]


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_colour_spaces_become_rgb(place: Workplace, inputs: Path, mode: str) -> None:
    name = "a.png" if mode in ("1", "L") else "a.jpg"
    plain(colour="white").convert(mode).save(inputs / name)
    pixels, mask = load(place, name)
    assert pixels.shape == (1, HEIGHT, WIDTH, 3) and pixels.min() > 0.99
    assert mask.shape == NOT_TRANSPARENT


# --- more than one picture in a file --------------------------------------------------------------------------------

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


@pytest.mark.parametrize("ext", ["gif", "webp", "png", "tiff"])
def test_the_frames_of_an_animation_become_a_batch(place: Workplace, inputs: Path, ext: str) -> None:
    first, *rest = (plain(colour=colour) for colour in COLOURS)
    first.save(inputs / f"a.{ext}", save_all=True, append_images=rest, lossless=True)
    pixels, mask = load(place, f"a.{ext}")
    torch.testing.assert_close(pixels[:, 4, 4], torch.stack([of(colour) for colour in COLOURS]))
    assert mask.shape == (3, 64, 64) and not mask.any()


@pytest.mark.parametrize("ext", ["webp", "png"])
def test_the_frames_of_an_animation_have_masks_of_their_own(place: Workplace, inputs: Path, ext: str) -> None:
    frames = [plain("RGBA", (255, 0, 0, alpha)) for alpha in (255, 0, 51)]
    frames[0].save(inputs / f"a.{ext}", save_all=True, append_images=frames[1:], lossless=True, exact=True, blend=0)
    _, mask = load(place, f"a.{ext}")
    assert mask[:, 4, 4].tolist() == pytest.approx([0, 1, 0.8])


@pytest.mark.parametrize("transparent", [0, 1])
def test_pages_with_and_without_transparency_go_together(place: Workplace, inputs: Path, transparent: int) -> None:
    pages = [plain(), plain()]
    pages[transparent] = plain("RGBA", (0, 255, 0, 0))
    pages[0].save(inputs / "pages.tiff", save_all=True, append_images=pages[1:])
    pixels, mask = load(place, "pages.tiff")
    assert pixels.shape == (2, HEIGHT, WIDTH, 3) and mask.shape == (2, HEIGHT, WIDTH)
    assert mask[transparent].all() and not mask[1 - transparent].any()


def test_pages_of_another_size_than_the_first_are_left_out(place: Workplace, inputs: Path) -> None:
    pages = [plain(colour=COLOURS[0]), PIL.Image.new("RGB", (9, 9)), plain(colour=COLOURS[2])]
    pages[0].save(inputs / "pages.tiff", save_all=True, append_images=pages[1:])
    pixels, _ = load(place, "pages.tiff")
    torch.testing.assert_close(pixels[:, 0, 0], torch.stack([of(COLOURS[0]), of(COLOURS[2])]))


def test_of_a_camera_s_multi_picture_file_only_the_main_one_counts(place: Workplace, inputs: Path) -> None:
    plain().save(inputs / "camera.jpg", format="MPO", save_all=True, append_images=[plain(colour="blue")])
    assert PIL.Image.open(inputs / "camera.jpg").format == "MPO"
    assert load(place, "camera.jpg")[0].shape == (1, HEIGHT, WIDTH, 3)


# --- files that are none --------------------------------------------------------------------------------------------


def refusal(place: Workplace, name: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_image(place.ctx(), image=place.file("input", name))
    assert caught.value.input_name == "image"
    assert name in caught.value.message
    return caught.value


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff"])
def test_what_is_no_picture_blames_the_input(place: Workplace, inputs: Path, content: bytes) -> None:
    (inputs / "broken.png").write_bytes(content)
    refusal(place, "broken.png")


@pytest.mark.parametrize("ext", ["png", "jpg", "webp"])
def test_a_file_cut_short_blames_the_input(place: Workplace, inputs: Path, ext: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = inputs / f"cut.{ext}"
    PIL.Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(place, f"cut.{ext}")


def test_a_file_that_went_away_blames_the_input(place: Workplace, inputs: Path) -> None:
    gone = FileRef("input", "gone.png", inputs / "gone.png")
    with pytest.raises(InputError, match=r"gone\.png"):
        load_image(place.ctx(), image=gone)


def test_a_picture_too_large_for_memory_blames_the_input(place: Workplace, inputs: Path) -> None:
    PIL.Image.new("1", (10_000, 10_000)).save(inputs / "bomb.png")
    assert "1 x 10000 x 10000 pixels" in str(refusal(place, "bomb.png"))


def test_frames_are_counted_before_any_is_decoded(
    place: Workplace, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [PIL.Image.new("P", (1000, 1000), i % 2) for i in range(70)]
    frames[0].save(inputs / "bomb.gif", save_all=True, append_images=frames[1:])
    assert (inputs / "bomb.gif").stat().st_size < 200_000
    monkeypatch.setattr(PIL.Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert "70 x 1000 x 1000 pixels" in str(refusal(place, "bomb.gif"))


def test_pages_of_another_size_are_not_decoded(place: Workplace, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain().save(inputs / "a.tiff", save_all=True, append_images=[PIL.Image.new("1", (8000, 8000))])
    decoded = []
    load_one = PIL.Image.Image.load

    def load_and_note(picture: PIL.Image.Image) -> object:
        decoded.append(picture.size)
        return load_one(picture)

    monkeypatch.setattr(PIL.Image.Image, "load", load_and_note)
    load(place, "a.tiff")
    assert set(decoded) == {(WIDTH, HEIGHT)}


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO", "TGA", "PCX"])
def test_only_formats_that_are_meant_are_opened_whatever_a_file_is_called(
    place: Workplace, inputs: Path, kind: str
) -> None:
    plain().save(inputs / "a.png", kind)
    refusal(place, "a.png")


def _gif(path: Path) -> None:
    plain("P", 3).save(path, save_all=True, append_images=[plain("P", 5)])


def _tiff(path: Path) -> None:
    plain().save(path, save_all=True, append_images=[plain("RGBA", (0, 0, 0, 0))])


SAVERS: dict[str, Callable[[Path], None]] = {
    "png": plain("RGBA", (1, 2, 3, 4)).save,
    "jpg": plain().save,
    "gif": _gif,
    "webp": plain().save,
    "bmp": plain().save,
    "tiff": _tiff,
}


@pytest.mark.parametrize("ext", SAVERS)
def test_damaged_files_are_read_or_refused_but_never_break_the_node(
    place: Workplace, inputs: Path, ext: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path, chance = inputs / f"damaged.{ext}", random.Random(ext)
    SAVERS[ext](path)
    whole, refused = path.read_bytes(), 0
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load(place, path.name)
            except InputError as error:
                assert error.input_name == "image"
                refused += 1
    assert refused > 0


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_name_may_say_which_directory_it_is_of(place: Workplace) -> None:
    declared = load_image.inputs[0].widget
    assert declared is not None
    plain().save(place.output / "made.png")
    found = declared.coerce("made.png [output]", place.folders)
    assert isinstance(found, FileRef) and found.path == place.output / "made.png"
    assert load_image(place.ctx(), image=found).image.pixels.shape == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "absent.png", "../secret.png [output]", ""])
def test_a_name_that_leads_elsewhere_is_refused(place: Workplace, name: str) -> None:
    plain().save(place.base / "secret.png")
    declared = load_image.inputs[0].widget
    assert declared is not None
    with pytest.raises(ValueRefused):
        declared.coerce(name, place.folders)
