"""Nodes that say how a model is guided, and what it was trained to predict."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from graph.sockets import Choice, Float, Toggle
from graph.spec import Tip, node
from models.family import Diffusion
from models.guidance import DualCfg, rescaled
from models.prediction import PREDICTIONS
from models.types import Conditioning, Guider, Model
from nodes.sampling import CFG
from nodes.services import Context


@node("RescaleCFG", category="advanced/model")
def rescale_cfg(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    multiplier: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="How much of the rescaled estimate to take.")
    ] = 0.7,
) -> Annotated[Model, Tip("The model, guided so.")]:
    """Keep strong guidance from burning a picture: its contrast stays that of the prompt alone."""
    return replace(model, guiding=replace(model.guiding, combine=partial(rescaled, multiplier=multiplier)))


@node("ModelSamplingDiscrete", category="advanced/model")
def model_sampling_discrete(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    sampling: Annotated[str, Choice(PREDICTIONS, tooltip="What it was trained to predict.")],
    zsnr: Annotated[bool, Toggle(tooltip="Whether nothing of the picture was left at its last step of noise.")] = False,
) -> Annotated[Model, Tip("The model, sampled so.")]:
    """Say what a model predicts, and of which noise, where its file does not tell."""
    levels = replace(model.family.diffusion.levels, zero_terminal=zsnr)
    return replace(model, sampled_as=Diffusion(levels, PREDICTIONS[sampling]))


@node("DualCFGGuider", category="sampling/custom_sampling/guiders")
def dual_cfg_guider(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    cond1: Annotated[Conditioning, Tip("What the picture should show.")],
    cond2: Annotated[Conditioning, Tip("What stands between that and the negative prompt.")],
    negative: Annotated[Conditioning, Tip("What it should not show.")],
    cfg_conds: Annotated[float, CFG] = 8.0,
    cfg_cond2_negative: Annotated[float, CFG] = 8.0,
    style: Annotated[
        str,
        Choice(("regular", "nested"), tooltip="nested: the second guides away from the negative what the first made."),
    ],
) -> Annotated[Guider, Tip("The model, steered by three prompts.")]:
    """Steer by two prompts with a strength each, such as an instruction and the picture it is about."""
    guidance = DualCfg(cfg_conds, cfg_cond2_negative, nested=style == "nested")
    return Guider(model, (cond1, negative, cond2), guidance, names=("cond1", "negative", "cond2"))
