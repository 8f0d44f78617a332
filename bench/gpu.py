"""Our U-Net against diffusers' on a CUDA device, eager and compiled, in fp16 and bf16; nothing without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from bench import peer
from bench.networks import step_inputs
from bench.pairs import Row, seconds
from models.checkpoint import load_part, read_header
from models.reading import Reading

RUNS = 5
STEPS = 20


def table(checkpoint: Path) -> Iterator[Row]:
    """Seconds for 20 steps with cond and uncond at 512x512."""
    if not torch.cuda.is_available():
        return
    device = torch.device("cuda")
    for dtype in (torch.float16, torch.bfloat16):
        ours = load_part(read_header(checkpoint), "model", dtype=dtype, device=device)
        theirs = peer.load_unet(peer.diffusers_folder(checkpoint)).to(device, dtype)
        x, t, context = (tensor.to(device) for tensor in step_inputs(512))
        given = x.to(dtype), t, context.to(dtype)
        for kind, other in (("eager", theirs), ("compiled", torch.compile(theirs))):
            name = f"{STEPS} U-Net steps, 512x512, {dtype}, theirs {kind}"
            with torch.inference_mode():
                yield seconds(
                    name,
                    partial(_steps, partial(ours, x.to(dtype), t, Reading(context.to(dtype)))),
                    partial(_steps, partial(other, *given)),
                    RUNS,
                )


def _steps(step: Callable[[], object]) -> None:
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
