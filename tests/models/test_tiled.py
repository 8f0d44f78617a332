"""The autoencoder in tiles: the recorded rule of blending, and memory that does not grow with the picture."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models import tiled
from models.config import VaeConfig
from models.tiled import decode_tiled, encode_tiled
from models.vae import AutoencoderKL
from tests.tiny_checkpoint import tiny_vae

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("error")]


def blended(run: Callable[[Tensor], Tensor], x: Tensor, scale: float, tile: int, overlap: int) -> Tensor:
    """The rule, cell by cell and in float64: tiles start at 0, T-O, 2(T-O) … while before size-O, one if size is at
    most T, cut at the end; weights fall to 1/F at all four sides; sum(tile * w) / sum(w); mean of three tilings."""

    def starts(size: int, side: int) -> list[int]:
        found = [0]
        while size > side and found[-1] + side - overlap < size - overlap:
            found.append(found[-1] + side - overlap)
        return found

    def weight(at: int, size: int) -> float:
        feather = round(overlap * scale)
        if feather >= size:
            return 1.0
        return min(1.0, (at + 1) / feather) * min(1.0, (size - at) / feather)

    tilings = []
    for wide, high in ((tile // 2, tile * 2), (tile * 2, tile // 2), (tile, tile)):
        size = round(x.shape[-2] * scale), round(x.shape[-1] * scale)
        above: Tensor = torch.zeros(1, dtype=torch.float64)
        below = torch.zeros(size, dtype=torch.float64)
        for top in starts(x.shape[-2], high):
            for left in starts(x.shape[-1], wide):
                out = run(x[..., top : top + high, left : left + wide]).double()
                rows, columns = out.shape[-2:]
                mask = torch.tensor(
                    [[weight(i, rows) * weight(j, columns) for j in range(columns)] for i in range(rows)]
                )
                placed = torch.zeros(*out.shape[:2], *size, dtype=torch.float64)
                place = (
                    ...,
                    slice(round(top * scale), round(top * scale) + rows),
                    slice(round(left * scale), round(left * scale) + columns),
                )
                placed[place] = out * mask
                above = above + placed
                below[place[1:]] += mask
        tilings.append(above / below)
    return sum(tilings, torch.zeros(1, dtype=torch.float64)).float() / 3


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
@pytest.mark.parametrize("size", [(19, 33), (16, 16), (17, 8), (5, 40), (24, 24), (64, 3)])
def test_tiles_are_decoded_and_blended_by_the_recorded_rule(size: tuple[int, int]) -> None:
    vae, z = tiny_vae(), random(2, 4, *size)
    wanted = blended(vae.decode, z, 8, tile=16, overlap=4)
    torch.testing.assert_close(decode_tiled(vae, z, tile=16, overlap=4), wanted, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(152, 264), (128, 128), (40, 320)])
def test_tiles_are_encoded_and_blended_by_the_recorded_rule(size: tuple[int, int]) -> None:
    vae, x = tiny_vae(), random(1, 3, *size)
    wanted = blended(vae.encode, x, 1 / 8, tile=128, overlap=32)
    torch.testing.assert_close(encode_tiled(vae, x, tile=128, overlap=32), wanted, atol=1e-5, rtol=1e-5)


def test_the_sizes_are_the_recorded_ones() -> None:
    assert (tiled.DECODE_TILE, tiled.DECODE_OVERLAP) == (64, 16)
    assert (tiled.ENCODE_TILE, tiled.ENCODE_OVERLAP) == (512, 64)
    assert tiled.tile_shapes(64) == ((128, 32), (32, 128), (64, 64))


def smooth_vae() -> AutoencoderKL:
    """A VAE without its attention and norms over the whole picture, which no tile can know: convolutions only."""
    vae = tiny_vae()
    for coder in (vae.encoder, vae.decoder):
        coder.mid.attn_1 = torch.nn.Identity()  # type: ignore[assignment]
    for name, module in list(vae.named_modules()):
        if isinstance(module, torch.nn.GroupNorm):
            parent = vae.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], torch.nn.Identity())
    return vae


@torch.inference_mode()
def test_away_from_seams_tiles_are_what_the_whole_is() -> None:
    vae, z = smooth_vae(), random(1, 4, 80, 80)
    whole, in_tiles = vae.decode(z), decode_tiled(vae, z)
    error = (in_tiles - whole).abs().amax(dim=1)[0]
    scale = whole.abs().max()
    assert error[:80, :80].max() < 1e-4 * scale, "the corner that all first tiles share is untouched"
    assert error.max() < 0.2 * scale and error.mean() < 0.01 * scale, "and seams are faint"


@torch.inference_mode()
@pytest.mark.parametrize("side", [96, 256])
def test_no_more_than_a_tile_is_worked_on_at_once(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, areas = tiny_vae(), []

    def decode(z: Tensor, tick: Callable[[], None]) -> Tensor:
        areas.append(z.shape[-1] * z.shape[-2])
        return torch.zeros(len(z), 3, z.shape[-2] * 8, z.shape[-1] * 8)

    monkeypatch.setattr(vae, "decode", decode)
    assert decode_tiled(vae, random(1, 4, side, side)).shape == (1, 3, side * 8, side * 8)
    assert max(areas) == 64 * 64
    per_axis = {
        2 * 64: math.ceil((side - 16) / 112) if side > 128 else 1,
        64: math.ceil((side - 16) / 48),
        32: math.ceil((side - 16) / 16),
    }
    assert len(areas) == 2 * per_axis[128] * per_axis[32] + per_axis[64] ** 2


@torch.inference_mode()
def test_the_factor_of_other_autoencoders_is_theirs() -> None:
    vae = AutoencoderKL(VaeConfig(ch=8, ch_mult=(1, 1), num_res_blocks=1)).eval()
    assert decode_tiled(vae, random(1, 4, 40, 24), tile=16, overlap=4).shape == (1, 3, 80, 48)
    assert encode_tiled(vae, random(1, 3, 80, 48), tile=32, overlap=8).shape == (1, 8, 40, 24)


@torch.inference_mode()
def test_an_interrupt_comes_through() -> None:
    calls = 0

    def tick() -> None:
        nonlocal calls
        calls += 1
        if calls == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_tiled(tiny_vae(), random(1, 4, 33, 33), tick, tile=16, overlap=4)
