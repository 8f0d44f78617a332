"""A recipe at work in a folder: stages that lead from nothing to the embedded files, each of which can be interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.training.alarm import Alarm, calibrate, train_alarm
from models.training.contrastive import TextsAndPictures, train_clip
from models.training.detector import Detector
from models.training.diffusion import TextToNoise, train_unet
from models.training.distill import distill
from models.training.drawing import pictures
from models.training.enlarge import newborn, train_upscaler
from models.training.evaluate import Drawer, Sampling, paint, shares
from models.training.examples import captions, examples
from models.training.latents import encode_scenes
from models.training.loop import DEVICE, Pace, Schedule, Training
from models.training.observe import sights, train_detector
from models.training.prompts import WATCHED, Prompt, triples
from models.training.recipe import Recipe
from models.training.scenes import scene
from models.training.sheets import save_curve, save_sheet
from models.training.vae import SCALED_ON, finish_decoder, fold_scale, to_tensor, train_vae
from models.training.words import rows_of
from models.upscaler import CompactNet
from models.vae import AutoencoderKL

N = TypeVar("N", bound=nn.Module)
FORMAT = 2  # of the working files, and of how steps draw
TASTED = 20  # scenes by which a world is known again
CALIBRATED_ON = 2000  # training scenes that the threshold of the safety checker is set by


class OtherRecipe(Exception):
    """The folder holds what another recipe, or another world, has made; it would be taken for this one's."""


class OutOfTime(Exception):
    """The budget ended before the stage did. What was reached is saved; begin again to go on."""


