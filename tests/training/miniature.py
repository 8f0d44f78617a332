"""The recipe with networks and numbers of steps so small that all of it runs in seconds."""

from __future__ import annotations

from dataclasses import replace

from models.config import ContrastiveConfig, VaeConfig, VisionConfig
from models.training.loop import Schedule
from models.training.recipe import CPU, Recipe
from models.upscaler import UpscalerConfig

TWO = Schedule(iterations=2, batch=4, learning_rate=1e-3)
MINIATURE = Recipe(
    size=64,
    scenes=24,
    seen=16,
    vae=VaeConfig(ch=16, ch_mult=(1, 1, 1, 1), num_res_blocks=1),
    vae_schedule=TWO,
    decoder_schedule=TWO,
    clip=ContrastiveConfig(
        text=replace(CPU.clip.text, layers=1, intermediate=64),
        vision=VisionConfig(width=64, layers=1, intermediate=64, patch=16, grid=4, projection=32),
    ),
    clip_schedule=TWO,
    detector_schedule=TWO,
    unet=replace(CPU.unet, model_channels=32, channel_mult=(1, 2), transformer_depth=(0, 1)),
    half_schedule=replace(TWO, ema=0.9),
    unet_schedule=replace(TWO, ema=0.9),
    lcm_schedule=replace(TWO, ema=0.9),
    lcm_rank=2,
    realign_schedule=TWO,
    alarm_schedule=TWO,
    upscaler=UpscalerConfig(scale=2, width=8, blocks=1, growth=0),
    upscaler_schedule=TWO,
    seed=1,
)
