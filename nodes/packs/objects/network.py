"""What packs know as `model.model`: what there is to know of a network without loading it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from types import SimpleNamespace
from typing import Any, Never

import torch
from torch import Tensor

from models.config import unet_config
from models.family import SDXL, SDXL_REFINER
from models.prediction import Velocity
from models.types import Model
from nodes.packs.host import Host
from nodes.packs.objects.sampling import ModelSampling


class ModelType(Enum):
    """What a network was trained to tell. Those here tell the first or the second."""

    EPS = 1
    V_PREDICTION = 2
    V_PREDICTION_EDM = 3
    STABLE_CASCADE = 4
    EDM = 5
    FLOW = 6
    V_PREDICTION_CONTINUOUS = 7
    FLUX = 8
    IMG_TO_IMG = 9


class BaseModel:
    """The network of a MODEL. missed: tells what packs ask for in vain."""

    def __init__(self, own: Model, host: Host, missed: Callable[[str], Never]) -> None:
        self._own = own
        self.host = host
        self._missed = missed

    @property
    def model_sampling(self) -> ModelSampling:
        """Its noise levels, and what it tells of them."""
        return ModelSampling(self._own.diffusion, self._missed)

    @property
    def model_type(self) -> ModelType:
        """What it was trained to tell."""
        return ModelType.V_PREDICTION if isinstance(self._own.diffusion.prediction, Velocity) else ModelType.EPS

    @property
    def diffusion_model(self) -> UNetFacts:
        """The U-Net, as far as packs look at it."""
        return UNetFacts(self, self._missed)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.host.context.services.residency.device

    @property
    def manual_cast_dtype(self) -> None:
        """None: its weights are of the precision that it computes in."""
        return None

    def get_dtype(self) -> torch.dtype:
        """In which precision it computes."""
        return self.host.context.services.residency.computes(self._own)

    def is_adm(self) -> bool:
        """Whether it reads a vector besides the text."""
        return self._own.family.vector is not None

    @property
    def latent_format(self) -> Any:
        """How latents are scaled for it."""
        space = self._own.family.latent
        return SimpleNamespace(
            scale_factor=space.scale, latent_channels=space.channels, process_in=self.process_latent_in,
            process_out=self.process_latent_out, spacial_downscale_ratio=space.factor,
        )  # fmt: skip

    @property
    def model_config(self) -> Any:
        """Its shape, by the names that packs ask for."""
        shape = unet_config(self._own.weights.shapes("model"))
        known = {
            "in_channels": shape.in_channels,
            "out_channels": shape.out_channels,
            "model_channels": shape.model_channels,
            "channel_mult": list(shape.channel_mult),
            "num_res_blocks": shape.num_res_blocks,
            "transformer_depth": list(shape.transformer_depth),
            "context_dim": shape.context_dim,
            "adm_in_channels": shape.vector_dim or None,
            "use_linear_in_transformer": shape.linear,
        }
        return SimpleNamespace(unet_config=known, latent_format=self.latent_format, sampling_settings={})

    def process_latent_in(self, latent: Tensor) -> Tensor:
        """As the VAE gives it -> as the network reads it."""
        return latent * self._own.family.latent.scale

    def process_latent_out(self, latent: Tensor) -> Tensor:
        """And back."""
        return latent / self._own.family.latent.scale

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._missed(f"model.{name}")


class UNetFacts:
    """What packs know as `model.model.diffusion_model`: the U-Net's shape. Its layers are reached by patches."""

    def __init__(self, of: BaseModel, missed: Callable[[str], Never]) -> None:
        self._missed = missed
        self.dtype, self.device = of.get_dtype(), of.device
        facts = of.model_config.unet_config
        self.in_channels, self.out_channels = facts["in_channels"], facts["out_channels"]
        self.model_channels = facts["model_channels"]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._missed(f"model.diffusion_model.{name}")


class SDXLNetwork(BaseModel):
    """That of SDXL."""


class SDXLRefinerNetwork(BaseModel):
    """That of its refiner."""


def network_of(own: Model, host: Host, missed: Callable[[str], Never]) -> BaseModel:
    """The network of a model, by the class that packs look for."""
    classes = {SDXL.name: SDXLNetwork, SDXL_REFINER.name: SDXLRefinerNetwork}
    return classes.get(own.family.name, BaseModel)(own, host, missed)
