"""Samplers that remember: they take the slope's course over the steps before for its course over the next."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.noise import NoiseStream
from models.steps import Denoise, Step, ancestral, slope

ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the last slopes, newest first, over equal steps, by how many are known."""

Clock = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""sigma -> the time in which the slope is taken for a polynomial."""


def sample_plms(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """The pseudo linear multistep method of Stable Diffusion v1's own scripts.

    Liu et al. 2022 (arXiv:2202.09778), equations 9 and 12, Algorithm 2: DDIM's step with a mean over the last four eps, with the
    Adams-Bashforth weights of equal steps in time; the first step is the improved Euler method, one more evaluation. So
    second order on DDIM's equal steps in time (schedule ddim_uniform). A step to 0 goes to the estimate.
    """
    ds: deque[Tensor] = deque(maxlen=len(ADAMS_BASHFORTH))
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        ds.appendleft(slope(x, sigma, denoised))
        if sigma_next == 0:
            x = denoised
        elif i == 0:
            x_next = x + ds[0] * (sigma_next - sigma)
            d_next = slope(x_next, sigma_next, denoise(x_next, sigma_next))
            x = x + (ds[0] + d_next) / 2 * (sigma_next - sigma)
        else:
            x = x + _weighted(ADAMS_BASHFORTH[len(ds) - 1], ds) * (sigma_next - sigma)
        yield Step(i, sigma, x, denoised)


def sample_ipndm(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """Improved PNDM: the weights of `sample_plms`, begun with Euler's step.

    Zhang and Chen 2023 (arXiv:2204.13902), appendix on iPNDM. One evaluation a step; a step to 0 goes to the estimate.
    """
    ds: deque[Tensor] = deque(maxlen=len(ADAMS_BASHFORTH))
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        ds.appendleft(slope(x, sigma, denoised))
        d = _weighted(ADAMS_BASHFORTH[len(ds) - 1], ds)
        x = x + d * (sigma_next - sigma) if sigma_next > 0 else denoised
        yield Step(i, sigma, x, denoised)


def sample_ipndm_v(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """Improved PNDM with weights for unequal steps, as the authors' program has them.

    zju-pi/diff-sampler; no paper has the weights. They are near the Adams-Bashforth ones of `sample_lms`, but of second
    order only, and on steps whose ratio jumps they do not even add up to 1: kept for the pictures made with them.
    One evaluation a step; a step to 0 goes to the estimate.
    """
    ds: deque[Tensor] = deque(maxlen=4)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        ds.appendleft(slope(x, sigma, denoised))
        if sigma_next > 0:
            strides = sigmas[i + 1 - len(ds) : i + 2].double().diff().flip(0).tolist()
            x = x + _weighted(_ipndm_v_weights(*strides), ds) * (sigma_next - sigma)
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)


def _ipndm_v_weights(h: float, *past: float) -> list[float]:
    """Weights of the slopes, newest first, for a step of h after `past` steps, of which the last comes first."""
    weights = [1.0, 0.0, 0.0, 0.0]
    if past:
        h1 = past[0]
        weights = [1 + h / h1 / 2, -h / h1 / 2, 0.0, 0.0]
    if len(past) > 1:
        h2, both = past[1], past[0] + past[1]
        second = (1 - h**2 / (3 * h1 * both)) / 2
        weights = [weights[0] + second, weights[1] - (1 + h1 / h2) * second, h1 / h2 * second, 0.0]
    if len(past) > 2:
        h3, to_1, to_2 = past[2], h + h1, h + both
        third = 1 / 2 - h / (6 * to_1) + (1 - h / (2 * to_1)) * h / (6 * to_2)
        third *= h * to_1 * to_2 / (h1 * both * (both + h3))
        b = h1 * both / (h2 * (h2 + h3))
        shares = (1.0, -(1 + h1 / h2 + b), h1 / h2 + b * (1 + h2 / h3), -b * h1 / h2)
        weights = [weight + third * share for weight, share in zip(weights, shares, strict=True)]
    return weights[: len(past) + 1]


def sample_lms(denoise: Denoise, x: Tensor, sigmas: Tensor, order: int = 4) -> Iterator[Step]:
    """Linear multistep: the Adams-Bashforth method for steps of any length in sigma.

    k-diffusion's. One evaluation a step, of the order given once that many slopes are known; a step to 0 goes to the
    estimate.
    """
    return _adams(denoise, x, sigmas, order, _sigma_clock)


def sample_deis(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """DEIS with third-order polynomials in time (tAB-DEIS).

    Zhang and Chen 2023 (arXiv:2204.13902), Algorithm 1. Its integral of weight times polynomial over time is, by
    substitution, the integral of the polynomial over sigma: the linear multistep method with the polynomials in
    another clock, that of a variance-preserving process. One evaluation a step; a step to 0 goes to the estimate.
    """
    return _adams(denoise, x, sigmas, 3, _vp_clock)


def _adams(denoise: Denoise, x: Tensor, sigmas: Tensor, order: int, clock: Clock) -> Iterator[Step]:
    ds: deque[Tensor] = deque(maxlen=order)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        ds.appendleft(slope(x, sigma, denoised))
        if sigma_next > 0:
            x = x + _weighted(adams_weights(sigmas[i + 1 - len(ds) : i + 2].tolist(), clock), ds)
        else:
            x = denoised
        yield Step(i, sigma, x, denoised)


def adams_weights(levels: Sequence[float], clock: Clock) -> list[float]:
    """What the slopes at all levels but the last add to x over the step between the last two, newest first.

    Integrals over sigma of the Lagrange polynomials in clock(sigma): of the one that is 1 at a slope's level and 0 at
    the others' (Hairer, Norsett and Wanner, Solving ODEs I, section III.5). Gauss-Legendre quadrature is exact for
    polynomials in sigma, and to rounding for clocks as smooth as these.
    """
    *known, now, end = levels
    places, shares = np.polynomial.legendre.leggauss(max(24, len(levels)))
    at = clock((now + end) / 2 + places * (end - now) / 2)
    polynomials = lagrange(clock(np.array([now, *reversed(known)])), at)
    return [float(weight) for weight in polynomials @ shares * (end - now) / 2]


def lagrange(knots: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """[knots, at]: the polynomials that are 1 at one knot and 0 at the others, where they are asked for."""
    polynomials = []
    for j, knot in enumerate(knots):
        others = np.delete(knots, j)
        polynomials.append(np.prod((at[:, None] - others) / (knot - others), axis=1))
    return np.array(polynomials)


def _sigma_clock(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    return sigma


def _vp_clock(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time t of a process with sigma(t) = sqrt(exp(b t**2 / 2 + a t) - 1) (Song et al. 2021, arXiv:2011.13456, eq. 33).

    As DEIS is commonly set up: sigma is 0.002 at t = 0.001 and 80 at t = 1.
    """
    first, low, high = 1e-3, math.log1p(0.002**2), math.log1p(80.0**2)
    b = 2 * (low / first - high) / (first - 1)
    a = high - b / 2
    return (np.sqrt(a**2 + 2 * b * np.log1p(sigma**2)) - a) / b


