"""`comfy.k_diffusion.sampling`: every sampler as a function, and the arithmetic of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.noise import Noise
from models.samplers import SAMPLERS
from models.schedules import ended, karras_between, polyexponential_between
from models.steps import ancestral, slope
from models.types import ChosenSampler
from nodes.packs.objects.samplers import sampler_function


def names() -> Mapping[str, object]:
    """What the module holds."""
    functions = (
        *(to_d, append_dims, append_zero, get_ancestral_step, default_noise_sampler),
        *(get_sigmas_karras, get_sigmas_exponential, get_sigmas_polyexponential),
    )
    ours = {f"sample_{name}": sampler_function(ChosenSampler(sampler, name)) for name, sampler in SAMPLERS.items()}
    return {**ours, **{function.__name__: function for function in functions}}


def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx / dsigma."""
    return slope(x, append_dims(sigma, x.ndim), denoised)


def append_dims(x: Tensor, target_dims: int) -> Tensor:
    """With as many dimensions, the new ones at the end."""
    return x[(...,) + (None,) * (target_dims - x.ndim)]


def append_zero(x: Tensor) -> Tensor:
    """With a 0 at its end."""
    return torch.cat([x, x.new_zeros([1])])


def get_ancestral_step(sigma_from: Tensor, sigma_to: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """The level to step down to, and how much noise leads up from there."""
    return ancestral(torch.as_tensor(sigma_from), torch.as_tensor(sigma_to), eta)


def default_noise_sampler(x: Tensor, seed: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """Noise that is new at every call."""
    stream = Noise(int(seed or 0)).stream()
    return lambda sigma, sigma_next: stream(x, sigma, sigma_next)


def get_sigmas_karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0, device: object = "cpu") -> Tensor:
    """Levels at equal steps in sigma ** (1 / rho)."""
    return karras_between(float(sigma_min), float(sigma_max), n, rho).to(torch.device(str(device)))


def get_sigmas_exponential(n: int, sigma_min: float, sigma_max: float, device: object = "cpu") -> Tensor:
    """Levels at equal steps in log sigma."""
    low, high = (torch.tensor(float(sigma)).log() for sigma in (sigma_min, sigma_max))
    return ended(torch.linspace(float(high), float(low), n).exp()).to(torch.device(str(device)))


def get_sigmas_polyexponential(
    n: int, sigma_min: float, sigma_max: float, rho: float = 1.0, device: object = "cpu"
) -> Tensor:
    """Levels in log sigma, at the powers of equal steps."""
    return polyexponential_between(float(sigma_min), float(sigma_max), n, rho).to(torch.device(str(device)))
