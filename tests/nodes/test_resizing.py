"""Pictures and masks by one of many rules, tiles, grids, and colours of other pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from skimage import color as peer
from torch import Tensor

from graph.errors import InputError
from models.colour_transfer import from_lab, to_lab, transferred
from models.types import Image, Latent, Mask
from nodes import animation, batches, colours, latent, mask_files, resizing, tiles
from nodes.loaders import checkpoint_loader_simple
from tests.models.golden import GOLDEN
from tests.nodes.conftest import CHECKPOINT, Workplace


def picture(width: int, height: int, batch: int = 1, seed: int = 1) -> Image:
    return Image(torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize(
    ("rule", "size"),
    [
        (resizing.Dimensions(50, 0), (50, 25)), (resizing.Dimensions(50, 50), (50, 50)), (resizing.Multiplied(0.5), (50, 25)),
        (resizing.Longer(40), (40, 20)), (resizing.Shorter(40), (80, 40)), (resizing.Wide(30), (30, 15)),
        (resizing.High(30), (60, 30)), (resizing.Total(0.01), (145, 72)), (resizing.Match(picture(9, 7)), (9, 7)),
        (resizing.Match(Mask(torch.ones(1, 7, 9))), (9, 7)), (resizing.ToMultiple(16), (96, 48)),
    ],
)  # fmt: skip
def test_a_rule_decides_the_size(place: Workplace, rule: resizing.Rule, size: tuple[int, int]) -> None:
    resize = resizing.resize_image_mask
    found = resize(place.ctx(), input=picture(100, 50), resize_type=rule, scale_method="area")
    assert found.pixels.shape[1:3] == size[::-1]
    masked = resize(place.ctx(), input=Mask(torch.rand(2, 50, 100)), resize_type=rule, scale_method="bilinear")
    assert isinstance(masked, Mask) and masked.values.shape == (2, *size[::-1])


def test_a_size_of_nothing_is_told(place: Workplace) -> None:
    for rule in (resizing.Longer(0), resizing.ToMultiple(64)):
        with pytest.raises(InputError) as caught:
            resizing.resize_image_mask(place.ctx(), input=picture(50, 40), resize_type=rule)
        assert caught.value.input_name == "resize_type"


@pytest.mark.parametrize(
    ("shape", "megapixels", "multiple", "expected"),
    [("1:1 (Square)", 1.0, 8, (1024, 1024)), ("16:9 (Widescreen)", 0.4, 32, (864, 480)), ("2:3 (Portrait Photo)", 1.0, 64, (832, 1280))],
)  # fmt: skip
def test_a_resolution_of_proportions(
    place: Workplace, shape: str, megapixels: float, multiple: int, expected: tuple[int, int]
) -> None:
    found = resizing.resolution_selector(place.ctx(), aspect_ratio=shape, megapixels=megapixels, multiple=multiple)
    assert found == expected


@pytest.mark.parametrize(("width", "height", "overlap"), [(200, 130, 32), (64, 64, 16), (300, 64, 0)])
def test_tiles_put_together_are_the_picture(place: Workplace, width: int, height: int, overlap: int) -> None:
    whole = picture(width, height, 2)
    cut = tiles.split_image_to_tile_list(place.ctx(), image=whole, tile_width=96, tile_height=64, overlap=overlap)
    assert len({tile.pixels.shape for tile in cut}) == 1
    joined = tiles.image_merge_tile_list(
        place.ctx(), image_list=cut, final_width=width, final_height=height, overlap=overlap
    )
    torch.testing.assert_close(joined.pixels, whole.pixels)
    if len(cut) > 1:
        with pytest.raises(InputError, match="takes"):
            tiles.image_merge_tile_list(
                place.ctx(), image_list=cut[:-1], final_width=width, final_height=height, overlap=overlap
            )


def test_a_grid_shows_all_pictures_whole(place: Workplace) -> None:
    white = Image(torch.ones(5, 10, 20, 3))
    grid = tiles.image_grid(place.ctx(), images=[white], columns=3, cell_width=40, cell_height=40, padding=4).pixels
    assert grid.shape == (1, 84, 128, 3)
    assert grid[0, 20, 20].tolist() == [1, 1, 1] and grid[0, 5, 20].sum() == 0, "its own proportions, in the middle"
    assert grid[0, 64, 108].sum() == 0, "the sixth cell is empty"


def test_brightness_and_contrast_leave_transparency(place: Workplace) -> None:
    rgba = Image(torch.tensor([[[[0.2, 0.5, 0.9, 0.3]]]]))
    brighter = colours.adjust_brightness(place.ctx(), image=rgba, factor=2.0).pixels
    torch.testing.assert_close(brighter.flatten(), torch.tensor([0.4, 1.0, 1.0, 0.3]))
    flatter = colours.adjust_contrast(place.ctx(), image=rgba, factor=0.5).pixels
    torch.testing.assert_close(flatter.flatten(), torch.tensor([0.35, 0.5, 0.7, 0.3]))


def test_lab_is_cie_s() -> None:
    rgb = picture(16, 16).pixels[0]
    torch.testing.assert_close(to_lab(rgb), torch.from_numpy(peer.rgb2lab(rgb.numpy())), rtol=1e-3, atol=2e-2)
    torch.testing.assert_close(from_lab(to_lab(rgb)), rgb, rtol=1e-3, atol=1e-3)


def lab(x: Tensor) -> Tensor:
    return to_lab(x).reshape(-1, 3)


@pytest.mark.parametrize("method", ["reinhard_lab", "mkl_lab", "histogram"])
def test_colours_become_those_of_the_reference(method: str) -> None:
    given, wanted = picture(40, 40).pixels * 0.3 + 0.35, picture(50, 30, seed=2).pixels * 0.3 + 0.2
    found = transferred(given[0], given, wanted, method)
    if method == "histogram":
        for channel in range(3):
            ours, theirs = (x[..., channel].flatten().quantile(torch.linspace(0.1, 0.9, 9)) for x in (found, wanted))
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0.01)
        return
    torch.testing.assert_close(lab(found).mean(0), lab(wanted).mean(0), rtol=1e-2, atol=0.1)
    torch.testing.assert_close(lab(found).std(0), lab(wanted).std(0), rtol=2e-2, atol=0.1)
    if method == "mkl_lab":
        torch.testing.assert_close(torch.cov(lab(found).T), torch.cov(lab(wanted).T), rtol=5e-2, atol=2.0)


def test_colour_transfer_goes_part_of_the_way(place: Workplace) -> None:
    given, wanted = picture(8, 8, 3), picture(8, 8, 2, seed=2)
    half = colours.color_transfer(
        place.ctx(), image_target=given, image_ref=wanted, source_stats=colours.Uniform(), strength=0.5
    ).pixels
    whole = colours.color_transfer(
        place.ctx(), image_target=given, image_ref=wanted, source_stats=colours.Uniform(), strength=1.0
    ).pixels
    torch.testing.assert_close(half, (given.pixels + whole) / 2, rtol=1e-3, atol=1e-3)
    assert colours.color_transfer(place.ctx(), image_target=given, image_ref=None) is given
    one = colours.color_transfer(
        place.ctx(), image_target=given, image_ref=wanted, source_stats=colours.TargetFrame(99), method="mkl_lab"
    )
    assert one.pixels.shape == given.pixels.shape


def test_batches_are_shared_out_anew(place: Workplace) -> None:
    given = [picture(8, 8, 3), picture(8, 8, 2, seed=2), picture(4, 8, 1)]
    found = batches.rebatch_images(place.ctx(), images=given, batch_size=2)
    assert [len(image.pixels) for image in found] == [2, 2, 1, 1]
    joined = torch.cat([image.pixels for image in found[:3]])
    assert torch.equal(joined, torch.cat([image.pixels for image in given[:2]]))


def test_many_pictures_and_masks_in_one_batch(place: Workplace) -> None:
    given = {"image0": picture(8, 8, 2), "image1": picture(32, 16), "image2": Image(torch.rand(1, 8, 8, 4))}
    assert batches.batch_images(place.ctx(), images=given).pixels.shape == (4, 8, 8, 3)
    masks = {"mask0": Mask(torch.ones(1, 8, 8)), "mask1": Mask(torch.ones(2, 4, 8))}
    assert batches.batch_masks(place.ctx(), masks=masks).values.shape == (3, 8, 8)
    assert [warning.input_name for warning in place.warnings] == ["masks.mask1"]


def test_a_channel_of_a_file_is_a_mask(place: Workplace) -> None:
    place.folders.input_dir.mkdir(parents=True, exist_ok=True)
    for name in ("golden_mask.png", "golden_input_rgba.png"):
        (place.folders.input_dir / name).write_bytes((GOLDEN / name).read_bytes())
    red = mask_files.load_image_mask(place.ctx(), image=place.file("input", "golden_mask.png"), channel="red").values
    expected = torch.from_numpy(np.array(PillowImage.open(GOLDEN / "golden_mask.png").convert("RGB"))[..., 0]).flatten()
    torch.testing.assert_close(red.flatten() * 255, expected.float())
    clear = mask_files.load_image_mask(
        place.ctx(), image=place.file("input", "golden_input_rgba.png"), channel="alpha"
    ).values
    alpha = torch.from_numpy(np.array(PillowImage.open(GOLDEN / "golden_input_rgba.png"))[..., 3]).flatten()
    torch.testing.assert_close(255 - clear.flatten() * 255, alpha.float())
    shown = mask_files.mask_preview(place.ctx(), mask=Mask(red)).ui["images"]
    assert shown[0]["type"] == "temp"


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_an_animation_is_one_file_with_its_workflow(place: Workplace, suffix: str) -> None:
    frames = picture(16, 8, 3)
    ctx = place.ctx('{"1": {"class_type": "X", "inputs": {}}}')
    saved = (
        animation.save_animated_png(ctx, images=frames, fps=10.0)
        if suffix == "png"
        else animation.save_animated_webp(ctx, images=frames, fps=10.0, method="default")
    )
    assert saved.ui["animated"] == [True]
    with PillowImage.open(place.output / saved.ui["images"][0]["filename"]) as file:
        assert getattr(file, "n_frames", 1) == 3 and file.size == (16, 8)
        file.seek(1)
        file.load()
        assert file.info["duration"] == 100
        second = torch.from_numpy(np.array(file.convert("RGB")))
        said = getattr(file, "text", {})["prompt"] if suffix == "png" else file.getexif()[0x0110]
    torch.testing.assert_close(second.float(), (frames.pixels[1] * 255).floor())
    assert '"class_type": "X"' in said


def test_decoding_and_encoding_in_tiles_comes_near_the_whole(place: Workplace) -> None:
    vae = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).vae
    z = Latent(torch.randn(1, 4, 24, 16, generator=torch.Generator().manual_seed(1)))
    whole = latent.vae_decode(place.ctx(), samples=z, vae=vae).pixels
    tiled = latent.vae_decode_tiled(place.ctx(), samples=z, vae=vae, tile_size=64, overlap=32).pixels
    assert tiled.shape == whole.shape
    single = latent.vae_decode_tiled(place.ctx(), samples=z, vae=vae, tile_size=512).pixels
    torch.testing.assert_close(single, whole, rtol=1e-4, atol=1e-4)
    encoded = latent.vae_encode_tiled(place.ctx(), pixels=Image(whole), vae=vae, tile_size=512).samples
    torch.testing.assert_close(
        encoded, latent.vae_encode(place.ctx(), pixels=Image(whole), vae=vae).samples, rtol=1e-3, atol=1e-3
    )
    with pytest.raises(InputError, match="half"):
        latent.vae_encode_tiled(place.ctx(), pixels=Image(whole), vae=vae, tile_size=64, overlap=32)
