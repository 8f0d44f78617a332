"""Full-size networks on random weights: equal to transformers, diffusers and what ComfyUI computed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.checkpoint import Part, load_part, read_header
from models.reading import Reading
from models.tokenizer import BOS, EOS
from models.weights import read_tensors
from tests.models.oracles import diffusers_unet, diffusers_vae, relative_error, transformers_text
from tests.random_checkpoint import SHA256, random_checkpoint

if TYPE_CHECKING:
    from models.clip import TextModel
    from models.unet import UNet
    from models.vae import AutoencoderKL

pytestmark = pytest.mark.acceptance

CPU = torch.device("cpu")
TOLERANCE = 1e-5
UNITS = Path(__file__).parents[2] / "data" / "golden" / "units.npz"


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    return random_checkpoint()


@pytest.fixture
def load(checkpoint: Path) -> Callable[[Part], nn.Module]:
    return lambda part: load_part(read_header(checkpoint), part, dtype=torch.float32, device=CPU)


@pytest.fixture(scope="module")
def units() -> dict[str, Tensor]:
    """Recorded from ComfyUI 0.3.64 with the same checkpoint, CPU, fp32."""
    with np.load(UNITS) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def test_the_checkpoint_is_the_recorded_one(checkpoint: Path) -> None:
    table = read_header(checkpoint).file
    digest = hashlib.sha256()
    for name in sorted(table.tensors):
        ((_, tensor),) = read_tensors(table, [name], dtype=None, device=CPU)
        digest.update(name.encode() + tensor.numpy().tobytes())
    assert digest.hexdigest() == SHA256


@torch.inference_mode()
def test_text_encoder(load: Callable[[Part], TextModel]) -> None:
    ours = load("clip")
    words = torch.randint(BOS, (2, 75), generator=torch.Generator().manual_seed(1))
    words[1, 10:] = EOS
    tokens = torch.cat([torch.full((2, 1), BOS), words, torch.full((2, 1), EOS)], dim=1)
    assert relative_error(ours(tokens), transformers_text(ours)(tokens).last_hidden_state) <= TOLERANCE


@torch.inference_mode()
def test_unet(load: Callable[[Part], UNet], units: dict[str, Tensor]) -> None:
    ours = load("model")
    theirs = diffusers_unet(ours)
    context = units["unet_context"]
    for size in ("16x16", "8x24", "9x17"):
        x, t, recorded = (units[f"unet_{size}_{name}"] for name in ("x", "t", "eps"))
        eps = ours(x, t, Reading(context))
        assert relative_error(eps, recorded) <= TOLERANCE
        assert relative_error(eps, theirs(x, t, context).sample) <= TOLERANCE


@torch.inference_mode()
def test_unet_at_512(load: Callable[[Part], UNet], units: dict[str, Tensor]) -> None:
    ours = load("model")
    x = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    t, context = torch.tensor([500.0]), units["unet_context"][:1]
    assert relative_error(ours(x, t, Reading(context)), diffusers_unet(ours)(x, t, context).sample) <= TOLERANCE


@torch.inference_mode()
def test_autoencoder(load: Callable[[Part], AutoencoderKL], units: dict[str, Tensor]) -> None:
    ours = load("vae")
    theirs = diffusers_vae(ours)
    picture = torch.rand(1, 3, 192, 256, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert relative_error(ours.encode(picture), theirs.encode(picture).latent_dist.parameters) <= TOLERANCE
    z = units["vae_z_raw"]
    assert relative_error(ours.decode(z), theirs.decode(z).sample) <= TOLERANCE
    assert relative_error(ours.decode(z), units["vae_decoder_out"]) <= TOLERANCE
