"""The recipe: sizes and schedules, and the stages that lead from nothing to a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.config import ClipConfig, UNetConfig, VaeConfig
from models.training.diffusion import Pairs, TextToNoise, train_unet
from models.training.evaluate import Drawer, Sampling, held_out_scenes, paint, score
from models.training.export import export
from models.training.latents import encode_scenes
from models.training.loop import Pace, Schedule, Training
from models.training.scenes import pictures
from models.training.sheets import save_curve, save_sheet
from models.training.vae import fold_scale, to_tensor, train_vae
from models.training.words import ROWS, rows_of
from models.vae import AutoencoderKL

SCALED_ON = 1024  # training scenes that the latent scale is measured on


@dataclass(frozen=True)
class Recipe:
    """Everything that the checkpoint depends on."""

    seed: int  # of the scenes, the weights at birth and all noise
    scenes: int  # whose latents the U-Net learns from
    vae: VaeConfig
    vae_schedule: Schedule
    unet: UNetConfig
    text: ClipConfig
    unet_schedule: Schedule


SHAPES_64 = Recipe(
    seed=2026,
    scenes=40_960,
    vae=VaeConfig(ch=32, ch_mult=(1, 2, 3, 3), num_res_blocks=1),
    vae_schedule=Schedule(iterations=3000, batch=16, learning_rate=6e-4),
    unet=UNetConfig(
        model_channels=96, channel_mult=(1, 2), num_res_blocks=1, transformer_depth=(1, 1), context_dim=128
    ),
    text=ClipConfig(width=128, layers=2, intermediate=512, vocab=ROWS),
    unet_schedule=Schedule(iterations=3800, batch=64, learning_rate=8e-4, ema=0.999),
)


@dataclass(frozen=True)
class Workshop:
    """A recipe at work in a folder. Each stage begins by finishing the one before."""

    recipe: Recipe
    pace: Pace
    folder: Path
    prompts: int = 64  # that are drawn and judged whenever the U-Net is saved

    def vae(self) -> AutoencoderKL | None:
        """The trained autoencoder with the latent scale folded in, or None when time ran out."""
        vae = AutoencoderKL(self.recipe.vae)
        file = self.folder / "vae.safetensors"
        if not file.exists():
            training = train_vae(self.recipe.vae, self.recipe.vae_schedule, self.pace, self.recipe.seed, self.folder)
            save_curve(self.folder / "vae.csv", self.folder / "vae-curve.png")
            if not training.finished:
                return None
            vae.load_state_dict(training.network.state_dict())
            fold_scale(vae, to_tensor(pictures(self.recipe.seed, 0, SCALED_ON)))
            save_file({name: value.contiguous() for name, value in vae.state_dict().items()}, file)
        vae.load_state_dict(load_file(file))
        return vae.eval().requires_grad_(False)

    def latents(self) -> tuple[AutoencoderKL, Pairs] | None:
        """The latents and captions of the training scenes."""
        vae = self.vae()
        return (vae, encode_scenes(vae, self.recipe.scenes, self.recipe.seed, self.folder)) if vae else None

    def unet(self) -> Training | None:
        """The U-Net and the text encoder, trained as far as time allows."""
        stage = self.latents()
        if stage is None:
            return None
        vae, pairs = stage
        torch.manual_seed(self.recipe.seed)
        network = TextToNoise(self.recipe.unet, self.recipe.text)
        return train_unet(
            network, pairs, self.recipe.unet_schedule, self.pace, self.recipe.seed, self.folder,
            review=lambda training: self._review(training, vae),
        )  # fmt: skip

    def export(self, file: Path) -> None:
        """Write the checkpoint from what the folder holds. Raises FileNotFoundError if a stage never ran."""
        vae = load_file(self.folder / "vae.safetensors")
        state = torch.load(self.folder / "unet.pt", weights_only=True)
        average: dict[str, Tensor] = state["average"]
        parts = {
            part: {k.removeprefix(part): v for k, v in average.items() if k.startswith(part)}
            for part in ("unet.", "text.")
        }
        export(parts["unet."], parts["text."], vae, self._facts(state["step"]), file)

    def _facts(self, step: int) -> dict[str, str]:
        recipe = self.recipe
        return {
            "title": "Darkroom shapes 64",
            "description": "Stable Diffusion v1 layout, trained from scratch on drawn scenes of coloured shapes, 64x64",
            "license": "Apache-2.0",
            "data_seed": str(recipe.seed),
            "vae_samples": str(recipe.vae_schedule.iterations * recipe.vae_schedule.batch),
            "unet_steps": str(step),
            "unet_samples": str(step * recipe.unet_schedule.batch),
            "unet_scenes": str(recipe.scenes),
        }

    def _review(self, training: Training, vae: AutoencoderKL) -> None:
        """Draw the test prompts with the averaged weights, and say how many are right."""
        network = TextToNoise(self.recipe.unet, self.recipe.text)
        network.load_state_dict(training.averaged())
        network.eval().requires_grad_(False)
        scenes = held_out_scenes(self.prompts)
        rows = torch.stack([torch.from_numpy(rows_of(one.caption)) for one in scenes])
        drawn = paint(Drawer(network.unet, network.text, vae), rows, torch.from_numpy(rows_of("")), Sampling())
        save_sheet(self.folder / f"unet-{training.step:06d}.png", drawn, columns=16)
        save_curve(self.folder / "unet.csv", self.folder / "unet-curve.png")
        found = score(drawn, scenes)
        print(
            f"unet {training.step}/{training.schedule.iterations} after {training.seconds / 60:.1f} min: "
            f"things {found.things:.1%}, backgrounds {found.backgrounds:.1%}",
            flush=True,
        )
