"""A recipe at work in a folder: stages that lead from nothing to the embedded files, each of which can be interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.training.alarm import Alarm, calibrated, checker_weights, train_alarm
from models.training.contrastive import TextsAndPictures, train_clip
from models.training.detector import Detector
from models.training.diffusion import TextToNoise, train_unet
from models.training.distill import distill
from models.training.drawing import pictures
from models.training.evaluate import Drawer, Sampling, paint, shares
from models.training.examples import examples
from models.training.latents import encode_scenes
from models.training.loop import Pace, Schedule, Training, place_of
from models.training.observe import rebuilt, train_detector
from models.training.prompts import Prompt, triples
from models.training.recipe import Recipe
from models.training.sheets import save_curve, save_sheet
from models.training.vae import SCALED_ON, fold_scale, to_tensor, train_vae
from models.training.words import rows_of
from models.vae import AutoencoderKL

N = TypeVar("N", bound=nn.Module)
CALIBRATED_ON = 2000  # training scenes that the threshold of the safety checker is set by
CHECKPOINTS = Path(__file__).parents[1] / "embedded" / "checkpoints"


class OutOfTime(Exception):
    """The budget ended before the stage did. What was reached is saved; begin again to go on."""


@dataclass(frozen=True)
class Workshop:
    """The stages, as properties that make what is not there yet. All raise OutOfTime."""

    recipe: Recipe
    pace: Pace
    folder: Path
    prompts: int = 48  # that are drawn and judged whenever a U-Net is saved

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The trained autoencoder with the latent scale folded in."""
        recipe, vae = self.recipe, AutoencoderKL(self.recipe.vae)

        def train() -> nn.Module:
            start = CHECKPOINTS / recipe.vae_start if recipe.vae_start else None
            training = train_vae(
                recipe.vae, start, recipe.vae_schedule, self.pace, recipe.seed, recipe.size, self.folder
            )
            self._end(training, "vae")
            fold_scale(training.network, to_tensor(pictures(recipe.seed, 0, SCALED_ON, size=recipe.size)))  # type: ignore[arg-type]
            return training.network

        return self._made("vae", vae, train)

    @cached_property
    def examples(self) -> dict[str, Tensor]:
        """Views and captions of the training scenes."""
        return examples(self.recipe.scenes, self.recipe.seed, self.folder)

    @cached_property
    def latents(self) -> dict[str, Tensor]:
        """Latents of the training scenes, whole and half size."""
        return encode_scenes(self.vae, self.recipe.scenes, self.recipe.seed, self.recipe.size, self.folder)

    @cached_property
    def clip(self) -> TextsAndPictures:
        """Text encoder and vision tower, trained together."""
        return self._clip("clip", self.recipe.clip_schedule, TextsAndPictures(self.recipe.clip))

    @cached_property
    def detector(self) -> Detector:
        """The judge of what pictures show."""
        recipe, network = self.recipe, Detector()

        def train() -> nn.Module:
            redrawn = rebuilt(self.vae, self.latents["whole"])
            file = self.folder / "detector.pt"
            schedule = recipe.detector_schedule
            training = train_detector(network, self.examples["views"], redrawn, schedule, self.pace, recipe.seed, file)
            return self._end(training, "detector")

        return self._made("detector", network, train)

    @cached_property
    def half(self) -> TextToNoise:
        """The U-Net and the text encoder after learning from pictures of half the size."""
        network = TextToNoise(self.recipe.unet, self.recipe.clip.text)
        clip = self.clip.clip.text_model.state_dict()
        network.text.text_model.load_state_dict(clip)
        return self._unet("half", network, self.recipe.half_schedule)

    @cached_property
    def unet(self) -> TextToNoise:
        """The U-Net and the text encoder."""
        network = TextToNoise(self.recipe.unet, self.recipe.clip.text)
        network.load_state_dict(self.half.state_dict())
        return self._unet("whole", network, self.recipe.unet_schedule)

    @cached_property
    def lcm(self) -> TextToNoise:
        """The U-Net that draws in four steps, with the same text encoder."""
        recipe, network = self.recipe, TextToNoise(self.recipe.unet, self.recipe.clip.text)

        def train() -> nn.Module:
            file = self.folder / "lcm.pt"
            data = self.latents["whole"], self.examples["rows"]
            training = distill(self.unet, *data, recipe.lcm_schedule, self.pace, recipe.seed, file)
            network.load_state_dict(training.averaged())
            self._end(training, "lcm")
            self._sheet("lcm", network, Sampling(recipe.size, cfg=1, steps=4, sampler="lcm", schedule="sgm_uniform"))
            return network

        return self._made("lcm", network, train)

    @cached_property
    def realigned(self) -> TextsAndPictures:
        """The vision tower, brought back to the text encoder that the U-Net went on training."""
        network = TextsAndPictures(self.recipe.clip)
        network.load_state_dict(self.clip.state_dict())
        network.clip.text_model.load_state_dict(self.unet.text.text_model.state_dict())
        network.clip.text_model.requires_grad_(False)
        return self._clip("realigned", self.recipe.realign_schedule, network)

    @cached_property
    def alarm(self) -> dict[str, Tensor]:
        """The weights of the safety checker."""
        file = self.folder / "alarm.safetensors"
        if not file.exists():
            recipe = self.recipe
            torch.manual_seed(recipe.seed)
            tower = TextsAndPictures(recipe.clip)
            tower.load_state_dict(self.clip.state_dict())
            network = Alarm(tower.clip.vision_model, tower.clip.visual_projection)
            training = train_alarm(network, recipe.alarm_schedule, self.pace, recipe.seed, self.folder / "alarm.pt")
            self._end(training, "alarm")
            beyond = recipe.alarm_schedule.iterations * recipe.alarm_schedule.batch
            save_file(
                checker_weights(network, calibrated(network, recipe.seed, beyond, min(CALIBRATED_ON, recipe.scenes))),
                file,
            )
        return load_file(file)

    def _clip(self, name: str, schedule: Schedule, network: TextsAndPictures) -> TextsAndPictures:
        def train() -> nn.Module:
            file = self.folder / f"{name}.pt"
            return self._end(train_clip(network, self.examples, schedule, self.pace, self.recipe.seed, file), name)

        return self._made(name, network, train)

    def _unet(self, name: str, network: TextToNoise, schedule: Schedule) -> TextToNoise:
        size = self.recipe.size // 2 if name == "half" else self.recipe.size

        def train() -> nn.Module:
            training = train_unet(
                network, self.latents[name], self.examples["rows"], schedule, self.pace, self.recipe.seed,
                self.folder / f"{name}.pt", review=lambda training: self._review(name, training, size),
            )  # fmt: skip
            network.load_state_dict(training.averaged())
            return self._end(training, name)

        return self._made(name, network, train)

    def _made(self, name: str, network: N, train: Callable[[], nn.Module]) -> N:
        """The network with the weights of its file, which is made by training if it is not there."""
        file = self.folder / f"{name}.safetensors"
        if not file.exists():
            torch.manual_seed(self.recipe.seed)
            weights = {key: value.detach().cpu().contiguous() for key, value in train().state_dict().items()}
            save_file(weights, file)
        network.load_state_dict(load_file(file))
        return network.eval().requires_grad_(False)

    def _end(self, training: Training, name: str) -> nn.Module:
        save_curve(self.folder / f"{name}.csv", self.folder / f"{name}-curve.png")
        if not training.finished:
            raise OutOfTime(f"{name}: {training.step} of {training.schedule.iterations} steps")
        return training.network

    def _review(self, name: str, training: Training, size: int) -> None:
        """Draw the test prompts with the averaged weights, and say how many are right."""
        network = TextToNoise(self.recipe.unet, self.recipe.clip.text).to(place_of(training.network))
        network.load_state_dict(training.averaged())
        sheet = self._sheet(f"{name}-{training.step:06d}", network.eval().requires_grad_(False), Sampling(size))
        save_curve(self.folder / f"{name}.csv", self.folder / f"{name}-curve.png")
        found = shares(sheet, self._prompts, self.detector) if self._prompts else {}
        told = ", ".join(f"{asked} {share:.0%}" for asked, share in found.items())
        print(
            f"{name} {training.step}/{training.schedule.iterations} after {training.seconds / 60:.1f} min: {told}",
            flush=True,
        )

    def _sheet(self, name: str, network: TextToNoise, sampling: Sampling) -> np.ndarray:
        rows = torch.stack([torch.from_numpy(rows_of(prompt.text)) for prompt in self._prompts])
        drawer = Drawer(network.unet, network.text, self.vae)
        drawn = paint(drawer, rows, torch.from_numpy(rows_of("")), sampling)
        save_sheet(self.folder / f"{name}.png", drawn, columns=8, zoom=max(1, 128 // sampling.size))
        return drawn

    @cached_property
    def _prompts(self) -> list[Prompt]:
        return triples(self.prompts)
