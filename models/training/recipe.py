"""The recipe: everything that the embedded files depend on, in sizes for a CPU and for a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from models.config import ClipConfig, ContrastiveConfig, UNetConfig, VaeConfig, VisionConfig
from models.training.loop import Schedule
from models.training.words import ROWS, WORLD
from models.upscaler import UpscalerConfig


@dataclass(frozen=True)
class Recipe:
    """Networks, and how long and how fast each learns."""

    size: int  # pixels a side of the pictures
    scenes: int  # that all but the autoencoder and the detector learn from
    seen: int  # scenes that the detector learns from
    vae: VaeConfig
    vae_schedule: Schedule
    decoder_schedule: Schedule  # of the decoder alone, after
    clip: ContrastiveConfig
    clip_schedule: Schedule
    detector_schedule: Schedule
    unet: UNetConfig
    half_schedule: Schedule  # of the U-Net on pictures of half the size, before
    unet_schedule: Schedule
    lcm_schedule: Schedule
    lcm_rank: int  # of the factors that the student becomes
    realign_schedule: Schedule  # of the vision tower, to the text encoder as the U-Net left it
    alarm_schedule: Schedule
    upscaler: UpscalerConfig
    upscaler_schedule: Schedule
    seed: int = WORLD  # of the scenes, the weights at birth and all noise


CPU = Recipe(
    size=128,
    scenes=6144,
    seen=24_576,
    vae=VaeConfig(ch=32, ch_mult=(1, 2, 3, 3), num_res_blocks=1),
    vae_schedule=Schedule(iterations=12_000, batch=2, learning_rate=6e-4),
    decoder_schedule=Schedule(iterations=2000, batch=4, learning_rate=1.5e-4),
    clip=ContrastiveConfig(
        text=ClipConfig(width=64, layers=3, intermediate=256, vocab=ROWS),
        vision=VisionConfig(width=128, layers=3, intermediate=256, patch=8, grid=8, projection=64),
    ),
    clip_schedule=Schedule(iterations=500, batch=128, learning_rate=1e-3, warmup=50),
    detector_schedule=Schedule(iterations=5000, batch=64, learning_rate=1.5e-3, warmup=50),
    unet=UNetConfig(
        model_channels=64, channel_mult=(1, 2, 3), num_res_blocks=1, transformer_depth=(0, 1, 1), context_dim=64
    ),
    half_schedule=Schedule(iterations=1400, batch=64, learning_rate=3e-4, ema=0.997),
    unet_schedule=Schedule(iterations=10_000, batch=32, learning_rate=3e-4, ema=0.998),
    lcm_schedule=Schedule(iterations=440, batch=32, learning_rate=2e-4, warmup=20, ema=0.98),
    lcm_rank=16,
    realign_schedule=Schedule(iterations=150, batch=128, learning_rate=5e-4, warmup=20),
    alarm_schedule=Schedule(iterations=250, batch=64, learning_rate=1e-3, warmup=20),
    upscaler=UpscalerConfig(scale=2, width=24, blocks=6, growth=0),
    upscaler_schedule=Schedule(iterations=500, batch=8, learning_rate=1e-3, warmup=20),
)

GPU = Recipe(
    size=256,
    scenes=49_152,
    seen=24_576,
    vae=CPU.vae,
    vae_schedule=Schedule(iterations=2550, batch=16, learning_rate=6e-4),
    decoder_schedule=Schedule(iterations=900, batch=16, learning_rate=1.5e-4),
    clip=CPU.clip,
    clip_schedule=Schedule(iterations=1000, batch=256, learning_rate=1e-3, warmup=50),
    detector_schedule=CPU.detector_schedule,
    unet=UNetConfig(
        model_channels=64, channel_mult=(1, 2, 2), num_res_blocks=2, transformer_depth=(0, 1, 1), context_dim=64
    ),
    half_schedule=Schedule(iterations=1750, batch=128, learning_rate=4e-4, ema=0.998),
    unet_schedule=Schedule(iterations=6100, batch=64, learning_rate=4e-4, ema=0.9995),
    lcm_schedule=Schedule(iterations=700, batch=64, learning_rate=2e-4, warmup=20, ema=0.98),
    lcm_rank=16,
    realign_schedule=Schedule(iterations=300, batch=256, learning_rate=5e-4, warmup=20),
    alarm_schedule=Schedule(iterations=300, batch=64, learning_rate=1e-3, warmup=20),
    upscaler=CPU.upscaler,
    upscaler_schedule=CPU.upscaler_schedule,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({"cpu": CPU, "gpu": GPU})
