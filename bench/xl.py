"""SDXL's U-Net at 512x512 on the CPU beside diffusers: peak memory and seconds a step, each side in a process of its own.

`python -m bench.xl [FOLDER]` prints the table; the weights (two files of 5 GB, random) are kept in FOLDER if one is named.
A step is one call for the text and for the empty one. `python -m bench.xl SIDE FILE` prints the figures of one side.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from bench import fresh
from bench.memory import peak_bytes
from bench.pairs import Row, row
from models.diffusers_names import diffusers_name
from tests.published_files import UNETS, write_random_unet

ROUNDS, STEPS = 2, 3
SIDES = {
    "fp32": ("fp32", "theirs-fp32", "fp32, both"),
    "fp16": ("fp16", "theirs-fp32", "weights kept in fp16 (--fp16-unet), theirs in fp32"),
    "auto": ("auto", "theirs-bf16", "--precision auto, theirs in bf16"),
}
"""Ours, theirs, and what is compared. In float16 a CPU takes many times as long, so that nobody has it compute so."""


def table(folder: Path, kinds: tuple[str, ...]) -> list[Row]:
    """Two lines for each comparison, the sides in turn."""
    ours, theirs = folder / "xl.safetensors", folder / "diffusion_pytorch_model.safetensors"
    if not ours.exists():
        write_random_unet(ours, "xl")
    if not theirs.exists():
        write_random_unet(theirs, "xl", partial(_theirs_name, blocks=UNETS["xl"].num_res_blocks))
    rows = []
    for mine, other, name in (SIDES[kind] for kind in kinds):
        found = [
            (fresh.figures("bench.xl", mine, ours), fresh.figures("bench.xl", other, theirs)) for _ in range(ROUNDS)
        ]
        rows.append(row(f"SDXL, a step at 512x512, {name}", [(a[0], b[0]) for a, b in found]))
        a, b = (min(pair[side][1] for pair in found) for side in (0, 1))
        rows.append(Row(f"the same, peak memory, {name}", f"{a / 2**30:.2f} GiB", f"{b / 2**30:.2f} GiB", a / b))
    return rows


def run_ours(file: Path, precision: str) -> float:
    """Seconds a step, by the way every node has its network."""
    from models.checkpoint import read_header
    from models.packed import can_pack
    from models.precision import choose_precision
    from models.reading import Reading
    from models.residency import Residency, memory_budget
    from models.types import Model

    cpu = torch.device("cpu")
    place = Residency(cpu, choose_precision(cpu, precision), memory_budget(cpu), packing=can_pack())
    x, t, context, pooled, sizes = _inputs()
    angles = torch.exp(-torch.arange(128) * torch.log(torch.tensor(10000.0)) / 128) * sizes.reshape(-1, 1)
    vector = torch.cat([pooled, torch.cat([angles.cos(), angles.sin()], dim=1).reshape(len(x), -1)], dim=1)
    with place.use(Model(read_header(file), "xl")) as unet:
        dtype = next(unet.parameters()).dtype
        return _seconds(lambda: unet(x.to(dtype), t, Reading(context.to(dtype), vector=vector.to(dtype))))


def run_theirs(file: Path, dtype: torch.dtype) -> float:
    """Seconds a step of diffusers' network, loaded as its pipelines load it."""
    from diffusers import UNet2DConditionModel

    from bench.peer import unet_config

    folder = file.parent
    with torch.device("meta"):
        UNet2DConditionModel(**unet_config(UNETS["xl"])).save_config(folder)
    unet = UNet2DConditionModel.from_pretrained(folder, torch_dtype=dtype, low_cpu_mem_usage=True).eval()
    x, t, context, pooled, sizes = _inputs()
    added = {"text_embeds": pooled.to(dtype), "time_ids": sizes.to(dtype)}
    return _seconds(lambda: unet(x.to(dtype), t, context.to(dtype), added_cond_kwargs=added))


def _inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Latents, time steps, texts, pooled texts, sizes and crops: for a text and for the empty one."""
    generator = torch.Generator().manual_seed(1)
    x, context, pooled = (torch.randn(2, *shape, generator=generator) for shape in ((4, 64, 64), (77, 2048), (1280,)))
    return x, torch.full((2,), 500.0), context, pooled, torch.tensor([[512.0, 512, 0, 0, 512, 512]] * 2)


def _seconds(step: Callable[[], object]) -> float:
    """The median of a few steps, after one that does not count."""
    with torch.inference_mode():
        step()
        return median(_timed(step) for _ in range(STEPS))


def _timed(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def _theirs_name(name: str, blocks: int) -> str:
    layer, _, end = name.rpartition(".")
    return f"{diffusers_name(layer, blocks)}.{end}"


def main(folder: Path) -> None:
    """Print the table."""
    kinds = tuple(SIDES) if torch.cpu.get_capabilities().get("avx512_bf16") else ("fp32", "fp16")
    print("| against diffusers, same weights | ours | theirs | ratio |\n|---|---|---|---|", flush=True)
    for line in table(folder, kinds):
        print(f"| {line.name} | {line.ours} | {line.theirs} | {line.ratio:.2f} |", flush=True)
    print(f"\nload of the machine at the end: {os.getloadavg()[0]:.1f}")


def side(name: str, file: Path) -> None:
    """Print one side's seconds a step and peak bytes."""
    if name.startswith("theirs"):
        took = run_theirs(file, torch.bfloat16 if name.endswith("bf16") else torch.float32)
    else:
        took = run_ours(file, name)
    print(took, peak_bytes())


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name, file]:
            side(name, Path(file))
        case [folder]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            main(Path(folder))
        case _:
            with tempfile.TemporaryDirectory() as place:
                main(Path(place))
