"""What travels on the links of a workflow: immutable CPU data, and handles that say which weights to use.

Each class names its socket, so `graph` can type links without importing this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from models.aesthetic import AestheticPredictor
from models.areas import Area, Share
from models.checkpoint import Part, Patch, Weights
from models.clip import TextModel
from models.controlnet import ControlEnds, ControlNet
from models.family import Diffusion, Family, Tower, TowerReading
from models.guidance import PLAIN, Guidance, Guiding
from models.inception import Inception
from models.inpainting import Beside
from models.ip_adapter import IPAdapter
from models.micro_conditioning import NOTHING_SAID, MicroConditioning
from models.noise import BatchPart, Noise
from models.revision import PictureVector
from models.safety import SafetyChecker
from models.steering import Predict, Steering
from models.steps import Sampler
from models.style_adapter import StyleAdapter
from models.t2i_adapter import T2IAdapter
from models.tiny_decoder import TinyDecoder
from models.tiny_vae import TinyEncoder
from models.unet import InputSide, UNet
from models.upscaler import Upscaler
from models.vae import AutoencoderKL
from models.vision import ContrastiveModel, Seen, VisionModel

Network = TypeVar("Network", bound=nn.Module, covariant=True)


@dataclass(frozen=True, eq=False)
class Latent:
    """Pictures as the VAE sees them. samples: [B, C, H / factor, W / factor] float32, not scaled (see LatentSpace).

    noise_mask: [b, 1, H, W], 1 where sampling may change them, of any size. batch_index: for each item the place in a
    batch whose noise it gets; None: its own place. extra: what packs keep with it. part: which items of a larger batch
    these are, where several processes share it. Nodes that make a latent of a latent hand all of it on.
    """

    socket: ClassVar[str] = "LATENT"
    samples: Tensor
    extra: Mapping[str, object] = field(default_factory=dict)
    noise_mask: Tensor | None = None
    batch_index: tuple[int, ...] | None = None
    part: BatchPart | None = None


@dataclass(frozen=True, eq=False)
class Image:
    """Pictures. pixels: [B, H, W, 3] float32 in 0..1."""

    socket: ClassVar[str] = "IMAGE"
    pixels: Tensor


@dataclass(frozen=True, eq=False)
class Mask:
    """Masks, 1 where something is to happen. values: [B, H, W] float32 in 0..1."""

    socket: ClassVar[str] = "MASK"
    values: Tensor


@dataclass(frozen=True, eq=False)
class Cond:
    """One encoded text, for all of the picture or an area of it.

    tokens: [1, T, D] float32, T a multiple of 77; pooled: [1, P], the vector at the first EOS; strength: its weight
    where several texts count; said: what is said of the picture besides, to networks that read it; pictures: what takes
    the place of the pooled vector there. mask: [b, H, W], how
    much it counts where, of any size; bounded: it is evaluated in the rectangle around its mask alone. start and end: the part of the way from noise to picture where it counts. beside:
    what networks with more channels see of the picture. controls: what steers the network with it; for_controls: the text
    that their networks read instead, [1, T', D]. extra: what packs keep with it.
    """

    tokens: Tensor
    pooled: Tensor
    area: Area | Share | None = None
    strength: float = 1.0
    extra: Mapping[str, object] = field(default_factory=dict)
    mask: Tensor | None = None
    bounded: bool = False
    start: float = 0.0
    end: float = 1.0
    beside: Beside | None = None
    controls: tuple[Control, ...] = ()
    said: MicroConditioning = NOTHING_SAID
    pictures: tuple[PictureVector, ...] = ()
    for_controls: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a denoiser is steered by: the mean over `conds`, weighted by their strengths where they count."""

    socket: ClassVar[str] = "CONDITIONING"
    conds: tuple[Cond, ...]


@dataclass(frozen=True, eq=False)
class EmptyText:
    """A text that says nothing, from which a model is led to one text and away from another, and how strongly away."""

    conditioning: Conditioning
    away: float


@dataclass(frozen=True)
class ModelHandle(Generic[Network]):
    """Which network of which file. Picklable; the weights themselves never travel.

    identity: names the file's content, so a replaced file is another handle; of several files, one word for each. patches: what is changed of the file's
    weights, in this order. dtype: what it computes in, if not what the program was started with.
    """

    part: ClassVar[Part]
    weights: Weights
    identity: str
    patches: tuple[Patch, ...] = ()
    dtype: torch.dtype | None = field(default=None, kw_only=True)

    @property
    def own_files(self) -> tuple[tuple[Path, str], ...]:
        """The files that its weights are read from, each with its identity."""
        paths = self.weights.file.paths
        return tuple(zip(paths, self.identity.split() if len(paths) > 1 else [self.identity], strict=True))

    @property
    def files(self) -> tuple[tuple[Path, str], ...]:
        """The files it stands and falls with, and what they were when it was made."""
        return *self.own_files, *(source for patch in self.patches for source in patch.sources)

    @property
    def family(self) -> Family:
        """What belongs to the family of models that the file is of."""
        return self.weights.family


@dataclass(frozen=True)
class Model(ModelHandle[UNet]):
    """The denoising U-Net of a checkpoint, and how it is sampled.

    sampled_as: the noise it is sampled with, if not its family's. guiding: how it combines two estimates. differential:
    how much a mask is taken for the time from which its places may change, 0..1; None: not at all. steering: what changes
    how it is called. leading_from: an empty text beside the two it is guided by. around: what is done around its sampling.
    extra: what packs keep with it.
    """

    socket: ClassVar[str] = "MODEL"
    part: ClassVar[Part] = "model"
    sampled_as: Diffusion | None = None
    guiding: Guiding = PLAIN
    differential: float | None = None
    steering: tuple[Steering, ...] = ()
    leading_from: EmptyText | None = None
    around: tuple[AroundSampling, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict, compare=False)

    @property
    def diffusion(self) -> Diffusion:
        """The noise it is sampled with, and what it tells of it."""
        return self.sampled_as or self.family.diffusion


@dataclass(frozen=True)
class TextTower(ModelHandle[TextModel]):
    """A text tower of a file: ViT-L, which OpenAI trained."""

    part: ClassVar[Part] = "clip"
    tower: ClassVar[Tower] = "clip"


@dataclass(frozen=True)
class TextTowerH(TextTower):
    """OpenCLIP's ViT-H."""

    part: ClassVar[Part] = "clip_h"
    tower: ClassVar[Tower] = "clip_h"


@dataclass(frozen=True)
class TextTowerG(TextTower):
    """OpenCLIP's ViT-bigG."""

    part: ClassVar[Part] = "clip_g"
    tower: ClassVar[Tower] = "clip_g"


TEXT_TOWERS: Mapping[Tower, type[TextTower]] = MappingProxyType(
    {"clip": TextTower, "clip_h": TextTowerH, "clip_g": TextTowerG}
)


@dataclass(frozen=True)
class Clip:
    """The text encoder of a checkpoint: one tower or several, each with how a text is read with it.

    layer: whose vectors a text becomes, counted from the end: -1, -2, …; None: those that its family takes.
    """

    socket: ClassVar[str] = "CLIP"
    towers: tuple[TextTower, ...]
    readings: tuple[TowerReading, ...]
    layer: int | None = None

    @classmethod
    def of(cls, weights: Weights, identity: str, family: Family) -> Clip:
        """The text encoder that a file of `family` should hold."""
        return cls(tuple(TEXT_TOWERS[reading.tower](weights, identity) for reading in family.text), family.text)

    @property
    def files(self) -> tuple[tuple[Path, str], ...]:
        """The files it stands and falls with, and what they were when it was made."""
        return tuple(file for tower in self.towers for file in tower.files)

    def changed(self, change: Callable[[TextTower], TextTower]) -> Clip:
        """The same with changed towers."""
        return replace(self, towers=tuple(change(tower) for tower in self.towers))


@dataclass(frozen=True)
class Vae(ModelHandle[AutoencoderKL]):
    """The autoencoder of a checkpoint."""

    socket: ClassVar[str] = "VAE"
    part: ClassVar[Part] = "vae"


@dataclass(frozen=True)
class TinyDecoderModel(ModelHandle[TinyDecoder]):
    """A decoder of TAESD. It travels on no link."""

    part: ClassVar[Part] = "tiny_decoder"


@dataclass(frozen=True)
class TinyEncoderModel(ModelHandle[TinyEncoder]):
    """An encoder of TAESD. It travels on no link."""

    part: ClassVar[Part] = "tiny_encoder"


@dataclass(frozen=True)
class TinyVae(Vae):
    """TAESD in the place of an autoencoder: its two files, of which `weights` are those of what decodes."""

    part: ClassVar[Part] = "tiny_decoder"
    encoder: TinyEncoderModel = field(kw_only=True)

    @property
    def files(self) -> tuple[tuple[Path, str], ...]:
        """The files it stands and falls with."""
        return *super().files, *self.encoder.files

    @property
    def decoder(self) -> TinyDecoderModel:
        """What decodes."""
        return TinyDecoderModel(self.weights, self.identity)


@dataclass(frozen=True)
class SafetyModel(ModelHandle[SafetyChecker]):
    """A checker of finished pictures."""

    socket: ClassVar[str] = "SAFETY_MODEL"
    part: ClassVar[Part] = "safety"


@dataclass(frozen=True)
class ClipModel(ModelHandle[ContrastiveModel]):
    """A CLIP with both towers: what says how well a picture fits a text."""

    socket: ClassVar[str] = "CLIP_MODEL"
    part: ClassVar[Part] = "clip_model"


@dataclass(frozen=True)
class OpenClipModel(ClipModel):
    """The same of LAION's, with another activation, which no weight tells."""

    part: ClassVar[Part] = "open_clip"


@dataclass(frozen=True)
class InceptionModel(ModelHandle[Inception]):
    """The network that FID is measured with."""

    socket: ClassVar[str] = "INCEPTION_MODEL"
    part: ClassVar[Part] = "inception"


@dataclass(frozen=True)
class AestheticModel(ModelHandle[AestheticPredictor]):
    """A judge of beauty, by CLIP's vectors."""

    socket: ClassVar[str] = "AESTHETIC_MODEL"
    part: ClassVar[Part] = "aesthetic"


@dataclass(frozen=True)
class UpscaleModel(ModelHandle[Upscaler]):
    """A network that enlarges pictures."""

    socket: ClassVar[str] = "UPSCALE_MODEL"
    part: ClassVar[Part] = "upscaler"


@dataclass(frozen=True)
class ControlModel(ModelHandle[Network]):
    """A network that steers a U-Net by a picture. difference: its weights are to be added to the U-Net's. pooled: it says
    what a picture is made of, not where. kinds: what one for several kinds of pictures is told of them."""

    socket: ClassVar[str] = "CONTROL_NET"
    difference: bool = False
    pooled: bool = False
    kinds: tuple[int, ...] = ()


@dataclass(frozen=True)
class ControlNetModel(ControlModel[ControlNet]):
    """A ControlNet."""

    part: ClassVar[Part] = "controlnet"


@dataclass(frozen=True)
class ControlLoraModel(ControlModel[ControlEnds]):
    """A Control-LoRA: what its file holds besides factors for a U-Net's weights."""

    part: ClassVar[Part] = "control_ends"


@dataclass(frozen=True)
class ClipVision(ModelHandle[VisionModel]):
    """The vision tower of a CLIP."""

    socket: ClassVar[str] = "CLIP_VISION"
    part: ClassVar[Part] = "clip_vision"


@dataclass(frozen=True, eq=False)
class ClipVisionOutput:
    """What a vision tower says of pictures, in float32 on the CPU, and the file that it is of."""

    socket: ClassVar[str] = "CLIP_VISION_OUTPUT"
    seen: Seen
    tower: str


@dataclass(frozen=True)
class StyleModel(ModelHandle[StyleAdapter]):
    """What makes words of what CLIP sees in a picture."""

    socket: ClassVar[str] = "STYLE_MODEL"
    part: ClassVar[Part] = "style_adapter"


@dataclass(frozen=True)
class IPAdapterModel(ModelHandle[IPAdapter]):
    """What makes a prompt of a picture. vision: the tower that it asks, where both were opened together."""

    socket: ClassVar[str] = "IPADAPTER"
    part: ClassVar[Part] = "ip_adapter"
    vision: ClipVision | None = None


@dataclass(frozen=True)
class InputSideModel(ModelHandle[InputSide]):
    """A U-Net's way down alone, for a Control-LoRA."""

    part: ClassVar[Part] = "input_side"


@dataclass(frozen=True)
class AdapterModel(ControlModel[T2IAdapter]):
    """A T2I-Adapter."""

    part: ClassVar[Part] = "t2i_adapter"


@dataclass(frozen=True, eq=False)
class Control:
    """A picture that steers a U-Net, through a network. One value is one picture for all the conds that hold it.

    hint: [b, H, W, 3]; start and end: the part of the way from noise to picture where it counts; for_all: it counts with
    negative texts too, where those have no control. mask: [b, H, W], how much it counts where.
    """

    model: ControlModel[nn.Module]
    hint: Tensor
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    for_all: bool = False
    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Features:
    """How what a network sees in many pictures is spread. mean: [D], covariance: [D, D], float64."""

    socket: ClassVar[str] = "FEATURES"
    count: int
    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True, eq=False)
