"""stable-diffusion.cpp at a picture: `python -m bench.cpp CHECKPOINT SIZE TYPE` prints the seconds of a step (cond and uncond), the
seconds of the decoding, and its peak memory in bytes. TYPE: what weights are kept as, such as Q8_0.
"""

from __future__ import annotations

import statistics
import sys
from time import perf_counter

import torch

from bench.memory import peak_bytes

STEPS = 4


def draw(checkpoint: str, size: int, form: str) -> tuple[float, float]:
    """Seconds of a step, the median without the first, and of what comes after the last."""
    from cyllama import sd

    settings = sd.SDContextParams(model_path=checkpoint, n_threads=torch.get_num_threads(), wtype=sd.SDType[form])
    context = sd.SDContext(settings)
    told: list[float] = []
    sd.set_progress_callback(lambda step, steps, seconds: told.append(perf_counter()) if steps == STEPS else None)
    context.generate("a red circle", "blue", size, size, seed=1, sample_steps=STEPS, cfg_scale=4.0)
    ended = perf_counter()
    steps = [after - before for before, after in zip(told[-STEPS:], told[-STEPS + 1 :], strict=False)]
    return statistics.median(steps), ended - told[-1]


if __name__ == "__main__":
    print(*draw(sys.argv[1], int(sys.argv[2]), sys.argv[3]), peak_bytes())
