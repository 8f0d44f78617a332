"""A pipeline as diffusers keeps it: a folder for each network, with its weights in one form or several, and configurations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.family import Diffusion, Family, Tower
from models.layouts import Part, Weights, read_header
from models.levels import NoiseLevels
from models.prediction import PREDICTIONS
from models.weights import CheckpointError

INDEX = "model_index.json"
"""The file that makes a folder a pipeline."""

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # of networks of diffusers, and of transformers
_USUAL = ("", "fp16", "bf16")  # forms of the weights, the first that is there is taken; then any other
_NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")
_TOLD = ("scheduler/scheduler_config.json", "vae/config.json")
_PREDICTIONS: Mapping[str, str] = MappingProxyType({"epsilon": "eps", "v_prediction": "v_prediction", "sample": "x0"})
_LONGEST = 2**20  # bytes of a configuration


@dataclass(frozen=True)
class Pipeline:
    """The networks of a folder: `unet`, `vae` if it is there, and text towers. family: of all of them."""

    unet: Weights
    vae: Weights | None
    towers: Mapping[Tower, Weights]
    family: Family

    def parts(self) -> Mapping[Part, Weights]:
        """What it holds."""
        held: list[tuple[Part, Weights | None]] = [("model", self.unet), *self.towers.items(), ("vae", self.vae)]
        return {part: weights for part, weights in held if weights}


def pipeline_files(index: Path) -> tuple[Path, ...]:
    """All files that a pipeline may be read from."""
    weights = (path for name in _NETWORKS for _, path in _forms(index.parent / name))
    return (index, *weights, *(path for name in _TOLD if (path := index.parent / name).is_file()))


def read_pipeline(index: Path, variant: str = "") -> Pipeline:
    """The headers of the folder that has this `model_index.json`.

    variant: the form of the weights, such as "fp16"; "": the one without a name, as in diffusers, or else fp16, bf16 or any
    other. What is not there in the wanted form is taken in another. Raises CheckpointError.
    """
    folder, said = index.parent, _configuration(index)
    unet = _header(folder, "unet", variant)
    if unet is None:
        kind = said.get("_class_name", "a pipeline")
        raise CheckpointError(f"it is {kind}, which has no U-Net; expected a pipeline of Stable Diffusion or SDXL")
    _raise_if_not(unet, "model", "unet")
    vae = _header(folder, "vae", variant)
    if vae:
        _raise_if_not(vae, "vae", "vae")
    family = _family(folder, unet)
    towers: dict[Tower, Weights] = {}
    for reading in family.text:
        name = "text_encoder_2" if reading.tower == "clip_g" else "text_encoder"
        if tower := _header(folder, name, variant, reading.tower):
            _raise_if_not(tower, reading.tower, name)
            towers[reading.tower] = tower
    return Pipeline(replace(unet, family=family), replace(vae, family=family) if vae else None, towers, family)


def _family(folder: Path, unet: Weights) -> Family:
    """The family of the U-Net, with what the configurations say of the noise that it knows and of its latents."""
    scheduler = _configuration(folder / "scheduler" / "scheduler_config.json")
    latents = _configuration(folder / "vae" / "config.json")
    if latents.get("latents_mean") is not None:
        raise CheckpointError("it is an SDXL model with latents of its own (Playground 2.5), which are not supported")
    kind = str(scheduler.get("_class_name", ""))
    if "EDM" in kind or scheduler.get("timestep_type") == "continuous":
        raise CheckpointError("it is a model of continuous noise levels (CosXL), a kind that is not supported")
    family, levels = unet.family, unet.family.diffusion.levels
    prediction = family.diffusion.prediction
    if (word := scheduler.get("prediction_type")) is not None:
        if word not in _PREDICTIONS:
            raise CheckpointError(
                f"scheduler/scheduler_config.json says that it predicts {word!r:.40}; expected {', '.join(_PREDICTIONS)}"
            )
        prediction = PREDICTIONS[_PREDICTIONS[word]]
    if scheduler.get("rescale_betas_zero_snr"):
        levels = replace(levels, zero_terminal=True)
    if scheduler.get("beta_schedule") == "scaled_linear":
        levels = _trained_at(levels, scheduler)
    scale = latents.get("scaling_factor")
    latent = replace(family.latent, scale=float(scale)) if isinstance(scale, int | float) and scale else family.latent
    return replace(family, latent=latent, diffusion=Diffusion(levels, prediction))


def _trained_at(levels: NoiseLevels, scheduler: Mapping[str, Any]) -> NoiseLevels:
    start, end, steps = (scheduler.get(name) for name in ("beta_start", "beta_end", "num_train_timesteps"))
    if not isinstance(start, float) or not isinstance(end, float) or not isinstance(steps, int):
        return levels
    if not (0 < start < end < 1 and 1 < steps <= 100_000):
        raise CheckpointError("scheduler/scheduler_config.json has betas that are no noise levels")
    return replace(levels, beta_start=start, beta_end=end, steps=steps)


def _header(folder: Path, name: str, variant: str, tower: Tower | None = None) -> Weights | None:
    """The header of one network, if its folder has weights."""
    if (path := _weights_file(folder / name, variant)) is None:
        return None
    try:
        return read_header(path, tower)
    except CheckpointError as error:
        raise CheckpointError(f"in {name}/: {error}") from error


def _raise_if_not(weights: Weights, part: Part, name: str) -> None:
    try:
        weights.names(part)
    except CheckpointError as error:
        raise CheckpointError(f"in {name}/: {error}") from error


def _weights_file(folder: Path, variant: str) -> Path | None:
    """The weights of one network, or the index of the files that they are in. Raises CheckpointError where none tells."""
    forms = list(_forms(folder))
    usual = (variant, *_USUAL)

    def order(item: tuple[str, Path]) -> tuple[object, ...]:
        form, path = item
        wanted = usual.index(form) if form in usual else len(usual)
        return form != variant if variant else False, ".safetensors" not in path.name, wanted, path.name

    whole = sorted((item for item in forms if "-of-" not in item[0]), key=order)
    if whole:
        return whole[0][1]
    if forms:
        raise CheckpointError(
            f"{folder.name}/ has its weights in {len(forms)} files, but not the .index.json that belongs to them"
        )
    return None


def _forms(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files of weights, and indexes of such files, each with the name of its form."""
    stem, end = rf"(?:{'|'.join(_STEMS)})", r"\.(?:safetensors|bin)"
    pattern = re.compile(rf"{stem}(?:[.-](?P<form>[\w.-]+?))?{end}|{stem}{end}\.index(?:\.(?P<indexed>[\w-]+))?\.json")
    try:
        files = sorted(folder.iterdir())
    except OSError:  # it is not there
        return
    for path in files:
        if match := pattern.fullmatch(path.name):
            yield match["form"] or match["indexed"] or "", path


def _configuration(path: Path) -> Mapping[str, Any]:
    """What a JSON file says; nothing where there is none. Raises CheckpointError."""
    try:
        if path.stat().st_size > _LONGEST:
            raise CheckpointError(f"{path.parent.name}/{path.name} is too large for a configuration")
        said = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.parent.name}/{path.name} cannot be read: {error}") from error
    if not isinstance(said, dict):
        raise CheckpointError(f"{path.parent.name}/{path.name} is no object of JSON")
    return said
