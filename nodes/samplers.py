"""Samplers from nodes, with their settings."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from graph.sockets import Choice, Float, Int
from graph.spec import Tip, node
from models.cfg_pp import sample_euler_ancestral_cfg_pp
from models.dpm_solver import Tolerance, sample_dpm_adaptive
from models.multistep import sample_lms
from models.sde import sample_dpmpp_2m_sde, sample_dpmpp_3m_sde, sample_dpmpp_sde
from models.singlestep import sample_dpmpp_2s_ancestral, sample_euler_ancestral
from models.steps import Brownian, Deterministic, Stochastic
from models.types import ChosenSampler
from nodes.services import Context

SAMPLERS = "sampling/custom_sampling/samplers"


def _setting(tooltip: str, most: float = 100.0) -> Float:
    return Float(0.0, most, step=0.01, round=False, tooltip=tooltip)


ETA = _setting("How much noise each step adds: 0 none, 1 as much as the reverse process.")
S_NOISE = _setting("How strong that noise is; 1 is right, a little more or less changes the detail.")
DEVICE = Choice(("gpu", "cpu"), tooltip="Known from other programs; noise is drawn on the CPU here, for every device.")
Chosen = Annotated[ChosenSampler, Tip("The sampler.")]


@node("SamplerEulerAncestral", category=SAMPLERS)
def sampler_euler_ancestral(
    ctx: Context, *, eta: Annotated[float, ETA] = 1.0, s_noise: Annotated[float, S_NOISE] = 1.0
) -> Chosen:
    """Euler's method with fresh noise after every step."""
    return ChosenSampler(Stochastic(partial(sample_euler_ancestral, eta=eta, s_noise=s_noise)), "euler_ancestral")


@node("SamplerEulerAncestralCFGPP", category=SAMPLERS, title="SamplerEulerAncestralCFG++")
def sampler_euler_ancestral_cfg_pp(
    ctx: Context,
    *,
    eta: Annotated[float, _setting("How much noise each step adds.", 1.0)] = 1.0,
    s_noise: Annotated[float, _setting("How strong that noise is.", 10.0)] = 1.0,
) -> Chosen:
    """The same with guidance that does not move the noise put back (CFG++): for a cfg of about 1."""
    solve = partial(sample_euler_ancestral_cfg_pp, eta=eta, s_noise=s_noise)
    return ChosenSampler(Stochastic(solve), "euler_ancestral_cfg_pp")


@node("SamplerDPMPP_2S_Ancestral", category=SAMPLERS)
def sampler_dpmpp_2s_ancestral(
    ctx: Context, *, eta: Annotated[float, ETA] = 1.0, s_noise: Annotated[float, S_NOISE] = 1.0
) -> Chosen:
    """DPM-Solver++(2S) with fresh noise after every step."""
    solve = partial(sample_dpmpp_2s_ancestral, eta=eta, s_noise=s_noise)
    return ChosenSampler(Stochastic(solve), "dpmpp_2s_ancestral")


@node("SamplerDPMPP_SDE", category=SAMPLERS)
def sampler_dpmpp_sde(
    ctx: Context,
    *,
    eta: Annotated[float, ETA] = 1.0,
    s_noise: Annotated[float, S_NOISE] = 1.0,
    r: Annotated[float, _setting("Where in a step the model is asked a second time; 0.5 is the middle.")] = 0.5,
    noise_device: Annotated[str, DEVICE],
) -> Chosen:
    """DPM-Solver++ for the stochastic equation, asking the model twice a step."""
    solve = partial(sample_dpmpp_sde, eta=eta, s_noise=s_noise, r=r)
    return ChosenSampler(Brownian(solve), "dpmpp_sde")


@node("SamplerDPMPP_2M_SDE", category=SAMPLERS)
def sampler_dpmpp_2m_sde(
    ctx: Context,
    *,
    solver_type: Annotated[str, Choice(("midpoint", "heun"), tooltip="How the estimate's course enters a step.")],
    eta: Annotated[float, ETA] = 1.0,
    s_noise: Annotated[float, S_NOISE] = 1.0,
    noise_device: Annotated[str, DEVICE],
) -> Chosen:
    """DPM-Solver++(2M) for the stochastic equation."""
    solver: Literal["heun", "midpoint"] = "heun" if solver_type == "heun" else "midpoint"
    solve = partial(sample_dpmpp_2m_sde, eta=eta, s_noise=s_noise, solver=solver)
    return ChosenSampler(Brownian(solve), "dpmpp_2m_sde")


@node("SamplerDPMPP_3M_SDE", category=SAMPLERS)
def sampler_dpmpp_3m_sde(
    ctx: Context,
    *,
    eta: Annotated[float, ETA] = 1.0,
    s_noise: Annotated[float, S_NOISE] = 1.0,
    noise_device: Annotated[str, DEVICE],
) -> Chosen:
    """DPM-Solver++(3M) for the stochastic equation."""
    return ChosenSampler(Brownian(partial(sample_dpmpp_3m_sde, eta=eta, s_noise=s_noise)), "dpmpp_3m_sde")


@node("SamplerLMS", category=SAMPLERS)
def sampler_lms(
    ctx: Context, *, order: Annotated[int, Int(1, 100, tooltip="How many of the last slopes count; 4 is usual.")] = 4
) -> Chosen:
    """The linear multistep method."""
    return ChosenSampler(Deterministic(partial(sample_lms, order=order)), "lms")


@node("SamplerDPMAdaptative", category=SAMPLERS)
def sampler_dpm_adaptive(
    ctx: Context,
    *,
    order: Annotated[int, Int(2, 3, tooltip="3 asks the model three times a step, 2 twice.")] = 3,
    rtol: Annotated[float, _setting("The error allowed, as a share of the latent.")] = 0.05,
    atol: Annotated[float, _setting("The error allowed at least.")] = 0.0078,
    h_init: Annotated[float, _setting("The length of the first step, in log sigma.")] = 0.05,
    pcoeff: Annotated[float, _setting("How much the last error changes the next step's length.")] = 0.0,
    icoeff: Annotated[float, _setting("How much all errors so far change it.")] = 1.0,
    dcoeff: Annotated[float, _setting("How much the error's change changes it.")] = 0.0,
    accept_safety: Annotated[float, _setting("From which change of length on a step is kept.")] = 0.81,
    eta: Annotated[float, ETA] = 0.0,
    s_noise: Annotated[float, S_NOISE] = 1.0,
) -> Chosen:
    """DPM-Solver that chooses the length of its steps by their error; it takes as many as it needs."""
    tolerance = Tolerance(order, rtol, atol, max(h_init, 1e-3), pcoeff, icoeff, dcoeff, accept_safety)
    solve = partial(sample_dpm_adaptive, tolerance=tolerance, eta=eta, s_noise=s_noise)
    return ChosenSampler(Stochastic(solve), "dpm_adaptive")
