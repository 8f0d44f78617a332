"""Noise levels and predictions as packs know them, `model_sampling`, and those of packs as ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Never

import torch
from torch import Tensor

from models.family import Diffusion
from models.levels import NoiseLevels


class ModelSampling:
    """`model_sampling` of a MODEL of ours."""

    sigma_data = 1.0

    def __init__(self, diffusion: Diffusion, missed: Callable[[str], Never]) -> None:
        self.diffusion = diffusion
        self._missed = missed

    @property
    def num_timesteps(self) -> int:
        """How many levels it was trained at."""
        return len(self.sigmas)

    @property
    def sigmas(self) -> Tensor:
        """[steps], ascending."""
        return self.diffusion.levels.sigmas

    @property
    def log_sigmas(self) -> Tensor:
        """[steps], their natural logarithms."""
        return self.diffusion.levels.log_sigmas

    @property
    def sigma_min(self) -> Tensor:
        """The lowest level."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The highest level."""
        return self.sigmas[-1]

    def timestep(self, sigma: Tensor) -> Tensor:
        """The time step of a level."""
        return self.diffusion.levels.timestep(torch.as_tensor(sigma))

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level of a time step."""
        return self.diffusion.levels.sigma(torch.as_tensor(timestep))

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a part of the way from noise to picture."""
        return self.diffusion.levels.at(percent)

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """What the network is given."""
        return self.diffusion.prediction.scaled(noise, sigma.reshape(-1)[0])

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """What its answer means."""
        return self.diffusion.prediction.denoised(model_output, model_input, sigma.reshape(-1)[0])

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Noise upon a latent."""
        return latent_image + noise * ((1 + sigma**2).sqrt() if max_denoise else sigma)

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """A latent as it comes out."""
        return latent

    def __deepcopy__(self, memo: object) -> ModelSampling:
        return ModelSampling(self.diffusion, self._missed)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._missed(f"model_sampling.{name}")


def sampled_as(obj: Any) -> Diffusion:
    """What a pack's `model_sampling` says. Raises TypeError for an object that lacks what sampling asks for."""
    if isinstance(obj, ModelSampling):
        return obj.diffusion
    needed = ("sigmas", "timestep", "sigma", "calculate_input", "calculate_denoised")
    if lacking := [name for name in needed if not hasattr(obj, name)]:
        raise TypeError(f"a model_sampling of type {type(obj).__name__} lacks {', '.join(lacking)}")
    if not _adds_noise_as_here(obj):
        raise TypeError(
            f"a model_sampling of type {type(obj).__name__} lays noise upon latents otherwise than x + sigma * noise"
        )
    return Diffusion(_Levels(obj), _Prediction(obj))


def _adds_noise_as_here(obj: Any) -> bool:
    """Whether a latent and noise become latent + sigma * noise, which samplers here count on."""
    noise, latent, sigma = torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), 5.0), torch.tensor(2.0)
    scaled = obj.noise_scaling(sigma, noise, latent, False) if hasattr(obj, "noise_scaling") else latent + sigma * noise
    return torch.allclose(torch.as_tensor(scaled), latent + sigma * noise)


@dataclass(frozen=True, eq=False)
class _Levels(NoiseLevels):
    """The levels of a pack's object, which is the first field here."""

    of: Any = None

    def __init__(self, of: Any) -> None:
        object.__setattr__(self, "of", of)
        object.__setattr__(self, "steps", len(of.sigmas))
        object.__setattr__(self, "zero_terminal", False)

    @cached_property
    def _exact(self) -> Tensor:
        levels: Tensor = self.of.sigmas.detach().cpu().double()
        return levels

    @property
    def times(self) -> tuple[float, float]:
        high, low = (float(self.timestep(self.of.sigmas[i].detach().cpu())) for i in (-1, 0))
        return high, low

    def at(self, share: float) -> float:
        if not 0 < share < 1 or not hasattr(self.of, "percent_to_sigma"):
            return super().at(share)
        return float(self.of.percent_to_sigma(share))

    def timestep(self, sigma: Tensor) -> Tensor:
        found: Tensor = torch.as_tensor(self.of.timestep(sigma))
        return found.float()

    def sigma(self, t: Tensor) -> Tensor:
        found: Tensor = torch.as_tensor(self.of.sigma(t))
        return found.float()


@dataclass(frozen=True, eq=False)
class _Prediction:
    """The meaning of a network's answer, as a pack's object has it."""

    of: Any

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        made: Tensor = self.of.calculate_input(sigma, x)
        return made

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        made: Tensor = self.of.calculate_denoised(sigma, output, x)
        return made
