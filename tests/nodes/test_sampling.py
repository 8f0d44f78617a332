"""KSampler: from seed, prompts and settings to latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from graph.context import Cancel
from graph.errors import InputError, Interrupted
from graph.events import Progress
from models.denoiser import Denoiser, Guided
from models.family import SD1
from models.guidance import Cfg
from models.levels import NoiseLevels
from models.noise import Noise
from models.samplers import SAMPLERS
from models.schedules import SCHEDULES, Schedule, sigmas_for, without_penultimate
from models.types import Cond, Conditioning, Latent, Model
from models.unet import UNet
from nodes.loaders import checkpoint_loader_simple
from nodes.sampling import ksampler
from tests.models.oracles import relative_error
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_checkpoint import WIDTH, tiny_unet

LEVELS = NoiseLevels()


@pytest.fixture
def model(place: Workplace) -> Model:
    loaded: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    return loaded


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int, width: int = WIDTH) -> Conditioning:
    tokens = noise(1, 77, width, seed=seed)
    return Conditioning((Cond(tokens, tokens[:, 0]),))


DEFAULTS: Mapping[str, Any] = {
    "seed": 42,
    "steps": 3,
    "cfg": 5.0,
    "sampler_name": "euler",
    "scheduler": "normal",
    "positive": text(1),
    "negative": text(2),
    "latent_image": Latent(torch.zeros(1, 4, 8, 8)),
    "denoise": 1.0,
}


def sample(place: Workplace, model: Model, cancel: Cancel | None = None, **changed: Any) -> Tensor:
    result = ksampler(place.ctx(cancel=cancel), model=model, **{**DEFAULTS, **changed})
    assert isinstance(result, Latent)
    return result.samples


def expected(unet: UNet, x: Tensor, sigmas: Tensor, sampler: str, seed: int = 42, cfg: float = 5.0) -> Tensor:
    """The same, written out: from a noisy latent in the sampler's scale to one in the VAE's."""
    guided = Guided(Denoiser(unet, SD1.diffusion, lambda: None), (text(1), text(2)), Cfg(cfg))
    for step in SAMPLERS[sampler](guided, x, sigmas, Noise(seed)):
        x = step.x
    return x / 0.18215


def schedule(name: str, sampler: str) -> Schedule:
    """Without its last level above 0 for four samplers."""
    shortened = sampler in ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")
    return without_penultimate(SCHEDULES[name]) if shortened else SCHEDULES[name]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("scheduler", ["normal", "ddim_uniform"])
def test_sampling_starts_from_the_seed_s_noise(place: Workplace, model: Model, sampler: str, scheduler: str) -> None:
    sigmas = schedule(scheduler, sampler)(LEVELS, 3)
    # From the top level nothing of the latent is left: the noise has its full variance. Else it is added.
    strength = (1 + sigmas[0] ** 2).sqrt() if scheduler == "normal" else sigmas[0]
    x = Noise(42).initial((1, 4, 8, 8)) * strength
    result = sample(place, model, sampler_name=sampler, scheduler=scheduler)
    torch.testing.assert_close(result, expected(tiny_unet(), x, sigmas, sampler))
    assert result.dtype == torch.float32 and result.device.type == "cpu"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_denoise_below_1_starts_from_the_latent_with_some_noise(place: Workplace, model: Model, sampler: str) -> None:
    latent = Latent(noise(2, 4, 8, 8, seed=5) * 7)
    sigmas = sigmas_for(schedule("normal", sampler), LEVELS, 3, 0.5)
    assert len(sigmas) == 4 and sigmas[0] < 2
    x = latent.samples * SD1.latent.scale + Noise(42).initial((2, 4, 8, 8)) * sigmas[0]
    result = sample(place, model, latent_image=latent, denoise=0.5, sampler_name=sampler)
    torch.testing.assert_close(result, expected(tiny_unet(), x, sigmas, sampler))


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (2, 4, 8, 8), (1, 4, 9, 17), (1, 4, 2, 2)])
def test_any_size_and_batch(place: Workplace, model: Model, shape: tuple[int, ...]) -> None:
    assert sample(place, model, latent_image=Latent(torch.zeros(shape))).shape == shape


def test_denoise_0_gives_the_latent_back(place: Workplace, model: Model) -> None:
    latent = Latent(noise(1, 4, 8, 8))
    assert ksampler(place.ctx(), model=model, **{**DEFAULTS, "latent_image": latent, "denoise": 0.0}) is latent
    assert place.services.residency.resident_bytes == 0, "nothing was loaded for it"


def test_the_latent_that_came_is_not_written_to(place: Workplace, model: Model) -> None:
    latent = Latent(noise(1, 4, 8, 8))
    before = latent.samples.clone()
    sample(place, model, latent_image=latent, denoise=0.7)
    assert torch.equal(latent.samples, before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_gives_the_same_latents(place: Workplace, model: Model, sampler: str) -> None:
    first = sample(place, model, sampler_name=sampler)
    torch.manual_seed(999)  # what other code does with torch's own generator has no part in it
    assert torch.equal(sample(place, model, sampler_name=sampler), first)
    assert not torch.allclose(sample(place, model, sampler_name=sampler, seed=43), first)


def test_seeds_above_2_to_53_are_told_apart(place: Workplace, model: Model) -> None:
    assert not torch.equal(sample(place, model, seed=2**53 + 1), sample(place, model, seed=2**53))
    assert sample(place, model, seed=2**64 - 1).isfinite().all()


def test_the_first_picture_of_a_batch_is_not_the_only_one(place: Workplace, model: Model) -> None:
    """One draw for the whole batch: the first picture is the one of a batch of one, the second is another."""
    one = sample(place, model)
    two = sample(place, model, latent_image=Latent(torch.zeros(2, 4, 8, 8)))
    assert relative_error(two[:1], one) < 1e-4  # as a whole: single numbers near zero differ more on some processors
    assert relative_error(two[1:], one) > 0.1


@pytest.mark.parametrize(
    "changed",
    [{"positive": text(3)}, {"negative": text(3)}, {"cfg": 5.1}, {"steps": 4}, {"scheduler": "karras"},
     {"sampler_name": "dpmpp_2m"}, {"sampler_name": "euler_ancestral"}, {"denoise": 0.7},
     {"latent_image": Latent(torch.ones(1, 4, 8, 8))}],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_every_input_counts(place: Workplace, model: Model, changed: dict[str, Any]) -> None:
    assert not torch.allclose(sample(place, model, **changed), sample(place, model), rtol=1e-3, atol=1e-3)


def test_at_cfg_1_the_negative_prompt_has_no_part(
    place: Workplace, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    forward = UNet.forward

    def counting(self: UNet, x: Tensor, *rest: Any) -> Tensor:
        batches.append(len(x))
        return forward(self, x, *rest)

    monkeypatch.setattr(UNet, "forward", counting)
    first = sample(place, model, cfg=1.0)
    assert torch.equal(sample(place, model, cfg=1.0, negative=text(7)), first)
    assert batches == [1] * 6
    batches.clear()
    sample(place, model, cfg=1.1)
    assert batches == [2] * 3


@pytest.mark.parametrize("prompt", ["positive", "negative"])
def test_a_prompt_of_another_family_is_blamed(place: Workplace, model: Model, prompt: str) -> None:
    with pytest.raises(InputError, match=rf"1024.*{WIDTH}") as caught:
        sample(place, model, **dict[str, Any]({prompt: text(1, width=1024)}))
    assert caught.value.input_name == prompt


def test_a_damaged_checkpoint_blames_the_model(place: Workplace, model: Model) -> None:
    with model.weights.path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match=CHECKPOINT) as caught:
        sample(place, model)
    assert caught.value.input_name == "model"


def test_progress_is_told_after_each_step(place: Workplace, model: Model) -> None:
    sample(place, model, steps=4)
    told = [(event.done, event.total) for event in place.events if isinstance(event, Progress)]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    place.events.clear()
    sample(place, model, steps=7, scheduler="ddim_uniform")
    told = [(event.done, event.total) for event in place.events if isinstance(event, Progress)]
    assert told == [(i, 8) for i in range(1, 9)], "this schedule takes one step more than asked"


def test_an_interrupt_takes_effect_within_one_block_of_the_network(
    place: Workplace, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, entered = Cancel(), list[int]()
    with place.services.residency.use(model) as unet:
        blocks = [*unet.input_blocks, unet.middle_block, *unet.output_blocks]
    for i, block in enumerate(blocks):
        next(block.children()).register_forward_pre_hook(lambda module, args, i=i: _enter(i, entered, cancel))
    with pytest.raises(Interrupted):
        sample(place, model, cancel=cancel)
    assert entered == [0, 1, 2], "the cancel came while the third block ran; the fourth did not begin"
    assert not any(isinstance(event, Progress) for event in place.events)


def _enter(block: int, entered: list[int], cancel: Cancel) -> None:
    entered.append(block)
    if block == 2:
        cancel.set()


def test_after_an_interrupt_the_model_is_usable_and_not_pinned(place: Workplace, model: Model) -> None:
    whole = sample(place, model)
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Interrupted):
        sample(place, model, cancel=cancel)
    assert torch.equal(sample(place, model), whole)
    assert not any(place.services.residency._pins.values())


def test_sampling_keeps_no_graph_of_gradients(place: Workplace, model: Model) -> None:
    with torch.inference_mode(False), torch.enable_grad():
        assert not sample(place, model).requires_grad
