"""From a finished workshop to the embedded files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from torch import nn

from models.family import SD1
from models.preview import fit_latent_rgb
from models.training.alarm import checker_weights
from models.training.drawing import pictures
from models.training.export import export, export_checkpoint, spread
from models.training.low_rank import lora_of_difference
from models.training.vae import mean_encodings, to_tensor
from models.training.workshop import Workshop

ADDITIONS: Mapping[str, Path] = MappingProxyType(  # stages that build on the others -> their files
    {
        "upscaler": Path("upscale_models") / "darkroom-world-x2.safetensors",
    }
)
FITTED_ON = 128  # scenes that the colours of previews are fitted on


def write_files(workshop: Workshop, into: Path) -> Iterator[Path]:
    """Train what is not trained yet, and write each file as soon as it can be. Raises OutOfTime."""
    facts = _facts(workshop)
    vae = workshop.vae.state_dict()
    drawer = workshop.unet
    file = into / "checkpoints" / f"darkroom-world-{workshop.recipe.size}.safetensors"
    yield export_checkpoint(drawer.unet.state_dict(), drawer.text.state_dict(), vae, facts, file)
    student = lora_of_difference(drawer.unet.state_dict(), workshop.lcm.unet.state_dict(), workshop.recipe.lcm_rank)
    yield export(student, facts, into / "loras" / "darkroom-world-lcm.safetensors")
    clip = workshop.realigned
    weights = spread(clip.clip.state_dict()) | {"logit_scale": clip.logit_scale}
    yield export(weights, facts, into / "clip_vision" / "darkroom-world-clip.safetensors")
    yield export(checker_weights(workshop.alarm), facts, into / "safety_checker" / "darkroom-world-safety.safetensors")
    yield export(workshop.detector.state_dict(), facts, into / "detector.safetensors")
    for name in ADDITIONS:
        yield write_addition(workshop, name, into)


def write_addition(workshop: Workshop, name: str, into: Path) -> Path:
    """Train one of ADDITIONS if it is not trained yet, and write its file. Raises OutOfTime."""
    network: nn.Module = getattr(workshop, name)
    return export(network.state_dict(), _origin(workshop), into / ADDITIONS[name])


def _facts(workshop: Workshop) -> dict[str, str]:
    recipe = workshop.recipe
    drawn = to_tensor(pictures(recipe.seed, 0, FITTED_ON, size=recipe.size))
    latents = SD1.latent.scale * mean_encodings(workshop.vae, drawn).cpu()
    return {**_origin(workshop), "latent_rgb": json.dumps(fit_latent_rgb(latents, drawn).tolist())}


def _origin(workshop: Workshop) -> dict[str, str]:
    return {
        "title": f"Darkroom world {workshop.recipe.size}",
        "description": "trained on drawn, captioned scenes by models/training",
        "license": "Apache-2.0",
        "data_seed": str(workshop.recipe.seed),
    }
