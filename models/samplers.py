"""All samplers, by the names that workflows use for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from models.cfg_pp import (
    sample_dpmpp_2m_cfg_pp,
    sample_dpmpp_2s_ancestral_cfg_pp,
    sample_euler_ancestral_cfg_pp,
    sample_euler_cfg_pp,
    sample_gradient_estimation_cfg_pp,
    sample_res_multistep_cfg_pp,
)
from models.churn import sample_restart
from models.dpm_solver import sample_dpm_adaptive, sample_dpm_fast
from models.multistep import (
    sample_deis,
    sample_dpmpp_2m,
    sample_gradient_estimation,
    sample_ipndm,
    sample_ipndm_v,
    sample_lms,
    sample_plms,
    sample_res_multistep,
)
from models.sa_solver import SASettings, sample_sa_solver
from models.sde import sample_dpmpp_2m_sde, sample_dpmpp_3m_sde, sample_dpmpp_sde
from models.singlestep import (
    sample_ddim,
    sample_ddpm,
    sample_dpm_2,
    sample_dpmpp_2s_ancestral,
    sample_euler,
    sample_euler_ancestral,
    sample_heun,
    sample_heunpp2,
    sample_lcm,
    sample_tcd,
)
from models.steps import Brownian, Deterministic, Sampler, Stochastic
from models.stochastic import sample_er_sde, sample_seeds_2, sample_seeds_3
from models.unipc import sample_uni_pc

SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "euler": Deterministic(sample_euler),
        "euler_cfg_pp": Deterministic(sample_euler_cfg_pp),
        "euler_ancestral": Stochastic(sample_euler_ancestral),
        "euler_ancestral_cfg_pp": Stochastic(sample_euler_ancestral_cfg_pp),
        "heun": Deterministic(sample_heun),
        "heunpp2": Deterministic(sample_heunpp2),
        "dpm_2": Stochastic(sample_dpm_2),
        "dpm_2_ancestral": Stochastic(partial(sample_dpm_2, eta=1.0)),
        "lms": Deterministic(sample_lms),
        "dpm_fast": Stochastic(sample_dpm_fast),
        "dpm_adaptive": Stochastic(sample_dpm_adaptive),
        "dpmpp_2s_ancestral": Stochastic(sample_dpmpp_2s_ancestral),
        "dpmpp_2s_ancestral_cfg_pp": Stochastic(sample_dpmpp_2s_ancestral_cfg_pp),
        "dpmpp_sde": Brownian(sample_dpmpp_sde),
        "dpmpp_sde_gpu": Brownian(sample_dpmpp_sde),
        "dpmpp_2m": Deterministic(sample_dpmpp_2m),
        "dpmpp_2m_cfg_pp": Deterministic(sample_dpmpp_2m_cfg_pp),
        "dpmpp_2m_sde": Brownian(sample_dpmpp_2m_sde),
        "dpmpp_2m_sde_gpu": Brownian(sample_dpmpp_2m_sde),
        "dpmpp_2m_sde_heun": Brownian(partial(sample_dpmpp_2m_sde, solver="heun")),
        "dpmpp_2m_sde_heun_gpu": Brownian(partial(sample_dpmpp_2m_sde, solver="heun")),
        "dpmpp_3m_sde": Brownian(sample_dpmpp_3m_sde),
        "dpmpp_3m_sde_gpu": Brownian(sample_dpmpp_3m_sde),
        "ddpm": Stochastic(sample_ddpm),
        "lcm": Stochastic(sample_lcm),
        "ipndm": Deterministic(sample_ipndm),
        "ipndm_v": Deterministic(sample_ipndm_v),
        "deis": Deterministic(sample_deis),
        "res_multistep": Stochastic(sample_res_multistep),
        "res_multistep_cfg_pp": Stochastic(sample_res_multistep_cfg_pp),
        "res_multistep_ancestral": Stochastic(partial(sample_res_multistep, eta=1.0)),
        "res_multistep_ancestral_cfg_pp": Stochastic(partial(sample_res_multistep_cfg_pp, eta=1.0)),
        "gradient_estimation": Deterministic(sample_gradient_estimation),
        "gradient_estimation_cfg_pp": Deterministic(sample_gradient_estimation_cfg_pp),
        "er_sde": Stochastic(sample_er_sde),
        "seeds_2": Stochastic(sample_seeds_2),
        "seeds_3": Stochastic(sample_seeds_3),
        "sa_solver": Stochastic(sample_sa_solver),
        "sa_solver_pece": Stochastic(partial(sample_sa_solver, settings=SASettings(pece=True))),
        "ddim": Stochastic(sample_ddim),
        "uni_pc": Deterministic(sample_uni_pc),
        "uni_pc_bh2": Deterministic(partial(sample_uni_pc, bh2=True)),
        "plms": Deterministic(sample_plms),
        "tcd": Stochastic(sample_tcd),
        "restart": Stochastic(sample_restart),
    }
)

# Noise is drawn on the CPU for every device, so the `_gpu` names are their twins.

SKIP_PENULTIMATE = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
"""Samplers for which KSampler leaves out the last level above 0."""
