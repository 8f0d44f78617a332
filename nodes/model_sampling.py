"""Nodes that say what a model was trained to predict, and of which noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated

import torch

from graph.errors import InputError
from graph.sockets import Choice, Float, Toggle
from graph.spec import ALIKE, Tip, node
from models.family import Diffusion
from models.levels import Angle, Clock, ContinuousLevels, DistilledLevels, QuarterLog
from models.prediction import PREDICTIONS, Consistent, Eps, Preconditioned, Prediction, Velocity
from models.types import Model
from nodes.services import Context

CONTINUOUS: Mapping[str, Prediction] = MappingProxyType(
    {"v_prediction": Velocity(), "edm": Preconditioned(), "eps": Eps()}
)
SIGMA_MAX = Float(0.0, 1000.0, step=0.001, round=False, tooltip="The highest noise level it knows.")
SIGMA_MIN = Float(0.0, 1000.0, step=0.001, round=False, tooltip="The lowest noise level it knows.")
GivenModel = Annotated[Model, Tip("The U-Net that removes the noise.")]
SampledModel = Annotated[Model, Tip("The model, sampled so.")]


@node("ModelSamplingDiscrete", category="advanced/model", items=ALIKE)
def model_sampling_discrete(
    ctx: Context,
    *,
    model: GivenModel,
    sampling: Annotated[
        str, Choice(("eps", "v_prediction", "lcm", "x0", "img_to_img"), tooltip="What it was trained to predict.")
    ],
    zsnr: Annotated[bool, Toggle(tooltip="Whether nothing of the picture was left at its last step of noise.")] = False,
) -> SampledModel:
    """Say what a model predicts, and of which noise, where its file does not tell."""
    known = model.family.diffusion.levels
    if sampling == "lcm":
        levels = DistilledLevels(known.steps, known.beta_start, known.beta_end, zsnr)
        return replace(model, sampled_as=Diffusion(levels, Consistent(levels)))
    return replace(model, sampled_as=Diffusion(replace(known, zero_terminal=zsnr), PREDICTIONS[sampling]))


@node("ModelSamplingContinuousEDM", category="advanced/model")
def model_sampling_continuous_edm(
    ctx: Context,
    *,
    model: GivenModel,
    sampling: Annotated[str, Choice(tuple(CONTINUOUS), tooltip="What it was trained to predict.")],
    sigma_max: Annotated[float, SIGMA_MAX] = 120.0,
    sigma_min: Annotated[float, SIGMA_MIN] = 0.002,
) -> SampledModel:
    """Say of a model that it was trained at any noise level, and is told it as a quarter of its logarithm (EDM)."""
    return _continuous(model, CONTINUOUS[sampling], sigma_max, sigma_min, QuarterLog())


@node("ModelSamplingContinuousV", category="advanced/model")
def model_sampling_continuous_v(
    ctx: Context,
    *,
    model: GivenModel,
    sampling: Annotated[str, Choice(("v_prediction",), tooltip="What it was trained to predict.")],
    sigma_max: Annotated[float, SIGMA_MAX] = 500.0,
    sigma_min: Annotated[float, SIGMA_MIN] = 0.03,
) -> SampledModel:
    """Say of a model that it predicts v at any noise level, and is told it as an angle."""
    return _continuous(model, Velocity(), sigma_max, sigma_min, Angle())


DTYPES: Mapping[str, torch.dtype | None] = MappingProxyType(
    {"default": None, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
)


@node("ModelComputeDtype", category="advanced/debug/model")
def model_compute_dtype(
    ctx: Context,
    *,
    model: GivenModel,
    dtype: Annotated[
        str, Choice(DTYPES, tooltip="default: what the program was started with; fp16 and bf16 take half the memory.")
    ],
) -> Annotated[Model, Tip("The model, which computes in that.")]:
    """Choose how finely a model computes."""
    return replace(model, dtype=DTYPES[dtype])


@node("TorchCompileModel", category="_for_testing", experimental=True)
def torch_compile_model(
    ctx: Context,
    *,
    model: GivenModel,
    backend: Annotated[
        str, Choice(("inductor", "cudagraphs"), typed=True, tooltip="Which compiler another program would use.")
    ],
) -> Annotated[Model, Tip("The model, as it came.")]:
    """Hand a model on as it is: workflows that have it compiled elsewhere give the same picture here, without waiting."""
    ctx.warn(f"the model is not compiled by {backend}: it runs as it is, and gives the same picture", "backend")
    return model


def _continuous(model: Model, prediction: Prediction, highest: float, lowest: float, clock: Clock) -> Model:
    """The model, sampled between two levels. Raises InputError where they are none."""
    if not 0 < lowest < highest:
        raise InputError("sigma_min", f"must be above 0 and below sigma_max, which is {highest:g}; it is {lowest:g}")
    levels = ContinuousLevels(lowest=lowest, highest=highest, clock=clock)
    return replace(model, sampled_as=Diffusion(levels, prediction))
