"""KSamplerAdvanced, and sampling in parts: what each part is, and that the whole is KSampler."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graph.build import build
from graph.document import parse
from graph.errors import InputError
from graph.events import Progress
from models.denoiser import Denoiser, Guided
from models.family import SD1
from models.guidance import Cfg
from models.levels import NoiseLevels
from models.noise import Noise
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES
from models.types import Latent, Model, Sigmas, nbytes
from nodes.custom_sampling import (
    basic_guider,
    basic_scheduler,
    cfg_guider,
    disable_noise,
    flip_sigmas,
    ksampler_select,
    random_noise,
    sampler_custom,
    sampler_custom_advanced,
    sampler_ddim,
    split_sigmas,
)
from nodes.denoising import Sampled
from nodes.loaders import checkpoint_loader_simple
from nodes.registry import builtin
from nodes.sampling import ksampler, ksampler_advanced
from tests.engine import open_engine
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.nodes.test_sampling import noise, text
from tests.tiny_checkpoint import WIDTH, tiny_unet, write_tiny_checkpoint

LEVELS = NoiseLevels()
BLANK = Latent(torch.zeros(1, 4, 8, 8))
NORMAL = SCHEDULES["normal"](LEVELS, 4)


@pytest.fixture
def model(place: Workplace) -> Model:
    loaded: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    return loaded


Sample = Callable[..., Any]


@pytest.fixture
def whole(place: Workplace, model: Model) -> Sample:
    """KSampler with four steps, as a yardstick."""

    def sample(**changed: Any) -> Tensor:
        settings = {"seed": 42, "steps": 4, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal",
                    "positive": text(1), "negative": text(2), "latent_image": BLANK, **changed}  # fmt: skip
        latent: Latent = ksampler(place.ctx(), model=model, **settings)
        return latent.samples

    return sample


@pytest.fixture
def advanced(place: Workplace, model: Model) -> Sample:
    def sample(**changed: Any) -> Latent:
        settings = {"add_noise": "enable", "noise_seed": 42, "steps": 4, "cfg": 5.0, "sampler_name": "euler",
                    "scheduler": "normal", "positive": text(1), "negative": text(2), "latent_image": BLANK,
                    "return_with_leftover_noise": "disable", **changed}  # fmt: skip
        latent: Latent = ksampler_advanced(place.ctx(), model=model, **settings)
        return latent

    return sample


@pytest.fixture
def parts(place: Workplace, model: Model) -> Sample:
    """SamplerCustomAdvanced."""

    def sample(**changed: Any) -> Sampled:
        ctx = place.ctx()
        settings = {
            "noise": random_noise(ctx, noise_seed=42),
            "guider": cfg_guider(ctx, model=model, positive=text(1), negative=text(2), cfg=5.0),
            "sampler": ksampler_select(ctx, sampler_name="euler"),
            "sigmas": Sigmas(NORMAL),
            "latent_image": BLANK,
            **changed,
        }
        result: Sampled = sampler_custom_advanced(ctx, **settings)
        return result

    return sample


def by_hand(x: Tensor, sigmas: Tensor, sampler: str = "euler", cfg: float = 5.0, seed: int = 42) -> Tensor:
    """From the sampler's scale to the VAE's, with every part written out."""
    guided = Guided(Denoiser(tiny_unet(), SD1.diffusion, lambda: None), (text(1), text(2)), Cfg(cfg))
    for step in SAMPLERS[sampler](guided, x, sigmas, Noise(seed)):
        x = step.x
    return x / SD1.latent.scale


# KSamplerAdvanced


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpm_2", "plms"])
def test_all_steps_of_the_advanced_sampler_are_ksampler_s(whole: Sample, advanced: Sample, sampler: str) -> None:
    assert torch.equal(advanced(sampler_name=sampler).samples, whole(sampler_name=sampler))


def test_two_samplers_can_share_a_schedule(whole: Sample, advanced: Sample) -> None:
    half = advanced(end_at_step=2, return_with_leftover_noise="enable")
    rest = advanced(latent_image=half, add_noise="disable", start_at_step=2, noise_seed=7)
    torch.testing.assert_close(rest.samples, whole(), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(half.samples, whole(), rtol=0.1, atol=0.1)


def test_leftover_noise_stays_or_is_removed_in_the_last_step(advanced: Sample) -> None:
    x = Noise(42).initial((1, 4, 8, 8)) * (1 + NORMAL[0] ** 2).sqrt()
    left = advanced(end_at_step=2, return_with_leftover_noise="enable")
    torch.testing.assert_close(left.samples, by_hand(x, NORMAL[:3]))
    removed = advanced(end_at_step=2)
    torch.testing.assert_close(removed.samples, by_hand(x, torch.cat([NORMAL[:2], torch.zeros(1)])))


def test_a_later_start_adds_the_noise_of_its_level(advanced: Sample) -> None:
    latent = Latent(noise(1, 4, 8, 8, seed=5) * 7)
    x = latent.samples * SD1.latent.scale + Noise(42).initial((1, 4, 8, 8)) * NORMAL[1]
    torch.testing.assert_close(advanced(latent_image=latent, start_at_step=1).samples, by_hand(x, NORMAL[1:]))


@pytest.mark.parametrize("changed", [{"start_at_step": 4}, {"start_at_step": 10_000}, {"end_at_step": 0},
                                     {"start_at_step": 2, "end_at_step": 2}, {"start_at_step": 3, "end_at_step": 1}])  # fmt: skip
def test_no_steps_left_give_the_latent_back(place: Workplace, advanced: Sample, changed: dict[str, int]) -> None:
    assert advanced(**changed) is BLANK
    assert place.services.residency.resident_bytes == 0, "nothing was loaded for it"


@pytest.mark.parametrize("end", [4, 5, 10_000])
def test_an_end_past_the_schedule_is_its_end(whole: Sample, advanced: Sample, end: int) -> None:
    assert torch.equal(advanced(end_at_step=end, return_with_leftover_noise="enable").samples, whole())


def test_the_seed_drives_samplers_also_when_no_noise_is_added_first(advanced: Sample) -> None:
    latent = Latent(noise(1, 4, 8, 8, seed=5) * 7)
    settings = {"latent_image": latent, "add_noise": "disable", "sampler_name": "euler_ancestral", "start_at_step": 1}
    expected = by_hand(latent.samples * SD1.latent.scale, NORMAL[1:], "euler_ancestral")
    torch.testing.assert_close(advanced(**settings).samples, expected)
    assert not torch.allclose(advanced(**settings, noise_seed=43).samples, expected, rtol=1e-3, atol=1e-3)


# SamplerCustom and SamplerCustomAdvanced


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "lms", "heun", "seeds_2"])
def test_the_parts_together_are_ksampler(
    place: Workplace, model: Model, whole: Sample, parts: Sample, sampler: str
) -> None:
    ctx = place.ctx()
    chosen = ksampler_select(ctx, sampler_name=sampler)
    sigmas = basic_scheduler(ctx, model=model, scheduler="normal", steps=4)
    expected = whole(sampler_name=sampler)
    assert torch.equal(parts(sampler=chosen, sigmas=sigmas).output.samples, expected)
    custom = sampler_custom(
        ctx, model=model, noise_seed=42, cfg=5.0, positive=text(1), negative=text(2), sampler=chosen, sigmas=sigmas,
        latent_image=BLANK,
    )  # fmt: skip
    assert torch.equal(custom.output.samples, expected)


def test_progress_is_told_after_each_step(place: Workplace, parts: Sample) -> None:
    parts()
    told = [(event.done, event.total) for event in place.events if isinstance(event, Progress)]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_basic_guider_is_ksampler_at_cfg_1(place: Workplace, model: Model, whole: Sample, parts: Sample) -> None:
    guider = basic_guider(place.ctx(), model=model, conditioning=text(1))
    assert torch.equal(parts(guider=guider).output.samples, whole(cfg=1.0))


def test_without_noise_sampling_starts_from_the_latent(place: Workplace, model: Model, parts: Sample) -> None:
    latent = Latent(noise(1, 4, 8, 8, seed=5) * 7)
    x = latent.samples * SD1.latent.scale
    ctx, chosen = place.ctx(), ksampler_select(place.ctx(), sampler_name="euler_ancestral")
    settings = {"latent_image": latent, "sampler": chosen, "sigmas": Sigmas(NORMAL[1:])}
    result = parts(noise=disable_noise(ctx), **settings)
    torch.testing.assert_close(result.output.samples, by_hand(x, NORMAL[1:], "euler_ancestral", seed=0))
    custom = sampler_custom(
        ctx, model=model, add_noise=False, noise_seed=9, cfg=5.0, positive=text(1), negative=text(2), **settings
    )
    torch.testing.assert_close(custom.output.samples, by_hand(x, NORMAL[1:], "euler_ancestral", seed=9))


def test_the_second_output_is_what_the_last_step_took_for_clean(parts: Sample) -> None:
    ended = parts()
    torch.testing.assert_close(ended.denoised_output.samples, ended.output.samples)
    before, after = parts(sigmas=Sigmas(NORMAL[:2])), parts(sigmas=Sigmas(NORMAL[:3]))
    x, sigma, sigma_next = before.output.samples, NORMAL[1], NORMAL[2]
    slope = (x - after.denoised_output.samples) / sigma  # Euler's step, turned around
    torch.testing.assert_close(after.output.samples, x + slope * (sigma_next - sigma))


def test_no_levels_leave_the_latent_and_one_only_adds_noise(place: Workplace, parts: Sample) -> None:
    latent = Latent(noise(1, 4, 8, 8, seed=5))
    assert parts(sigmas=Sigmas(torch.zeros(0)), latent_image=latent) == (latent, latent)
    assert place.services.residency.resident_bytes == 0
    once = parts(sigmas=Sigmas(torch.tensor([3.0])), latent_image=latent)
    added = Noise(42).initial((1, 4, 8, 8)) * 3 / SD1.latent.scale
    torch.testing.assert_close(once.output.samples, latent.samples + added)
    assert once.denoised_output is once.output


def test_a_prompt_of_another_family_blames_what_brought_it(place: Workplace, model: Model, parts: Sample) -> None:
    ctx = place.ctx()
    guider = cfg_guider(ctx, model=model, positive=text(1, width=1024), negative=text(2))
    with pytest.raises(InputError, match=rf"1024.*{WIDTH}") as caught:
        parts(guider=guider)
    assert caught.value.input_name == "guider"
    with pytest.raises(InputError) as caught:
        sampler_custom(
            ctx, model=model, positive=text(1), negative=text(2, width=1024), latent_image=BLANK,
            sampler=ksampler_select(ctx, sampler_name="euler"), sigmas=Sigmas(NORMAL),
        )  # fmt: skip
    assert caught.value.input_name == "negative"


def test_a_damaged_checkpoint_blames_the_guider(model: Model, parts: Sample) -> None:
    with model.weights.path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match=CHECKPOINT) as caught:
        parts()
    assert caught.value.input_name == "guider"


# SamplerDDIM


def test_ddim_lies_between_euler_and_ancestral_euler(place: Workplace, parts: Sample) -> None:
    def with_eta(eta: float) -> Tensor:
        samples: Tensor = parts(sampler=sampler_ddim(place.ctx(), eta=eta)).output.samples
        return samples

    def named(name: str) -> Tensor:
        samples: Tensor = parts(sampler=ksampler_select(place.ctx(), sampler_name=name)).output.samples
        return samples

    torch.testing.assert_close(with_eta(0.0), named("ddim"))
    torch.testing.assert_close(with_eta(0.0), named("euler"))
    torch.testing.assert_close(with_eta(1.0), named("euler_ancestral"))
    assert not torch.allclose(with_eta(0.5), with_eta(0.0), rtol=0.01, atol=0.01)
    assert not torch.allclose(with_eta(0.5), with_eta(1.0), rtol=0.01, atol=0.01)


# Split and flipped levels


def test_split_sampling_is_whole_sampling(place: Workplace, parts: Sample) -> None:
    split = split_sigmas(place.ctx(), sigmas=Sigmas(NORMAL), step=2)
    half = parts(sigmas=split.high_sigmas).output
    rest = parts(sigmas=split.low_sigmas, latent_image=half, noise=disable_noise(place.ctx()))
    torch.testing.assert_close(rest.output.samples, parts().output.samples, rtol=1e-4, atol=1e-4)


def test_flipped_levels_find_the_noise_that_a_latent_comes_from(place: Workplace, parts: Sample) -> None:
    fine = Sigmas(SCHEDULES["karras"](LEVELS, 60))
    latent = parts(sigmas=fine).output
    back = parts(sigmas=flip_sigmas(place.ctx(), sigmas=fine), latent_image=latent, noise=disable_noise(place.ctx()))
    assert float(back.output.samples.std()) * SD1.latent.scale == pytest.approx(14.6, rel=0.2)


# On links


def test_what_travels_can_be_pickled_and_weighed(place: Workplace, model: Model) -> None:
    ctx = place.ctx()
    guider = cfg_guider(ctx, model=model, positive=text(1), negative=text(2), cfg=5.0)
    for value in (random_noise(ctx, noise_seed=2**64 - 1), sampler_ddim(ctx, eta=0.5), Sigmas(NORMAL), guider,
                  *(ksampler_select(ctx, sampler_name=name) for name in SAMPLERS)):  # fmt: skip
        assert type(pickle.loads(pickle.dumps(value))) is type(value)
    assert pickle.loads(pickle.dumps(random_noise(ctx, noise_seed=5))) == Noise(5)
    assert pickle.loads(pickle.dumps(sampler_ddim(ctx, eta=0.5))).sample.solve.keywords == {"eta": 0.5}
    tokens = 2 * 77 * WIDTH * 4  # of two prompts; the pooled vectors are views of them
    assert nbytes(guider) >= tokens and nbytes(Sigmas(NORMAL)) == NORMAL.untyped_storage().nbytes()


WORKFLOW: dict[str, Any] = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "10": {"class_type": "RandomNoise", "inputs": {"noise_seed": 3}},
    "11": {"class_type": "BasicGuider", "inputs": {"model": ["4", 0], "conditioning": ["6", 0]}},
    "12": {"class_type": "SamplerDDIM", "inputs": {"eta": 0.3}},
    "13": {"class_type": "BasicScheduler",
           "inputs": {"model": ["4", 0], "scheduler": "ddim_uniform", "steps": 3, "denoise": 1.0}},
    "14": {"class_type": "SamplerCustomAdvanced",
           "inputs": {"noise": ["10", 0], "guider": ["11", 0], "sampler": ["12", 0], "sigmas": ["13", 0],
                      "latent_image": ["5", 0]}},
}  # fmt: skip


@pytest.mark.usefixtures("one_thread")
def test_a_workflow_in_parts_runs_and_changes_only_what_changed(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "models/checkpoints" / CHECKPOINT)
    with open_engine(tmp_path) as engine:
        first = engine.run(json.dumps(WORKFLOW), ["14"])["14"]
        assert [type(value) for value in first.values] == [Latent, Latent]
        changed = {**WORKFLOW, "12": {"class_type": "SamplerDDIM", "inputs": {"eta": 0.4}}}
        engine.run(json.dumps(changed), ["14"])
        assert engine.ran == ["12", "14"]


@pytest.mark.parametrize("eta", [-0.1, 1.1, "much"])
def test_an_eta_beyond_0_to_1_is_refused(place: Workplace, eta: object) -> None:
    wrong = {**WORKFLOW, "12": {"class_type": "SamplerDDIM", "inputs": {"eta": eta}}}
    graph = build(parse(json.dumps(wrong)), builtin(), place.folders, ["14"])
    assert [(problem.node_id, problem.input_name) for problem in graph.errors] == [("12", "eta")]
