"""What all nodes that sample share: noise upon a latent, the steps from there, and what is wrong with the result."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from graph.errors import InputError
from graph.spec import Tip
from graph.thrift import Thrift
from models.activations import unet_bytes
from models.checkpoint import CheckpointError
from models.config import UNetConfig
from models.controls import Answer, Controlled, answers, check_control, controls_of
from models.denoiser import Denoiser, Guided, Predicted, with_negative_of
from models.family import TOWERS
from models.guidance import Cfg, overridden
from models.guidance_kinds import PerpNeg
from models.inpainting import DEPTH, Differential, MaskAt, Masked, fitted, unchanged
from models.layouts import WIDTHS
from models.machine import freed_memory_kept
from models.noise import Noise
from models.schedules import starts_from_noise
from models.steering import Begun, Ground, all_of
from models.steps import GuidedDenoise
from models.types import (
    AroundSampling,
    ChosenSampler,
    Cond,
    Conditioning,
    Control,
    Guider,
    Latent,
    Model,
    ModelHandle,
    Network,
    Perform,
    Sampling,
)
from models.unet import UNet
from nodes.latent_previews import preview_of
from nodes.mask_fit import told_of_mask
from nodes.services import Context

TOGETHER: Mapping[str, Collection[object]] = MappingProxyType({"sampler_name": ("dpm_adaptive",)})
"""Samplers that choose their steps by how all of a batch goes."""
LARGE_TEXT = 1e4  # no text encoder gives numbers near this; weights such as (word:1e30) do
LARGE_CFG = 50.0


class Sampled(NamedTuple):
    """Where sampling ended, and the estimate of the clean latent that its last step saw."""

    output: Annotated[Latent, Tip("The latents after the last step.")]
    denoised_output: Annotated[Latent, Tip("What the last step took for the clean latents.")]


def sampled(
    ctx: Context, guider: Guider, sampler: ChosenSampler, sigmas: Tensor, noise: Noise, latent: Latent, blamed: str = ""
) -> Sampled:
    """Noise upon a latent, and the steps of a sampler from there, with progress and previews, and with what the guider,
    its model and the sampler have around it.

    Without sigmas the latent comes back as it is. blamed: the input that brought the guider, if it came as one. Raises
    InputError for what cannot be sampled, and when a step's result is not finite.
    """

    def by_sampler(it: Sampling) -> tuple[Latent, Latent]:
        return _within(it.sampler.around, partial(_steps, ctx, blamed))(it)

    def by_model(it: Sampling) -> tuple[Latent, Latent]:
        return _within(it.guider.model.around, by_sampler)(it)

    return Sampled(*_within(guider.around, by_model)(Sampling(guider, sampler, sigmas, noise, latent)))


def _within(arounds: Sequence[AroundSampling], perform: Perform) -> Perform:
    """The same with all of them around it, the last one outermost."""
    for around in arounds:
        perform = partial(around, perform)
    return perform


def _steps(ctx: Context, blamed: str, sampling: Sampling) -> Sampled:
    guider, sampler, sigmas = sampling.guider, sampling.sampler, sampling.sigmas
    noise, latent = sampling.noise, sampling.latent
    if not len(sigmas):
        return Sampled(latent, latent)
    _check_levels(sigmas)
    if not latent.samples.isfinite().all():
        raise InputError("latent_image", "holds numbers that are not finite")
    if latent.part is not None:
        noise = replace(noise, part=latent.part)
    diffusion, scale = guider.model.diffusion, guider.model.family.latent.scale
    guider = _as_its_model_is_guided(guider)
    _check_controls(guider, blamed)
    guider = _with_pictures(ctx, guider, noise.seed, blamed)
    with ExitStack() as networks:
        around: list[Begun] = []
        if guider.negative_model is not None:
            theirs = _opened(ctx, replace(guider, model=guider.negative_model), sigmas, networks, blamed)
            around.append(Begun(around_estimates=partial(with_negative_of, theirs.guided.wanted)))
        unet, denoiser, guided, steering, controls = _opened(ctx, guider, sigmas, networks, blamed, around)
        strength = (1 + sigmas[0] ** 2).sqrt() if starts_from_noise(sigmas, diffusion.levels) else sigmas[0]
        clean, added = latent.samples * scale, noise.upon(latent.samples, latent.batch_index)
        x, model = clean + added * strength, guider.model
        batch, _, height, width = x.shape
        _tell_of_texts(ctx, guider, unet.config.in_channels - model.family.latent.channels, (height, width), blamed)
        needed = unet_bytes(unet.config, guided.at_once * batch, height, width, denoiser.dtype, controls)
        preview = preview_of(ctx, networks, model, height, width)
        with ctx.services.residency.room(needed + preview.needed), freed_memory_kept(denoiser.device):
            denoised, finite = None, list[Tensor]()
            denoise: GuidedDenoise = _predicted(guided, guider, steering)
            if latent.noise_mask is not None:
                may_change = fitted(latent.noise_mask, batch, height, width)
                kept, noisy, where = (tensor.to(denoiser.device) for tensor in (clean, added, may_change))
                denoise = Masked(denoise, kept, noisy, where, _mask_at(model, sigmas, steering))
            for step in sampler.sample(denoise, x.to(denoiser.device), sigmas, noise):
                finite.append(step.x.isfinite().all())  # no GPU is waited for: its answers are read at the end
                if denoiser.device.type == "cpu" and not finite[-1]:
                    break
                ctx.progress(step.i + 1, len(sigmas) - 1, partial(preview.draw, step.denoised))
                x, denoised = step.x, step.denoised
            if finite and not (good := torch.stack(finite).cpu()).all():
                first = int((~good).nonzero()[0])
                raise _not_finite(first, sampler, sigmas, guider, denoiser.dtype, blamed)
    output = replace(latent, samples=(x / scale).cpu())
    return Sampled(output, output if denoised is None else replace(latent, samples=(denoised / scale).cpu()))


class _Opened(NamedTuple):
    """A model at work: its network, and what makes its estimates. controls: how many networks steer it."""

    unet: UNet
    denoiser: Denoiser
    guided: Guided
    steering: Sequence[Begun]
    controls: int


def _opened(
    ctx: Context, guider: Guider, sigmas: Tensor, networks: ExitStack, blamed: str, around: Sequence[Begun] = ()
) -> _Opened:
    """The guider's model, which stays until `networks` closes. around: what steers besides what the model brings."""
    model = guider.model
    unet = networks.enter_context(ctx.services.use(model, blamed or "model", ctx.thrift >= Thrift.STREAM))
    _check_text(unet.config, guider, blamed)
    controls = _controls(ctx, guider, networks, blamed)
    steering = [*(one.begin(_ground(unet.config, guider, sigmas)) for one in model.steering), *around]
    steer = all_of([Controlled(controls, model.diffusion.levels), *(begun.steer for begun in steering)])
    wraps = [begun.wrap for begun in steering if begun.wrap]
    arounds = [begun.around for begun in steering if begun.around]
    denoiser = Denoiser(unet, model.diffusion, ctx.check, steer, wraps, arounds)
    beside, apart = unet.config.in_channels - model.family.latent.channels, ctx.thrift >= Thrift.APART
    guided = Guided(
        denoiser, guider.texts, guider.guidance, model.guiding.begun(), apart, model.family, beside, steering
    )
    return _Opened(unet, denoiser, guided, steering, len(controls))


