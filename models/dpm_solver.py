"""DPM-Solver with steps that it chooses itself: equal ones in log sigma, or as long as a tolerance allows.

Lu et al. 2022 (arXiv:2206.00927), Algorithms 1 and 2, in the noise-predicting form, as k-diffusion has them. The inner
levels of a schedule do not count. Sampling ends at the lowest level above 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from models.noise import NoiseStream
from models.steps import Denoise, Step, ancestral, slope

SHORTEST = 1e-5  # of a step in log sigma: shorter ones are taken whatever their error


class _Slopes:
    """Evaluations during one step from x at log-sigma time t = -log sigma, each made once."""

    def __init__(self, denoise: Denoise, x: Tensor, t: Tensor) -> None:
        self._denoise = denoise
        self.x, self.t = x, t
        self.denoised = denoise(x, (-t).exp())
        self.eps = slope(x, (-t).exp(), self.denoised)

    def at(self, x: Tensor, t: Tensor) -> Tensor:
        sigma = (-t).exp()
        return slope(x, sigma, self._denoise(x, sigma))

    def first(self, end: Tensor) -> Tensor:
        """Order 1, Euler's exponential step."""
        return self.x - (-end).exp() * (end - self.t).expm1() * self.eps

    def second(self, end: Tensor, middle: Tensor, r: float) -> Tensor:
        """Order 2. middle: the slope at share r of the step."""
        growth = (end - self.t).expm1()
        return self.x - (-end).exp() * growth * (self.eps + (middle - self.eps) / (2 * r))

    def third(self, end: Tensor, near: Tensor) -> Tensor:
        """Order 3. near: the slope at a third of the step; one more is evaluated at two thirds."""
        h, r1, r2 = end - self.t, 1 / 3, 2 / 3
        t2 = self.t + r2 * h
        bend = (r2 * h).expm1() / (r2 * h) - 1
        x2 = self.x - (-t2).exp() * ((r2 * h).expm1() * self.eps + r2 / r1 * bend * (near - self.eps))
        far = self.at(x2, t2)
        return self.x - (-end).exp() * (h.expm1() * self.eps + (h.expm1() / h - 1) / r2 * (far - self.eps))

    def ahead(self, end: Tensor, r: float) -> Tensor:
        """The slope at share r of the step, reached by order 1."""
        t = self.t + r * (end - self.t)
        return self.at(self.first(t), t)


def sample_dpm_fast(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 0.0, s_noise: float = 1.0
) -> Iterator[Step]:
    """DPM-Solver-fast: as many evaluations as there are steps, dealt out to steps of order 3 and a short rest.

    With eta above 0 it draws once a step. A step is counted by the evaluations so far.
    """
    n, (start, end) = len(sigmas) - 1, _range(sigmas)
    count = n // 3 + 1
    orders = [3] * (count - 2) + [2, 1] if n % 3 == 0 else [3] * (count - 1) + [n % 3]
    times, spent = torch.linspace(float(start), float(end), count + 1, dtype=sigmas.dtype), 0
    for order, (t, t_next) in zip(orders, pairwise(times), strict=True):
        slopes = _Slopes(denoise, x, t)
        to, up = _shortened(t, t_next, end, eta)
        if order == 1:
            x = slopes.first(to)
        elif order == 2:
            x = slopes.second(to, slopes.ahead(to, 1 / 2), 1 / 2)
        else:
            x = slopes.third(to, slopes.ahead(to, 1 / 3))
        if eta > 0:
            x = x + noise(x, (-t).exp(), (-t_next).exp()) * (up * s_noise)
        spent += order
        yield Step(spent - 1, (-t).exp(), x, slopes.denoised)


@dataclass(frozen=True)
class Tolerance:
    """How DPM-Solver-12 and -23 choose their steps. order: 3 or 2; the others as k-diffusion names them."""

    order: int = 3
    rtol: float = 0.05
    atol: float = 0.0078
    h_init: float = 0.05
    pcoeff: float = 0.0
    icoeff: float = 1.0
    dcoeff: float = 0.0
    accept_safety: float = 0.81


def sample_dpm_adaptive(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseStream,
    tolerance: Tolerance | None = None,
    eta: float = 0.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """DPM-Solver-23 (or -12): steps as long as the difference between two orders allows, by a PID controller.

    With eta above 0 it draws once a step that is kept. A step is counted by the share of the way it has come.
    """
    tol = tolerance or Tolerance()
    n, (start, end) = len(sigmas) - 1, _range(sigmas)
    t, h, errors, x_before = start, tol.h_init, (0.0, 0.0, 0.0), x
    powers = (tol.pcoeff + tol.icoeff + tol.dcoeff, -(tol.pcoeff + 2 * tol.dcoeff), tol.dcoeff)
    order = tol.order if eta == 0 else 1.5  # of the error, by which its power follows the step
    slopes = None
    while t < end - SHORTEST:
        t_next = (t + h).minimum(end)
        to, up = _shortened(t, t_next, end, eta)
        slopes = slopes or _Slopes(denoise, x, t)
        low, high = _two_orders(slopes, to, tol.order)
        allowed = (tol.rtol * low.abs().maximum(x_before.abs())).clamp(min=tol.atol)
        inverse = 1 / (float(((low - high) / allowed).norm()) / math.sqrt(x.numel()) + 1e-8)
        errors = (inverse, *(errors[1:] if errors[1] else (inverse, inverse)))
        factor = math.prod(error ** (power / order) for error, power in zip(errors, powers, strict=True))
        factor = 1 + math.atan(factor - 1)
        if factor >= tol.accept_safety or h <= SHORTEST or not math.isfinite(factor):
            errors = (errors[0], errors[0], errors[1])
            x_before = low
            x = high + noise(x, (-t).exp(), (-t_next).exp()) * (up * s_noise) if eta > 0 else high
            came = float((t_next - start) / (end - start))
            yield Step(max(0, math.ceil(came * n) - 1), (-t).exp(), x, slopes.denoised)
            t, slopes = t_next, None
        h *= factor if math.isfinite(factor) else 1


def _two_orders(slopes: _Slopes, end: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """The step by the order below `order`, and by `order`, from shared evaluations."""
    if order == 2:
        return slopes.first(end), slopes.second(end, slopes.ahead(end, 1 / 2), 1 / 2)
    near = slopes.ahead(end, 1 / 3)
    return slopes.second(end, near, 1 / 3), slopes.third(end, near)


def _range(sigmas: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sigma time at the first level and at the last above 0."""
    positive = sigmas[sigmas > 0]
    return -positive[0].log(), -positive[-1].log()


def _shortened(t: Tensor, t_next: Tensor, end: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Where a step to t_next goes so that noise leads back up to it, and how much noise that is."""
    if eta == 0:
        return t_next, torch.zeros_like(t)
    down, _ = ancestral((-t).exp(), (-t_next).exp(), eta)
    to = (-down.log()).minimum(end)
    return to, ((-2 * t_next).exp() - (-2 * to).exp()).clamp(min=0).sqrt()
