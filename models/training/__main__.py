"""`python -m models.training`: train the embedded models from nothing, judge a checkpoint, or write scenes as pictures."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
CURVE = (1.0, 2.0, 3.0, 4.0, 5.0, 7.5)
STAGES = (
    "vae", "examples", "clip", "latents", "detector", "half", "unet", "lcm", "realigned", "alarm", "upscaler",
)  # fmt: skip
ADDITIONS = ("upscaler",)
BOX = ROOT / "models" / "embedded"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0, 1 where it could not begin, or 3 when the time was up (call again to go on)."""
    options = _parser().parse_args(argv)
    match options.command:
        case "scenes":
            from models.training.gallery import write_scenes

            write_scenes(options.folder, options.captions, options.count, options.seed, options.size)
            return 0
        case "evaluate":
            from models.checkpoint import CheckpointError
            from models.training.judge import CannotJudge, judge
            from models.training.loop import undivided

            try:
                with undivided():  # on busy cores, split operations wait for each other far longer than they compute
                    judge(options)
            except (CannotJudge, CheckpointError, OSError) as problem:
                print(problem, file=sys.stderr)
                return 1
            return 0
        case "unpack" | "measure":
            return _of_box(options)
    return _train(options)


def _of_box(options: argparse.Namespace) -> int:
    from models.checkpoint import CheckpointError
    from models.training.measures import measure
    from models.training.recipe import RECIPES
    from models.training.unpack import unpack

    try:
        if options.command == "unpack":
            unpack(options.box, RECIPES[options.size].size, options.folder or ROOT / "training" / options.size)
        else:
            print(measure(options.what, options.box))
    except (CheckpointError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _train(options: argparse.Namespace) -> int:
    import torch

    from models.training.files import write_addition, write_files
    from models.training.loop import Pace
    from models.training.recipe import RECIPES
    from models.training.workshop import OtherRecipe, OutOfTime, Workshop

    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as its convolutions are by default
    recipe = RECIPES[options.size]
    changed = {name: value for name in ("seed", "scenes") if (value := getattr(options, name)) is not None}
    pace = Pace(save_every=options.save_every, budget=options.minutes * 60)
    try:
        workshop = Workshop(replace(recipe, **changed), pace, options.folder or ROOT / "training" / options.size)
        if options.command == "add":
            print(write_addition(workshop, options.what, options.into))
        elif options.until:
            getattr(workshop, options.until)
        else:
            for file in write_files(workshop, options.into):
                print(file, file.stat().st_size, "bytes")
    except OtherRecipe as problem:
        print(problem, file=sys.stderr)
        return 1
    except OutOfTime as reached:
        print(reached)
        return 3
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    parser.add_argument("--size", choices=("cpu", "gpu"), default="cpu", help="128 or 256 pixels, and how long")
    parser.add_argument("--until", choices=STAGES, help="stop after this stage")
    parser.add_argument("--folder", type=Path, help="where working files lie")
    parser.add_argument("--into", type=Path, default=BOX, help="where finished files go")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop each stage, resumable, after so long")
    parser.add_argument(
        "--save-every", type=float, default=600.0, metavar="SECONDS", help="save and draw samples so often"
    )
    parser.add_argument("--seed", type=int, help="of the drawn scenes and of all noise")
    parser.add_argument("--scenes", type=int, help="how many scenes are learned from")
    scenes = commands.add_parser("scenes", help="write held-out scenes as PNG files, and their captions line by line")
    scenes.add_argument("--folder", type=Path, required=True)
    scenes.add_argument("--captions", type=Path)
    scenes.add_argument("--count", type=int, default=1000)
    scenes.add_argument(
        "--seed", type=int, default=66, help="of the scenes; those of 64 and 65 are what prompts are from"
    )
    scenes.add_argument("--size", type=int, default=256)
    unpacking = commands.add_parser("unpack", help="begin a folder with the box's files, to train what builds on them")
    unpacking.add_argument("--box", type=Path, default=BOX)
    adding = commands.add_parser("add", help="train one of the things that build on the U-Net, and write its file")
    adding.add_argument("what", choices=ADDITIONS)
    measuring = commands.add_parser("measure", help="how often what builds on the U-Net does what it is for")
    measuring.add_argument("what", choices=ADDITIONS)
    measuring.add_argument("--box", type=Path, default=BOX)
    judging = commands.add_parser("evaluate", help="how often a checkpoint draws what it is asked for")
    judging.add_argument("checkpoint", type=Path)
    judging.add_argument("--lora", type=Path, help="a LoRA file that changes the checkpoint's U-Net")
    judging.add_argument("--detector", type=Path, default=BOX / "detector.safetensors")
    judging.add_argument("--size", type=int, default=256)
    judging.add_argument("--cfg", type=float, nargs="+", default=CURVE)
    judging.add_argument("--steps", type=int, default=20)
    judging.add_argument("--sampler", default="dpmpp_2m")
    judging.add_argument("--schedule", default="karras")
    judging.add_argument("--each", type=int, default=16, help="prompts for each attribute and set of three")
    judging.add_argument("--sheet", type=Path, help="a PNG to write the pictures of the last cfg to")
    return parser


if __name__ == "__main__":
    sys.exit(main())