def sample_dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """DPM-Solver++(2M), second order in log sigma with one evaluation a step.

    Lu et al. 2022 (arXiv:2211.01095), Algorithm 2, in the sigma notation of Karras et al. 2022.
    """
    old_denoised = h_last = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        h = sigma.log() - sigma_next.log()  # infinite when sigma_next is 0
        d = denoised
        if old_denoised is not None and h_last is not None and sigma_next > 0:
            d = denoised + (denoised - old_denoised) * h / (2 * h_last)
        x = sigma_next / sigma * x - (-h).expm1() * d
        yield Step(i, sigma, x, denoised)
        old_denoised, h_last = denoised, h


def sample_res_multistep(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseStream, eta: float = 0.0
) -> Iterator[Step]:
    """The refined exponential solver with one step of memory, second order in log sigma, one evaluation a step.

    Zhang et al. 2023 (arXiv:2308.02157), the two-step multistep RES. With eta 1 it steps down and adds noise once a
    step, but not for the last (res_multistep_ancestral); with eta 0 it never draws. First and last steps are Euler's.
    """
    old_denoised = h_last = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        h = (sigma / sigma_down).log()  # infinite when sigma_down is 0
        if old_denoised is not None and h_last is not None and sigma_down > 0:
            phi_1 = -(-h).expm1() / h
            phi_2 = (1 - phi_1) / h
            b = phi_2 * h / h_last  # the old estimate lies h_last behind
            x = sigma_down / sigma * x + h * ((phi_1 + b) * denoised - b * old_denoised)
        else:
            x = x + slope(x, sigma, denoised) * (sigma_down - sigma)
        if eta > 0 and sigma_next > 0:
            x = x + noise(x, sigma, sigma_next) * sigma_up
        yield Step(i, sigma, x, denoised)
        old_denoised, h_last = denoised, h


def sample_gradient_estimation(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Step]:
    """Euler's method along 2 d - d_last, the slope corrected by its last change.

    Permenter and Yuan 2024 (arXiv:2306.04848), Algorithm 2 with gamma 2. First order; a step to 0 goes to the estimate.
    """
    d_last = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        d = slope(x, sigma, denoised)
        steered = d if d_last is None else 2 * d - d_last
        x = x + steered * (sigma_next - sigma) if sigma_next > 0 else denoised
        yield Step(i, sigma, x, denoised)
        d_last = d


def _weighted(weights: Sequence[float], ds: Sequence[Tensor]) -> Tensor:
    total = weights[0] * ds[0]
    for weight, d in zip(weights[1:], list(ds)[1:], strict=True):
        total = total + weight * d
    return total