def _tell_of_texts(ctx: Context, guider: Guider, channels: int, size: tuple[int, int], blamed: str) -> None:
    """Warn of masks that are resized, and of depth that is missing. channels: that the network reads beside the latent's;
    size: of the latent."""
    for name, conditioning in zip(guider.names, guider.texts, strict=True):
        for cond in conditioning.conds:
            if cond.mask is not None:
                told_of_mask(ctx, cond.mask, *size, guider.model.family.latent.factor, blamed or name)
            if channels == DEPTH and (cond.beside is None or cond.beside.depth is None):
                ctx.warn(
                    f"{guider.model.weights.path.name} reads how far things are, and was told nothing of it: all counts as "
                    "equally far; DepthModelConditioning tells it",
                    blamed or name,
                )


def _as_its_model_is_guided(guider: Guider) -> Guider:
    """With what nodes have said of the model's guidance."""
    model, guidance = guider.model, guider.guidance
    if model.leading_from is not None and isinstance(guidance, Cfg):
        empty, perp_neg = model.leading_from.conditioning, PerpNeg(guidance.scale, model.leading_from.away)
        names = (*guider.names, "model")
        guider = replace(guider, texts=(*guider.texts, empty), guidance=perp_neg, names=names)
    guidance = overridden(guider.guidance, model.guiding.overrides, model.diffusion.levels.at)
    return replace(guider, guidance=guidance)


def _predicted(guided: Guided, guider: Guider, steering: Sequence[Begun]) -> GuidedDenoise:
    """The guided estimate with what is done around it."""
    predicts = [begun.predict for begun in steering if begun.predict]
    predicts += [guider.predict] if guider.predict else []
    return Predicted(guided, predicts) if predicts else guided


def _ground(config: UNetConfig, guider: Guider, sigmas: Tensor) -> Ground:
    texts = {number: text.conds[0].tokens for number, text in enumerate(guider.texts) if text.conds}
    return Ground(config, guider.model.diffusion.levels, texts, sigmas)


def _check_controls(guider: Guider, blamed: str) -> None:
    """Blame the prompt whose control is of another family, before a network is loaded."""
    for name, conditioning in zip(guider.names, guider.texts, strict=True):
        for given in controls_of([conditioning]):
            try:
                check_control(given, guider.model)
            except CheckpointError as error:
                raise InputError(blamed or name, str(error)) from error


def _controls(ctx: Context, guider: Guider, networks: ExitStack, blamed: str) -> list[tuple[Control, Answer]]:
    """The prompts' controls, each with its network, which stays until `networks` closes."""

    def open_network(handle: ModelHandle[Network]) -> Network:
        return networks.enter_context(ctx.services.use(handle, blamed or guider.names[0]))

    return answers(guider.texts, guider.model, open_network, ctx.check)


