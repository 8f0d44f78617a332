"""From the network's noise to an estimate of the clean latent, and classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.denoiser import Denoiser, Guided
from models.family import SD1
from models.guidance import Cfg
from models.levels import NoiseLevels
from models.reading import Reading
from models.types import Cond, Conditioning
from models.unet import UNet
from tests.tiny_checkpoint import WIDTH, tiny_unet

pytestmark = pytest.mark.usefixtures("one_thread")

LEVELS = NoiseLevels()
SIGMA = torch.tensor(2.5)


class FakeUNet(UNet):
    """Stands where a U-Net does, answers by a formula, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Tensor, Tensor, Tensor], Tensor], dtype: torch.dtype = torch.float32) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(1, dtype=dtype))
        self.answer = answer
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x: Tensor, t: Tensor, reading: Reading, tick: Callable[[], None] = lambda: None) -> Tensor:
        self.asked.append((x, t, reading.context))
        return self.answer(x, t, reading.context)


def mean_of_text(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """A network that sees nothing but the mean of its text, the same however often that is repeated."""
    return context.mean(dim=(1, 2))[:, None, None, None].expand_as(x)


def text(value: float, chunks: int = 1) -> Conditioning:
    tokens = torch.full((1, 77 * chunks, WIDTH), value)
    return Conditioning((Cond(tokens, tokens[:, 0]),))


def random_text(seed: int, chunks: int = 1) -> Conditioning:
    tokens = torch.randn(1, 77 * chunks, WIDTH, generator=torch.Generator().manual_seed(seed))
    return Conditioning((Cond(tokens, tokens[:, 0]),))


def random_latent(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) * 3


def denoiser(unet: UNet, tick: Callable[[], None] = lambda: None) -> Denoiser:
    return Denoiser(unet, SD1.diffusion, tick)


def test_the_latent_scale_is_that_of_stable_diffusion_v1() -> None:
    assert SD1.latent.scale == 0.18215


def test_the_network_gets_a_unit_variance_latent_and_a_whole_time_step() -> None:
    unet = FakeUNet(lambda x, t, context: torch.ones_like(x))
    x = random_latent()
    estimate = denoiser(unet)(x, SIGMA, Reading(torch.zeros(2, 77, WIDTH)))
    [(seen, t, _)] = unet.asked
    torch.testing.assert_close(seen, x / (2.5**2 + 1) ** 0.5)
    assert t.tolist() == [float(LEVELS.timestep(SIGMA))] * 2
    torch.testing.assert_close(estimate, x - 2.5)  # D = x - sigma * eps


def test_a_network_that_knows_the_noise_gives_back_the_clean_latent() -> None:
    clean, noise = random_latent(seed=1), random_latent(seed=2)
    unet = FakeUNet(lambda x, t, context: noise)
    torch.testing.assert_close(denoiser(unet)(clean + SIGMA * noise, SIGMA, Reading(torch.zeros(2, 77, WIDTH))), clean)


@pytest.mark.parametrize("cfg", [0.0, 0.5, 1.0, 2.0, 7.5, 100.0])
def test_guidance_goes_from_the_negative_towards_the_positive(cfg: float) -> None:
    x = random_latent()
    guided = Guided(denoiser(FakeUNet(mean_of_text)), (text(3.0), text(-1.0)), Cfg(cfg))
    expected = -1.0 + cfg * (3.0 - -1.0)  # the algebra holds for eps as for D, which is linear in it
    torch.testing.assert_close(guided(x, SIGMA), x - 2.5 * expected)


def test_at_cfg_1_the_negative_is_not_evaluated() -> None:
    unet = FakeUNet(mean_of_text)
    estimate = Guided(denoiser(unet), (text(3.0), text(float("nan"))), Cfg(1.0))(random_latent(), SIGMA)
    assert estimate.isfinite().all()
    assert [len(x) for x, _, _ in unet.asked] == [2], "the batch alone, not twice"


def test_texts_of_one_length_share_one_network_call() -> None:
    unet = FakeUNet(mean_of_text)
    Guided(denoiser(unet), (text(3.0), text(-1.0)), Cfg(7.5))(random_latent(), SIGMA)
    [(x, t, context)] = unet.asked
    assert len(x) == len(t) == len(context) == 4


def test_cfg_0_is_the_negative_alone() -> None:
    x, unet = random_latent(), tiny_unet()
    negative = Guided(denoiser(unet), (random_text(1), random_text(2)), Cfg(0.0))(x, SIGMA)
    alone = Guided(denoiser(unet), (random_text(2), random_text(3)), Cfg(1.0))(x, SIGMA)
    torch.testing.assert_close(negative, alone)


@pytest.mark.parametrize(("long", "short", "calls"), [(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 1, 1), (5, 1, 2), (5, 2, 2)])
def test_texts_of_different_length_guide_as_if_evaluated_apart(long: int, short: int, calls: int) -> None:
    """Joined by repeating the shorter one where that takes at most four repeats, else in calls of their own."""
    x, network = random_latent(), tiny_unet()
    unet = FakeUNet(lambda x, t, context: network(x, t, Reading(context)))
    positive, negative = random_text(1, long), random_text(2, short)
    joined = Guided(denoiser(unet), (positive, negative), Cfg(7.5))(x, SIGMA)
    assert len(unet.asked) == calls
    apart = [Guided(denoiser(network), (text, text), Cfg(1.0))(x, SIGMA) for text in (positive, negative)]
    torch.testing.assert_close(joined, apart[1] + 7.5 * (apart[0] - apart[1]), rtol=1e-4, atol=1e-4)


def test_several_texts_count_equally() -> None:
    x = random_latent()
    three = Conditioning((*text(1.0).conds, *text(4.0).conds, *text(7.0, chunks=2).conds))
    unet = FakeUNet(mean_of_text)
    torch.testing.assert_close(Guided(denoiser(unet), (three, text(2.0)), Cfg(1.0))(x, SIGMA), x - 2.5 * 4.0)
    torch.testing.assert_close(
        Guided(denoiser(unet), (text(2.0), three), Cfg(3.0))(x, SIGMA), x - 2.5 * (4.0 + 3 * -2.0)
    )


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    x, unet = random_latent(batch=3), tiny_unet()
    guided = Guided(denoiser(unet), (random_text(1), random_text(2)), Cfg(5.0))
    together = guided(x, SIGMA)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], guided(x[i : i + 1], SIGMA), rtol=1e-4, atol=1e-4)


