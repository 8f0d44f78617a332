"""How a picture was made, in the terms that all programs share: what their files say, and what workflows are made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoraUse:
    """A LoRA file by its name without a suffix, and how strongly it acts on the U-Net and on the text encoder."""

    name: str
    model: float = 1.0
    clip: float = 1.0


@dataclass(frozen=True, slots=True)
class Hires:
    """A second pass over the picture, enlarged `scale` times or to `size`. `steps` 0: as many as in the first."""

    scale: float = 2.0
    size: tuple[int, int] | None = None
    steps: int = 0
    denoise: float = 0.7
    upscaler: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """What is known of how a picture was made. Samplers and schedules have the names that workflows use.

    `prompt` and `negative` are in the prompt language of workflows. `notes` are sentences about what is not in here.
    """

    prompt: str = ""
    negative: str = ""
    steps: int = 20
    sampler: str = "euler"
    scheduler: str = "normal"
    cfg: float = 7.0
    seed: int = 0
    width: int = 512
    height: int = 512
    denoise: float = 1.0
    model: str = ""
    vae: str = ""
    clip_skip: int = 1
    loras: tuple[LoraUse, ...] = ()
    hires: Hires | None = None
    batch: int = 1
    program: str = ""
    notes: tuple[str, ...] = ()
