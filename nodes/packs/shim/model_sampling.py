"""`comfy.model_sampling`: noise levels and what networks tell, of which packs make classes of their own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.levels import LEAST_SIGNAL, Angle, ContinuousLevels, NoiseLevels
from models.prediction import Preconditioned


class EPS:
    """What a network tells that predicts the noise; and what all of them are given."""

    sigma_data = 1.0

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """At unit variance."""
        return noise / (_beside(sigma, noise) ** 2 + 1) ** 0.5

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """The clean latent."""
        return model_input - model_output * _beside(sigma, model_output)

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Noise upon a latent."""
        return latent_image + noise * ((1 + sigma**2) ** 0.5 if max_denoise else sigma)

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """A latent as it comes out."""
        return latent


class VPrediction(EPS):
    """What a network tells that predicts v."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """The clean latent."""
        level = _beside(sigma, model_output)
        return model_input / (level**2 + 1) - model_output * level / (level**2 + 1) ** 0.5


class X0(EPS):
    """What a network tells that predicts the clean latent."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """The clean latent."""
        return model_output


class EDM(VPrediction):
    """What EDM's networks tell: a mixture of noise and clean latent, for data of deviation `sigma_data`."""

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """At unit variance."""
        return noise / (_beside(sigma, noise) ** 2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """The clean latent."""
        told = Preconditioned(self.sigma_data)
        return told.denoised(model_output, model_input, _beside(sigma, model_output))


class CONST(EPS):
    """Rectified flow, by which packs ask what a model is. No model here is of it."""

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Noise mixed with a latent."""
        return sigma * noise + (1.0 - sigma) * latent_image


class _Levels(torch.nn.Module):
    """What has `sigmas`, ascending."""

    sigmas: Tensor

    @property
    def sigma_min(self) -> Tensor:
        """The lowest level."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The highest level."""
        return self.sigmas[-1]


class ModelSamplingContinuousEDM(_Levels):
    """Any level between two, of which 1000 are listed, evenly in log sigma."""

    def __init__(self, model_config: object = None) -> None:
        super().__init__()
        self.set_parameters(0.002, 120.0, 1.0)

    def set_parameters(self, sigma_min: float, sigma_max: float, sigma_data: float) -> None:
        """The lowest and the highest level, and the deviation of the data."""
        self.sigma_data = sigma_data
        self.levels = ContinuousLevels(lowest=sigma_min, highest=sigma_max)
        self.sigmas, self.log_sigmas = self.levels.sigmas, self.levels.log_sigmas

    def timestep(self, sigma: Tensor) -> Tensor:
        """What the network is told of a level."""
        return self.levels.timestep(sigma)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level that it is told so of."""
        return self.levels.sigma(timestep)

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a part of the way from noise to picture, even in log sigma."""
        return min(self.levels.at(percent), 999999999.9)


class ModelSamplingContinuousV(ModelSamplingContinuousEDM):
    """The same, which the network is told as the share of a right angle between clean latent and noise."""

    def set_parameters(self, sigma_min: float, sigma_max: float, sigma_data: float) -> None:
        """The lowest and the highest level, and the deviation of the data."""
        super().set_parameters(sigma_min, sigma_max, sigma_data)
        self.levels = ContinuousLevels(lowest=sigma_min, highest=sigma_max, clock=Angle())


class ModelSamplingDiscrete(_Levels):
    """Levels of a thousand steps. Packs make classes of this one and one of those above."""

    def __init__(self, model_config: object = None, zsnr: bool | None = None) -> None:
        super().__init__()
        self.sigma_data = 1.0
        self.set_sigmas(NoiseLevels(zero_terminal=bool(zsnr)).sigmas)

    def set_sigmas(self, sigmas: Tensor) -> None:
        """Other levels, ascending."""
        self.sigmas, self.log_sigmas = sigmas.float(), sigmas.float().log()

    @property
    def num_timesteps(self) -> int:
        """How many levels there are."""
        return len(self.sigmas)

    def timestep(self, sigma: Tensor) -> Tensor:
        """The time step whose level is nearest in log sigma."""
        return (sigma.log()[..., None] - self.log_sigmas).abs().argmin(dim=-1)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level at a fractional time step."""
        t = timestep.float().clamp(0, len(self.sigmas) - 1)
        low, high = t.floor().long(), t.ceil().long()
        return torch.lerp(self.log_sigmas[low], self.log_sigmas[high], t - low).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a part of the way from noise to picture."""
        if percent <= 0.0:
            return 999999999.9
        return 0.0 if percent >= 1.0 else float(self.sigma(torch.tensor((1.0 - percent) * 999.0)))


def rescale_zero_terminal_snr_sigmas(sigmas: Tensor) -> Tensor:
    """The levels, rescaled so that nothing of the picture is left at the last one."""
    roots = (1 / (sigmas.double() ** 2 + 1)).sqrt()
    kept = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    kept[-1] = LEAST_SIGNAL
    return ((1 - kept) / kept).sqrt().float()


def names() -> Mapping[str, object]:
    """What the module holds."""
    shown = (
        *(EPS, X0, EDM, CONST, ModelSamplingDiscrete, ModelSamplingContinuousEDM, ModelSamplingContinuousV),
        rescale_zero_terminal_snr_sigmas,
    )
    return {"V_PREDICTION": VPrediction, **{it.__name__: it for it in shown}}


def _beside(sigma: Tensor, x: Tensor) -> Tensor:
    """[] or [B] -> what multiplies x [B, …]."""
    return sigma.reshape(sigma.shape[:1] + (1,) * (x.ndim - 1)) if sigma.ndim else sigma
