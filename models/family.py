"""What belongs to a family of models and stands in no tensor's shape: its latents, its noise, how its text is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, Protocol

from torch import Tensor

from models.config import LABEL, Shapes
from models.levels import NoiseLevels
from models.micro_conditioning import MicroConditioning, VectorRecipe
from models.prediction import Eps, Prediction, Velocity
from models.revision import PictureVector
from models.unclip import UnclipRecipe

VELOCITY_NAMES = ("v", "v_prediction", "v-prediction", "vpred")  # as trainers write it into a file's header

Tower = Literal["clip", "clip_h", "clip_g"]
"""A text tower: OpenAI's ViT-L, or OpenCLIP's ViT-H and ViT-bigG."""

TOWERS: Mapping[Tower, str] = MappingProxyType({"clip": "ViT-L", "clip_h": "ViT-H", "clip_g": "ViT-bigG"})
"""All towers, and what people call them."""

Rows = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class LatentSpace:
    """Latents as the VAE gives them, and as the U-Net wants them: of unit variance, times `scale`.

    The defaults are SD v1's (Rombach et al. 2022, arXiv:2112.10752, appendix G). factor: pixels a side for one cell. rgb:
    what each channel adds to red, green and blue, of -1..1, and last the constant: a rough linear decoder. approximation:
    what the files of its small autoencoder are called (TAESD).
    """

    channels: int = 4
    factor: int = 8
    scale: float = 0.18215
    approximation: str = "taesd"
    # https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204, fitted to SD v1's autoencoder
    rgb: Rows = (
        (0.298, 0.207, 0.208),
        (0.187, 0.286, 0.173),
        (-0.158, 0.189, 0.264),
        (-0.184, -0.271, -0.473),
        (0.0, 0.0, 0.0),
    )


@dataclass(frozen=True)
class Diffusion:
    """The noise that a network was trained on, and what it tells of it."""

    levels: NoiseLevels = field(default_factory=NoiseLevels)
    prediction: Prediction = field(default_factory=Eps)


@dataclass(frozen=True)
class TowerReading:
    """How a text is read with one tower.

    padding: the token that fills up a chunk, None: the end mark. layer: whose vectors are taken, counted from the end;
    normed: behind the tower's last norm. layers: how many it was trained with, where files leave out the last one, which
    nobody reads; 0: they do not. prefix: what stands before its names in checkpoints.
    """

    tower: Tower
    padding: int | None = None
    layer: int = -1
    normed: bool = True
    layers: int = 0
    prefix: str = "cond_stage_model.transformer."


class Vector(Protocol):
    """How the vector is made that a network reads beside its time step."""

    def width(self, pooled: int) -> int:
        """The vector's width, with a pooled text, or what takes its place, of width `pooled`."""

    def seen(self, pooled: int) -> int:
        """How many channels what CLIP sees in a picture must have, beside a pooled text of width `pooled`."""

    def pooled(self, text: Tensor, pictures: Sequence[PictureVector], seed: int) -> Tensor:
        """What counts for the pooled text [1, P] of a prompt with pictures, or without any. [1, P'] float32."""

    def __call__(self, pooled: Tensor, said: MicroConditioning, width: int, height: int, away: bool) -> Tensor:
        """The vector, [1, V] float32 on the CPU, for a picture of so many pixels."""


@dataclass(frozen=True)
class Family:
    """A family of models. The defaults are Stable Diffusion v1's.

    text: how a text is read, by each tower; their vectors lie side by side, and the pooled one is the last tower's.
    vector: how the vector is made that its U-Net reads beside the time step, if it reads one. sides: pixels a side of the
    pictures that its networks learned from, those that predict noise and those that predict v. name: "" where a file does not
    tell, such as an autoencoder's.
    """

    name: str = "Stable Diffusion 1"
    latent: LatentSpace = field(default_factory=LatentSpace)
    diffusion: Diffusion = field(default_factory=Diffusion)
    text: tuple[TowerReading, ...] = (TowerReading("clip"),)
    vector: Vector | None = None
    sides: tuple[int, int] = (512, 512)

    @property
    def side(self) -> int:
        """Pixels a side of the pictures that it learned from."""
        return self.sides[isinstance(self.diffusion.prediction, Velocity)]