@dataclass(frozen=True)
class Workshop:
    """The stages, as properties that make what is not there yet. All raise OutOfTime."""

    recipe: Recipe
    pace: Pace
    folder: Path
    prompts: int = 8  # of each kind that are drawn and judged whenever a U-Net is saved

    def __post_init__(self) -> None:
        """Raises OtherRecipe."""
        mark, mine = self.folder / "recipe.txt", f"{FORMAT}\n{_world(self.recipe)}\n{self.recipe}\n"
        if not mark.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            mark.write_text(mine)
        elif mark.read_text() != mine:
            raise OtherRecipe(f"{self.folder} was begun with another recipe or world ({mark}); give another --folder")

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The trained autoencoder with the latent scale folded in, and its decoder finished for that."""
        recipe = self.recipe

        def train(vae: AutoencoderKL) -> None:
            self._end(train_vae(vae, recipe.vae_schedule, self.pace, recipe.seed, recipe.size, self.folder), "vae")
            fold_scale(vae, to_tensor(pictures(recipe.seed, 0, SCALED_ON, size=recipe.size)))
            after = recipe.decoder_schedule, self.pace, recipe.seed, recipe.size, self.folder
            self._end(finish_decoder(vae, *after), "decoder")

        return self._made("vae", lambda: AutoencoderKL(recipe.vae), train)

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
        return self._clip("clip", lambda network: None, self.recipe.clip_schedule)

    @cached_property
    def detector(self) -> Detector:
        """The judge of what pictures show."""
        recipe = self.recipe

        def train(network: Detector) -> None:
            seen = sights(self.vae, recipe.seen, recipe.seed, recipe.size, self.folder)
            schedule, file = recipe.detector_schedule, self.folder / "detector.pt"
            self._end(train_detector(network, seen, schedule, self.pace, recipe.seed, file), "detector")

        return self._made("detector", Detector, train)

    @cached_property
    def half(self) -> TextToNoise:
        """The U-Net and the text encoder after learning from pictures of half the size."""

        def begin(network: TextToNoise) -> None:
            network.text.text_model.load_state_dict(self.clip.clip.text_model.state_dict())

        return self._unet("half", begin, self.recipe.half_schedule)

    @cached_property
    def unet(self) -> TextToNoise:
        """The U-Net and the text encoder."""

        def begin(network: TextToNoise) -> None:
            network.load_state_dict(self.half.state_dict())

        return self._unet("whole", begin, self.recipe.unet_schedule)

    @cached_property
    def lcm(self) -> TextToNoise:
        """The U-Net that draws in four steps, with the same text encoder."""
        recipe = self.recipe

        def train(network: TextToNoise) -> None:
            data = self.latents["whole"], self.examples["rows"]
            file = self.folder / "lcm.pt"
            training = distill(self.unet, *data, recipe.lcm_schedule, self.pace, recipe.seed, file)
            self._end(training, "lcm")
            network.load_state_dict(training.averaged())
            few = Sampling(recipe.size, cfg=1, steps=4, sampler="lcm", schedule="sgm_uniform")
            self._sheet("lcm", network.to(DEVICE), few)

        return self._made("lcm", self._text_to_noise, train)

    @cached_property
    def realigned(self) -> TextsAndPictures:
        """The vision tower, brought back to the text encoder that the U-Net went on training."""

        def begin(network: TextsAndPictures) -> None:
            network.load_state_dict(self.clip.state_dict())
            network.clip.text_model.load_state_dict(self.unet.text.text_model.state_dict())
            network.clip.text_model.requires_grad_(False)

        return self._clip("realigned", begin, self.recipe.realign_schedule)

    @cached_property
    def alarm(self) -> Alarm:
        """The safety checker, with its threshold."""
        recipe = self.recipe

        def build() -> Alarm:
            towers = TextsAndPictures(recipe.clip).clip
            return Alarm(towers.vision_model, towers.visual_projection)

        def train(network: Alarm) -> None:
            towers = self.clip.clip
            network.vision_model.load_state_dict(towers.vision_model.state_dict())
            network.visual_projection.load_state_dict(towers.visual_projection.state_dict())
            schedule = recipe.alarm_schedule
            self._end(train_alarm(network, schedule, self.pace, recipe.seed, self.folder / "alarm.pt"), "alarm")
            calibrate(network, recipe.seed, schedule.iterations * schedule.batch, min(CALIBRATED_ON, recipe.scenes))

        return self._made("alarm", build, train)

    @cached_property
    def upscaler(self) -> CompactNet:
        """The network that draws pictures at twice their size."""
        recipe = self.recipe

        def train(network: CompactNet) -> None:
            file = self.folder / "upscaler.pt"
            self._end(
                train_upscaler(network, recipe.upscaler_schedule, self.pace, recipe.seed, recipe.size, file), "upscaler"
            )

        return self._made("upscaler", lambda: newborn(recipe.upscaler), train)

    def _text_to_noise(self) -> TextToNoise:
        return TextToNoise(self.recipe.unet, self.recipe.clip.text)

    def _clip(self, name: str, begin: Callable[[TextsAndPictures], None], schedule: Schedule) -> TextsAndPictures:
        def train(network: TextsAndPictures) -> None:
            begin(network)
            file = self.folder / f"{name}.pt"
            self._end(train_clip(network, self.examples, schedule, self.pace, self.recipe.seed, file), name)

        return self._made(name, lambda: TextsAndPictures(self.recipe.clip), train)

    def _unet(self, name: str, begin: Callable[[TextToNoise], None], schedule: Schedule) -> TextToNoise:
        size = self.recipe.size // 2 if name == "half" else self.recipe.size

        def train(network: TextToNoise) -> None:
            begin(network)
            training = train_unet(
                network, self.latents[name], self.latents[f"{name} things"], self.examples["rows"], schedule, self.pace,
                self.recipe.seed, self.folder / f"{name}.pt", lambda training: self._review(name, training, size),
            )  # fmt: skip
            self._end(training, name)
            network.load_state_dict(training.averaged())

        return self._made(name, self._text_to_noise, train)

    def _made(self, name: str, build: Callable[[], N], train: Callable[[N], None]) -> N:
        """What `build` gives, with the weights of its file, which is made by training if it is not there."""
        file = self.folder / f"{name}.safetensors"
        if not file.exists():
            torch.manual_seed(self.recipe.seed)
            network = build()
            train(network)
            weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
            save_file(weights, file.with_suffix(".partial"))
            file.with_suffix(".partial").replace(file)
        else:
            network = build()
            network.load_state_dict(load_file(file))
        return network.to(DEVICE).eval().requires_grad_(False)

    def _end(self, training: Training, name: str) -> None:
        save_curve(self.folder / f"{name}.csv", self.folder / f"{name}-curve.png")
        if not training.finished:
            raise OutOfTime(f"{name}: {training.step} of {training.schedule.iterations} steps")

    def _review(self, name: str, training: Training, size: int) -> None:
        """Draw the test prompts with the averaged weights, and say how many are right."""
        network = self._text_to_noise().to(DEVICE)
        network.load_state_dict(training.averaged())
        sheet = self._sheet(f"{name}-{training.step:06d}", network.eval().requires_grad_(False), Sampling(size))
        save_curve(self.folder / f"{name}.csv", self.folder / f"{name}-curve.png")
        found = shares(sheet, self._prompts, self.detector) if self._prompts else {}
        told = ", ".join(f"{asked} {share:.0%}" for asked, share in found.items())
        print(
            f"{name} {training.step}/{training.schedule.iterations} after {training.seconds / 60:.1f} min: {told}",
            flush=True,
        )

    def _sheet(self, name: str, network: TextToNoise, sampling: Sampling) -> NDArray[np.uint8]:
        rows = torch.stack([torch.from_numpy(rows_of(prompt.text)) for prompt in self._prompts])
        drawer = Drawer(network.unet, network.text, self.vae)
        drawn = paint(drawer, rows, torch.from_numpy(rows_of("")), sampling)
        save_sheet(self.folder / f"{name}.png", drawn, columns=8, zoom=max(1, 128 // sampling.size))
        return drawn

    @cached_property
    def _prompts(self) -> list[Prompt]:
        return triples(self.prompts, WATCHED)


def _world(recipe: Recipe) -> str:
    """A digest of a few scenes as they are drawn and told."""
    digest = hashlib.sha256(pictures(recipe.seed, 0, TASTED, size=recipe.size).tobytes())
    for index in range(TASTED):
        digest.update("".join(captions(scene(recipe.seed, index))).encode())
    return digest.hexdigest()
