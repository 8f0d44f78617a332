"""`python -m models.training`: train the embedded model from nothing, or judge a checkpoint."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.training.loop import Schedule

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "models" / "embedded" / "darkroom-shapes-64.safetensors"
CURVE = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.5, 10.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage and those before it. Returns 0, or 3 when the time was up first (call again to go on)."""
    options = _parser().parse_args(argv)
    if options.stage == "evaluate":
        from models.training.evaluate import Sampling
        from models.training.judge import judge
        from models.training.loop import undivided

        sampling = Sampling(steps=options.steps, sampler=options.sampler, schedule=options.schedule)
        with undivided():  # on busy cores, split operations wait for each other far longer than they compute
            judge(options.checkpoint, options.cfg, sampling, options.sheet)
        return 0
    return _train(options)


def _train(options: argparse.Namespace) -> int:
    from models.training.loop import Pace
    from models.training.recipe import SHAPES_64, Workshop

    recipe = SHAPES_64
    recipe = replace(
        recipe,
        seed=options.seed,
        scenes=options.scenes or recipe.scenes,
        vae=replace(recipe.vae, ch=options.vae_width or recipe.vae.ch),
        unet=replace(recipe.unet, model_channels=options.unet_width or recipe.unet.model_channels),
        vae_schedule=_lasting(recipe.vae_schedule, options.vae_iterations),
        unet_schedule=_lasting(recipe.unet_schedule, options.unet_iterations),
    )
    pace = Pace(save_every=options.save_every, budget=options.minutes * 60)
    workshop = Workshop(recipe, pace, options.folder)
    if options.stage in ("vae", "latents"):
        return 0 if getattr(workshop, options.stage)() else 3
    if options.stage != "export":
        training = workshop.unet()
        if training is None or not training.finished:
            return 3
    if options.stage != "unet":
        workshop.export(options.checkpoint)
        print(options.checkpoint, options.checkpoint.stat().st_size, "bytes")
    return 0


def _lasting(schedule: Schedule, iterations: int | None) -> Schedule:
    return replace(schedule, iterations=iterations or schedule.iterations)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument(
        "stage",
        nargs="?",
        default="all",
        choices=("all", "vae", "latents", "unet", "export", "evaluate"),
        help="stop after this stage; export writes what there is so far; evaluate judges a checkpoint",
    )
    parser.add_argument("checkpoint", nargs="?", type=Path, default=CHECKPOINT, help="file to write or to judge")
    parser.add_argument("--folder", type=Path, default=ROOT / "training", help="where working files lie")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop each stage, resumable, after so long")
    parser.add_argument("--save-every", type=float, default=180.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=2026, help="of the drawn scenes and of all noise")
    parser.add_argument("--scenes", type=int, help="how many scenes the U-Net learns from")
    parser.add_argument("--vae-iterations", type=int)
    parser.add_argument("--unet-iterations", type=int)
    parser.add_argument("--vae-width", type=int, help="channels of the autoencoder's first level")
    parser.add_argument("--unet-width", type=int, help="channels of the U-Net's first level")
    judging = parser.add_argument_group("evaluate")
    judging.add_argument("--cfg", type=float, nargs="+", default=CURVE)
    judging.add_argument("--steps", type=int, default=20)
    judging.add_argument("--sampler", default="dpmpp_2m")
    judging.add_argument("--schedule", default="karras")
    judging.add_argument("--sheet", type=Path, help="a PNG to write the pictures of the last cfg to")
    return parser


if __name__ == "__main__":
    sys.exit(main())