SD1 = Family()
SD2 = Family(
    "Stable Diffusion 2",
    text=(TowerReading("clip_h", padding=0, layer=-2, layers=24, prefix="cond_stage_model.model."),),
    sides=(512, 768),
)
_XL_LATENT = LatentSpace(
    scale=0.13025,
    approximation="taesdxl",
    # https://huggingface.co/blog/TimothyAlexisVass/explaining-the-sdxl-latent-space, there in steps of 8 bits
    rgb=tuple(
        (r / 127.5, g / 127.5, b / 127.5)
        for r, g, b in ((60, 60, 60), (-60, -5, 10), (25, 15, -5), (-70, -50, -35), (22.5, 12.5, 2.5))
    ),
)
SDXL = Family(
    "SDXL",
    _XL_LATENT,
    text=(
        TowerReading("clip", layer=-2, normed=False, prefix="conditioner.embedders.0.transformer."),
        TowerReading("clip_g", padding=0, layer=-2, normed=False, prefix="conditioner.embedders.1.model."),
    ),
    vector=VectorRecipe(),
    sides=(1024, 1024),
)
SDXL_REFINER = Family(
    "SDXL refiner",
    _XL_LATENT,
    text=(TowerReading("clip_g", padding=0, layer=-2, normed=False, prefix="conditioner.embedders.0.model."),),
    vector=VectorRecipe(scored=True),
    sides=(1024, 1024),
)
UNKNOWN = Family(name="")
TINY_FAMILIES: Mapping[str, Family] = MappingProxyType({family.latent.approximation: family for family in (SD1, SDXL)})
"""The families whose latents a small autoencoder is for, by its name."""

V_SPREAD = 0.09
"""Of the U-Nets of Stable Diffusion 2, those that predict v have a norm whose biases deviate by more."""


def family_of(
    names: Collection[str],
    metadata: Mapping[str, str],
    unet: Shapes,
    towers: Collection[Tower] = (),
    spread: Callable[[str], float] = lambda name: 0.0,
) -> Family:
    """The family of a file, by its U-Net, or else by its text towers, and by the marks that trainers leave.

    names: of the file's tensors; an empty tensor `v_pred` says that the network predicts v, and `ztsnr` that the last
    step holds no signal. metadata: the header's words, where `modelspec.prediction_type` says the former. unet: its shapes,
    by its own names, if there is one. spread: the standard deviation of one of its tensors, which is read for it.
    """
    family = _by_unet(unet) if unet else _by_towers(towers)
    said = metadata.get("modelspec.prediction_type", "").lower()
    velocity = "v_pred" in names or said in VELOCITY_NAMES
    if family.text == SD2.text and unet and not velocity and not said:
        velocity = _sd2_predicts_v(unet, spread)
    levels = NoiseLevels(zero_terminal="ztsnr" in names)
    return replace(family, diffusion=Diffusion(levels, Velocity() if velocity else Eps()))


def text_family(held: Collection[str]) -> Family:
    """The family whose text encoder the towers among `held` are, where nothing but these is known."""
    family = _by_towers(held)
    if family is not UNKNOWN:
        return family
    return SDXL_REFINER if "clip_g" in held else SD1


def _by_unet(unet: Shapes) -> Family:
    text = unet.get("middle_block.1.transformer_blocks.0.attn2.to_k.weight", (0, 0))[-1]
    attends_at_full_size = any(name.startswith("input_blocks.1.1.") for name in unet)
    if LABEL in unet and attends_at_full_size:  # unlike SDXL
        return replace(SD2, name="Stable Diffusion 2 unCLIP", vector=UnclipRecipe(unet[LABEL][-1] // 2))
    if LABEL in unet:
        refines = unet[LABEL][-1] == VectorRecipe(scored=True).width(
            text
        )  # its text is read by one tower, as wide as the pooled
        return SDXL_REFINER if refines else SDXL
    return SD2 if len(unet.get("middle_block.1.proj_in.weight", ())) == 2 else SD1


def _by_towers(towers: Collection[str]) -> Family:
    if "clip_h" in towers:
        return SD2
    return SDXL if {"clip", "clip_g"}.issubset(towers) else UNKNOWN


def _sd2_predicts_v(unet: Shapes, spread: Callable[[str], float]) -> bool:
    """Of the networks that read a latent alone; those for depth and inpainting all predict the noise."""
    norms = [name for name in unet if re.fullmatch(r"output_blocks\.\d+\.1\.transformer_blocks\.0\.norm1\.bias", name)]
    if not norms or unet["input_blocks.0.0.weight"][1] != 4:
        return False
    return spread(max(norms, key=lambda name: int(name.split(".")[1]))) > V_SPREAD