class FeatureVectors:
    """What a network sees in each of many pictures. vectors: [n, D] float32."""

    socket: ClassVar[str] = "FEATURE_VECTORS"
    vectors: Tensor


@dataclass(frozen=True, eq=False)
class Sigmas:
    """The noise levels that a sampler visits. values: [n + 1] float32 for n steps, on the CPU; empty: nothing to do."""

    socket: ClassVar[str] = "SIGMAS"
    values: Tensor


@dataclass(frozen=True)
class LatentOperation:
    """What can be done to latents. run: [B, C, h, w] -> the same shape. Picklable."""

    socket: ClassVar[str] = "LATENT_OPERATION"
    run: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class ChosenSampler:
    """A sampler with its settings, and what to call it when it fails. around: what is done around a sampling by it. Picklable."""

    socket: ClassVar[str] = "SAMPLER"
    sample: Sampler
    name: str
    around: tuple[AroundSampling, ...] = ()


@dataclass(frozen=True, eq=False)
class Guider:
    """A model and what steers it. texts: by their numbers in `guidance`; names: the inputs they came by. predict: what is
    done around the guided estimate; around: around a whole sampling; negative_model: what estimates for the text to go away
    from in the place of `model`."""

    socket: ClassVar[str] = "GUIDER"
    model: Model
    texts: tuple[Conditioning, ...]
    guidance: Guidance
    names: tuple[str, ...] = ("positive", "negative")
    predict: Predict | None = None
    around: tuple[AroundSampling, ...] = ()
    negative_model: Model | None = None


@dataclass(frozen=True, eq=False)
class Sampling:
    """What a sampling is made of, before it begins. sigmas: [n + 1] float32 for n steps, on the CPU."""

    guider: Guider
    sampler: ChosenSampler
    sigmas: Tensor
    noise: Noise
    latent: Latent


Perform = Callable[[Sampling], tuple[Latent, Latent]]
"""-> where it ended, and what its last step took for the clean latents."""

AroundSampling = Callable[[Perform, Sampling], tuple[Latent, Latent]]
"""What is done around a sampling, which it performs: once, several times, or another one."""


def nbytes(value: object) -> int:
    """Bytes of the tensors that a value on a link keeps alive. Handles hold none."""
    match value:
        case Tensor():
            return value.untyped_storage().nbytes()
        case Model():
            return nbytes((value.steering, value.leading_from))
        case ModelHandle():
            return 0
        case tuple() | list():
            return _total(value)
        case Mapping():
            return _total(value.values())
        case _ if is_dataclass(value):
            return _total(getattr(value, field.name) for field in fields(value))
        case _:
            return 0


def _total(values: Iterable[object]) -> int:
    return sum(nbytes(v) for v in values)
