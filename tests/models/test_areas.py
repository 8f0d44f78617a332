"""Areas of a picture: their cells, their edges, and what both sides of guidance see of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from models.areas import Area, Share, lender
from models.denoiser import Denoiser, Guided
from models.family import SD1
from models.guidance import Cfg
from models.reading import Reading
from models.types import Cond, Conditioning
from models.unet import UNet

CPU = torch.device("cpu")
SIGMA = torch.tensor(2.5)


class Echo(UNet):
    """A network whose noise is the mean of the text, everywhere."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.asked: list[tuple[int, ...]] = []

    def forward(self, x: Tensor, t: Tensor, reading: Reading, tick: object = None) -> Tensor:
        self.asked.append(tuple(x.shape))
        return reading.context.mean(dim=(1, 2))[:, None, None, None].expand_as(x)


def text(value: float, area: Area | Share | None = None, strength: float = 1.0) -> Conditioning:
    return Conditioning((Cond(torch.full((1, 77, 8), value), torch.zeros(1, 8), area, strength),))


def both(*parts: Conditioning) -> Conditioning:
    return Conditioning(tuple(cond for part in parts for cond in part.conds))


def noise_of(positive: Conditioning, negative: Conditioning, cfg: float = 1.0, size: int = 32) -> Tensor:
    """What the guided estimate takes for noise at each cell, [size, size]."""
    x = torch.zeros(2, 4, size, size)
    estimate = Guided(Denoiser(Echo(), SD1.diffusion, lambda: None), (positive, negative), Cfg(cfg))(x, SIGMA)
    assert torch.equal(estimate[0, 0], estimate[1, 3])
    return -estimate[0, 0] / 2.5


def test_an_area_is_cut_to_the_latent() -> None:
    assert Area(12, 8, 2, 4).within(16, 16) == Area(12, 8, 2, 4)
    assert Area(12, 8, 8, 12).within(16, 16) == Area(8, 4, 8, 12)
    assert Area(12, 8, 20, 0).within(16, 16).height == 0


@pytest.mark.parametrize(
    ("share", "area"),
    [
        (Share(0.75, 0.5, 0.1, 0.25), Area(12, 8, 2, 4)),
        (Share(0.0, 0.0, 0.0, 0.0), Area(1, 1, 0, 0)),
        (Share(1.0, 1.0, 0.5, 0.0), Area(8, 16, 8, 0)),
        (Share(0.03, 0.16, 0.0, 0.0), Area(1, 3, 0, 0)),  # 2.56 columns
    ],
)
def test_shares_become_cells(share: Share, area: Area) -> None:
    assert share.within(16, 16) == area


def test_an_area_fades_at_the_edges_that_lie_inside_the_picture() -> None:
    ramps = Area(8, 16, 0, 4).ramps(16, 64, CPU)
    assert ramps[0, 8] == 1, "the upper edge is the picture's"
    assert ramps[:, 8].tolist() == [1, 1, 1, 1, 1, 1, 1, 0.5]
    assert ramps[2].tolist() == [0.25, 0.5, 0.75, *[1] * 10, 0.75, 0.5, 0.25]
    assert ramps[7, 0] == 0.125
    assert Area(40, 4, 8, 0).ramps(64, 4, CPU)[:9, 0].tolist() == [i / 8 for i in range(1, 9)] + [1]
    assert Area(3, 3, 1, 1).ramps(9, 9, CPU).eq(1).all(), "too small to fade"


@dataclass(frozen=True)
class Text:
    name: str
    area: Area | None


def test_the_nearest_text_around_an_area_is_lent_to_it() -> None:
    whole, large, small = Text("whole", None), Text("large", Area(12, 12, 0, 0)), Text("small", Area(6, 6, 2, 2))
    inside, outside = Area(4, 4, 3, 3), Area(4, 4, 10, 10)
    assert lender([whole, large, small], inside) is small
    assert lender([whole, large], inside) is large
    assert lender([large, whole, small], outside) is whole
    assert lender([large], outside) is None
    assert lender([large, small], Area(6, 6, 2, 2)) is None, "it has one of its own"


def test_without_areas_strengths_weigh_the_mean() -> None:
    positive = both(text(1.0, strength=3.0), text(5.0))
    torch.testing.assert_close(noise_of(positive, text(0.0)), torch.full((32, 32), 2.0))


def test_in_its_area_a_text_counts_beside_the_one_for_the_whole() -> None:
    area = Area(16, 16, 8, 0)
    found = noise_of(both(text(1.0), text(5.0, area, strength=2.0)), text(0.0))
    weight = 2 * area.ramps(32, 32, CPU)
    expected = torch.ones(32, 32)
    expected[8:24, :16] = (1 + 5 * weight) / (1 + weight)
    torch.testing.assert_close(found, expected)


def test_where_no_text_counts_the_estimate_is_zero() -> None:
    x = torch.ones(1, 4, 32, 32)
    guided = Guided(Denoiser(Echo(), SD1.diffusion, lambda: None), (text(1.0, Area(32, 16, 0, 0)), text(0.0)), Cfg(1.0))
    estimate = guided(x, SIGMA)
    assert estimate[..., 16:].eq(0).all() and estimate[..., :16].eq(1 - 2.5).all()


def test_the_negative_text_is_seen_in_the_same_cuts() -> None:
    """As ComfyUI: a copy of the negative for each positive area, at the area's strength."""
    echo = Echo()
    area = Area(16, 16, 8, 8)
    positive, negative = both(text(1.0), text(5.0, area)), text(-1.0)
    guided = Guided(Denoiser(echo, SD1.diffusion, lambda: None), (positive, negative), Cfg(3.0))
    estimate = guided(torch.zeros(1, 4, 32, 32), SIGMA)
    assert sorted(echo.asked) == [(2, 4, 16, 16), (2, 4, 32, 32)]
    weight = torch.zeros(32, 32)
    weight[8:24, 8:24] = area.ramps(32, 32, CPU)
    for_it = (1 + 5 * weight) / (1 + weight)
    torch.testing.assert_close(-estimate[0, 0] / 2.5, -1 + 3 * (for_it - -1))
    assert guided.at_once == 3


def test_an_area_beyond_the_picture_counts_for_nothing() -> None:
    positive = both(text(1.0), text(5.0, Area(8, 8, 40, 0)))
    torch.testing.assert_close(noise_of(positive, text(0.0), cfg=2.0), torch.full((32, 32), 2.0))


def test_one_guided_denoiser_serves_latents_of_two_sizes() -> None:
    positive = both(text(1.0), text(5.0, Share(0.5, 1.0, 0.0, 0.0)))
    guided = Guided(Denoiser(Echo(), SD1.diffusion, lambda: None), (positive, text(0.0)), Cfg(1.0))
    for size in (16, 32, 16):
        estimate = -guided(torch.zeros(1, 4, size, size), SIGMA)[0, 0] / 2.5
        torch.testing.assert_close(estimate[0], torch.full((size,), 3.0))
        torch.testing.assert_close(estimate[-1], torch.ones(size))


def test_texts_keep_their_areas_when_others_are_changed() -> None:
    [cond] = text(1.0, Area(8, 8, 0, 0), strength=0.5).conds
    assert replace(cond, strength=2.0).area == Area(8, 8, 0, 0)
