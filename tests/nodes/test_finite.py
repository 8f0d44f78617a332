"""Settings that widgets allow give finite latents and pictures, or an error that says what to change; never a black
picture and "success"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graph.errors import InputError
from models.family import SD1
from models.schedules import SCHEDULES, sigmas_for
from models.types import Cond, Conditioning, Image, Latent, Model, Sigmas
from nodes.conditioning import clip_text_encode
from nodes.custom_sampling import flip_sigmas, karras_scheduler, ksampler_select, sampler_custom
from nodes.latent import vae_decode, vae_encode
from nodes.loaders import Checkpoint, checkpoint_loader_simple
from nodes.sampling import ksampler
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_checkpoint import WIDTH

BLANK = Latent(torch.zeros(1, 4, 8, 8))


@pytest.fixture
def checkpoint(place: Workplace) -> Checkpoint:
    loaded: Checkpoint = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))
    return loaded


def text(seed: int) -> Conditioning:
    tokens = torch.randn(1, 77, WIDTH, generator=torch.Generator().manual_seed(seed))
    return Conditioning((Cond(tokens, tokens[:, 0]),))


def drawn(place: Workplace, model: Model, **changed: Any) -> Tensor:
    settings = {
        "seed": 1, "steps": 3, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "positive": text(1),
        "negative": text(2), "latent_image": BLANK, "denoise": 1.0,
    }  # fmt: skip
    result: Latent = ksampler(place.ctx(), model=model, **settings | changed)
    return result.samples


def custom(place: Workplace, model: Model, sampler: str, sigmas: Sigmas) -> Tensor:
    chosen = ksampler_select(place.ctx(), sampler_name=sampler)
    return sampler_custom(
        place.ctx(), model=model, noise_seed=1, cfg=5.0, positive=text(1), negative=text(2), sampler=chosen,
        sigmas=sigmas, latent_image=BLANK,
    ).output.samples  # fmt: skip


def karras(place: Workplace, **changed: float) -> Sigmas:
    levels: Sigmas = karras_scheduler(place.ctx(), steps=3, **changed)
    return levels


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 20, 999, 1000, 1001, 2000, 10_000])
def test_a_schedule_never_repeats_a_level(schedule: str, steps: int) -> None:
    for denoise in (1.0, 0.5, 0.01) if steps <= 1000 else (1.0,):
        sigmas = sigmas_for(SCHEDULES[schedule], SD1.diffusion.levels, steps, denoise)
        assert sigmas.isfinite().all() and (sigmas.diff() < 0).all() and sigmas[-1] == 0 and len(sigmas) > 1


SHORT = ["euler", "dpmpp_2m", "lms", "deis", "ipndm_v", "uni_pc", "uni_pc_bh2", "res_multistep", "er_sde"]


@pytest.mark.parametrize("sampler", SHORT)
def test_where_a_list_of_many_steps_would_repeat_levels(place: Workplace, checkpoint: Checkpoint, sampler: str) -> None:
    samples = drawn(place, checkpoint.model, steps=20, denoise=0.01, scheduler="simple", sampler_name=sampler)
    assert samples.isfinite().all()


def test_a_list_down_to_0_ends_there_once(place: Workplace, checkpoint: Checkpoint) -> None:
    sigmas = karras(place, sigma_min=0.0, sigma_max=14.0)
    assert (sigmas.values > 0).tolist() == [True, True, False]
    assert custom(place, checkpoint.model, "euler", sigmas).isfinite().all()


@pytest.mark.parametrize(
    ("changed", "blamed"),
    [({"rho": 0.01}, "rho"), ({"rho": 0.0}, "rho"), ({"sigma_min": 2.0, "sigma_max": 2.0}, "sigma_max"),
     ({"sigma_min": 3.0, "sigma_max": 2.0}, "sigma_max"), ({"sigma_min": 0.0, "sigma_max": 0.0}, "sigma_max")],
)  # fmt: skip
def test_levels_between_which_nothing_descends_are_refused(
    place: Workplace, changed: dict[str, float], blamed: str
) -> None:
    with pytest.raises(InputError) as caught:
        karras(place, **changed)
    assert caught.value.input_name == blamed


@pytest.mark.parametrize("rho", [0.05, 0.3, 1.0, 100.0])
def test_every_rho_that_is_taken_gives_a_list(place: Workplace, rho: float) -> None:
    values = karras(place, rho=rho).values
    assert values.isfinite().all() and (values.diff() < 0).all()


@pytest.mark.parametrize(
    "sampler", ["euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "res_multistep_ancestral"]
)
def test_a_sampler_that_adds_noise_cannot_climb_and_says_so(
    place: Workplace, checkpoint: Checkpoint, sampler: str
) -> None:
    rising = flip_sigmas(place.ctx(), sigmas=karras(place))
    with pytest.raises(InputError, match=rf"step 1 of 3 of the sampler {sampler}, .*cannot climb") as caught:
        custom(place, checkpoint.model, sampler, rising)
    assert caught.value.input_name == "sigmas"


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm_2", "dpmpp_2m", "res_multistep", "lms"])
def test_samplers_without_noise_climb(place: Workplace, checkpoint: Checkpoint, sampler: str) -> None:
    rising = flip_sigmas(place.ctx(), sigmas=karras(place))
    assert custom(place, checkpoint.model, sampler, rising).isfinite().all()


@pytest.mark.parametrize(
    "levels", [[5.0, 5.0, 0.0], [5.0, 0.0, 0.0], [0.0, 5.0], [5.0, float("nan"), 0.0], [float("inf"), 1.0], [5.0, -1.0]]
)
def test_levels_that_no_sampler_can_visit_are_refused(
    place: Workplace, checkpoint: Checkpoint, levels: list[float]
) -> None:
    with pytest.raises(InputError, match="noise level") as caught:
        custom(place, checkpoint.model, "euler", Sigmas(torch.tensor(levels)))
    assert caught.value.input_name == "sigmas"


def test_weights_that_no_model_can_read_are_told(place: Workplace, checkpoint: Checkpoint) -> None:
    huge = clip_text_encode(place.ctx(), text="a (word:1e30)", clip=checkpoint.clip)
    with pytest.raises(InputError, match=r"step 1 of 3 of the sampler euler, .*weights are too large") as caught:
        drawn(place, checkpoint.model, positive=huge)
    assert caught.value.input_name == "positive"


def broken(change: Callable[[Tensor], None]) -> Latent:
    samples = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    change(samples)
    return Latent(samples)


def one_nan(x: Tensor) -> None:
    x.view(len(x), -1)[1, 5] = float("nan")


def test_a_latent_that_is_not_finite_is_blamed_where_it_comes_in(place: Workplace, checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError) as caught:
        drawn(place, checkpoint.model, latent_image=broken(one_nan))
    assert caught.value.input_name == "latent_image"
    with pytest.raises(InputError, match="item 2 of the batch") as caught:
        vae_decode(place.ctx(), samples=broken(one_nan), vae=checkpoint.vae)
    assert caught.value.input_name == "samples"
    pixels = torch.zeros(2, 64, 64, 3)
    one_nan(pixels)
    with pytest.raises(InputError, match="item 2 of the batch") as caught:
        vae_encode(place.ctx(), pixels=Image(pixels), vae=checkpoint.vae)
    assert caught.value.input_name == "pixels"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_vae_that_gives_no_finite_picture_is_blamed(place: Workplace, checkpoint: Checkpoint, value: float) -> None:
    with place.services.residency.use(checkpoint.vae) as autoencoder:
        weights = dict(autoencoder.named_parameters())
        weights["decoder.conv_out.bias"].data[0] = weights["quant_conv.bias"].data[0] = value
    with pytest.raises(InputError, match="item 1 of the batch") as caught:
        vae_decode(place.ctx(), samples=BLANK, vae=checkpoint.vae)
    assert caught.value.input_name == "vae"
    with pytest.raises(InputError) as caught:
        vae_encode(place.ctx(), pixels=Image(torch.zeros(1, 64, 64, 3)), vae=checkpoint.vae)
    assert caught.value.input_name == "vae"


def test_a_network_whose_weights_are_damaged_is_blamed_with_the_step(place: Workplace, checkpoint: Checkpoint) -> None:
    with place.services.residency.use(checkpoint.model) as unet:
        dict(unet.named_parameters())["out.2.bias"].data[0] = float("nan")
    with pytest.raises(InputError, match=r"step 1 of 3 of the sampler dpmpp_2m") as caught:
        drawn(place, checkpoint.model, sampler_name="dpmpp_2m")
    assert caught.value.input_name == "model"
