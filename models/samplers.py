"""All samplers, by the names that workflows use for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

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
)
from models.steps import Deterministic, Sampler, Stochastic
from models.stochastic import sample_er_sde, sample_seeds_2, sample_seeds_3
from models.unipc import sample_uni_pc

SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "euler": Deterministic(sample_euler),
        "euler_ancestral": Stochastic(sample_euler_ancestral),
        "heun": Deterministic(sample_heun),
        "heunpp2": Deterministic(sample_heunpp2),
        "dpm_2": Stochastic(sample_dpm_2),
        "dpm_2_ancestral": Stochastic(partial(sample_dpm_2, eta=1.0)),
        "lms": Deterministic(sample_lms),
        "dpmpp_2s_ancestral": Stochastic(sample_dpmpp_2s_ancestral),
        "dpmpp_2m": Deterministic(sample_dpmpp_2m),
        "ddpm": Stochastic(sample_ddpm),
        "lcm": Stochastic(sample_lcm),
        "ipndm": Deterministic(sample_ipndm),
        "ipndm_v": Deterministic(sample_ipndm_v),
        "deis": Deterministic(sample_deis),
        "res_multistep": Stochastic(sample_res_multistep),
        "res_multistep_ancestral": Stochastic(partial(sample_res_multistep, eta=1.0)),
        "gradient_estimation": Deterministic(sample_gradient_estimation),
        "er_sde": Stochastic(sample_er_sde),
        "seeds_2": Stochastic(sample_seeds_2),
        "seeds_3": Stochastic(sample_seeds_3),
        "ddim": Stochastic(sample_ddim),
        "uni_pc": Deterministic(sample_uni_pc),
        "uni_pc_bh2": Deterministic(partial(sample_uni_pc, bh2=True)),
        "plms": Deterministic(sample_plms),
    }
)

SKIP_PENULTIMATE = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
"""Samplers for which KSampler leaves out the last level above 0."""
