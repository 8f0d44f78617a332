"""Training the detector: on drawn scenes, and on some as the autoencoder rebuilds them, which is how a model draws."""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from models.training import detector
from models.training.detector import Detector, Truth
from models.training.drawing import draw
from models.training.examples import Arrays, Tensors, in_chunks
from models.training.loop import SHARDS, Lesson, Pace, Schedule, Training, normal, place_of
from models.training.replay import Drawn
from models.training.scenes import Scene, Split, scene
from models.training.vae import VIEW, reconstruct, shrunk, to_pixels, to_tensor
from models.vae import AutoencoderKL

REBUILT_SHARE = 4  # one pair of scenes in so many is seen as the autoencoder rebuilds it


def sights(vae: AutoencoderKL, count: int, seed: int, size: int, folder: Path) -> Tensors:
    """What the detector learns from: "views", [N, 64, 64, 3] uint8, and the fields of their `Truth`.

    Scenes of training and held-out ones take turns: who judges has to know what those who draw were never shown.
    """

    def rebuilt(drawn: Arrays) -> Arrays:
        pixels, again = drawn.pop("pixels"), drawn.pop("again")
        if again.any():
            drawn["views"][again] = shrunk(to_pixels(reconstruct(vae, to_tensor(pixels))))
        return drawn

    return in_chunks("sights", count, folder, partial(_drawn, seed, size), rebuilt)


def _drawn(seed: int, size: int, first: int, count: int) -> Arrays:
    """Views and answers; which views the autoencoder is to rebuild, and the whole pictures of those."""
    scenes = [_scene(seed, index) for index in range(first, first + count)]
    pixels = np.stack([draw(one, size) for one in scenes])
    again = np.arange(first, first + count) // 2 % REBUILT_SHARE == 0
    answers = {name: answer.numpy() for name, answer in asdict(detector.truth(scenes)).items()}
    return {"pixels": pixels[again], "again": again, "views": shrunk(pixels), **answers}


def train_detector(network: Detector, seen: Tensors, schedule: Schedule, pace: Pace, seed: int, file: Path) -> Training:
    """Train, or go on training, a detector. seen: what `sights` gives."""
    training = Training(network, schedule, file)
    training.resume()
    lesson = sight_lesson(network, seen, schedule.batch, seed)

    def review() -> None:
        print(
            f"detector {training.step}/{schedule.iterations}: {float(lesson(training.step, 0).detach()):.3f}",
            flush=True,
        )

    training.run(lesson, pace, review)
    return training


def sight_lesson(network: Detector, seen: Tensors, batch: int, seed: int) -> Lesson:
    """How wrong the answers are about views of which each is a little brighter or darker, and grainy."""
    held = {name: data.to(place_of(network)) for name, data in seen.items()}

    def loss(picked: Tensor, light: Tensor, grain: Tensor) -> Tensor:
        views = (held["views"][picked].float() + 6 * light + 4 * grain).clamp(0, 255)
        return detector.loss(network(views), Truth(**{field.name: held[field.name][picked] for field in fields(Truth)}))

    return Lesson(partial(_looks, seed, batch, len(seen["views"])), loss)


def _looks(seed: int, batch: int, scenes: int, step: int, shard: int) -> Drawn:
    """Which views of all, how much brighter or darker they are, and how grainy."""
    count, rng = batch // SHARDS, np.random.default_rng([seed, step, shard])
    return rng.integers(scenes, size=count), normal(rng, count, 1, 1, 3), normal(rng, count, VIEW, VIEW, 3)


def _scene(seed: int, index: int) -> Scene:
    return scene(seed, index // 2, (Split.TRAIN, Split.HELD_OUT)[index % 2])