def _mask_at(model: Model, sigmas: Tensor, steering: Sequence[Begun]) -> MaskAt:
    """How a mask counts at each level."""
    if given := [begun.mask_at for begun in steering if begun.mask_at]:
        return given[-1]
    if model.differential is None:
        return unchanged
    return Differential(model.diffusion.levels, float(sigmas[0]), float(sigmas[-1]), model.differential)


def _with_pictures(ctx: Context, guider: Guider, seed: int, blamed: str) -> Guider:
    """The guider whose prompts have the vectors of their pictures as pooled ones, for models that read these."""
    vector = guider.model.family.vector

    def seen(cond: Cond, name: str) -> Cond:
        if vector is None:
            if cond.pictures:
                ctx.warn(
                    f"{guider.model.weights.path.name} reads no pictures beside a prompt: those of unCLIPConditioning are "
                    "left out",
                    blamed or name,
                )
            return cond
        reads = vector.seen(cond.pooled.shape[1])
        if wrong := [p.vectors.shape[1] for p in cond.pictures if p.vectors.shape[1] != reads]:
            tower = f" ({TOWERS[WIDTHS[reads]]})" if reads in WIDTHS else ""
            raise InputError(
                blamed or name,
                f"pictures as a vision tower of {wrong[0]} channels sees them, but this model reads what one of "
                f"{reads}{tower} sees",
            )
        return replace(cond, pooled=vector.pooled(cond.pooled, cond.pictures, seed))

    texts = (
        Conditioning(tuple(seen(cond, name) for cond in text.conds))
        for name, text in zip(guider.names, guider.texts, strict=True)
    )
    return replace(guider, texts=tuple(texts))


def _check_levels(sigmas: Tensor) -> None:
    """Blame noise levels that no sampler can visit. Those of our schedules never are such."""
    shown = ", ".join(f"{level:.4g}" for level in sigmas[:8].tolist()) + (", …" if len(sigmas) > 8 else "")
    if not sigmas.isfinite().all() or (sigmas < 0).any():
        raise InputError("sigmas", f"noise levels must be finite and not below 0; these are {shown}")
    if (sigmas[:-1] == 0).any():
        raise InputError(
            "sigmas", f"noise level 0 may come last only, since nothing leads away from it; these are {shown}"
        )
    if (sigmas.diff() == 0).any():
        raise InputError("sigmas", f"a step needs two different noise levels; among these one comes twice: {shown}")


def _check_text(config: UNetConfig, guider: Guider, blamed: str) -> None:
    """Blame the prompt that another family's text encoder made, and one that is not finite."""
    width, vector = config.context_dim, guider.model.family.vector
    for name, conditioning in zip(guider.names, guider.texts, strict=True):
        for cond in conditioning.conds:
            if cond.tokens.shape[-1] != width:
                raise InputError(
                    blamed or name,
                    f"text vectors of width {cond.tokens.shape[-1]}, but this model reads vectors of {width}",
                )
            if vector and vector.width(cond.pooled.shape[-1]) != config.vector_dim:
                raise InputError(
                    blamed or name,
                    f"a pooled text vector of width {cond.pooled.shape[-1]}, but this model reads one of "
                    f"{config.vector_dim - vector.width(0)}",
                )
            if not cond.tokens.isfinite().all():
                raise InputError(blamed or name, "text vectors that are not finite; are its words' weights too large?")


def _not_finite(
    i: int, sampler: ChosenSampler, sigmas: Tensor, guider: Guider, dtype: torch.dtype, blamed: str
) -> InputError:
    """What went wrong in step i, and the input that most likely caused it."""
    sigma, sigma_next = (float(level) for level in sigmas[i : i + 2])
    what = (
        f"step {i + 1} of {len(sigmas) - 1} of the sampler {sampler.name}, from noise level {sigma:.4g} to "
        f"{sigma_next:.4g}, gave numbers that are not finite"
    )
    largest = {
        name: max((float(cond.tokens.abs().max()) for cond in conditioning.conds), default=0.0)
        for name, conditioning in zip(guider.names, guider.texts, strict=True)
    }
    worst = max(largest, key=lambda name: largest[name], default="")
    if sigma_next > sigma:
        return InputError(
            "sigmas", f"{what}; most likely because it cannot climb: euler and others that add no noise can"
        )
    if largest.get(worst, 0.0) > LARGE_TEXT:
        return InputError(blamed or worst, f"{what}; most likely its words' weights are too large for the model")
    if (scale := guider.guidance.strength) > LARGE_CFG:
        return InputError(blamed or "cfg", f"{what}; most likely guidance of {scale:g} is too strong")
    if dtype != torch.float32:
        return InputError(
            blamed or "model", f"{what}; most likely the model does not fit 16 bits: start with --force-fp32"
        )
    return InputError(blamed or "model", f"{what}; most likely the model's weights are damaged")