def test_a_tick_that_raises_stops_the_network_before_its_next_block() -> None:
    class Stop(Exception):
        pass

    unet, entered, ticks = tiny_unet(), list[str](), list[int]()
    for name, block in [*unet.input_blocks.named_children(), *unet.output_blocks.named_children()]:
        next(block.children()).register_forward_pre_hook(lambda module, args, name=name: entered.append(name))

    def tick() -> None:
        ticks.append(len(ticks))
        if len(ticks) == 3:
            raise Stop

    with pytest.raises(Stop):
        Guided(denoiser(unet, tick), (random_text(1), random_text(2)), Cfg(7.5))(random_latent(), SIGMA)
    assert entered == ["0", "1"], "two blocks ran, the third did not begin"


def test_every_block_ticks() -> None:
    unet, ticks = tiny_unet(), list[None]()
    denoiser(unet, lambda: ticks.append(None))(random_latent(), SIGMA, Reading(torch.zeros(2, 77, WIDTH)))
    assert len(ticks) == len(unet.input_blocks) + 1 + len(unet.output_blocks)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_network_leaves_the_sampling_state_in_float32(dtype: torch.dtype) -> None:
    unet = FakeUNet(lambda x, t, context: torch.zeros_like(x), dtype)
    x = random_latent() + 1e-6
    estimate = Guided(denoiser(unet), (text(1.0), text(0.0)), Cfg(7.5))(x, SIGMA)
    [(seen, t, context)] = unet.asked
    assert (seen.dtype, t.dtype, context.dtype) == (dtype, torch.float32, dtype)
    assert estimate.dtype == torch.float32
    assert torch.equal(estimate, x), "what the network leaves alone is not rounded to its precision"


def test_a_half_precision_network_s_noise_is_scaled_in_float32() -> None:
    eps = 1 + 2**-10  # times sigma it is no number of float16
    unet = FakeUNet(lambda x, t, context: torch.full_like(x, eps), torch.float16)
    estimate = denoiser(unet)(torch.zeros(1, 4, 2, 2), SIGMA, Reading(torch.zeros(1, 77, WIDTH)))
    assert torch.equal(estimate, torch.full((1, 4, 2, 2), -2.5 * eps))


def test_a_half_precision_network_estimates_as_the_whole_one_up_to_rounding() -> None:
    x, unet = random_latent(), tiny_unet()
    whole = Guided(denoiser(unet), (random_text(1), random_text(2)), Cfg(3.0))(x, SIGMA)
    half = Guided(denoiser(tiny_unet().bfloat16()), (random_text(1), random_text(2)), Cfg(3.0))(x, SIGMA)
    assert (half - whole).norm() / whole.norm() < 0.05
