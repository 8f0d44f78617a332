"""Previews: what a matrix fitted to an autoencoder makes of latents, and where a checkpoint says its own."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.family import SD1
from models.preview import METADATA, fit_latent_rgb, latent_preview, latent_rgb
from models.weights import read_table

OWN = torch.tensor([[0.5, 0.0, 0.1], [0.0, 0.4, 0.0], [0.2, 0.0, -0.3], [0.0, -0.1, 0.0], [0.05, -0.2, 0.3]])


def test_the_fit_finds_the_matrix_that_made_the_pictures() -> None:
    torch.manual_seed(0)
    latents = torch.randn(6, 4, 5, 7)
    colours = torch.einsum("nchw,cr->nrhw", latents, OWN[:-1]) + OWN[-1].view(1, 3, 1, 1)
    pictures = colours.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    assert torch.allclose(fit_latent_rgb(latents, pictures), OWN, atol=1e-5)


def test_a_preview_has_the_colours_of_the_matrix() -> None:
    grey = latent_preview(torch.zeros(1, 4, 2, 3), OWN)
    assert grey.size == (3, 2)
    assert torch.allclose(torch.tensor(grey.getpixel((0, 0))) / 127.5 - 1, OWN[-1], atol=1 / 100)
    assert latent_preview(torch.full((1, 4, 1, 1), torch.nan), OWN).getpixel((0, 0)) == (0, 0, 0)


def test_a_checkpoint_says_its_own_matrix(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file({"w": torch.zeros(1)}, path, metadata={METADATA: json.dumps(OWN.tolist())})
    assert torch.equal(latent_rgb(read_table(path).metadata, SD1.latent), OWN)


def test_what_cannot_be_read_as_a_matrix_is_passed_over() -> None:
    for text in ("", "[", "[[1, 2, 3]]", '"x"', json.dumps([[float("nan")] * 3] * 5), json.dumps([[10**400] * 3] * 5)):
        assert torch.equal(latent_rgb({METADATA: text}, SD1.latent), torch.tensor(SD1.latent.rgb))
    assert torch.equal(latent_rgb({}, SD1.latent), torch.tensor(SD1.latent.rgb))
