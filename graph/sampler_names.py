"""What other programs call samplers and schedules, in the names that workflows use here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_A1111: Mapping[str, str] = MappingProxyType(
    {
        "euler": "Euler",
        "euler_ancestral": "Euler a",
        "lms": "LMS",
        "heun": "Heun",
        "dpm_2": "DPM2",
        "dpm_2_ancestral": "DPM2 a",
        "dpmpp_2s_ancestral": "DPM++ 2S a",
        "dpmpp_2m": "DPM++ 2M",
        "dpmpp_sde": "DPM++ SDE",
        "dpmpp_2m_sde": "DPM++ 2M SDE",
        "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
        "dpmpp_3m_sde": "DPM++ 3M SDE",
        "dpm_fast": "DPM fast",
        "dpm_adaptive": "DPM adaptive",
        "ddim": "DDIM",
        "ddpm": "DDPM",
        "uni_pc": "UniPC",
        "lcm": "LCM",
        "ipndm": "IPNDM",
        "deis": "DEIS",
        "res_multistep": "Res Multistep",
        "euler_cfg_pp": "Euler CFG++",
        "euler_ancestral_cfg_pp": "Euler A CFG++",
    }
)
_A1111_SCHEDULES: Mapping[str, str] = MappingProxyType(
    {
        "normal": "Normal",
        "karras": "Karras",
        "exponential": "Exponential",
        "sgm_uniform": "SGM Uniform",
        "simple": "Simple",
        "ddim_uniform": "DDIM",
        "beta": "Beta",
        "kl_optimal": "KL Optimal",
    }
)
_OWN_SCHEDULE: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_2m", "dpmpp_sde"), "karras")
    | dict.fromkeys(("dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"), "exponential")
)
"""The schedule that A1111 takes for these where none is chosen."""

_OTHERS: Mapping[str, str] = MappingProxyType(
    {
        # InvokeAI, and its older names
        "eulera": "euler_ancestral",
        "kdpm2": "dpm_2",
        "kdpm2a": "dpm_2_ancestral",
        "dpmpp2s": "dpmpp_2s_ancestral",
        "unipc": "uni_pc",
        "klms": "lms",
        "keuler": "euler",
        "keulera": "euler_ancestral",
        "kheun": "heun",
        # NovelAI
        "keulerancestral": "euler_ancestral",
        "kdpmpp2m": "dpmpp_2m",
        "kdpmpp2sancestral": "dpmpp_2s_ancestral",
        "kdpmppsde": "dpmpp_sde",
        "kdpmpp2msde": "dpmpp_2m_sde",
        "ddimv3": "ddim",
        # diffusers' classes
        "eulerdiscretescheduler": "euler",
        "eulerancestraldiscretescheduler": "euler_ancestral",
        "ddimscheduler": "ddim",
        "ddpmscheduler": "ddpm",
        "lmsdiscretescheduler": "lms",
        "heundiscretescheduler": "heun",
        "kdpm2discretescheduler": "dpm_2",
        "kdpm2ancestraldiscretescheduler": "dpm_2_ancestral",
        "dpmsolvermultistepscheduler": "dpmpp_2m",
        "dpmsolversdescheduler": "dpmpp_sde",
        "unipcmultistepscheduler": "uni_pc",
        "deismultistepscheduler": "deis",
        "lcmscheduler": "lcm",
        # Draw Things
        "eulerancestral": "euler_ancestral",
    }
)
_PLACES: Mapping[str, str] = MappingProxyType(
    {_key: name for name in _A1111 for _key in (re.sub("[^a-z0-9]", "", name),)}
    | {re.sub("[^a-z0-9]", "", text.lower().replace("++", "pp")): name for name, text in _A1111.items()}
    | dict(_OTHERS)
)
_SCHEDULE_WORDS: Mapping[str, str] = MappingProxyType(
    {re.sub("[^a-z]", "", text.lower()): name for name, text in _A1111_SCHEDULES.items()}
    | {name.replace("_", ""): name for name in _A1111_SCHEDULES}
    | {"uniform": "normal", "native": "normal", "polyexponential": "exponential", "linear": "normal"}
)


def sampler_of(name: str, schedule: str = "") -> tuple[str, str]:
    """Sampler and schedule by the names that another program has for them; empty where there is none like it.

    Older names have the schedule in them: `DPM++ 2M Karras`, `dpmpp_2m_k`.
    """
    key = re.sub("[^a-z0-9]", "", name.lower().replace("++", "pp")).removesuffix("gpu")
    found = _PLACES.get(key, "")
    named = ""
    for ending, held in (("karras", "karras"), ("exponential", "exponential"), ("k", "karras"), ("trailing", "simple")):
        if not found and key.endswith(ending) and (found := _PLACES.get(key.removesuffix(ending), "")):
            named = held
    asked = re.sub("[^a-z]", "", schedule.lower())
    if asked and asked != "automatic":
        return found, _SCHEDULE_WORDS.get(asked, "")
    return found, named or (_OWN_SCHEDULE.get(found, "normal") if asked == "automatic" else "normal")


def a1111_names(sampler: str, scheduler: str) -> tuple[str, str]:
    """What A1111 calls them; the names as they are where it has none."""
    return _A1111.get(sampler, sampler), _A1111_SCHEDULES.get(scheduler, scheduler)
