"""Latents from nothing, from pictures, and back to pictures."""

from __future__ import annotations

import pytest
import torch

from graph.context import Cancel
from graph.errors import InputError, Interrupted
from graph.sockets import Int
from models.types import Image, Latent, Vae
from nodes.latent import empty_latent_image, vae_decode, vae_encode
from nodes.loaders import checkpoint_loader_simple
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_checkpoint import tiny_vae


@pytest.fixture
def vae(place: Workplace) -> Vae:
    loaded: Vae = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).vae
    return loaded


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def picture(height: int, width: int, batch: int = 1, channels: int = 3) -> Image:
    return Image(torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("width", "height", "batch", "shape"),
    [(512, 512, 1, (1, 4, 64, 64)), (64, 192, 3, (3, 4, 24, 8)), (16, 16, 1, (1, 4, 2, 2)), (70, 63, 1, (1, 4, 7, 8))],
)
def test_an_empty_latent_is_zeros_of_an_eighth_of_the_size(
    place: Workplace, width: int, height: int, batch: int, shape: tuple[int, ...]
) -> None:
    samples = empty_latent_image(place.ctx(), width=width, height=height, batch_size=batch).samples
    assert samples.shape == shape and samples.dtype == torch.float32 and not samples.any()


def test_the_default_is_one_picture_of_512_pixels(place: Workplace) -> None:
    defaults = {declared.name: declared.default for declared in empty_latent_image.inputs}
    assert defaults == {"width": 512, "height": 512, "batch_size": 1}
    assert all(isinstance(declared.widget, Int) for declared in empty_latent_image.inputs)


# --- VAEEncode ------------------------------------------------------------------------------------------------------


def test_a_picture_is_encoded_to_the_mean_of_the_posterior(place: Workplace, vae: Vae) -> None:
    image = picture(32, 48)
    moments = tiny_vae().encode((image.pixels * 2 - 1).movedim(-1, 1))
    latent: Latent = vae_encode(place.ctx(), pixels=image, vae=vae)
    assert latent.samples.shape == (1, 4, 4, 6) and latent.samples.dtype == torch.float32
    torch.testing.assert_close(latent.samples, moments[:, :4])  # neither sampled nor scaled by 0.18215
    again: Latent = vae_encode(place.ctx(), pixels=image, vae=vae)
    assert torch.equal(again.samples, latent.samples)


@pytest.mark.parametrize(
    ("size", "top", "left", "kept"),
    [
        ((32, 32), 0, 0, (32, 32)),
        ((33, 32), 0, 0, (32, 32)),  # one row too many goes below
        ((34, 32), 1, 0, (32, 32)),
        ((32, 39), 0, 3, (32, 32)),
        ((39, 47), 3, 3, (32, 40)),
        ((8, 15), 0, 3, (8, 8)),
    ],
)
def test_a_picture_is_cropped_around_its_middle_to_multiples_of_8(
    place: Workplace, vae: Vae, size: tuple[int, int], top: int, left: int, kept: tuple[int, int]
) -> None:
    image = picture(*size)
    cropped = Image(image.pixels[:, top : top + kept[0], left : left + kept[1]])
    whole = vae_encode(place.ctx(), pixels=image, vae=vae).samples
    assert whole.shape == (1, 4, kept[0] // 8, kept[1] // 8)
    assert torch.equal(whole, vae_encode(place.ctx(), pixels=cropped, vae=vae).samples)


def test_transparency_is_left_out(place: Workplace, vae: Vae) -> None:
    image = picture(16, 16, channels=4)
    opaque = Image(image.pixels[..., :3])
    encoded = [vae_encode(place.ctx(), pixels=given, vae=vae).samples for given in (image, opaque)]
    assert torch.equal(*encoded)


@pytest.mark.parametrize("size", [(7, 64), (64, 7), (1, 1)])
def test_a_picture_smaller_than_a_latent_cell_blames_the_input(
    place: Workplace, vae: Vae, size: tuple[int, int]
) -> None:
    with pytest.raises(InputError, match=f"{size[1]}x{size[0]}") as caught:
        vae_encode(place.ctx(), pixels=picture(*size), vae=vae)
    assert caught.value.input_name == "pixels"


def test_the_input_picture_is_not_written_to(place: Workplace, vae: Vae) -> None:
    image = picture(16, 16)
    before = image.pixels.clone()
    vae_encode(place.ctx(), pixels=image, vae=vae)
    assert torch.equal(image.pixels, before)


# --- VAEDecode ------------------------------------------------------------------------------------------------------


def test_a_latent_is_decoded_to_pixels_cut_to_0_and_1(place: Workplace, vae: Vae) -> None:
    latent = Latent(noise(1, 4, 3, 5) * 2)
    raw = (tiny_vae().decode(latent.samples) + 1) / 2
    assert raw.min() < 0 and raw.max() > 1, "there is something to cut"
    pixels = vae_decode(place.ctx(), samples=latent, vae=vae).pixels
    assert pixels.shape == (1, 24, 40, 3) and pixels.dtype == torch.float32 and pixels.is_contiguous()
    torch.testing.assert_close(pixels, raw.clamp(0, 1).movedim(1, -1))
    assert pixels.min() == 0 and pixels.max() == 1


def test_pictures_of_a_batch_are_coded_each_for_itself(place: Workplace, vae: Vae) -> None:
    latent = Latent(noise(3, 4, 2, 2))
    together = vae_decode(place.ctx(), samples=latent, vae=vae).pixels
    for i in range(3):
        alone = vae_decode(place.ctx(), samples=Latent(latent.samples[i : i + 1]), vae=vae).pixels
        assert torch.equal(together[i : i + 1], alone)
    encoded = vae_encode(place.ctx(), pixels=Image(together), vae=vae).samples
    assert encoded.shape == (3, 4, 2, 2)
    assert torch.equal(encoded[1:2], vae_encode(place.ctx(), pixels=Image(together[1:2]), vae=vae).samples)


@pytest.mark.parametrize("node", ["encode", "decode"])
def test_an_interrupt_takes_effect_within_one_block(
    place: Workplace, vae: Vae, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, checks = Cancel(), 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 3:
            cancel.set()
        Cancel.check(cancel)

    monkeypatch.setattr(cancel, "check", check)
    ctx = place.ctx(cancel=cancel)
    with pytest.raises(Interrupted):
        if node == "encode":
            vae_encode(ctx, pixels=picture(16, 16), vae=vae)
        else:
            vae_decode(ctx, samples=Latent(noise(1, 4, 2, 2)), vae=vae)
    assert checks == 3, "asked before each block, and not once more"
