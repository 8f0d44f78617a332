"""The aesthetic predictor by its definition, and PSNR and SSIM against scikit-image."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.aesthetic import AestheticPredictor
from models.checkpoint import load_part, read_header
from models.comparison import psnr, ssim


def published(width: int) -> nn.Sequential:
    """The network as it was trained: with dropout between its layers."""
    return nn.Sequential(
        nn.Linear(width, 1024),
        nn.Dropout(0.2),
        nn.Linear(1024, 128),
        nn.Dropout(0.2),
        nn.Linear(128, 64),
        nn.Dropout(0.1),
        nn.Linear(64, 16),
        nn.Linear(16, 1),
    )


@pytest.mark.parametrize("width", [768, 512])
@torch.inference_mode()
def test_the_predictor_is_the_published_network_on_vectors_of_length_one(tmp_path: Path, width: int) -> None:
    torch.manual_seed(0)
    theirs = published(width).eval()
    torch.save({f"layers.{name}": tensor for name, tensor in theirs.state_dict().items()}, tmp_path / "linear.pth")
    ours = load_part(read_header(tmp_path / "linear.pth"), "aesthetic", dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(ours, AestheticPredictor) and ours.width == width
    vectors = torch.randn(5, width) * 7
    expected = theirs(vectors / vectors.norm(dim=1, keepdim=True))[:, 0]
    torch.testing.assert_close(ours(vectors), expected, rtol=1e-5, atol=1e-6)


def pictures(height: int, width: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(height, width, channels, generator=generator)
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize(("height", "width", "channels"), [(64, 64, 3), (11, 40, 3), (33, 17, 1), (20, 20, 4)])
def test_psnr_and_ssim_are_scikit_images(height: int, width: int, channels: int) -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    a, b = pictures(height, width, channels)
    x, y = a.double().numpy(), b.double().numpy()
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1.0), rel=1e-9)
    expected = structural_similarity(
        x, y, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(a, b) == pytest.approx(expected, rel=1e-9)


def test_a_picture_is_like_itself() -> None:
    a, _ = pictures(20, 20)
    assert psnr(a, a) == math.inf and ssim(a, a) == pytest.approx(1.0)
