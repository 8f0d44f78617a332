"""What leaving arithmetic out costs: `python -m bench.shortcuts [PROMPTS [CFG]]`.

The embedded model draws the same prompts plainly and with each shortcut, in turns. Told are the ratio of the times, how like
the plain pictures the others are, and how often all attributes that a prompt asks for are in its picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import load_part, read_header
from models.deep_cache import DeepCache
from models.hypertile import HyperTile
from models.steering import Steering
from models.step_caching import EasyCache, LazyCache
from models.token_downsampling import TokenDownsampling
from models.token_merging import TokenMerging
from models.training.detector import load_detector
from models.training.evaluate import BATCH, Drawer, Sampling, paint, shares
from models.training.judge import load
from models.training.loop import DEVICE
from models.training.prompts import Prompt, singles, triples
from models.training.words import tokens_of
from models.unet import UNet

EMBEDDED = Path(__file__).parent.parent / "models" / "embedded"
PLAIN, EIGHT = "as it is", "weights in 8 bits (--int8)"
WAYS: Mapping[str, Sequence[Steering]] = MappingProxyType(
    {
        PLAIN: (),
        "HyperTile, tiles of 128": (HyperTile(128, 2, 0, False),),
        "TomePatchModel, 0.3": (TokenMerging(0.3),),
        "ToDoPatchModel, 2": (TokenDownsampling((2, 1)),),
        "DeepCache, every 2nd": (DeepCache(2),),
        "DeepCache, every 3rd": (DeepCache(3),),
        "DeepCache, every 3rd, 2 deep": (DeepCache(3, 2),),
        "EasyCache, 0.1": (EasyCache(0.1),),
        "EasyCache, 0.2": (EasyCache(0.2),),
        "LazyCache, 0.2": (LazyCache(0.2),),
        EIGHT: (),
    }
)


def main(each: int = 12, cfg: float = 4.0) -> None:
    """Print the table. each: prompts for each attribute that is asked for."""
    prompts = [*singles(each), *triples(each)]
    checkpoint = EMBEDDED / "checkpoints" / "darkroom-world-256.safetensors"
    drawer = load(checkpoint)
    unet = load_part(read_header(checkpoint), "model", dtype=torch.float32, device=DEVICE, kept=torch.int8)
    eight = Drawer(cast(UNet, unet), drawer.text, drawer.vae)
    drawn, seconds = _drawn(lambda way: eight if way == EIGHT else drawer, prompts, Sampling(256, cfg))
    detector = load_detector(EMBEDDED / "detector.safetensors")
    alone = sum(len(prompt.asked) == 1 for prompt in prompts)
    print(f"{len(prompts)} prompts, {torch.get_num_threads()} threads, {Sampling(256, cfg)}\n")
    print("| | time | like the plain picture | one attribute right | three |\n|---|---|---|---|---|")
    for way, pictures in drawn.items():
        one, three = (
            float(np.mean(list(shares(pictures[part], prompts[part], detector).values())))
            for part in (slice(alone), slice(alone, None))
        )
        like = "" if way == PLAIN else f"{_decibels(pictures, drawn[PLAIN]):.1f} dB"
        print(f"| {way} | {seconds[way] / seconds[PLAIN]:.2f} | {like} | {one:.1%} | {three:.1%} |")


def _drawn(
    drawer_of: Callable[[str], Drawer], prompts: Sequence[Prompt], sampling: Sampling
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, float]]:
    """The pictures of all prompts in each way, and the seconds they took without the first batch, which warms up."""
    empty = torch.from_numpy(tokens_of(""))
    drawn: dict[str, list[NDArray[np.uint8]]] = {way: [] for way in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    for first in range(0, len(prompts), BATCH):
        tokens = torch.from_numpy(np.stack([tokens_of(prompt.text) for prompt in prompts[first : first + BATCH]]))
        for way, steering in WAYS.items():
            begun = perf_counter()
            drawn[way].append(paint(drawer_of(way), tokens, empty, replace(sampling, steering=steering), first))
            seconds[way] += perf_counter() - begun if first else 0.0
    return {way: np.concatenate(pictures) for way, pictures in drawn.items()}, seconds


def _decibels(ours: NDArray[np.uint8], plain: NDArray[np.uint8]) -> float:
    """The mean peak signal-to-noise ratio."""
    errors = ((ours.astype(np.float64) - plain) ** 2).reshape(len(ours), -1).mean(axis=1)
    return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-6))))


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((int, float), sys.argv[1:], strict=False)))
