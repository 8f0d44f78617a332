"""What belongs to a family: the marks by which a file's is found, its levels, and what its network's answer means."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler

from models.family import SD1, Family, family_of
from models.levels import NoiseLevels
from models.prediction import Clean, Eps, Prediction, Velocity

LEVELS = NoiseLevels()


def test_the_defaults_are_stable_diffusion_1() -> None:
    assert (SD1.latent.channels, SD1.latent.factor, SD1.latent.scale) == (4, 8, 0.18215)
    assert family_of(["model.diffusion_model.out.2.weight"], {}, {"out.2.weight": (4, 320, 3, 3)}) == SD1 == Family()


@pytest.mark.parametrize(
    ("names", "metadata", "prediction", "zero_terminal"),
    [
        (["v_pred"], {}, Velocity(), False),
        (["v_pred", "ztsnr"], {}, Velocity(), True),
        ([], {"modelspec.prediction_type": "v"}, Velocity(), False),
        ([], {"modelspec.prediction_type": "epsilon"}, Eps(), False),
    ],
)
def test_trainers_mark_files_that_predict_v(
    names: list[str], metadata: dict[str, str], prediction: Prediction, zero_terminal: bool
) -> None:
    diffusion = family_of(names, metadata, {"out.2.weight": (4, 320, 3, 3)}).diffusion
    assert diffusion.prediction == prediction and diffusion.levels.zero_terminal is zero_terminal


def test_levels_by_share_of_the_way() -> None:
    assert LEVELS.at(0.0) == math.inf and LEVELS.at(-1) == math.inf
    assert LEVELS.at(1.0) == LEVELS.at(2.0) == 0
    assert LEVELS.at(0.25) == pytest.approx(4.086081, rel=1e-6)
    assert LEVELS.at(0.5) == pytest.approx(1.615580, rel=1e-6)


def test_zero_terminal_levels_are_lin_s_and_keep_the_lowest() -> None:
    zero = NoiseLevels(zero_terminal=True)
    assert zero.sigma_min == pytest.approx(LEVELS.sigma_min, rel=1e-6)
    assert zero.sigma_max == pytest.approx(4518.7637, rel=1e-5)
    assert float(zero.sigmas[-2]) == pytest.approx(2254.2380, rel=1e-5)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=True
    )
    alphas = scheduler.alphas_cumprod[:-1].double()
    torch.testing.assert_close(zero.sigmas[:-1], ((1 - alphas) / alphas).sqrt().float(), rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("prediction", [Eps(), Velocity(), Clean()])
@pytest.mark.parametrize("sigma", [0.03, 1.0, 14.6, 4518.0])
def test_a_network_that_knows_the_answer_gives_back_the_clean_latent(prediction: Prediction, sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 2, 4, 8, 8, generator=generator, dtype=torch.float64)
    level = torch.tensor(sigma, dtype=torch.float64)
    alpha = 1 / (1 + level**2).sqrt()  # in the variance-preserving scale: y = alpha clean + alpha sigma noise
    answers = {Eps: noise, Velocity: alpha * noise - alpha * level * clean, Clean: clean}
    x = clean + level * noise
    torch.testing.assert_close(prediction.denoised(answers[type(prediction)], x, level), clean, rtol=1e-6, atol=1e-6)
    assert float(prediction.scaled(x, level).std()) == pytest.approx(1, abs=0.1)
