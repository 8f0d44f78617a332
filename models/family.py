"""What belongs to a family of models and stands in no tensor's shape: its latents, its noise, how its text is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from models.levels import NoiseLevels
from models.prediction import Eps, Prediction, Velocity

VELOCITY_NAMES = ("v", "v_prediction", "v-prediction", "vpred")  # as trainers write it into a file's header


@dataclass(frozen=True)
class LatentSpace:
    """Latents as the VAE gives them, and as the U-Net wants them: of unit variance, times `scale`.

    The defaults are SD v1's (Rombach et al. 2022, arXiv:2112.10752, appendix G). factor: pixels a side for one cell.
    """

    channels: int = 4
    factor: int = 8
    scale: float = 0.18215


@dataclass(frozen=True)
class Diffusion:
    """The noise that a network was trained on, and what it tells of it."""

    levels: NoiseLevels = field(default_factory=NoiseLevels)
    prediction: Prediction = field(default_factory=Eps)


@dataclass(frozen=True)
class Family:
    """A family of models. The defaults are Stable Diffusion v1's."""

    latent: LatentSpace = field(default_factory=LatentSpace)
    diffusion: Diffusion = field(default_factory=Diffusion)


SD1 = Family()


def family_of(names: Collection[str], metadata: Mapping[str, str]) -> Family:
    """The family of a file of Stable Diffusion v1, by the marks that trainers of its variants leave.

    names: of the file's tensors; an empty tensor `v_pred` says that the network predicts v, and `ztsnr` that the last
    step holds no signal. metadata: the header's words, where `modelspec.prediction_type` says the former.
    """
    velocity = "v_pred" in names or metadata.get("modelspec.prediction_type", "").lower() in VELOCITY_NAMES
    levels = NoiseLevels(zero_terminal="ztsnr" in names)
    return Family(diffusion=Diffusion(levels, Velocity() if velocity else Eps()))
