"""The recipe in miniature: it resumes exactly, and its checkpoint is one that Darkroom loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from models.checkpoint import load_part, read_header
from models.config import ClipConfig, UNetConfig, VaeConfig
from models.denoiser import LATENT_SCALE
from models.training.diffusion import Pairs, TextToNoise, disturbed, noise_loss
from models.training.export import TEXT, TOKENS
from models.training.loop import Pace, Schedule, Training, stream
from models.training.recipe import SHAPES_64, Recipe, Workshop
from models.training.scenes import pictures
from models.training.vae import fold_scale, reconstruct, to_tensor, vae_loss
from models.training.words import END, START, UNKNOWN, row_of_token, rows_of
from models.vae import AutoencoderKL

MINIATURE = Recipe(
    seed=1,
    scenes=64,
    vae=VaeConfig(ch=16, ch_mult=(1, 1, 1, 1), num_res_blocks=1),
    vae_schedule=Schedule(iterations=2, batch=4, learning_rate=1e-3),
    unet=replace(SHAPES_64.unet, model_channels=32, context_dim=64),
    text=replace(SHAPES_64.text, width=64, layers=1, intermediate=64),
    unet_schedule=Schedule(iterations=4, batch=4, learning_rate=1e-3, ema=0.9),
)


def vae_training(file: Path) -> tuple[Training, Callable[[int, int], Tensor]]:
    torch.manual_seed(0)
    vae = AutoencoderKL(MINIATURE.vae)
    schedule = Schedule(iterations=4, batch=4, learning_rate=1e-3, warmup=2)
    return Training(vae, schedule, file), vae_loss(vae, schedule.batch, seed=1)


def unet_training(file: Path) -> tuple[Training, Callable[[int, int], Tensor]]:
    torch.manual_seed(0)
    network = TextToNoise(UNetConfig(4, 4, 32, (1, 2), 1, (1, 1), context_dim=64), ClipConfig(64, 1, 64, 64))
    rows = torch.from_numpy(rows_of("a red circle")).to(torch.uint8).repeat(8, 1)
    pairs = Pairs(torch.randn(8, 4, 8, 8, generator=stream(3)), rows)
    return Training(network, MINIATURE.unet_schedule, file), noise_loss(network, pairs, 4, seed=1)


@pytest.mark.parametrize("prepare", [vae_training, unet_training])
def test_a_resumed_training_is_bit_equal(
    prepare: Callable[[Path], tuple[Training, Callable[[int, int], Tensor]]], tmp_path: Path
) -> None:
    whole, loss = prepare(tmp_path / "whole.pt")
    whole.run(loss, Pace())
    half, loss = prepare(tmp_path / "half.pt")
    for _ in range(2):
        half.descend(loss)
    half.save()
    resumed, loss = prepare(tmp_path / "half.pt")
    assert resumed.resume()
    assert resumed.step == 2
    resumed.run(loss, Pace())
    assert whole.finished and resumed.finished
    assert equal(whole.network, resumed.network)
    assert all(torch.equal(whole.average[name], resumed.average[name]) for name in whole.average)


def equal(one: nn.Module, other: nn.Module) -> bool:
    weights = other.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in one.state_dict().items())


def test_a_budget_stops_a_training_that_can_go_on(tmp_path: Path) -> None:
    training, loss = vae_training(tmp_path / "vae.pt")
    training.run(loss, Pace(budget=0))
    assert training.step == 0 and not training.finished
    again, _ = vae_training(tmp_path / "vae.pt")
    assert again.resume()


def test_folding_the_scale_leaves_reconstructions_alone() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(MINIATURE.vae)
    x = to_tensor(pictures(1, 0, 8))
    before = reconstruct(vae, x)
    fold_scale(vae, x)
    assert torch.allclose(reconstruct(vae, x), before, atol=1e-4)
    deviation = (LATENT_SCALE * vae.encode(x)[:, :4]).std()
    assert torch.isclose(deviation, torch.tensor(1.0), atol=1e-4)


def test_disturbed_captions_are_empty_or_hold_one_strange_word() -> None:
    rows = torch.from_numpy(rows_of("a red circle")).repeat(200, 1)
    plain, empty, strange = rows[0].tolist(), [START, *[END] * 76], 0
    for row in disturbed(rows, stream(1)).tolist():
        if UNKNOWN in row:
            strange += 1
            assert [word for word in row if word != UNKNOWN] == plain[:-1]
        else:
            assert row in (plain, empty)
    assert 10 < strange < 60


def test_from_nothing_to_a_checkpoint_that_loads(tmp_path: Path) -> None:
    workshop = Workshop(MINIATURE, Pace(), tmp_path, prompts=2)
    training = workshop.unet()
    assert training is not None and training.finished
    file = tmp_path / "model.safetensors"
    workshop.export(file)

    weights, cpu = read_header(file), torch.device("cpu")
    assert weights.parts() == {"model", "clip", "vae"}
    for part in weights.parts():
        load_part(weights, part, dtype=torch.float32, device=cpu)
    with safe_open(file, "pt") as content:
        assert content.metadata()["unet_steps"] == "4"
        assert content.get_tensor("alphas_cumprod").dtype == torch.float32
        assert content.get_tensor(TEXT + "text_model.embeddings.position_ids").dtype == torch.int64
        table = content.get_tensor(TEXT + TOKENS)
    compact = training.averaged()["text." + TOKENS].half()
    assert torch.equal(table, compact[torch.from_numpy(row_of_token())])
