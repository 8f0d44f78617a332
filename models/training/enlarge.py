"""Training an upscaler, Real-ESRGAN's compact network (Wang et al. 2021, arXiv:2107.10833), to draw scenes at twice their size."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.comparison import psnr
from models.scaling import PICTURE_METHODS
from models.training.drawing import draw
from models.training.loop import SHARDS, Lesson, Pace, Schedule, Training, normal
from models.training.replay import Drawn
from models.training.scenes import Scene, Split, scene
from models.training.vae import halved
from models.upscaler import CompactNet, UpscalerConfig

CROP = 48  # pixels a side of what is enlarged in a step
CROPS = 4  # of each scene
GRAIN = 0.5 / 255  # deviation of the noise on pictures, which those of a model have, too
LEAST = 3e-5  # squared error, that of 45 dB, below which there is little to be won
EDGE = 8  # enlarged pixels at the edge of a picture that do not count, since the network sees black beyond it


@torch.no_grad()
def newborn(config: UpscalerConfig) -> CompactNet:
    """A network that interpolates from birth: what it learns is how pictures differ from that.

    Three channels pass the colours on, which are positive, and so whole behind every PReLU; the last convolution lays a parabola
    through three pixels each way, and takes from it the pixel that the network adds anyway.
    """
    network = CompactNet(config)
    first, *others = (layer for layer in network.body if isinstance(layer, nn.Conv2d))
    for layer in (first, *others[:-1]):
        layer.weight[:3] = 0
        layer.weight[range(3), range(3), 1, 1] = 1
        layer.bias[:3] = 0  # type: ignore[index]
    last, places = others[-1], torch.arange(config.scale) / config.scale + (1 / config.scale - 1) / 2
    taps = torch.stack([places * (places - 1) / 2, 1 - places**2, places * (places + 1) / 2], 1)  # Lagrange's
    kernels = torch.einsum("ai,bj->abij", taps, taps)
    kernels[:, :, 1, 1] -= 1
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    for colour in range(3):
        last.weight[colour * config.scale**2 : (colour + 1) * config.scale**2, colour] = kernels.flatten(0, 1)
    return network


def train_upscaler(
    network: CompactNet, schedule: Schedule, pace: Pace, seed: int, size: int, file: Path
) -> Training:  # fmt: skip
    """Train, or go on training, an upscaler. size: pixels a side of the pictures that it is to enlarge."""
    training = Training(network, schedule, file)
    training.resume()
    training.run(enlarging_lesson(network, schedule.batch, seed, size), pace)
    return training


def enlarging_lesson(network: CompactNet, batch: int, seed: int, size: int) -> Lesson:
    """The logarithm of the squared error of each crop of a scene, shrunk to half and enlarged again, its edge left out: its PSNR,
    but for the unit.
    """

    def loss(large: Tensor, small: Tensor, grain: Tensor) -> Tensor:
        x = small.movedim(-1, 1).float() / 255 + GRAIN * grain
        error = network(x) - large.movedim(-1, 1).float() / 255
        apart = inner(error).square().mean((1, 2, 3))
        return (apart + LEAST).log().mean()

    return Lesson(partial(_crops, seed, batch, size), loss)


def inner(x: Tensor) -> Tensor:
    """Without the edge. [B, C, H, W] -> [B, C, H - 2 EDGE, W - 2 EDGE]"""
    return x[..., EDGE:-EDGE, EDGE:-EDGE]


def _crops(seed: int, batch: int, size: int, step: int, shard: int) -> Drawn:
    """Crops at both sizes, and noise for the small ones."""
    count, rng = batch // SHARDS, np.random.default_rng([seed, step, shard])
    first = (step * batch + shard * count) // CROPS
    large, small = [], []
    for i in range(count):
        if i % CROPS == 0:
            whole, half = both_sizes(scene(seed, first + i // CROPS), size)
        top, left = rng.integers(size - CROP + 1, size=2)
        small.append(half[top : top + CROP, left : left + CROP])
        large.append(whole[2 * top : 2 * (top + CROP), 2 * left : 2 * (left + CROP)])
    return np.stack(large), np.stack(small), normal(rng, count, 3, CROP, CROP)


def both_sizes(one: Scene, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A scene at twice the size, and shrunk to it: [2 S, 2 S, 3] and [S, S, 3]."""
    whole = draw(one, 2 * size).copy()  # Pillow's own cannot be written to, which torch does not like
    return whole, halved(whole)


@torch.inference_mode()
def gains(network: CompactNet, seed: int, count: int, size: int) -> list[tuple[float, float]]:
    """PSNR, in dB, of held-out scenes as the network enlarges them, and as Lanczos does, their edges left out."""
    found = []
    for index in range(count):
        whole, half = (
            torch.from_numpy(picture).movedim(-1, 0)[None].float() / 255
            for picture in both_sizes(scene(seed, index, Split.HELD_OUT), size)
        )
        ours = network(half).clamp(0, 1)
        theirs = PICTURE_METHODS["lanczos"](half, 2 * size, 2 * size)
        found.append((psnr(inner(ours), inner(whole)), psnr(inner(theirs), inner(whole))))
    return found
