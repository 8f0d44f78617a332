"""Samplers from nodes, with their settings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, Literal

from graph.sockets import Choice, Float, Int
from graph.spec import Tip, node
from models.cfg_pp import sample_euler_ancestral_cfg_pp, sample_euler_away, sample_euler_cfg_pp
from models.churn import Churn, Solve, sample_churned, sample_dpmpp_2m_churned, sample_restart
from models.dpm_solver import Tolerance, sample_dpm_adaptive
from models.growing import sample_growing
from models.multistep import sample_lms
from models.sa_solver import SASettings, sample_sa_solver
from models.sde import sample_dpmpp_2m_sde, sample_dpmpp_3m_sde, sample_dpmpp_sde
from models.singlestep import (
    sample_dpmpp_2s_ancestral,
    sample_euler,
    sample_euler_ancestral,
    sample_heun,
    sample_lcm,
    sample_midpoint,
    sample_tcd,
)
from models.steps import Brownian, Deterministic, Stochastic
from models.stochastic import ReversePhi, er_phi, sample_er_sde, sample_seeds_2
from models.types import ChosenSampler, Model
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


@node("SamplerEulerCFGpp", category="_for_testing", title="SamplerEulerCFG++")
def sampler_euler_cfg_pp(
    ctx: Context,
    *,
    version: Annotated[
        str,
        Choice(
            ("regular", "alternative"), typed=True, tooltip="alternative: the latent moves with the guidance first."
        ),
    ],
) -> Chosen:
    """Euler's method with guidance that does not move the noise put back (CFG++): for a cfg of about 1."""
    solve = sample_euler_away if version == "alternative" else sample_euler_cfg_pp
    return ChosenSampler(Deterministic(solve), "euler_cfg_pp")


@node("SamplerER_SDE", category=SAMPLERS)
def sampler_er_sde(
    ctx: Context,
    *,
    solver_type: Annotated[
        str,
        Choice(
            ("ER-SDE", "Reverse-time SDE", "ODE"),
            typed=True,
            tooltip="How much noise goes in: its own measure, by eta, none.",
        ),
    ],
    max_stage: Annotated[int, Int(1, 3, tooltip="How many of the last estimates count.")] = 3,
    eta: Annotated[
        float, _setting("The noise of the reverse-time SDE; 0 makes an ODE of it. ER-SDE has its own.")
    ] = 1.0,
    s_noise: Annotated[float, S_NOISE] = 1.0,
) -> Chosen:
    """The extended reverse-time SDE solver."""
    phi = er_phi if solver_type == "ER-SDE" else ReversePhi(eta if solver_type == "Reverse-time SDE" else 0.0)
    solve = partial(sample_er_sde, phi=phi, stages=max_stage, s_noise=s_noise)
    return ChosenSampler(Stochastic(solve), "er_sde")


@node("SamplerSASolver", category=SAMPLERS)
def sampler_sa_solver(
    ctx: Context,
    *,
    model: Annotated[
        Model, Tip("The U-Net whose noise levels to use; a sampler takes them from the model it is used with.")
    ],
    eta: Annotated[float, _setting("How much noise goes in between the two places below.", 10.0)] = 1.0,
    sde_start_percent: Annotated[
        float, Float(0.0, 1.0, step=0.001, tooltip="The part of the way from which noise goes in.")
    ] = 0.2,
    sde_end_percent: Annotated[
        float, Float(0.0, 1.0, step=0.001, tooltip="The part of the way until which it does.")
    ] = 0.8,
    s_noise: Annotated[float, S_NOISE] = 1.0,
    predictor_order: Annotated[int, Int(1, 6, tooltip="How many of the last estimates predict the next latent.")] = 3,
    corrector_order: Annotated[int, Int(0, 6, tooltip="How many correct it, its own among them; 0: none.")] = 4,
    use_pece: Annotated[bool, Tip("Whether the model is asked again after the correction.")],
    simple_order_2: Annotated[bool, Tip("Whether order 2 takes a plain difference for the slope: for few steps.")],
) -> Chosen:
    """SA-Solver: stochastic Adams methods with a corrector."""
    settings = SASettings(
        eta, sde_start_percent, sde_end_percent, s_noise, predictor_order, corrector_order, use_pece, simple_order_2
    )
    return ChosenSampler(Stochastic(partial(sample_sa_solver, settings=settings)), "sa_solver")


@node("SamplerSEEDS2", category=SAMPLERS)
def sampler_seeds_2(
    ctx: Context,
    *,
    solver_type: Annotated[
        str,
        Choice(
            ("phi_1", "phi_2"),
            typed=True,
            tooltip="With which weight the second estimate enters; phi_2 is of higher order.",
        ),
    ],
    eta: Annotated[float, ETA] = 1.0,
    s_noise: Annotated[float, S_NOISE] = 1.0,
    r: Annotated[
        float, Float(0.01, 1.0, step=0.01, round=False, tooltip="Where in a step the model is asked a second time.")
    ] = 0.5,
) -> Chosen:
    """SEEDS-2; with phi_2 and r 1 the exponential Heun method, with eta 0 for the flow."""
    solve = partial(sample_seeds_2, eta=eta, s_noise=s_noise, r=r, second_order=solver_type == "phi_2")
    return ChosenSampler(Stochastic(solve), "seeds_2")


@node("SamplerLCM", category=SAMPLERS)
def sampler_lcm(
    ctx: Context,
    *,
    s_noise: Annotated[
        float, Float(0.0, 64.0, step=0.01, tooltip="How strong the noise after the first step is; 1 as in training.")
    ] = 1.0,
    s_noise_end: Annotated[float, Float(0.0, 64.0, step=0.01, tooltip="The same after the last step.")] = 1.0,
    noise_clip_std: Annotated[
        float, Float(0.0, 10.0, step=0.01, tooltip="Noise beyond so many deviations is cut; 0 cuts nothing.")
    ] = 0.0,
) -> Chosen:
    """Jumps to the estimate and noise back up, for models that were distilled for it."""
    solve = partial(sample_lcm, strengths=(s_noise, s_noise_end), clip=noise_clip_std)
    return ChosenSampler(Stochastic(solve), "lcm")


@node("SamplerLCMUpscale", category=SAMPLERS)
def sampler_lcm_upscale(
    ctx: Context,
    *,
    scale_ratio: Annotated[float, Float(0.1, 20.0, step=0.01, tooltip="How many times larger the picture ends.")] = 1.0,
    scale_steps: Annotated[
        int, Int(-1, 1000, step=1, tooltip="Over how many steps it grows; -1: over all of them.")
    ] = -1,
    upscale_method: Annotated[
        str,
        Choice(
            ("bislerp", "nearest-exact", "bilinear", "area", "bicubic"), typed=True, tooltip="How it is made larger."
        ),
    ],
) -> Chosen:
    """Jumps to the estimate, which grows from step to step, and noise back up."""
    solve = partial(sample_growing, ratio=scale_ratio, steps=scale_steps, method=upscale_method)
    return ChosenSampler(Stochastic(solve), "lcm_upscale")


@node("SamplerTCD", category=SAMPLERS)
def sampler_tcd(
    ctx: Context,
    *,
    gamma: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="How far a step goes on before noise leads back: 0 DDIM, 1 like LCM.")
    ] = 0.3,
) -> Chosen:
    """Strategic stochastic sampling, for models of trajectory consistency (TCD, Hyper-SD)."""
    return ChosenSampler(Stochastic(partial(sample_tcd, gamma=gamma)), "tcd")


@node("SamplerRestart", category=SAMPLERS)
def sampler_restart(
    ctx: Context,
    *,
    lowest: Annotated[float, _setting("The noise level from which it goes back up.")] = 0.1,
    highest: Annotated[float, _setting("The noise level that it goes back up to.")] = 2.0,
    times: Annotated[int, Int(0, 20, tooltip="How often; the steps between are taken once more each time.")] = 1,
) -> Chosen:
    """Heun's method, which goes back up by fresh noise and takes some steps again."""
    solve = partial(sample_restart, lowest=max(lowest, 1e-4), highest=max(highest, 1e-4), times=times)
    return ChosenSampler(Stochastic(solve), "restart")


CHURNED: Mapping[str, Solve] = MappingProxyType({"euler": sample_euler, "heun": sample_heun, "dpm_2": sample_midpoint})


@node("SamplerChurn", category=SAMPLERS)
def sampler_churn(
    ctx: Context,
    *,
    sampler_name: Annotated[str, Choice((*CHURNED, "dpmpp_2m"), tooltip="How each step is computed.")],
    s_churn: Annotated[float, _setting("How much noise goes in before the steps, over all of them together.")] = 10.0,
    s_tmin: Annotated[float, _setting("The lowest noise level at which it does.")] = 0.0,
    s_tmax: Annotated[float, _setting("The highest noise level at which it does.", 1000.0)] = 1000.0,
    s_noise: Annotated[float, S_NOISE] = 1.0,
) -> Chosen:
    """A sampler with some noise put in before every step (churn)."""
    churn = Churn(s_churn, s_tmin, s_tmax, s_noise)
    if sampler_name == "dpmpp_2m":
        return ChosenSampler(Stochastic(partial(sample_dpmpp_2m_churned, churn=churn)), sampler_name)
    return ChosenSampler(Stochastic(partial(sample_churned, solve=CHURNED[sampler_name], churn=churn)), sampler_name)
